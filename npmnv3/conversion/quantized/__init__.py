"""Quantised models of TensorFlow Lite and ONNX Runtime, integer for integer: readers, and the network's names for the tensors."""

import os

from ...dumps.reader import Reader, naming
from ...errors import WeightsError
from ..formats import onnx_graph, tflite_tensors
from . import onnx, tflite

__all__ = ["is_quantized_model", "read_quantized_model"]


def is_quantized_model(path):
    """Whether a file is a .tflite or an .onnx that computes with integers; False where it is damaged or no such file."""
    try:
        with Reader(os.fspath(path)) as reader:
            return _module(reader) is not None
    except WeightsError:
        return False


def _module(reader):
    """What reads the quantised model in a file, None where it is none."""
    magic = reader.read(8)
    reader.seek(0)
    if magic[4:8] == tflite_tensors.MAGIC:
        return tflite if tflite.is_quantized(tflite_tensors.Tensors(reader)) else None
    if magic[:1] == onnx_graph.MAGIC:
        return onnx if onnx.is_quantized(reader) else None
    return None


def read_quantized_model(path):
    """(IntegerPlan, scheme) of a quantised .tflite or .onnx, under the file's own names of tensors.

    Raises
    ------
    WeightsError
        Damaged, not quantised throughout, or with what MobileNetV3 does not have; the message names file and tensor.
    """
    path = os.fspath(path)
    with Reader(path) as reader, naming(path):
        module = _module(reader)
        if module is None:
            raise WeightsError("no quantised .tflite or .onnx")
        return module.read(reader), module.SCHEME
