"""Ports in fixed point: all numbers of a tensor are multiples of a power of two, however large or small they are."""

import numpy as np

MOST = 20  # bits behind the point
FEW = 16  # small numbers from which they tell
SHARE = 0.5  # of a port's tensors, those in fixed point, and of these, those with more levels than int8 has
LEVELS = 255
CUT, MANY = (-0.65, -0.35), 8  # mean error, in steps, of numbers that are cut; tensors from which that tells
FRACTION_BITS = {f"fixed{bits}": bits for bits in range(1, MOST + 1)}


def fraction_bits(values):
    """How many bits behind the point numbers have; None of floats.

    Large floats are multiples of much, so small numbers tell: they must have fewer significant bits than the large ones.
    """
    values = values[np.isfinite(values)].astype(np.float64)
    bits = next((k for k in range(MOST + 1) if not (values * 2.0**k % 1).any()), None)
    if not bits or not values.size:
        return None
    significant = next(p for p in range(54) if not (np.frexp(values)[0] * 2.0**p % 1).any())
    small = np.unique(values[(values != 0) & (np.abs(values) < 2.0 ** (significant - 2 - bits))])
    return bits if len(small) >= FEW else None


def fixed_precision(tensors):
    """The name of a port's fixed point, of the bits that its tensors have in the middle; None if it has none."""
    found = [t for t in tensors if t.fraction_bits]
    wide = [t for t in found if np.ptp(t.array[np.isfinite(t.array)]) * 2.0**t.fraction_bits > LEVELS]
    if not found or len(found) < SHARE * len(tensors) or len(wide) < SHARE * len(found):
        return None
    return f"fixed{sorted(t.fraction_bits for t in found)[len(found) // 2]}"


def top(view):
    """What the numbers of a tensor in fixed point end at, if a word does: 2^n, less a step; None."""
    bits = view.tensor.fraction_bits
    step = 2.0 ** -(bits or 0)
    largest = max(float(view.data.max()) + step, -float(view.data.min()))
    return largest - step if bits and np.log2(largest) % 1 == 0 else None


def described(views, local):
    """In words: the bits behind the point, and whether what is beyond them is cut.

    Parameters
    ----------
    views : {step's name: View}
    local : {step's name: array} what they should be, in float64
    """
    known = {name: view for name, view in views.items() if view.tensor.fraction_bits}
    bits = sorted(view.tensor.fraction_bits for view in known.values())
    span = f"{bits[0]} to {bits[-1]}" if bits[0] != bits[-1] else f"{bits[0]}"
    errors = [_mean_error(view, local[name]) for name, view in known.items()]
    cut = len(errors) >= MANY and CUT[0] < np.median(errors) < CUT[1]
    return f"{span} fraction bits" + (", cut off where they should be rounded" if cut else "")


def _mean_error(view, expected):
    """In steps, over the numbers that had to be rounded."""
    steps = 2.0**view.tensor.fraction_bits
    inexact = expected * steps % 1 != 0
    return float(((view.data - expected)[inexact] * steps).mean()) if inexact.any() else 0.0
