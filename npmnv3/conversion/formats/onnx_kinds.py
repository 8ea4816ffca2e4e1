"""What begins as an ONNX model does, but is none that is read: refused before its graph is looked into."""

import re

from ...dumps.reader import naming
from ...errors import WeightsError
from . import onnx_graph, protobuf

_GRAPH = 7  # field of a ModelProto
_COREML = 200  # the first of the fields of Apple's Model that hold a network
_DYNAMIC = tuple(
    "DynamicQuantizeLinear DynamicQuantizeMatMul DynamicQuantizeLSTM ConvInteger MatMulInteger MatMulIntegerToFloat".split()
)
TENSORFLOW = (
    "TensorFlow's graph (a SavedModel's or a frozen one) or checkpoint, which is not read; save the weights, "
    "model.save_weights('m.weights.h5')"
)
_OF_TENSORFLOW = re.compile(r"\.(pb|index|data-\d+-of-\d+)$")


def read(reader):
    """The Checkpoint of an ONNX model."""
    with naming("ONNX"):
        model, graph = onnx_graph.read_model(reader)
        nodes = (protobuf.text(protobuf.collect(node), 4) for node in graph.get(1, ()))
        dynamic = sorted({op for op in nodes if op in _DYNAMIC})
    if _GRAPH not in model and is_tensorflows(reader):
        raise WeightsError(TENSORFLOW)
    if _GRAPH not in model and max(model, default=0) >= _COREML:
        raise WeightsError("a Core ML model, which is not read: give the file that it was made of, torch's or ONNX")
    if dynamic:
        raise WeightsError(
            f"ONNX, quantised dynamically (quantize_dynamic; it has {', '.join(dynamic)}): such weights are not read, "
            "whose inputs become integers when the model runs; give the model in floats that it was made from"
        )
    return onnx_graph.read(model, graph, reader.path)


def is_tensorflows(reader):
    """Whether the name is one of TensorFlow's graphs or checkpoints; ONNX's may be .pb too, but they have a graph."""
    return bool(_OF_TENSORFLOW.search(str(reader.path or "")))
