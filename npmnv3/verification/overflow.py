"""Numbers that are not finite, or stand at the limit of the format that the port computes in."""

import numpy as np

from .agreement import agrees_whole
from .fixed_point import word_limits

FLOAT16_LIMITS = -65504.0, 65504.0
BEYOND = 1e-3  # by how much, relatively, what stands at a limit should be beyond it; in fixed point also by
STEPS = 2  # steps
AT_LIMIT = 3  # numbers in fixed point that tell a limit from a largest number


def first_overflow(comparison, rows):
    """The first tensor with numbers that are not finite, or that stand at the format's limit; None if there is none."""
    return next((row for row in rows if row.local.non_finite or stuck(comparison, row)[0]), None)


def with_overflow(comparison):
    """The comparison; or, where tensors that fit no step hold an overflow, the one in which they have their place by the
    port's own order: what overflowed is like no step's."""
    if agrees_whole(comparison.rows, comparison.factor) or all(map(is_within, comparison.matching.free)):
        return comparison
    ordered = comparison.by_order(sure=True)
    row = first_overflow(ordered, ordered.rows) if ordered is not None else None
    return comparison if row is None or row.how != "order" else ordered


def is_within(tensor):
    """Whether all numbers are finite, and none stands at float16's limit."""
    return tensor.finite and not np.isin(tensor.array, FLOAT16_LIMITS).any()


def stuck(comparison, row):
    """(how many numbers stand at float16's limit, or at fixed point's, where the reference's are beyond it; that limit)"""
    view, expected = comparison.views[row.step], comparison.local[row.step]
    low, high = word_limits(view) if comparison.is_fixed else FLOAT16_LIMITS
    slack = STEPS * 2.0**-view.tensor.fraction_bits if np.isfinite(high) and comparison.is_fixed else 0.0
    count = int((((view.data == low) | (view.data == high)) & (np.abs(expected) > high * (1 + BEYOND) + slack)).sum())
    return count if count >= AT_LIMIT or not comparison.is_fixed else 0, high
