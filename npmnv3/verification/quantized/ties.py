"""Layers, sums, products and means that ONNX Runtime left in floats, between a node that makes integers real and one
that rounds them again.

Of a graph with such nodes it makes integer layers only where it has a kernel for them; elsewhere (many
of int8 inputs and weights, where it was tried) the layer is computed in float32. Then a sum is off by float32's
rounding, and where it lies between two integers, on a tie, it may come out as the other one. There a bias that is
floats in the file stays so, where integer layers round it.
"""

import math

import numpy as np

from ...ops.integers import act_range
from ...ops.requantize import FLOAT_FACTORS, I64, integer_factor
from .claims import finish

ON_A_TIE = "on a tie, if computed in floats"
BIAS_IN_FLOATS = "its bias in floats, as the file has it"
SUMMED = 2.0  # times the typical error of a sum of so many terms


def numbers_on_ties(forced, fit):
    """{name of a layer's or a mean's tensor: how many of its numbers are the other integer beside a tie} of what is
    else a kernel set's."""
    if fit.kernels.layers not in FLOAT_FACTORS:
        return {}
    cases = [forced.case(name, fit) for name in fit.exact]
    off = [case for case in cases if not fit.exact[case.step.name]]
    counted = [
        (case, _on_ties if case.is_layer else _of_two) for case in off if case.is_layer or case.step.op in _PAIRS
    ]
    found = {case.step.name: count for case, function in counted if (count := function(case))}
    return found | _means_on_ties([case for case in cases if case.step.op == "global_avg_pool"])


def ties_text(rows):
    """TensorRows of layers with numbers on ties, in words."""
    many, numbers = len(rows), sum(row.off for row in rows)
    steps = f"{many} steps are as if they were" if many > 1 else "1 step is as if it were"
    if any(row.because == BIAS_IN_FLOATS for row in rows):
        differ = f"{numbers} number{'s differ' if numbers > 1 else ' differs'}"
        return f"{steps} computed in floats, by the file's biases, which no integers hold exactly: {differ}"
    return f"{steps} computed in floats, where {numbers} number{'s lie' if numbers > 1 else ' lies'} on a tie"


def _on_ties(case):
    """How many numbers of a layer's tensor are others, each the other integer beside a tie or what the file's own bias gives.

    Parameters
    ----------
    case : Case of a layer that is not exact

    Returns
    -------
    int; 0 if some number is off by more than one, does not lie on a tie, or too many differ
    """
    others = finish(case, case.accumulated) != case.rows
    factor = np.broadcast_to(integer_factor(*case.factors, case.out.scale), case.rows.shape[1])
    error = _summed(case) * factor
    # Where the file's biases are floats, some layers have them rounded all the same.
    sums = (case.accumulated + rest for rest in (case.bias_rest, 0.0))
    right = any(_are_rounded(case, others, total * factor + case.out.zero_point, error) for total in sums)
    return np.count_nonzero(others) if right else 0


def _are_rounded(case, others, real, error):
    """Whether the others are what these real numbers, off by no more than the error, are rounded to, and not too many.

    others : (places, channels) bool; real : the same, in steps of the layer's grid; error : the same
    """
    found, nearest = case.rows.astype(I64), np.clip(np.rint(real), *act_range(case.step.act, case.out)).astype(I64)
    beside = others & (nearest != found)
    near = np.abs(real - (np.minimum(nearest, found) + 0.5)) <= error
    return near[beside].all() and np.count_nonzero(beside) <= 1 + (2 * error).sum()  # as many lie so near by chance


def _summed(case):
    """(places, channels): what float32's roundings of a layer's partial sums add up to, in steps of the sum.

    Terms of either sign: a partial sum is about as large as the whole one, or as so many steps of a random walk.
    """
    x, weight = case.inputs[0].astype(I64) - case.grids[0].zero_point, case.weight.astype(I64)
    weight = weight - np.reshape(case.weight_zero_point, (-1, *(1,) * (weight.ndim - 1)))
    walked = np.sqrt(case.sums_of(x**2, weight**2, 0))
    return SUMMED * math.sqrt(weight[0].size) * 2.0**-24 * (np.abs(case.products) + np.abs(case.bias) + walked)


_PAIRS = {"add": np.add, "mul": np.multiply}


def _of_two(case):
    """How many numbers of a sum's or a product's tensor are others, where all are what float32 gives between its grids;
    else 0."""
    x, y = (grid.dequantize(q) for q, grid in zip(case.inputs, case.grids))
    real = _PAIRS[case.step.op](x, y.reshape(*y.shape, *(1,) * (x.ndim - y.ndim)))
    right = not case.step.act and np.array_equal(case.out.quantize(real), case.found)
    return np.count_nonzero(case.run() != case.found) if right else 0


def _means_on_ties(cases):
    """{name: how many of its numbers are the other integer beside a tie} of the port's means; {} where all ties are
    rounded in one way, which is a rule and no chance.

    A mean may have its input's scale: then all of its numbers are halves, quarters, ..., and many lie on ties.
    """
    found, ups, signs = {}, [], []
    for case in cases:
        real, error = _mean(case)
        tie = np.abs(real - np.floor(real) - 0.5) <= error
        ups.append((case.found > real)[tie])
        signs.append((real > case.out.zero_point)[tie])
        off = case.run() != case.found
        if off.any() and (np.abs(case.found - real) <= 0.5 + error)[off].all():
            found[case.step.name] = int(off.sum())
    up, positive = (np.concatenate(parts) if parts else np.zeros(0, bool) for parts in (ups, signs))
    one_way = [up, ~up, up == positive, up != positive]
    return {} if any(way.all() for way in one_way) else found


def _mean(case):
    """(a mean's real numbers in steps of its grid, what float32 may make them differ by)."""
    x, pixels = case.inputs[0].astype(I64) - case.grids[0].zero_point, math.prod(case.inputs[0].shape[2:])
    factor = float(case.grids[0].scale) / float(case.out.scale) / pixels
    error = SUMMED * math.sqrt(pixels) * 2.0**-24 * np.abs(x).sum((2, 3)) * factor
    return x.sum((2, 3)) * factor + case.out.zero_point, error
