"""What logits that are right say of tensors that are off: a port that gives the reference's logits computed what comes
before."""

import math

import numpy as np

FEW = 8  # logits whose own rounding cannot be measured on so few numbers
LITTLE = 3.0  # times what passes that is still no fault where all behind it is right


def logits_row(rows):
    """The logits' TensorReport, or None."""
    return next((row for row in rows if row.step == "logits"), None)


def agrees_whole(rows, factor):
    """Whether the logits are the reference's, by themselves and over the whole run."""
    last = logits_row(rows)
    if last is None or not last.accumulated.ratio <= factor:
        return False
    return last.passes or math.prod(last.shape) < FEW and last.local.ratio <= LITTLE * factor


def acquitted(rows, factor):
    """The rows, those passed too that are off by little, where they and the logits are right as a whole.

    Honest rounding of one step is measured on few numbers, and an engine may take more operations for it.
    """
    if agrees_whole(rows, factor):
        for row in rows:
            row.passes = row.passes or row.local.ratio <= LITTLE * factor and row.accumulated.ratio <= factor
    return rows


def wrong_mappings(comparison):
    """{(port's name, step's name)}: rows that are off by themselves and as a whole, where the logits are right as a whole.

    Only a tensor that was never written, or overflowed, is held against the port all the same.
    """
    rows, factor = comparison.rows, comparison.factor
    last = logits_row(rows)
    if last is None or not last.accumulated.ratio <= factor:
        return set()
    off = (row for row in rows if not row.passes and not row.accumulated.ratio <= factor)
    return {(row.port, row.step) for row in off if row.how != "map" and not _blank(row, comparison.views[row.step])}


def _blank(row, view):
    """Whether a tensor overflowed, or bears a step's name and holds no signal: all one number."""
    return view.finite is not None or row.how == "name" and np.ptp(view.data) == 0
