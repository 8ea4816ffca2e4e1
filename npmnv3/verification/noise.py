"""How far honest arithmetic is off: the network in another precision against the float64 oracle."""

import numpy as np

from ..network.steps import INPUT
from ..network.walk import walk
from .fixed_point import FINER, FRACTION_BITS, fixed_precision
from .tensors import sketch

#: precision -> unit roundoff
PRECISIONS = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8, "int8": 2.0**-8}

#: also of what a port's integers tell, and nobody asks for
_ROUNDOFFS = PRECISIONS | {"int16": 2.0**-16}

#: integers -> steps each way from zero
INTEGERS = {"int8": 127, "int16": 32767}


def roundoff(precision):
    """The unit roundoff; in fixed point, that of numbers about 1."""
    return 2.0 ** -(FRACTION_BITS[precision] + 1) if precision in FRACTION_BITS else _ROUNDOFFS[precision]


def rounded(x, precision):
    """`x` with the numbers that a precision has, in float32 (float64 for float64).

    int8 is symmetric, 127 steps each way, a scale a tensor, int16 so with 32767; for parameters with several axes a scale an
    output channel. Fixed point saturates nowhere.
    """
    if precision == "float64":
        return np.asarray(x, np.float64)
    x = np.asarray(x, np.float32)
    if precision == "float16":
        with np.errstate(over="ignore"):
            return x.astype(np.float16).astype(np.float32)
    if precision == "bfloat16":
        bits = np.ascontiguousarray(x).view(np.uint32)
        nearest = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        return np.where(np.isfinite(x), (nearest & np.uint32(0xFFFF0000)).view(np.float32), x)
    if precision in INTEGERS:
        return _integers(x, None, INTEGERS[precision])
    if precision in FRACTION_BITS:
        steps = np.float32(2.0 ** FRACTION_BITS[precision])
        return np.round(x * steps) / steps
    return x


def _integers(x, axes, most):
    scale = np.abs(x).max(axis=axes, keepdims=axes is not None) / np.float32(most)
    scale = np.where(scale > 0, scale, np.float32(1))
    return np.round(x / scale) * scale


def rounded_arrays(arrays, precision):
    """Parameters as a port in this precision has them."""
    if precision in INTEGERS or precision in FRACTION_BITS:  # biases and norms stay wide, as in all int8 engines
        wide = {name: np.asarray(a, np.float32) for name, a in arrays.items()}
        return {name: _rounded_weight(a, precision) if a.ndim > 1 else a for name, a in wide.items()}
    return {name: rounded(a, precision) for name, a in arrays.items()}


def _rounded_weight(w, precision):
    if precision == "int16" or precision.endswith(FINER):
        return w
    return _integers(w, tuple(range(1, w.ndim)), INTEGERS["int8"]) if precision == "int8" else rounded(w, precision)


def trace(net, arrays, x, precision="float64", forced=None, keep=None):
    """Every step's tensor in a precision, rounded after each step.

    Parameters
    ----------
    arrays : {name: array}, canonical, already in this precision (`rounded_arrays`)
    x : (N, 3, H, W)
    forced : {step's name: array} to go on with instead of what the step gave, or None
    keep : names of the tensors wanted, default all; the others are dropped after their last use

    Returns
    -------
    {step's name: array}: what each step gave, before it was replaced
    """
    forced = forced or {}
    if net.half:
        arrays = {name: rounded(a, "float16") for name, a in arrays.items()}
    given = {INPUT: rounded(x, precision)}
    values = {INPUT: rounded(forced.get(INPUT, x), precision)}

    def run(step, inputs):
        if net.half:
            return net.run(step, inputs, arrays)
        plain = PLAIN.get(step.op) if precision != "float64" else None
        return rounded(plain(step, arrays, *inputs) if plain else net.run(step, inputs, arrays), precision)

    for step in walk(net.plan, values, run):
        if keep is None or step.name in keep:
            given[step.name] = values[step.name]
        if step.name in forced:
            values[step.name] = rounded(forced[step.name], precision)
    return given


def _mean(step, arrays, x):
    """The mean of each channel, summed pixel after pixel: NumPy's pairwise sums are better."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.cumsum(x.reshape(*x.shape[:2], -1), axis=2)[:, :, -1] / np.float32(x[0, 0].size)


def _norm(step, arrays, x):
    """As a factor and an offset: subtracting the mean first, as the reference does, is better."""
    gamma, beta, mean, variance = (arrays[step.param(r).name] for r in ("gamma", "beta", "mean", "variance"))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        factor = gamma / np.sqrt(variance + np.float32(step.eps))
        offset = beta - mean * factor
        return x * factor.reshape(-1, *(1,) * (x.ndim - 2)) + offset.reshape(-1, *(1,) * (x.ndim - 2))


#: How plain engines do what the reference does with more care: the noise is theirs.
PLAIN = {"global_avg_pool": _mean, "batch_norm": _norm}


def precision_of(tensors):
    """The coarsest precision that a good part of a port's tensors bear the marks of.

    Parameters
    ----------
    tensors : iterable of PortTensor

    Returns
    -------
    "float32", "float16", "bfloat16", "int8", "int16", or a key of FRACTION_BITS
    """
    tensors = list(tensors)
    if fixed := fixed_precision(tensors):
        return fixed
    votes = [_marks(tensor) for tensor in tensors]
    for precision in ("int8", "int16", "bfloat16", "float16"):
        if votes.count(precision) > 0.25 * len(votes):
            return precision
    return "float32"


def _marks(tensor):
    if tensor.printed:
        return ""
    if tensor.wide:
        return "int16"
    if tensor.scale or tensor.is_raw_integer or _on_a_grid(tensor.array):
        return "int8"
    values = sketch(tensor.array)
    values = values[np.isfinite(values) & (values != np.round(values))]  # whole numbers tell nothing
    if len(values) < 2:
        return ""
    if (rounded(values, "bfloat16") == values).mean() > 0.99:
        return "bfloat16"
    return "float16" if (rounded(values, "float16") == values).mean() > 0.99 else "float32"


def _on_a_grid(array):
    """Whether floats are multiples of one step, at most 256 levels: what int8 leaves when it is made float again."""
    values = sketch(array)
    levels = np.unique(values[np.isfinite(values)])
    if not 6 <= len(levels) <= 256:
        return False
    if _is_grid(levels, float(np.diff(levels).min())):
        return True
    # Of a few numbers, such as ten logits, the least distance may be several steps.
    return len(levels) < 64 and _is_grid(levels, float(levels[-1] - levels[0]) / np.arange(len(levels) - 1, 256))


def _is_grid(levels, steps):
    """Whether all levels lie on multiples of one of the steps, as near as float32 holds them, and within 256 of them."""
    offsets = (levels - levels[0]).astype(np.float64) / np.atleast_1d(steps)[:, None]
    slack = 0.01 + 4 * 2.0**-24 * np.abs(levels).max() / steps
    near = (offsets[:, -1] <= 255.5) & (np.abs(offsets - np.round(offsets)).max(axis=1) < slack)
    return bool((near & (slack < 0.1)).any())
