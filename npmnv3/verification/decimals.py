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
            if _is_printed(values, steps((what, many), values)):
                return what, many
    return None


def _is_printed(values, steps):
    """Whether all numbers are multiples of their steps, those that float32 holds well enough to tell; and lie on no coarser
    grid, as integers times a scale do."""
    if not len(values):
        return False
    usual = np.sort(steps)[len(steps) // 2]
    units = values[steps == usual] / usual
    units = np.round(units[np.abs(units) * 2.0**-23 < SLACK]).astype(np.int64)
    if len(units) < FEW or np.gcd.reduce(units - units[0]) != 1:
        return False
    scaled = np.abs(values / steps)
    telling = scaled * 2.0**-23 < SLACK
    off = np.abs(scaled - np.round(scaled))
    multiples = (scaled > 0.5) & (off <= np.maximum(SLACK, scaled * 2.0**-22))
    return len(np.unique(values[telling])) >= FEW and bool(multiples.all())


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
