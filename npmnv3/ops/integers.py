"""The operations on integers, as int8 engines do them: exact products, then a kernel set's rounding.

Tensors are (N, C, H, W) or (N, C) of integers, each with its `Grid`; results are of the output grid's dtype. Every function
takes the tensors, then the parameters, then by name the grids and the `KernelSet`. A product of integers is exact in float32
as long as no sum passes 2^24, and in float64 below 2^53, so the sums are left to the matrix product of the float
operations: the definitions here, their Numba twins in the engine "numba".
"""

import math

import numpy as np

from . import definitions
from .factors import (
    ADD_SHIFT,
    add_fixed,
    add_fused,
    add_shift,
    mean_fixed,
    mean_float,
    mean_float_offset,
    mean_offset,
    mean_twice,
)
from .requantize import (
    F32,
    FACTORS,
    FLOAT_FACTORS,
    I64,
    INTEGER_RULES,
    double,
    layer_factor,
    quantize_multiplier,
    requantize,
    round_float,
    up,
)
from .saturation import lost_to_saturation
from .tables import (
    hard_sigmoid_sixth_table,
    hard_sigmoid_table,
    hard_swish_fixed_table,
    hard_swish_float_table,
    hard_swish_sixth_table,
    relu_table,
)

#: Operations that have rules of their own, and are in all else another.
LIKE = {"fully_connected": "linear", "mean_to_vector": "global_avg_pool"}


def layer_field(op, dtype):
    """The field of a KernelSet that has the rule of a layer that reads such integers."""
    if op == "depthwise_conv2d":
        return "depthwise_uint8" if dtype == "uint8" else "depthwise"
    return op if op == "fully_connected" else "layers"


#: Operation -> the field of a KernelSet that has its rule; of layers `layer_field` says it.
RULE_FIELDS = {
    "mul": "mul",
    "scale": "mul",
    "add": "add",
    "global_avg_pool": "mean",
    "mean_to_vector": "mean_to_vector",
    "hard_swish": "hard_swish",
}
#: Field with a rule -> the field that says how that rule's factor is made, where engines differ in it.
FACTOR_FIELDS = {"fully_connected": "fully_connected_factor", "mul": "mul_factor"}


def act_range(act, grid):
    """(low, high) integers where a fused activation cuts: "", "relu" or "relu6"."""
    low, high = grid.low, grid.high
    if act in ("relu", "relu6"):
        low = max(low, grid.zero_point)
    if act == "relu6":
        high = min(high, grid.zero_point + math.floor(float(F32(6) / F32(grid.scale)) + 0.5))
    return low, high


def layer(op, x, weight, bias, weight_scale, saturating=None, *, grid, out, kernels, act="", twins=None, **space):
    """A convolution or a linear layer.

    Parameters
    ----------
    op : "conv2d", "depthwise_conv2d", "pointwise_conv2d", "linear", or "fully_connected", which is another engine's "linear"
    x : (N, C, H, W) or (N, C)
    weight : in the layout of `definitions`, floats that are integers: `exact_weight`
    bias : (O,) int32
    weight_scale : (O,) or (1,) float32
    saturating : Pairs of the weight whose products saturate, if there are any
    grid, out : of the input and the output
    act : fused activation: "", "relu" or "relu6"
    twins : `integer_loops`, whose compiled loops do the same; default the definitions
    space : stride, pad where the operation has them; padded is what stands for 0

    Returns
    -------
    (N, O, ...) of the output's dtype
    """
    real = np.subtract(x, weight.dtype.type(grid.zero_point), dtype=weight.dtype)
    acc = getattr(twins or definitions, LIKE.get(op, op))(real, weight, **space)
    if saturating is not None:
        acc = acc + lost_to_saturation(x, saturating, grid.zero_point, twins=twins, **space)
    low, high = act_range(act, out)
    round_to_grid = twins.requantize if twins else requantize
    rule, wide = getattr(kernels, layer_field(op, grid.dtype)), grid.high - grid.low > 255
    factor = layer_factor(op, rule, kernels, grid.scale, weight_scale, out.scale)
    return round_to_grid(acc, bias, rule, factor, out, low, high, wide=wide)


