"""Quantised models of TensorFlow Lite, ONNX Runtime and PyTorch, integer for integer: readers, and the network's names
for the tensors."""

import os

from ...dumps.reader import Reader, naming
from ...errors import UsageError, WeightsError
from ..formats import PICKLE_STARTS, onnx_graph, tflite_tensors, zips
from . import onnx, tflite, torch
from .builder import PartlyInFloats

_TORCH = (zips.MAGIC, *PICKLE_STARTS)

__all__ = ["PartlyInFloats", "is_quantized_graph", "is_quantized_model", "read_quantized_model"]


def is_quantized_graph(path):
    """Whether a file is a .tflite or an .onnx that is quantised; False where it is damaged or no such file."""
    try:
        with Reader(os.fspath(path)) as reader:
            return _graphs(reader) is not None
    except (WeightsError, UsageError):
        return False


def is_quantized_model(path, key=None):
    """`is_quantized_graph`, or a state dict of PyTorch's that is quantised."""
    try:
        with Reader(os.fspath(path)) as reader:
            return _graphs(reader) is not None or _is_torchs(reader) and torch.is_quantized(reader, key)
    except (WeightsError, UsageError):
        return False


def _magic(reader):
    magic = reader.read(8)
    reader.seek(0)
    return magic


def _is_torchs(reader):
    return _magic(reader).startswith(_TORCH)


def _graphs(reader):
    """What reads the quantised graph in a file, None where it is none."""
    magic = _magic(reader)
    if magic[4:8] == tflite_tensors.MAGIC:
        return tflite if tflite.is_quantized(tflite_tensors.Tensors(reader)) else None
    if magic[:1] == onnx_graph.MAGIC:
        return onnx if onnx.is_quantized(reader) else None
    return None


def read_quantized_model(path, key=None):
    """(IntegerPlan, scheme, model) of a quantised .tflite, .onnx or state dict of PyTorch's, under the file's own names
    of tensors; model is the network's name, "" of graphs, which tell it by what they compute (`names.name_tensors`).

    key : str, which state dict of a training checkpoint to take

    Raises
    ------
    WeightsError
        Damaged, or with what MobileNetV3 does not have; the message names file and tensor. PartlyInFloats where it is
        not quantised throughout.
    """
    path = os.fspath(path)
    with Reader(path) as reader, naming(path):
        module = _graphs(reader)
        if module is None and _is_torchs(reader) and (found := torch.read(reader, key)):
            plan, model = found
            return plan, torch.SCHEME, model
        if module is None:
            raise WeightsError("no quantised .tflite, .onnx or state dict of PyTorch's")
        if key is not None:
            raise UsageError(
                f"`key={key!r}` is for training checkpoints that hold several state dicts; this is a graph"
            )
        return module.read(reader), module.SCHEME, ""
