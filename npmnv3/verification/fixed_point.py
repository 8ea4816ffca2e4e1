"""Ports in fixed point: all numbers of a tensor are multiples of a power of two, however large or small they are."""

import math

import numpy as np

MOST = 20  # bits behind the point
FEW = 16  # small numbers from which they tell
SHARE = 0.5  # of a port's tensors, those in fixed point, and of these, those with more levels than int8 has
LEVELS = 255
BEYOND = 8  # numbers that may happen to be multiples of two steps, however large they are
CUT, MANY = (-0.65, -0.35), 8  # mean error, in steps, of numbers that are cut; tensors from which that tells
FINER = " with finer weights"  # as most ports in fixed point have: these add no error
FRACTION_BITS = {f"fixed{bits}{weights}": bits for weights in ("", FINER) for bits in range(1, MOST + 1)}


def fraction_bits(values):
    """How many bits behind the point numbers have; None of floats.

    Large floats are multiples of much, so small numbers tell: they must have fewer significant bits than the large ones. What is
    left of two float16 numbers that were added has that too; but then the large ones are multiples of more than one step.
    """
    values = values[np.isfinite(values)].astype(np.float64)
    if not values.size or (values * 2.0**MOST % 1).any():
        return None
    bits = next(k for k in range(MOST + 1) if not (values * 2.0**k % 1).any())
    if not bits:
        return None
    significant = next(p for p in range(54) if not (np.frexp(values)[0] * 2.0**p % 1).any())
    small = np.unique(values[(values != 0) & (np.abs(values) < 2.0 ** (significant - 2 - bits))])
    beyond = np.count_nonzero(np.abs(values) > 2.0 ** (significant - bits))
    return bits if len(small) >= FEW and beyond <= BEYOND else None


def bits_of_scale(scale):
    """How many bits behind the point integers have of which one is worth `scale`; None where that is no power of two."""
    mantissa, exponent = math.frexp(scale)
    return 1 - exponent if mantissa == 0.5 and 1 <= 1 - exponent <= MOST else None


def fixed_precision(tensors):
    """The name of a port's fixed point, of the bits that its tensors have in the middle; None if it has none."""
    found = [t for t in tensors if t.fraction_bits]
    wide = [t for t in found if np.ptp(t.array[np.isfinite(t.array)]) * 2.0**t.fraction_bits > LEVELS]
    if not found or len(found) < SHARE * len(tensors) or len(wide) < SHARE * len(found):
        return None
    return f"fixed{sorted(t.fraction_bits for t in found)[len(found) // 2]}"


def word_limits(view):
    """(-2^n, 2^n less a step), if a tensor in fixed point reaches one of them; else infinite."""
    bits = view.tensor.fraction_bits
    step = 2.0 ** -(bits or 0)
    largest = max(float(view.data.max()) + step, -float(view.data.min()))
    return (-largest, largest - step) if bits and np.log2(largest) % 1 == 0 else (-np.inf, np.inf)


def described(comparison):
    """In words: the bits behind the point, and whether what is beyond them is cut."""
    bits = sorted(t.fraction_bits for t in comparison.tensors if t.fraction_bits) or [
        FRACTION_BITS[comparison.precision]
    ]
    span = " to ".join(dict.fromkeys(f"{n}" for n in (bits[0], bits[-1]))) if bits else "no"
    known = [row.step for row in comparison.rows if row.passes and comparison.views[row.step].tensor.fraction_bits]
    errors = [_mean_error(comparison.views[name], comparison.local[name]) for name in known]
    cut = len(errors) >= MANY and CUT[0] < np.median(errors) < CUT[1]
    return f"{span} fraction bits" + (", cut off where they should be rounded" if cut else "")


def _mean_error(view, expected):
    """In steps, over the numbers that had to be rounded."""
    steps = 2.0**view.tensor.fraction_bits
    inexact = expected * steps % 1 != 0
    return float(((view.data - expected)[inexact] * steps).mean()) if inexact.any() else 0.0
