"""Rule changes of scales: rounded on their way, halved or doubled, in all grids or in some, or in the multiplier alone."""

import math
from dataclasses import replace

import numpy as np

from ...network.integer_plan import SAME_GRID
from ...ops.grids import Grid
from ...ops.requantize import F32, I64, integer_factor
from ..noise import rounded
from .claims import Claim, finish, rounding


def _bfloat16(scale):
    return rounded(scale, "bfloat16").item()


def _digits(count):
    return lambda scale: float(f"{scale:.{count}g}")


def _decimals(count):
    return lambda scale: float(f"{scale:.{count}f}")


#: What may become of a scale on its way.
SCALES = {
    "float16": ("rounded to float16", lambda scale: float(np.float16(scale))),
    "bfloat16": ("rounded to bfloat16", _bfloat16),
    "power of two": ("rounded to a power of two", lambda scale: 2.0 ** round(math.log2(scale))),
    "power above": ("raised to a power of two", lambda scale: 2.0 ** math.ceil(math.log2(scale))),
    "power below": ("cut to a power of two", lambda scale: 2.0 ** math.floor(math.log2(scale))),
    **{f"{n} digits": (f"printed with {n} digits", _digits(n)) for n in (3, 4, 5, 6, 7)},
    **{f"{n} decimals": (f"printed with {n} decimals", _decimals(n)) for n in (4, 5, 6)},
    "half": ("half of what it is", lambda scale: scale / 2),
    "twice": ("twice what it is", lambda scale: scale * 2),
}

#: Of a multiplier: likelier than of a scale, and said before.
_SHIFTS = {"half": "a shift to the right by one too many", "twice": "a shift to the right by one too few"}


def scales(case):
    """Scales of the inputs, of the output, of the weights, or of all, not as they should be."""
    if case.step.op in SAME_GRID:
        return
    multiplied = case.kind in ("layers", "mul")
    for setting, shift in _SHIFTS.items() if multiplied else ():
        how, function = SCALES[setting]
        yield Claim(f"multiplier {setting}", f"the multiplier {how} ({shift})", _multiplied(case, function))
    for setting, (how, function) in SCALES.items():
        for whose, *which in _WHOSE:
            if claim := _scaled(case, function, *which):
                yield Claim(f"{whose} {setting}", f"the scales of {whose} {how}", claim)
        if multiplied and setting not in _SHIFTS:
            yield Claim(f"multiplier {setting}", f"the multiplier {how}", _multiplied(case, function))


#: Whose scales: what it is called, whether the output's, the inputs', the weights'.
_WHOSE = (
    ("activations", True, True, False),
    ("activations and weights", True, True, True),
    ("the output", True, False, False),
    ("the input", False, True, False),
    ("the weights", False, False, True),
)


def _multiplied(case, function):
    """What gives the step with its factor so changed."""
    rule = rounding(case)

    def changed(acc, factors, out):
        real = np.atleast_1d(integer_factor(*factors, out.scale))
        real = np.array([function(float(value)) for value in real], F32)
        if not (np.isfinite(real) & (real > 0)).all():
            return np.full(acc.shape, out.high + 1, I64)
        return rule(acc, (F32(1), real), Grid(1.0, out.zero_point, out.dtype))

    return lambda: finish(case, case.accumulated, rule=changed)


def _scaled(case, function, outer, inner, weights):
    """What gives the step with scales so changed; None where one of them becomes 0, infinite, or none changes."""
    if weights and not case.is_layer:
        return None
    names = ((case.step.name,) if outer else ()) + (case.step.inputs if inner else ())
    old = {name: case.plan.grids[name] for name in names}
    values = {name: np.float32(function(grid.scale)) for name, grid in old.items()}
    own = case.weight_scale if case.is_layer else np.zeros(0, F32)
    weight_scale = np.array([function(float(s)) for s in own], F32) if weights else own
    every = np.concatenate([weight_scale, np.array(list(values.values()), F32)])
    if not np.isfinite(every).all() or (every <= 0).any():
        return None
    if np.array_equal(own, weight_scale) and all(values[name] == np.float32(old[name].scale) for name in names):
        return None
    grids = {name: replace(grid, scale=float(values[name])) for name, grid in old.items()}
    if not case.is_layer:
        return lambda: case.run(grids=grids)
    scale = grids.get(case.step.inputs[0], case.grids[0]).scale
    return lambda: finish(
        case, case.accumulated, factors=(F32(scale), weight_scale), out=grids.get(case.step.name, case.out)
    )
