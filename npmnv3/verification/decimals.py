"""Floats that were printed on their way: with so many decimals, or so many significant digits."""

import numpy as np

MOST = 6  # of either: with more, float32 itself is coarser
FEW = 16  # numbers that tell
SLACK = 0.05  # of a step, how far off a number may be, as float32 holds it


def printing(values):
    """How numbers were printed: ("decimals" or "digits", how many); None where they were not, or nothing tells it."""
    values = values[np.isfinite(values) & (values != np.round(values))].astype(np.float64)
    for what in ("decimals", "digits"):
        for many in range(1, MOST + 1):
            printed = (what, many)
            # The first few numbers rule nearly all out, at little cost.
            if _are_multiples(printed, values[:FEW]) and _are_multiples(printed, values) and _tells(printed, values):
                return printed
    return None


def _are_multiples(printed, values):
    """Whether all numbers are multiples of their steps, as near as float32 holds them."""
    scaled = np.abs(values / steps(printed, values))
    off = np.abs(scaled - np.round(scaled))
    return bool(((scaled > 0.5) & (off <= np.maximum(SLACK, scaled * 2.0**-22))).all())


def _tells(printed, values):
    """Whether enough numbers are held well enough to tell, and lie on no coarser grid, as integers times a scale do."""
    each = steps(printed, values)
    if len(np.unique(values[np.abs(values / each) * 2.0**-23 < SLACK])) < FEW:
        return False
    usual = np.sort(each)[len(each) // 2]
    units = values[each == usual] / usual
    units = np.round(units[np.abs(units) * 2.0**-23 < SLACK]).astype(np.int64)
    return len(units) >= FEW and np.gcd.reduce(units - units[0]) == 1


def steps(printed, values):
    """What one unit of the last place that is printed is worth, of each number."""
    what, many = printed
    if what == "decimals":
        return np.full(np.shape(values), 10.0**-many)
    sizes = np.abs(values, dtype=np.float64)
    return 10.0 ** (np.floor(np.log10(np.where(sizes > 0, sizes, 1.0))) + 1 - many)


def said(printed):
    """In words."""
    what, many = printed
    return f"{many} {'significant ' if what == 'digits' else ''}{what if many > 1 else what[:-1]}"