def exact_weight(weight, zero_points, grid):
    """A weight less its zero points, (O,) or (1,), in floats in which every sum of its products is exact."""
    weight = weight.astype(I64) - np.reshape(zero_points, (-1, *(1,) * (weight.ndim - 1))).astype(I64)
    reach = max(grid.zero_point - grid.low, grid.high - grid.zero_point)
    largest = reach * int(np.abs(weight).reshape(len(weight), -1).sum(1).max(initial=0))
    return weight.astype(F32 if largest < 1 << 24 else np.float64)


def mul(x, y, *, grids, out, kernels, act=""):
    """The product of two tensors, the second maybe a gate (N, C) of the first's channels.

    grids : of the two
    """
    y = y.reshape(*y.shape, *(1,) * (x.ndim - y.ndim))
    dtype = np.int32 if all(grid.high - grid.low < 256 for grid in grids) else I64  # products of 16 bits pass 31
    product = (x.astype(dtype) - grids[0].zero_point) * (y.astype(dtype) - grids[1].zero_point)
    low, high = act_range(act, out)
    factor = FACTORS[kernels.mul_factor](grids[0].scale, grids[1].scale, out.scale)
    if kernels.mul in INTEGER_RULES:
        steps = INTEGER_RULES[kernels.mul](product.astype(I64), *quantize_multiplier(factor))
        return np.clip(steps + out.zero_point, low, high).astype(out.dtype)
    steps = product.astype(F32) * factor
    if kernels.mul in FLOAT_FACTORS:
        return round_float(steps, out, low, high)
    return np.clip(np.rint(steps + F32(out.zero_point)), low, high).astype(out.dtype)


def scale(x, constant, *, grids, out, kernels, act=""):
    """A tensor times one number, an integer of the second grid."""
    return mul(x, np.full((1,) * x.ndim, constant), grids=grids, out=out, kernels=kernels, act=act)


def add(x, y, *, grids, out, kernels, act=""):
    """The sum of two tensors of one shape."""
    low, high = act_range(act, out)
    rule = {"shift": _add_shift, "shift_away": _add_shift, "fused": _add_fused}.get(kernels.add, _add_fixed)
    return np.clip(rule(x, y, *grids, out, kernels.add), low, high).astype(out.dtype)


def _add_fixed(x, y, x_grid, y_grid, out, rule):
    """Both on the grid of twice the larger scale, 20 bits finer, then rounded to the output's."""
    rule, (m, e) = INTEGER_RULES[rule], add_fixed(x_grid, y_grid, out)
    total = sum(
        rule((q.astype(I64) - grid.zero_point) << ADD_SHIFT, m[i], e[i])
        for i, (q, grid) in enumerate([(x, x_grid), (y, y_grid)])
    )
    return rule(total, m[2], e[2]) + out.zero_point


def _add_shift(x, y, x_grid, y_grid, out, rule):
    """Factors of few bits, one shift; halves up, or away from zero."""
    (a, b), shift = add_shift(x_grid, y_grid, out, rule)
    total = (x.astype(I64) - x_grid.zero_point) * a + (y.astype(I64) - y_grid.zero_point) * b
    total -= (total < 0) if rule == "shift_away" else 0
    return ((total + (1 << shift >> 1)) >> shift) + out.zero_point


def _add_fused(x, y, x_grid, y_grid, out, rule):
    """Two fused multiply-adds in float32: float64 holds a product of 8 by 24 bits and its sum, which is rounded once."""
    (a, b), offset = add_fused(x_grid, y_grid, out)
    inner = (y.astype(np.float64) * np.float64(b) + np.float64(offset)).astype(F32)
    return np.rint((x.astype(np.float64) * np.float64(a) + inner).astype(F32))


