"""What a kernel set makes of the scales before it runs a step: factors as integers with shifts, or in float32, and tables.

These are what a port stores beside a network's integers, and what `check_integers.c` computes with. Formulas are those of
`ops.integers`, where they stand beside what they are for.
"""

import numpy as np

from ...network.integer_plan import LAYERS
from ...ops.integers import ADD_SHIFT, hard_sigmoid, hard_swish
from ...ops.requantize import F32, INTEGER_RULES, float_factor, integer_factor, quantize_multiplier


def rule_of(op, kernels):
    """The rule's name by which a kernel set rounds an operation's result; "" of those that round nothing."""
    if op in LAYERS:
        return kernels.layers
    return {
        "mul": kernels.mul,
        "scale": kernels.mul,
        "add": kernels.add,
        "global_avg_pool": kernels.mean,
        "hard_swish": "table",
        "hard_sigmoid": "table",
    }.get(op, "")


def constants(step, plan, kernels):
    """{role: array} of a step: "multiplier" and "shift" (int32), "factor" and "offset", or "table".

    Parameters
    ----------
    step : IntegerStep
    plan : IntegerPlan
    kernels : KernelSet

    Returns
    -------
    dict, empty of steps that only move integers. A real factor is multiplier * 2^(shift - 31); the rules say how it is
    applied.
    """
    grids, out = [plan.grids[name] for name in step.inputs], plan.grids[step.name]
    rule = rule_of(step.op, kernels)
    if step.op in LAYERS:
        scale = np.broadcast_to(plan.arrays[f"{step.name}.weight_scale"], step.shape[:1])
        return _factor(rule, grids[0].scale, scale, out.scale)
    if step.op == "scale":
        return _factor(rule, grids[0].scale, plan.arrays[f"{step.name}.weight_scale"], out.scale)
    if step.op == "mul":
        return _factor(rule, grids[0].scale, np.array([grids[1].scale]), out.scale)
    if step.op == "add":
        return _ADDS.get(rule, _add_fixed)(*grids, out)
    if step.op == "global_avg_pool":
        height, width = _side(step.inputs[0], plan)
        return _MEANS[rule](height * width, grids[0], out)
    if rule == "table":
        return {"table": _table(step, grids[0], out, kernels)}
    return {}


def _side(name, plan):
    shapes = {"input": plan.input_shape} | {step.name: step.shape for step in plan.steps}
    return shapes[name][1:]


def _integers(real):
    m, e = quantize_multiplier(np.atleast_1d(real))
    return {"multiplier": m.astype(np.int32), "shift": e.astype(np.int32)}


def _floats(**numbers):
    return {role: np.atleast_1d(np.asarray(number, F32)) for role, number in numbers.items()}


def _factor(rule, scale, other, out):
    if rule in INTEGER_RULES:
        return _integers(integer_factor(scale, other, out))
    return _floats(factor=float_factor(scale, other, out))


def _add_fixed(x, y, out):
    """Of the first operand, the second and their sum."""
    larger = 2 * max(x.scale, y.scale)
    return _integers([x.scale / larger, y.scale / larger, larger / ((1 << ADD_SHIFT) * out.scale)])


def _add_shift(x, y, out):
    """Of both operands, under one shift to the right."""
    ratios = [F32(grid.scale) / F32(out.scale) for grid in (x, y)]
    shift = ADD_SHIFT - (int(np.frexp(max(ratios))[1]) - 1)
    factors = [np.rint(np.ldexp(np.float64(ratio), shift)) for ratio in ratios]
    return {"multiplier": np.array(factors, np.int32), "shift": np.array([shift], np.int32)}


def _add_fused(x, y, out):
    a, b = (F32(grid.scale) / F32(out.scale) for grid in (x, y))
    return _floats(factor=[a, b], offset=F32(out.zero_point) - F32(a * F32(x.zero_point) + b * F32(y.zero_point)))


_ADDS = {"shift": _add_shift, "fused": _add_fused}


def _mean_fixed(pixels, grid, out):
    """The division is in the multiplier."""
    m, e = quantize_multiplier(np.float64(F32(grid.scale)) / np.float64(F32(out.scale)))
    k = min(pixels.bit_length() - 1, 32, 31 + int(e))
    return {"multiplier": np.array([(m << k) // pixels], np.int32), "shift": np.array([e - k], np.int32)}


def _mean_twice(pixels, grid, out):
    return _integers(np.float64(F32(grid.scale)) / np.float64(F32(out.scale)))


def _mean_offset(pixels, grid, out):
    offset = F32(grid.zero_point) * F32(grid.scale) / F32(out.scale)
    offset = out.zero_point - int(offset + F32(0.5) if offset > 0 else offset - F32(0.5))
    factor = F32(grid.scale) / F32(F32(pixels) * F32(out.scale))
    return _integers(np.float64(factor)) | {"offset": np.array([offset], np.int32)}


def _mean_float_offset(pixels, grid, out):
    factor = F32(grid.scale) / F32(out.scale) / F32(pixels)
    return _floats(factor=factor, offset=F32(out.zero_point) - F32(pixels * grid.zero_point) * factor)


def _mean_float(pixels, grid, out):
    return _floats(factor=F32(grid.scale) / F32(F32(out.scale) * F32(pixels)))


_MEANS = {
    "double": _mean_fixed,
    "single": _mean_fixed,
    "twice": _mean_twice,
    "offset": _mean_offset,
    "float_offset": _mean_float_offset,
    "float": _mean_float,
}


def _table(step, grid, out, kernels):
    """What the step gives for every integer of its input, from the least to the largest."""
    every = np.arange(grid.low, grid.high + 1).astype(grid.dtype)[None]
    if step.op == "hard_swish":
        return hard_swish(every, grid=grid, out=out, kernels=kernels)[0]
    return hard_sigmoid(every, grid=grid, out=out, slope=step.slope, offset=step.offset)[0]
