"""ONNX Runtime's quantised models as an IntegerPlan: QDQ (floats between DequantizeLinear and QuantizeLinear) and QOperator.

Of QDQ, what stands between two grids becomes one operation on integers, as ONNX Runtime fuses it.

Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html; onnx/docs/Operators.md
"""

import math

import numpy as np

from ...errors import WeightsError
from ..formats import protobuf
from ..formats.onnx_folding import DEQUANTIZE, QUANTIZE
from ..formats.onnx_graph import Constants, read_model
from ..formats.onnx_nodes import read_constant, read_node
from ..formats.onnx_qoperators import BIASES, Q_OPERATORS
from ..formats.onnx_tensors import External
from .builder import FEW, Builder, bias_array, make_grid
from .onnx_space import input_shape, slid, space_of

SCHEME = "onnx"
_SHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout")
_ABOUT_SHAPES = ("Shape", "Slice", "Gather", "Concat", "ConstantOfShape", "Cast")
_WIDE = "its 16-bit tensors are computed in float32 by ONNX Runtime: these integers may part from its own by one"


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
    for node in fields.get(1, ()):
        graph.add(read_node(protobuf.collect(node)))
    graph.check_end([protobuf.text(protobuf.collect(value), 1) for value in fields.get(12, ())])
    if any(grid.dtype.endswith("int16") for grid in graph.builder.grids.values()):
        graph.builder.notes.append(_WIDE)
    return graph.builder.done(graph.input_shape)


