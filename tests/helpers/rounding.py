"""What rounding can do to one operation at most, derived and not guessed.

A sum of k products in float32 is off by at most gamma_k * (|x| |w| + |b|), gamma_k = k u / (1 - k u), u = 2^-24, whatever
the order (Higham 2002, section 3.1): so it holds for any BLAS. Carried through fifty layers such a bound is true and says
nothing, and how far two right float32 runs part there is a matter of chance. So a network is held to two things: each
operation, given the inputs it had, to its own bound; and the whole, in float64, to the oracle.
"""

import numpy as np

from npmnv3.ops import definitions as ops

UNIT = 2.0**-24

#: Two right float64 runs of a deep network agree to this part of the largest logit. Chance is five digits below it;
#: a network that is wrong parts in its first digits.
FLOAT64 = 1e-7


def gamma(count):
    return count * UNIT / (1 - count * UNIT)


def assert_same_function(made, exact, what):
    """Two float64 runs are the same function, computed in another order."""
    assert made.dtype == exact.dtype == np.float64 and made.shape == exact.shape
    error = np.abs(made - exact)
    worst = np.unravel_index(np.argmax(error), error.shape)
    allowed = FLOAT64 * np.abs(exact).max()
    assert 0 < allowed and error[worst] <= allowed, (
        f"{what}: in float64, {worst} is off by {error[worst]:.3g} of {np.abs(exact).max():.3g}"
    )


def _sum_of_products(function, x, weight, bias, options):
    terms = weight[0].size + 1
    return gamma(terms + 1) * function(*map(np.abs, (x, weight, bias)), **options)


def _error_of(name, function, exact, arrays, options):
    """Bound of what an operation's own rounding does to its result, which is `exact` in float64."""
    if name in ("conv2d", "depthwise_conv2d", "pointwise_conv2d", "linear"):
        return _sum_of_products(function, *arrays, options)
    if name == "global_avg_pool":
        return gamma(arrays[0][0, 0].size + 1) * function(np.abs(arrays[0]))
    if name == "hard_swish":  # the sum x + 3, clipped to at most 6, is off by its own rounding
        return gamma(4) * np.abs(arrays[0]) * np.minimum(np.abs(arrays[0]) + 3, 6) / 6 + gamma(2) * np.abs(exact)
    if name == "hard_sigmoid":
        return gamma(4) * (options["slope"] * np.abs(arrays[0]) + 0.5)
    return gamma(2) * np.abs(exact)  # relu, max_pool2d, mul, add, scale


def checked(name, seen):
    """The operation `name`, which asserts of each call that its float32 result is within the bound derived for it.

    What part of its bound the worst number of a call took is appended to `seen`.
    """
    function = getattr(ops, name)

    def call(*arrays, **options):
        made = function(*arrays, **options)
        assert made.dtype == np.float32, f"{name} gave {made.dtype}"
        wide = [array.astype(np.float64) for array in arrays]
        exact = function(*wide, **options)
        bound = np.maximum(_error_of(name, function, exact, wide, options), 1e-35)  # below, float32 has few bits left
        part = float((np.abs(made - exact) / bound).max())
        assert part <= 1, f"{name} of {[array.shape for array in arrays]} is off by {part:.3g} of its bound"
        seen.append(part)
        return made

    return call
