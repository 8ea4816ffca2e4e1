"""ONNX Runtime's quantised models as an IntegerPlan: QDQ (floats between DequantizeLinear and QuantizeLinear) and QOperator.

Of QDQ, what stands between two grids becomes one operation on integers, as ONNX Runtime fuses it.

Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html; onnx/docs/Operators.md
"""

import math
from dataclasses import replace

import numpy as np

from ...errors import WeightsError
from ..formats import protobuf
from ..formats.onnx_folding import ABOUT_SHAPES, DEQUANTIZE, QUANTIZE, QUANTIZED_TYPES, fold
from ..formats.onnx_graph import Constants, read_model
from ..formats.onnx_nodes import read_constant, read_nodes
from ..formats.onnx_qoperators import BIASES, Q_OPERATORS
from ..formats.onnx_tensors import External
from .builder import FEW, Builder, PartlyInFloats, make_grid
from .onnx_layers import WHOLE, Weight, add_layer
from .onnx_operations import MEANS, OPERATIONS, SHAPES
from .onnx_space import TRANSPOSE, Layouts, channels_first, input_shape

SCHEME = "onnx"
_SAME = ("Identity", "Dropout", TRANSPOSE)
_OF_SIDES = ("Ceil", "Floor", "Div", "Mod", "Pad")  # of a padding that is computed from height and width
_IN_FLOATS = (
    "ONNX Runtime computes its {} in float32 (int8 QDQ on x86 at least): beside ties a step's integers may part from these by one, "
    "and those behind it by more"
)
_UNFOLDED = (
    "its padding is computed from the sides in the graph; before it is quantised fold that into numbers (quant_pre_process of "
    "onnxruntime.quantization, onnxsim), or convert to a float dump, -o NAME.h5"
)


def is_quantized(reader):
    """Whether a model's tensors are integers between its layers."""
    ops = [protobuf.text(protobuf.collect(node), 4) for node in read_model(reader)[1].get(1, ())]
    return QUANTIZE in ops or any(op in Q_OPERATORS for op in ops)


def read(reader):
    """The IntegerPlan of a model.

    Raises
    ------
    WeightsError
        Damaged, not quantised throughout, or with operations that MobileNetV3 does not have; the message names the tensor.
    """
    _, fields = read_model(reader)
    graph = _Graph(fields, External(reader.path))
    for node in read_nodes(fields):
        graph.add(node)
    graph.check_end([protobuf.text(protobuf.collect(value), 1) for value in fields.get(12, ())])
    if graph.in_floats:
        graph.builder.notes.append(_IN_FLOATS.format(", ".join(sorted(graph.in_floats))))
    return graph.builder.done(graph.input_shape)


