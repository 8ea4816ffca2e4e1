"""What has no weights of ONNX's operations, between integers: each a function (graph, node, out, grid, sources) that
adds a step."""

import math

import numpy as np

from ...errors import WeightsError
from ..formats.onnx_qoperators import NHWC_POOL
from .builder import make_grid

SHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
MEANS = ("GlobalAveragePool", "ReduceMean")


def _table(op):
    """A hard-swish or a relu: one number for each of the input's."""

    def add(graph, node, out, grid, sources):
        graph.builder.add(out, op, sources, graph.builder.shapes[sources[0]], grid)

    return add


def _hard_sigmoid(graph, node, out, grid, sources):
    fields = {"slope": node.attributes.get("alpha", 0.2), "offset": node.attributes.get("beta", 0.5)}
    graph.builder.add(out, "hard_sigmoid", sources, graph.builder.shapes[sources[0]], grid, **fields)


def _reshaped(graph, node, out, grid, sources):
    shape = graph.builder.shapes[sources[0]]
    graph.builder.add(out, "identity", sources, shape if len(shape) == 1 else (math.prod(shape),), grid)


def _arithmetic(graph, node, out, grid, sources):
    if len(sources) != 2:
        _with_constant(graph, node, out, grid, sources[0])
        return
    sources = sorted(sources, key=lambda name: -len(graph.builder.shapes[name]))
    graph.builder.add(out, node.op.lower(), sources, graph.builder.shapes[sources[0]], grid)


def _with_constant(graph, node, out, grid, source):
    """A sum or a product with one number: PaddleClas's 0.8 before its classifier, the 3 of a hard-sigmoid in its parts."""
    constants, builder = [graph.weights[name] for name in node.inputs if name in graph.weights], graph.builder
    if len(constants) != 1 or any(np.size(part) != 1 for part in constants[0][:3]):
        raise WeightsError(
            f"{node} computes with a constant that is no single quantised number, as no network here does"
        )
    constant, scale, zero = (np.reshape(part, ()) for part in constants[0][:3])
    if node.op == "Add":
        other = f"{out};constant"
        its_grid = make_grid(other, scale, zero, constant.dtype.name)
        builder.add(other, "fill", (), builder.shapes[source], its_grid, {"constant": constant})
        builder.add(out, "add", [source, other], builder.shapes[source], grid)
        return
    its_grid = {"weight_scale": scale.reshape(1), "weight_zero_point": zero.reshape(1).astype(np.int32)}
    builder.add(out, "scale", [source], builder.shapes[source], grid, {"constant": constant, **its_grid})


def _mean(graph, node, out, grid, sources):
    axes = node.attributes.get("axes", (2, 3))
    if len(node.inputs) > 1:
        constant = graph.constant(node.inputs[1])
        axes = () if constant is None else tuple(int(n) for n in constant.ravel()[:8])
    shape, expected = graph.builder.shapes[sources[0]], graph.layouts.axes(node.inputs[0])
    if len(shape) != 3 or sorted(n % 4 for n in axes) != expected:
        raise WeightsError(f"{node}: a mean over other axes than height and width")
    graph.builder.add(out, "global_avg_pool", sources, shape[:1], grid)


def _max_pool(graph, node, out, grid, sources):
    attributes, shape = node.attributes, graph.builder.shapes[sources[0]]
    sides = {*attributes.get("kernel_shape", ()), *attributes.get("strides", (1,))}
    padded = attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID", "")
    odd = any(attributes.get("pads", ())) or attributes.get("ceil_mode") or padded
    if len(sides) != 1 or odd or len(shape) != 3 or min(sides) < 1:
        raise WeightsError(f"{node}: a pool whose windows are no squares side by side")
    kernel = sides.pop()
    shape = shape[0], shape[1] // kernel, shape[2] // kernel
    graph.builder.add(out, "max_pool2d", sources, shape, grid, kernel=kernel)


OPERATIONS = {
    "Add": _arithmetic,
    "Mul": _arithmetic,
    "HardSwish": _table("hard_swish"),
    "Relu": _table("relu"),
    "HardSigmoid": _hard_sigmoid,
    "MaxPool": _max_pool,
    NHWC_POOL: _max_pool,
    **dict.fromkeys(MEANS, _mean),
    **dict.fromkeys(SHAPES, _reshaped),
}
