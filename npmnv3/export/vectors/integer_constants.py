"""What a kernel set makes of the scales before it runs a step: factors as integers with shifts, or in float32, and tables.

These are what a port stores beside a network's integers, and what `check_integers.c` computes with: the very numbers that
`ops.integers` computes with.
"""

import numpy as np

from ...engines.integer_engine import rule_field
from ...network.integer_plan import LAYERS
from ...ops import factors
from ...ops.integers import hard_sigmoid, hard_swish, relu
from ...ops.requantize import F32, FACTORS, LAYER_RULES, layer_factor, quantize_multiplier
from ...ops.tables import every


def rule_of(step, plan, kernels):
    """The rule's name by which a kernel set rounds a step's result; "" of those that round nothing."""
    if step.op in ("relu", "hard_swish", "hard_sigmoid"):
        return "table"
    field = rule_field(step, plan)
    word = getattr(kernels, field) if field else ""
    return "float" if word == "reciprocal" else word  # they differ in how the factor is made, which is told


def constants(step, plan, kernels):
    """{role: array} of a step: "multiplier" and "shift" (int32), "factor" and "offset", or "table".

    Parameters
    ----------
    step : IntegerStep
    plan : IntegerPlan
    kernels : KernelSet

    Returns
    -------
    dict, empty of steps that only move integers. A real factor is multiplier * 2^(shift - 31), or "scales" make it: the
    input's, the output's, then the weights'; the rules say how it is applied.
    """
    grids, out = [plan.grids[name] for name in step.inputs], plan.grids[step.name]
    rule = rule_of(step, plan, kernels)
    if step.op in LAYERS:
        return _of_layer(step, rule, kernels, grids[0].scale, plan.arrays[f"{step.name}.weight_scale"], out.scale)
    if step.op in ("mul", "scale"):
        other = grids[1].scale if step.op == "mul" else plan.arrays[f"{step.name}.weight_scale"]
        return _factor(rule, FACTORS[kernels.mul_factor](grids[0].scale, other, out.scale))
    if step.op == "add":
        return _ADDS.get(rule, lambda *grids: _integers(*factors.add_fixed(*grids)))(*grids, out)
    if step.op in ("global_avg_pool", "mean_to_vector"):
        height, width = _side(step.inputs[0], plan)
        return _MEANS[rule](height * width, grids[0], out)
    if rule == "table":
        return {"table": _table(step, grids[0], out, kernels)}
    return {}


def _side(name, plan):
    shapes = {"input": plan.input_shape} | {step.name: step.shape for step in plan.steps}
    return shapes[name][1:]


def _integers(m, e, **more):
    named = {"multiplier": m, "shift": e, **more}
    return {role: np.atleast_1d(number).astype(np.int32) for role, number in named.items()}


def _floats(**numbers):
    return {role: np.atleast_1d(np.asarray(number, F32)) for role, number in numbers.items()}


def _factor(rule, factor):
    return _integers(*quantize_multiplier(factor)) if rule in LAYER_RULES else _floats(factor=factor)


def _of_layer(step, rule, kernels, scale, weight_scale, out_scale):
    each = np.broadcast_to(weight_scale, step.shape[:1])
    if rule == "real":
        return _floats(scales=[scale, out_scale, *each])
    return _factor(
        rule, np.broadcast_to(layer_factor(step.op, rule, kernels, scale, weight_scale, out_scale), each.shape)
    )


def _add_fused(*grids):
    factor, offset = factors.add_fused(*grids)
    return _floats(factor=factor, offset=offset)


def _mean_offset(*about):
    m, e, offset = factors.mean_offset(*about)
    return _integers(m, e, offset=offset)


def _mean_float_offset(*about):
    factor, offset = factors.mean_float_offset(*about)
    return _floats(factor=factor, offset=offset)


def _mean_fixed(*about):
    return _integers(*factors.mean_fixed(*about))


_ADDS = {rule: lambda *grids, rule=rule: _integers(*factors.add_shift(*grids, rule)) for rule in factors.SHIFTS}
_ADDS["fused"] = _add_fused
_MEANS = {
    "double": _mean_fixed,
    "single": _mean_fixed,
    "twice": lambda *about: _integers(*factors.mean_twice(*about)),
    "offset": _mean_offset,
    "float_offset": _mean_float_offset,
    "float": lambda *about: _floats(factor=factors.mean_float(*about)),
}


def _table(step, grid, out, kernels):
    """What the step gives for every integer of its input, from the least to the largest."""
    inputs = every(grid).astype(grid.dtype)[None]
    if step.op in ("hard_swish", "relu"):
        return (relu if step.op == "relu" else hard_swish)(inputs, grid=grid, out=out, kernels=kernels)[0]
    return hard_sigmoid(inputs, grid=grid, out=out, slope=step.slope, offset=step.offset, kernels=kernels)[0]