class _Graph(Constants):
    """The steps of a graph, as far as its nodes were added.

    real : {name of floats: the tensor of integers that they stand for}
    weights : {name of floats: Weight}
    pending : {name of floats that are not stored as integers yet: (node that gives them, fused activation)}
    stored : {(name of floats, grid): the tensor of integers}
    layouts : Layouts, of where channels are
    in_floats : set of what ONNX Runtime computes in float32
    """

    def __init__(self, fields, external):
        super().__init__(fields, external)
        self.builder, self.real, self.weights, self.pending, self.stored = Builder(), {}, {}, {}, {}
        self.in_floats, self.layouts = set(), Layouts()
        inputs = [protobuf.collect(value) for value in fields.get(11, ())]
        inputs = [value for value in inputs if protobuf.text(value, 1) not in self.tensors]
        if len(inputs) != 1:
            raise WeightsError(f"{len(inputs)} inputs, expected one picture")
        self.input, self.input_shape = protobuf.text(inputs[0], 1), input_shape(inputs[0])

    def add(self, node):
        if node.op == "Constant":
            self.constants[node.outputs[0]] = read_constant(node, self.external)
        elif node.op == DEQUANTIZE or not node.inputs or not self._folded(node):
            self.layouts.follow(node, [name for name in node.inputs if self._has_pixels(name)])
            self._computed(node)

    def _has_pixels(self, name):
        """Whether a name stands for more than one number a channel, of the picture's: then it matters where the
        channels are."""
        tensor = self.builder.known(name) or self.real.get(name)
        if tensor is not None:
            return math.prod(self.builder.shapes[tensor][1:]) > 1
        node = self.pending[name][0] if name in self.pending else None
        return node is not None and node.op not in MEANS and any(map(self._has_pixels, node.inputs))

    def _computed(self, node):
        """What reads more than constants."""
        if (node.op in _SAME or self._casts_nothing(node)) and self._named_anew(*node.inputs[:1], node.outputs[0]):
            return
        if node.op == TRANSPOSE and node.inputs == [self.input]:
            self.input, self.input_shape = node.outputs[0], channels_first(node, self.input_shape)
        elif node.op == QUANTIZE:
            self._quantize(node)
        elif node.op == DEQUANTIZE:
            self._dequantize(node)
        elif node.op in Q_OPERATORS:
            self._q_operator(node)
        elif self.builder.known(node.inputs[0] if node.inputs else ""):
            self._on_integers(node)
        elif node.op in SHAPES and self._is_flat(node.inputs[0]):
            self.pending[node.outputs[0]] = self.pending[node.inputs[0]]  # (C,) as it is
        elif node.op in ("Relu", "Clip") and node.inputs[0] in self.pending:
            inner, act = self.pending[node.inputs[0]]
            self.pending[node.outputs[0]] = inner, act or self._act(node)
        elif any(name in self.real for name in node.inputs):
            self.pending[node.outputs[0]] = node, ""
        elif node.op == "Softmax" or node.op in ABOUT_SHAPES:
            return
        else:
            raise PartlyInFloats(f"{node} reads floats: {_UNFOLDED if node.op in _OF_SIDES else WHOLE}")

    def _casts_nothing(self, node):
        """Whether a node casts integers to the type that they have, as torch.onnx.export writes it behind each
        QuantizeLinear."""
        known = self.builder.known(node.inputs[0]) if node.op == "Cast" else None
        return known is not None and self.builder.grids[known].dtype == QUANTIZED_TYPES.get(node.attributes.get("to"))

    def _is_flat(self, name):
        """Whether a name stands for floats that are not stored, one number a channel."""
        if name not in self.pending:
            return False
        node, _ = self.pending[name]
        read = [self.builder.shapes[self.real[source]] for source in node.inputs if source in self.real]
        return node.op in MEANS or all(len(shape) == 1 for shape in read)

    def _folded(self, node):
        """Whether a node computes with constants alone: weights that are quantised in the file, or laid out anew."""
        inputs = [self.constant(name) for name in node.inputs]
        if node.op == "ConstantOfShape" and "value" in node.attributes:  # the zero points of torch.onnx.export
            node, inputs = replace(node, op="Expand"), [read_constant(node, self.external), *inputs]
        made = None if any(value is None for value in inputs) else fold(node, inputs)
        if made is not None:
            self.constants[node.outputs[0]] = made
        return made is not None

    def _named_anew(self, source, out):
        """Whether a name of floats or of integers that are known has another name from here on."""
        if self.builder.known(source):
            self.builder.rename(source, out)
        for known in (self.real, self.weights, self.pending):
            if source in known:
                known[out] = known[source]
        return self.builder.known(source) or any(source in known for known in (self.real, self.weights, self.pending))

    def check_end(self, outputs):
        """PartlyInFloats if an output is."""
        left = next((name for name in outputs if name in self.pending and self.pending[name][0].op != "Softmax"), None)
        if left is not None:
            raise PartlyInFloats(
                f"the output {left[:FEW]!r} is computed in floats ({self.pending[left][0].op[:50]}): {WHOLE}"
            )

    def _act(self, node):
        if node.op == "Relu":
            return "relu"
        bounds = [node.attributes.get("min"), node.attributes.get("max")]
        for place in (1, 2):
            value = self.constant(node.inputs[place]) if len(node.inputs) > place else None
            bounds[place - 1] = float(value.ravel()[0]) if value is not None and value.size == 1 else bounds[place - 1]
        if bounds not in ([0, 6], [0.0, 6.0]):
            raise WeightsError(f"{node} cuts at {bounds[0]} and {bounds[1]}, which no network here does")
        return "relu6"

    def _grid_of(self, name, scale, zero):
        scale, zero = self.constant(scale), self.constant(zero) if zero else np.zeros((), np.uint8)
        if scale is None or zero is None or scale.dtype.kind != "f":
            raise WeightsError(f"the tensor {name[:FEW]!r} has a scale or a zero point that is no constant")
        return make_grid(name, scale.astype(np.float32), zero, zero.dtype.name)

    def _quantize(self, node):
        name, out = node.inputs[0], node.outputs[0]
        grid = self._grid_of(out, node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else "")
        if name == self.input:
            self.builder.begin(name, self.input_shape, grid)
            self.builder.rename(name, out)
        elif name in self.real:
            self.builder.add(out, "identity", (self.real[name],), self.builder.shapes[self.real[name]], grid)
        elif (name, grid) in self.stored:  # once for each reader
            self.builder.rename(self.stored[name, grid], out)
        elif name in self.pending:
            self.stored[name, grid], (node, act) = out, self.pending[name]
            self._store(node, act, out, grid)
            if grid.dtype != "uint8" and node.op not in ("HardSigmoid", "HardSwish", "Relu"):  # these are tables
                self.in_floats.add(f"{grid.dtype} tensors")
            if node.op == "ReduceMean":
                self.in_floats.add("means")
        else:
            raise WeightsError(f"the tensor {out[:FEW]!r} is quantised from what is not computed from the picture")

    def _dequantize(self, node):
        name, out = node.inputs[0], node.outputs[0]
        known = self.builder.known(name)
        if known:
            self.real[out] = self._as_stored(known, out, *node.inputs[1:3])
            return
        value, scale = self.constant(name), self.constant(node.inputs[1]) if len(node.inputs) > 1 else None
        zero = self.constant(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(1, np.int32)
        if value is None or zero is None or scale is None or scale.dtype.kind != "f":
            raise WeightsError(f"the tensor {out[:FEW]!r} is dequantised from what is neither computed nor a constant")
        self.weights[out] = Weight(value, scale.astype(np.float32), zero, node.attributes.get("axis", 1))

    def _as_stored(self, known, name, scale, zero=""):
        """A tensor's name, or WeightsError if it is read by another grid than it was stored by."""
        grid, stored = self._grid_of(name, scale, zero), self.builder.grids[known]
        if grid != stored:
            raise WeightsError(
                f"the tensor {known[:FEW]!r} is stored with the scale {stored.scale:.6g} and the zero point {stored.zero_point} "
                f"of {stored.dtype}, and read with {grid.scale:.6g} and {grid.zero_point} of {grid.dtype}: expected the same"
            )
        return known

    def _q_operator(self, node):
        """As the node in floats that it stands for, its inputs by names of their own."""
        op, places, end = Q_OPERATORS[node.op]
        if len(node.inputs) < end + 2:
            raise WeightsError(f"{node} has {len(node.inputs)} inputs, expected {end + 2}: its output is no integers'")
        names = []
        for place in places:
            name, scale, zero = node.inputs[place : place + 3]
            known = self.builder.known(name)
            names.append(f"{node.outputs[0]} reads {name}")
            if known:
                self.real[names[-1]] = self._as_stored(known, name, scale, zero)
            elif name == self.input:
                self.builder.begin(name, self.input_shape, self._grid_of(name, scale, zero))
                self.real[names[-1]] = self.builder.known(name)
            else:
                self.weights[names[-1]] = self._stored(node, name, scale, zero)
        bias = BIASES.get(node.op)
        if bias is not None and len(node.inputs) > bias and node.inputs[bias]:
            names.append(f"{node.outputs[0]} reads {node.inputs[bias]}")
            self.weights[names[-1]] = Weight(self.constant(node.inputs[bias]))
        grid = self._grid_of(node.outputs[0], *node.inputs[end : end + 2])
        self._store(type(node)(op, names, node.outputs, node.attributes), "", node.outputs[0], grid)

    def _stored(self, node, name, scale, zero):
        value, scale, zero = (self.constant(part) for part in (name, scale, zero))
        if value is None or scale is None or zero is None or scale.dtype.kind != "f":
            raise WeightsError(f"{node} reads {name[:FEW]!r}, which is neither computed nor a constant")
        return Weight(value, scale.astype(np.float32), zero)

    def _on_integers(self, node):
        """What passes integers on: another shape, or the largest of a window."""
        source = self.builder.known(node.inputs[0])
        self._store(node, "", node.outputs[0], self.builder.grids[source], source)

    def _store(self, node, act, out, grid, source=None):
        """One step: the node's operation from grid to grid."""
        sources = [source] if source else [self.real[name] for name in node.inputs if name in self.real]
        if not sources:
            raise WeightsError(f"{node} reads nothing that is computed from the picture")
        floats = next((name for name in node.inputs if not source and self._is_floats(name)), None)
        if floats is not None:
            raise PartlyInFloats(f"{node} reads {floats[:FEW]!r} in floats: {WHOLE}")
        if node.op in ("Conv", "Gemm", "MatMul"):
            add_layer(self, node, act, out, grid, sources[0])
        elif act:
            raise WeightsError(f"{node} is cut by an activation behind it, which no network here has")
        elif node.op in OPERATIONS:
            OPERATIONS[node.op](self, node, out, grid, sources)
        else:
            raise WeightsError(f"{node}: an operation that MobileNetV3 does not have")

    def _is_floats(self, name):
        return name and name not in self.real and name not in self.weights and self.constant(name) is None
