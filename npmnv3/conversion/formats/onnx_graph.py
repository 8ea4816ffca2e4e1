"""ONNX models as a list of layers with their constants, in `graph_order`'s order; read without the package onnx.

Exporters rename weights, fold norms, split activations and add biases by nodes of their own; what a network can be told
by is the order of its layers, their shapes and their attributes. So the graph is reduced to those.

Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

import numpy as np

from ...dumps.reader import naming
from ...errors import WeightsError
from ...network.forms import CHANNELS
from ..graph_order import WEIGHTED, in_canonical_order
from . import protobuf
from .card import exported_card
from .onnx_folding import ABOUT_SHAPES, DEQUANTIZE, KEEP, QUANTIZE, QUANTIZED_TYPES, SAME_ELEMENTS, fold
from .onnx_nodes import Node, read_constant, read_nodes
from .onnx_qoperators import Q_OPERATORS, as_floats
from .onnx_tensors import External, is_external, read_tensor
from .record import INFERRED, Checkpoint, Layer, known_sides

MAGIC = b"\x08"  # the field ir_version, which exporters write first
MAX_BYTES = 512 << 20  # the largest network has 22 << 20

_NORM_ROLES = ("gamma", "beta", "mean", "variance")
_ARITHMETIC = ("Add", "Sub", "Mul", "Div")
_WHOLE = (2, 3, 4, 5, 6, 7, 9, 12, 13)  # types of integers and of truth values, which a Cast cuts numbers to


def read(model, graph, path):
    """The Checkpoint of a model, of `read_model`; path : the file's, None of bytes"""
    with naming("ONNX"):
        graph = _Graph(graph, External(path))
    if not graph.weights:
        raise WeightsError("an ONNX model in which no layer has weights, or no ONNX model")
    notes = ("the graph ends in softmax: its output are probabilities",) if graph.ends_in("Softmax") else ()
    if graph.scales:
        notes += (
            f"quantised, {len(graph.scales)} scales: its weights are taken as what they stand for, in float32; {KEEP}",
        )
    about = {"producer": f"{protobuf.text(model, 2)} {protobuf.text(model, 3)}".strip()}
    if graph.scales:
        about["quantization"] = graph.scales
    layers, metadata = in_canonical_order(graph.layers), _metadata(model)
    fields = {"claims": _claims(metadata), "card": exported_card(metadata), "sides": graph.sides}
    return Checkpoint("onnx", graph.weights, notes=notes, metadata=about, layers=layers, **fields)


def read_model(reader):
    """The fields of a model, and of its graph."""
    if reader.size > MAX_BYTES:
        raise WeightsError(f"an ONNX file of {reader.size} bytes, more than {MAX_BYTES}")
    model = protobuf.collect(reader.take(0, reader.size, "the model"))
    if 25 in model:
        raise WeightsError("the model has functions of its own; inline them (onnx.inliner.inline_local_functions)")
    return model, protobuf.collect(protobuf.message(model, 7))


def _metadata(model):
    """{key: text}"""
    entries = map(protobuf.collect, model.get(14, ()))
    return {protobuf.text(entry, 1): protobuf.text(entry, 2) for entry in entries}


def _claims(metadata):
    """The network's name in the metadata, as npmnv3's own exports have it."""
    if {"source", "variant"} <= metadata.keys():
        return (("the metadata", f"{metadata['source']}/{metadata['variant']}"[:100]),)
    named = next((metadata[key] for key in ("architecture", "model_name", "arch") if key in metadata), None)
    return (("the metadata", named[:100]),) if named else ()


class Constants:
    """The constants of a graph by name, each read when it is asked for."""

    def __init__(self, graph, external):
        self.tensors, self.external, self.constants = {}, external, {}
        for tensor in map(protobuf.collect, graph.get(5, ())):
            if is_external(tensor):
                external.check(tensor, f"the tensor {protobuf.text(tensor, 8)[:100]!r}")
            self.tensors[protobuf.text(tensor, 8)] = tensor
        if 15 in graph or len(self.tensors) < len(graph.get(5, ())):
            raise WeightsError("the graph has sparse weights, or two of one name, which are not read")

    def constant(self, name):
        """The array of a constant's name, None if it is none."""
        if name not in self.constants and name in self.tensors:
            self.constants[name] = read_tensor(self.tensors[name], self.external)
        return self.constants.get(name)