def global_avg_pool(x, *, grid, out, kernels):
    """The mean over the pixels: (N, C, H, W) -> (N, C)."""
    return _mean(x, grid, out, kernels.mean)


def mean_to_vector(x, *, grid, out, kernels):
    """The same, as kernels compute it that have another for it."""
    return _mean(x, grid, out, kernels.mean_to_vector)


def _mean(x, grid, out, rule):
    total, pixels = x.sum(axis=(2, 3), dtype=I64), x.shape[2] * x.shape[3]
    return np.clip(MEANS[rule](total, pixels, grid, out, rule), out.low, out.high).astype(out.dtype)


def _mean_fixed(total, pixels, grid, out, rule):
    """Scaled by a factor that divides as well."""
    return INTEGER_RULES[rule](total - pixels * grid.zero_point, *mean_fixed(pixels, grid, out)) + out.zero_point


def _mean_twice(total, pixels, grid, out, rule):
    """Scaled, then divided with halves away from zero: older releases."""
    scaled = double(total - pixels * grid.zero_point, *mean_twice(pixels, grid, out))
    return np.sign(scaled) * ((np.abs(scaled) + pixels // 2) // pixels) + out.zero_point


def _mean_offset(total, pixels, grid, out, rule):
    """The zero points become one rounded offset; the last channels, less than 16, are rounded as the reference does."""
    m, e, offset = mean_offset(pixels, grid, out)
    whole = total.shape[1] // 16 * 16
    return np.concatenate([up(total[:, :whole], m, e), double(total[:, whole:], m, e)], 1) + offset


def _mean_float_offset(total, pixels, grid, out, rule):
    factor, offset = mean_float_offset(pixels, grid, out)
    return np.rint(total.astype(F32) * factor + offset)


def _mean_float(total, pixels, grid, out, rule):
    steps = (total - pixels * grid.zero_point).astype(F32) * mean_float(pixels, grid, out)
    return round_float(steps, out, out.low, out.high)


#: Rule of a mean -> function (sums (N, C) int64, pixels, grid, out, rule).
MEANS = {
    "double": _mean_fixed,
    "single": _mean_fixed,
    "twice": _mean_twice,
    "offset": _mean_offset,
    "float_offset": _mean_float_offset,
    "float": _mean_float,
}


def hard_swish(x, *, grid, out, kernels):
    """x * clip(x + 3, 0, 6) / 6, from a table of all integers; in float32 where there are 16 bits, which no fixed rule
    has."""
    fixed = grid.dtype == out.dtype and grid.dtype in ("int8", "uint8")
    tables = {"fixed": hard_swish_fixed_table if fixed else hard_swish_float_table, "sixth": hard_swish_sixth_table}
    return _look_up(x, grid, tables.get(kernels.hard_swish, hard_swish_float_table)(grid, out))


def hard_sigmoid(x, *, grid, out, slope, offset=0.5, kernels):
    """clip(slope * x + offset, 0, 1) in float32 between two grids, from a table of all integers."""
    sixth = kernels.hard_swish == "sixth" and (F32(slope), offset) == (F32(1 / 6), 0.5)
    return _look_up(
        x, grid, hard_sigmoid_sixth_table(grid, out) if sixth else hard_sigmoid_table(grid, out, slope, offset)
    )


def relu(x, *, grid, out, kernels=None):
    """max(x, 0) in float32 between two grids, where it was not fused into what is before it."""
    return _look_up(x, grid, relu_table(grid, out))


def _look_up(x, grid, table):
    return table[x.astype(np.int32) - grid.low]


def max_pool2d(x, *, kernel):
    """The largest integer of each window; kernel = stride, the grid stays."""
    return definitions.max_pool2d(x, kernel=kernel)


def pad2d(x, *, pad, grid):
    """A border of what stands for 0: pad = (top, bottom, left, right)."""
    top, bottom, left, right = pad
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=grid.zero_point)


def identity(x):
    """Another name, or another shape, for the same integers."""
    return x
