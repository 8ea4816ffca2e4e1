"""What a rule change claims: that with it a step gives exactly what the port has."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...ops.integers import act_range
from ...ops.requantize import (
    F32,
    FACTORS,
    I64,
    INTEGER_RULES,
    double,
    in_32_bits,
    integer_factor,
    layer_factor,
    quantize_multiplier,
    real,
    up,
)

SLACK = 1 / 64  # of a step, that rounding may move a border by


@dataclass(frozen=True)
class Claim:
    """One way in which a rule may be changed.

    setting : what tells it from other ways of the same rule, the same at every step that it is tried on
    text : what the port does, in words
    output : callable () -> the step's integers so changed, in the shape of `Case.found` or of `Case.rows`
    freedom : how many such ways there were to choose from at this step; few are better evidence than many
    """

    setting: str
    text: str
    output: Callable
    freedom: int = 1

    def explains(self, case):
        """Whether it is exactly what the port has."""
        output = self.output()
        return output is not None and np.array_equal(output, case.rows if output.ndim == 2 else case.found)


def finish(case, acc, *, channels=slice(None), rule=None, factors=None, out=None, act=None, ends=None, wraps=False):
    """Accumulators (places, channels) as the step's integers, by the case's own rule where no other is given.

    Parameters
    ----------
    case : Case of a layer or a product
    acc : (places, channels) int64
    channels : which of the layer's, where not all
    rule : callable (acc, factors, out) -> int64 steps before the zero point; default the kernel set's
    factors, out, act : as the case has them by default
    ends : (low, high) to cut at, default the activation's
    wraps : bool, wrap round at the dtype's ends instead
    """
    out = out or case.out
    if case.is_layer and case.grids[0].high - case.grids[0].low < 256:
        acc = in_32_bits(acc)
    scale, weight_scale = factors or case.factors
    weight_scale = weight_scale[channels] if len(weight_scale) > 1 else weight_scale
    rule = rule or rounding(case, channels=channels)
    steps = rule(acc, (scale, weight_scale), out) + out.zero_point
    if wraps:
        return steps.astype(out.dtype)
    low, high = ends or act_range(case.step.act if act is None else act, out)
    return np.clip(steps, low, high).astype(out.dtype)


def factor_by(case, kernels):
    """What makes a layer's or a product's factor by a kernel set: callable (its `factors`, its output's grid)."""
    if not case.is_layer:
        return lambda factors, out: FACTORS[kernels.mul_factor](*factors, out.scale)
    # Of many scales those of some channels may be given, which may be one.
    op = case.step.op if len(case.weight_scale) == 1 else "linear"
    return lambda factors, out: layer_factor(op, case.word(kernels), kernels, *factors, out.scale)


def rounding(case, kernels=None, channels=slice(None)):
    """How a kernel set, default the case's own, makes steps of accumulators of a layer or a product: a rule of `finish`."""
    kernels = kernels or case.kernels
    word, factor = case.word(kernels), factor_by(case, kernels)

    def rule(acc, factors, out):
        made = factor(factors, out)
        if word in INTEGER_RULES:
            return INTEGER_RULES[word](acc, *quantize_multiplier(made))
        if word == "up_by_8":  # of these channels, which need not be all
            count, (m, e) = len(case.bias), quantize_multiplier(made)
            return np.where(np.arange(count)[channels] < count // 8 * 8, up(acc, m, e), double(acc, m, e))
        if word == "real":
            return real(acc, made).astype(I64)
        if word == "float_offset":
            return np.rint(acc.astype(F32) * made + F32(out.zero_point)).astype(I64) - out.zero_point
        return np.rint(acc.astype(F32) * made).astype(I64)

    return rule


def half_up(y):
    return np.floor(y + y.dtype.type(0.5))


def half_away(y):
    return np.sign(y) * np.floor(np.abs(y) + y.dtype.type(0.5))


#: How real steps may become whole ones.
ROUNDED = {
    "half to even": np.rint,
    "half up": half_up,
    "half away from zero": half_away,
    "truncated towards zero": np.trunc,
    "rounded down": np.floor,
}


def step_of_one(case):
    """What one of an accumulator is worth in steps of the output: rounded twice, a number is off by about half of that."""
    if case.kind == "mean":
        return case.grids[0].scale / case.out.scale / math.prod(case.inputs[0].shape[2:])
    return integer_factor(*case.factors, case.out.scale) if case.kind in ("layers", "mul") else 0


def ratios_between(case, steps, rest, found, one=None):
    """Between which ratios r what was found is `rest + r * steps`, rounded and cut: of each column of (places, columns).

    one : what one of an accumulator is worth there, default `step_of_one`
    """
    ends, wanted = act_range(case.step.act, case.out), found.astype(I64) - case.out.zero_point
    slack = SLACK + 2 * (step_of_one(case) if one is None else one)
    least = np.where(found <= ends[0], -np.inf, wanted - 0.5 - slack) - rest
    most = np.where(found >= ends[1], np.inf, wanted + 0.5 + slack) - rest
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (np.where(steps > 0, a, b) / steps for a, b in ((least, most), (most, least)))
    says_nothing = steps == 0
    return np.where(says_nothing, -np.inf, low).max(0), np.where(says_nothing, np.inf, high).min(0)