class _Graph(Constants):
    """The layers of a graph, and which value came from where.

    scales : {name of a quantised tensor or of what it becomes: (scale, zero point or None, axis)}
    """

    def __init__(self, graph, external):
        super().__init__(graph, external)
        self.scales, self.weights, self.layers = {}, {}, []
        self.stored_as = {}  # what QuantizeLinear gave: its type
        self.origin = {}  # name of a reshaped constant: the name it had
        self.sizes = set()  # names of tensors' sizes, and of what is made of these
        self.made_by = {}  # name of a value: the place in `layers` of what gave it
        self.sides = self._sides(graph)
        self.outputs = [protobuf.text(protobuf.collect(value), 1) for value in graph.get(12, ())]
        for node in read_nodes(graph):
            self._add(node)

    def _sides(self, graph):
        """(height, width) of the pictures, None where any are taken."""
        for value in map(protobuf.collect, graph.get(11, ())):
            kind = value if protobuf.text(value, 1) not in self.tensors else {}  # old graphs list their weights too
            for field in (2, 1, 2):  # its type, that of a tensor, the tensor's shape
                kind = protobuf.collect(protobuf.message(kind, field))
            sizes = [protobuf.integer(protobuf.collect(size), 1) for size in kind.get(1, ())]
            if len(sizes) == 4:
                return known_sides(sizes[1:3] if sizes[3] in CHANNELS else sizes[2:])
        return None

    def ends_in(self, op):
        return any(name in self.made_by and self.layers[self.made_by[name]].op == op for name in self.outputs)

    def _add(self, node):
        """Put one node into the list of layers or among the constants, or pass over it where it only renames."""
        inputs = [self.constant(name) for name in node.inputs]
        variables = [name for name in node.inputs if name and name not in self.constants and name not in self.tensors]
        if _trains(node, inputs):
            raise WeightsError(f"{node} is in training mode; export again after eval()")
        if node.op == "Shape" or self.sizes.issuperset(variables):
            self.sizes |= set(node.outputs)
        if node.op in Q_OPERATORS:
            self._on_integers(node)
        elif node.op.startswith("QLinear"):
            raise WeightsError(f"{node} computes with integers as no network here does: not read as floats")
        elif node.op in (QUANTIZE, DEQUANTIZE) and len(inputs) > 1 and inputs[1] is not None:
            self._quantized(node, inputs)
        elif node.op == "Constant":
            self.constants[node.outputs[0]] = read_constant(node, self.external)
        elif inputs and (all(value is not None for value in inputs) or node.op == "CastLike" and inputs[0] is not None):
            self.constants[node.outputs[0]] = made = fold(node, inputs)
            if made is not None and made.size == inputs[0].size:
                self.origin[node.outputs[0]] = self.origin.get(node.inputs[0], node.inputs[0])
        elif node.op in WEIGHTED:
            self._append(node, self._weighted(node, inputs))
        elif node.op == "BatchNormalization":
            self._append(node, self._norm(node, inputs))
        elif node.op in SAME_ELEMENTS and not self._cuts(node):
            self._pass_on(node, node.inputs[0] if node.inputs else "")
        elif not (self._is_about_sizes(node) or (node.op == "Add" and self._bias(node, inputs))):
            self._append(node, *_constants_of(node, inputs))

    def _cuts(self, node):
        """Whether a node casts numbers to whole ones, and not integers that are stored to the type that they have."""
        to = node.attributes.get("to") if node.op == "Cast" else None
        return to in _WHOLE and QUANTIZED_TYPES.get(to) != self.stored_as.get(node.inputs[0], "")

    def _is_about_sizes(self, node):
        """Whether a node only reads sizes, or picks among those that others read."""
        return node.op in ABOUT_SHAPES and self.sizes.issuperset(node.outputs)

    def _quantized(self, node, inputs):
        """Keep a quantisation's numbers; its values are taken as what they stand for."""
        zero = inputs[2] if len(inputs) > 2 else None
        if node.op == QUANTIZE:
            self.stored_as[node.outputs[0]] = "uint8" if zero is None else zero.dtype.name
        self.scales[node.outputs[0]] = inputs[1], zero, node.attributes.get("axis", 1)
        if inputs[0] is None and node.op == QUANTIZE and self._is_relu(node.inputs[0], zero):
            self._append(Node("Relu", node.inputs[:1], node.outputs, {INFERRED: 1}), {})
        elif inputs[0] is None:
            self._pass_on(node, node.inputs[0])
        else:  # weights, or such as the number that a picture is padded with
            self.constants[node.outputs[0]] = fold(node, inputs)

    def _on_integers(self, node):
        """Take a node of QOperator as what it stands for in floats."""
        made, arrays, scales = as_floats(node, self.constant)
        self.constants |= arrays
        self._add(made)
        self.scales |= scales
        out = node.outputs[0]
        if self._is_relu(out, scales[out][1]):
            self._append(Node("Relu", [out], [out], {INFERRED: 1}), {})

    def _is_relu(self, source, zero):
        """Whether quantising clips a layer's output at zero, which stands for a relu that was there."""
        place = self.made_by.get(source)
        lowest = 0 if zero is None else np.iinfo(zero.dtype).min if zero.dtype.kind in "iu" else None
        return place is not None and self.layers[place].op in WEIGHTED and (zero is None or (zero == lowest).all())

    def _append(self, node, params, extra=None):
        inputs = tuple(self.made_by[name] for name in node.inputs if name in self.made_by)
        self.made_by |= dict.fromkeys(node.outputs, len(self.layers))
        self.layers.append(Layer(node.op, node.outputs[0], params, node.attributes | (extra or {}), inputs))

    def _pass_on(self, node, source):
        if source in self.made_by:
            self.made_by[node.outputs[0]] = self.made_by[source]

    def _weighted(self, node, inputs):
        """A layer's weight, output channels first, and its bias."""
        attributes = node.attributes
        if len(inputs) < 2 or inputs[1] is None or (len(inputs) > 2 and node.inputs[2] and inputs[2] is None):
            raise WeightsError(f"{node} has weights that are no constants")
        scales = node.op == "Gemm" and (attributes.get("alpha", 1.0), attributes.get("beta", 1.0)) != (1, 1)
        if scales or attributes.get("transA"):
            raise WeightsError(f"{node} scales its product or transposes its input, which no layer needs")
        weight, dims = inputs[1], (3, 4, 5) if node.op == "Conv" else (2,)
        if weight.ndim not in dims or weight.dtype.kind != "f":
            raise WeightsError(f"{node} has a weight {weight.dtype} {weight.shape}")
        self._take(node.inputs[1])
        params = {"weight": weight.T if node.inputs_first else weight}
        if len(inputs) > 2 and node.inputs[2] and not self._is_filled_zero(node.inputs[2]):
            params["bias"] = self._vector(node, node.inputs[2], len(params["weight"]))
        return params

    def _is_filled_zero(self, name):
        """Whether a bias is a single zero repeated, which stands for none."""
        value = self.constants.get(name)
        return value is not None and name not in self.origin and name not in self.tensors and not value.any()

    def _norm(self, node, inputs):
        if len(inputs) != 5 or any(value is None for value in inputs[1:]):
            raise WeightsError(f"{node} has parameters that are no constants")
        parts = zip(_NORM_ROLES, node.inputs[1:], strict=True)
        return {role: self._vector(node, name, inputs[1].size) for role, name in parts}

    def _bias(self, node, inputs):
        """Whether this Add brings the bias of the layer before it; if so, that layer gets it."""
        if len(inputs) != 2 or all(value is None for value in inputs):
            return False
        which = 0 if inputs[0] is not None else 1
        place = self.made_by.get(node.inputs[1 - which])
        layer = None if place is None else self.layers[place]
        if layer is None or layer.op not in WEIGHTED or "bias" in layer.params:
            return False
        count = len(layer.params["weight"])
        if inputs[which].size != count:
            return False
        layer.params["bias"] = self._vector(node, node.inputs[which], count)
        self._pass_on(node, node.inputs[1 - which])
        return True

    def _vector(self, node, name, count):
        value = self.constant(name)
        if value.size != count or value.dtype.kind != "f":
            raise WeightsError(f"{node} has {value.dtype} {value.shape}, expected {count} floating numbers")
        self._take(name)
        return value.reshape(count)

    def _take(self, name):
        """Count a constant among the weights, under the name and in the shape it had before it was reshaped."""
        name = self.origin.get(name, name)
        self.weights[name] = self.constant(name)