class _Graph(Constants):
    """real : {name of floats: the integers' tensor that they stand for}; weights : {name of floats: (integers, scale, zero
    point, axis)}; pending : {name of floats that are not stored: (node, fused activation)}"""

    def __init__(self, fields, external):
        super().__init__(fields, external)
        self.builder, self.real, self.weights, self.pending = Builder(), {}, {}, {}
        inputs = [protobuf.collect(value) for value in fields.get(11, ())]
        inputs = [value for value in inputs if protobuf.text(value, 1) not in self.tensors]
        if len(inputs) != 1:
            raise WeightsError(f"{len(inputs)} inputs, expected one picture")
        self.input, self.input_shape = protobuf.text(inputs[0], 1), input_shape(inputs[0])

    def add(self, node):
        if node.op == "Constant":
            self.constants[node.outputs[0]] = read_constant(node, self.external)
        elif node.op == QUANTIZE:
            self._quantize(node)
        elif node.op == DEQUANTIZE:
            self._dequantize(node)
        elif node.op in Q_OPERATORS:
            self._q_operator(node)
        elif self.builder.known(node.inputs[0] if node.inputs else ""):
            self._on_integers(node)
        elif node.op in ("Relu", "Clip") and node.inputs[0] in self.pending:
            inner, act = self.pending[node.inputs[0]]
            self.pending[node.outputs[0]] = inner, act or self._act(node)
        elif any(name in self.real for name in node.inputs):
            self.pending[node.outputs[0]] = node, ""
        elif node.op == "Softmax" or node.op in _ABOUT_SHAPES:
            return
        else:
            raise WeightsError(f"{node} reads floats: not quantised throughout")

    def check_end(self, outputs):
        """WeightsError if an output is computed in floats."""
        left = next((name for name in outputs if name in self.pending and self.pending[name][0].op != "Softmax"), None)
        if left is not None:
            raise WeightsError(
                f"the output {left[:FEW]!r} is computed in floats ({self.pending[left][0].op[:50]}): not quantised"
            )

    def _act(self, node):
        if node.op == "Relu":
            return "relu"
        told = [node.attributes.get("min"), node.attributes.get("max")]
        for place in (1, 2):
            value = self.constant(node.inputs[place]) if len(node.inputs) > place else None
            told[place - 1] = float(value.ravel()[0]) if value is not None and value.size == 1 else told[place - 1]
        if told not in ([0, 6], [0.0, 6.0]):
            raise WeightsError(f"{node} cuts at {told[0]} and {told[1]}, which no network here does")
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
        elif name in self.pending:
            self._store(*self.pending[name], out, grid)
        else:
            raise WeightsError(f"the tensor {out[:FEW]!r} is quantised from what is not computed from the picture")

    def _dequantize(self, node):
        name, out = node.inputs[0], node.outputs[0]
        known = self.builder.known(name)
        if known:
            self.real[out] = known
            return
        value, scale = self.constant(name), self.constant(node.inputs[1]) if len(node.inputs) > 1 else None
        if value is None or scale is None or scale.dtype.kind != "f":
            raise WeightsError(f"the tensor {out[:FEW]!r} is dequantised from what is neither computed nor a constant")
        zero = self.constant(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(1, np.int32)
        self.weights[out] = value, scale.astype(np.float32), zero, node.attributes.get("axis", 1)

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
                self.real[names[-1]] = known
            elif name == self.input:
                self.builder.begin(name, self.input_shape, self._grid_of(name, scale, zero))
                self.real[names[-1]] = self.builder.known(name)
            else:
                self.weights[names[-1]] = self._stored(node, name, scale, zero)
        bias = BIASES.get(node.op)
        if bias is not None and len(node.inputs) > bias and node.inputs[bias]:
            names.append(f"{node.outputs[0]} reads {node.inputs[bias]}")
            self.weights[names[-1]] = self.constant(node.inputs[bias]), None, None, 0
        grid = self._grid_of(node.outputs[0], *node.inputs[end : end + 2])
        self._store(type(node)(op, names, node.outputs, node.attributes), "", node.outputs[0], grid)

    def _stored(self, node, name, scale, zero):
        value, scale, zero = (self.constant(part) for part in (name, scale, zero))
        if value is None or scale is None or zero is None or scale.dtype.kind != "f":
            raise WeightsError(f"{node} reads {name[:FEW]!r}, which is neither computed nor a constant")
        return value, scale.astype(np.float32), zero, 0

    def _on_integers(self, node):
        """What passes integers on: another shape, or the largest of a window."""
        source = self.builder.known(node.inputs[0])
        self._store(node, "", node.outputs[0], self.builder.grids[source], source)

    def _store(self, node, act, out, grid, source=None):
        """One step: the node's operation from grid to grid."""
        sources = [source] if source else [self.real[name] for name in node.inputs if name in self.real]
        if not sources:
            raise WeightsError(f"{node} reads nothing that is computed from the picture")
        shape, builder = self.builder.shapes[sources[0]], self.builder
        if node.op in ("Conv", "Gemm", "MatMul"):
            self._layer(node, act, out, grid, sources[0])
        elif act:
            raise WeightsError(f"{node} is cut by an activation behind it, which no network here has")
        elif node.op in ("Add", "Mul"):
            self._arithmetic(node, out, grid, sources)
        elif node.op == "HardSwish":
            builder.add(out, "hard_swish", sources, shape, grid)
        elif node.op == "HardSigmoid":
            slope, offset = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
            builder.add(out, "hard_sigmoid", sources, shape, grid, slope=slope, offset=offset)
        elif node.op in ("GlobalAveragePool", "ReduceMean"):
            self._mean(node, out, grid, sources)
        elif node.op == "MaxPool":
            self._max_pool(node, out, grid, sources)
        elif node.op in _SHAPES:
            builder.add(out, "identity", sources, shape if len(shape) == 1 else (math.prod(shape),), grid)
        else:
            raise WeightsError(f"{node}: an operation that MobileNetV3 does not have")

    def _arithmetic(self, node, out, grid, sources):
        if len(sources) != 2:
            self._constant_product(node, out, grid, sources)
            return
        sources = sorted(sources, key=lambda name: -len(self.builder.shapes[name]))
        self.builder.add(out, node.op.lower(), sources, self.builder.shapes[sources[0]], grid)

    def _constant_product(self, node, out, grid, sources):
        """A product with one number, such as PaddleClas's 0.8 before its classifier."""
        told = [self.weights[name] for name in node.inputs if name in self.weights]
        if node.op != "Mul" or len(told) != 1 or any(np.size(part) != 1 for part in told[0][:3] if part is not None):
            raise WeightsError(
                f"{node} adds a constant, or multiplies one that is no single number, as no network here does"
            )
        constant, scale, zero, _ = told[0]
        arrays = {
            "constant": np.reshape(constant, ()),
            "weight_scale": np.reshape(scale, 1),
            "weight_zero_point": np.zeros(1, np.int32) if zero is None else np.reshape(zero, 1).astype(np.int32),
        }
        self.builder.add(out, "scale", sources, self.builder.shapes[sources[0]], grid, arrays)

    def _mean(self, node, out, grid, sources):
        axes = node.attributes.get("axes", (2, 3))
        if len(node.inputs) > 1:
            constant = self.constant(node.inputs[1])
            axes = () if constant is None else tuple(int(n) for n in constant.ravel()[:8])
        shape = self.builder.shapes[sources[0]]
        if len(shape) != 3 or sorted(n % 4 for n in axes) != [2, 3] or node.attributes.get("channels_last"):
            raise WeightsError(f"{node}: a mean over other axes than height and width")
        self.builder.add(out, "global_avg_pool", sources, shape[:1], grid)

    def _max_pool(self, node, out, grid, sources):
        told, shape = node.attributes, self.builder.shapes[sources[0]]
        sides = {*told.get("kernel_shape", ()), *told.get("strides", (1,))}
        odd = (
            any(told.get("pads", ()))
            or told.get("ceil_mode")
            or told.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID", "")
        )
        if len(sides) != 1 or odd or len(shape) != 3 or min(sides) < 1:
            raise WeightsError(f"{node}: a pool whose windows are no squares side by side")
        kernel = sides.pop()
        self.builder.add(
            out, "max_pool2d", sources, (shape[0], shape[1] // kernel, shape[2] // kernel), grid, kernel=kernel
        )

    def _layer(self, node, act, out, grid, source):
        told = [self.weights[name] for name in node.inputs if name in self.weights]
        if not told or node.attributes.get("alpha", 1.0) != 1 or node.attributes.get("transA"):
            raise WeightsError(f"{node} has weights that are no constants, or scales its product")
        weight, scale, zero, axis = told[0]
        inputs_first = node.op == "MatMul" or (node.op == "Gemm" and not node.attributes.get("transB"))
        weight = weight.T if inputs_first else weight
        if weight.ndim != (4 if node.op == "Conv" else 2):
            raise WeightsError(f"{node} has weights {weight.shape}")
        expected = (1 if inputs_first else 0,) if node.op != "Conv" else (0,)
        from_q = node.inputs[0].startswith(f"{node.outputs[0]} reads ")
        if scale.size > 1 and (scale.size != len(weight) or not from_q and axis % weight.ndim not in expected):
            raise WeightsError(
                f"{node} has weights {weight.shape} with {scale.size} scales along axis {axis}, expected {len(weight)} along "
                "the output channels, or one"
            )
        fields = (
            space_of(node, weight.shape[2:], self.builder.shapes[source])
            if node.op == "Conv"
            else {"stride": (1, 1), "pad": (0, 0, 0, 0)}
        )
        group = node.attributes.get("group", 1)
        if node.op != "Conv":
            weight = weight[:, :, None, None]
        if group not in (1, len(weight)) or (group > 1 and weight.shape[1] != 1):
            raise WeightsError(f"{node} has {group} groups, which no network here has")
        op, weight = self.builder.layer_op(
            source, weight, depthwise=group > 1, strides=fields["stride"], pads=fields["pad"]
        )
        bias = bias_array(out, told[1][0] if len(told) > 1 else None, len(weight))
        arrays = {
            "weight": weight,
            "bias": bias,
            "weight_scale": scale.reshape(-1),
            "weight_zero_point": np.zeros(1, np.int32) if zero is None else zero.reshape(-1).astype(np.int32),
        }
        if op in ("linear", "pointwise_conv2d"):
            shape, fields = (len(weight), *self.builder.shapes[source][1:]), {}
        else:
            shape = (len(weight), *slid(self.builder.shapes[source][1:], weight.shape[-2:], **fields))
        self.builder.add(out, op, (source,), shape, grid, arrays, act=act, **fields)