def _trains(node, inputs):
    """Whether a norm takes each batch's own mean and variance, or numbers are dropped by chance."""
    if node.op == "BatchNormalization":
        return node.attributes.get("training_mode") or len([name for name in node.outputs if name]) > 1
    return node.op == "Dropout" and len(inputs) > 2 and inputs[2] is not None and inputs[2].any()


def _constants_of(node, inputs):
    """(params, further attributes) of a node that computes with constants, as `Layer` has them."""
    first = next((value for value in inputs if value is not None), None)
    if node.op in _ARITHMETIC:
        of_constant = node.op in ("Sub", "Div") and inputs[0] is not None
        return {} if first is None else {"constant": first}, {"constant_first": 1} if of_constant else {}
    roles = {"Clip": (None, "least", "most"), "Pad": (None, None, "value")}.get(node.op, ())
    params = {role: value for role, value in zip(roles, inputs) if role and value is not None}
    if node.op == "Pad" and len(inputs) in (2, 3) and inputs[1] is not None:
        return params, {"pads": tuple(int(n) for n in inputs[1].ravel()[:8])}
    if node.op in ("ReduceMean", "ReduceSum") and len(inputs) > 1 and inputs[1] is not None:
        return {}, {"axes": tuple(int(n) for n in inputs[1].ravel()[:8])}
    if node.op in ("Min", "Max") and first is not None:
        params = {"most" if node.op == "Min" else "least": first}
    return params, {}
