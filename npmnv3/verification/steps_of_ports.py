"""Ports whose numbers lie on steps, in fixed point or integers of more than 8 bits: by which rounding they are judged."""

from . import sentences
from .fixed_point import FINER

WEIGHTS = "quantized_layer"  # the fault that says that weights are rounded


def in_fixed_point(comparison, decided):
    """The Report of a port in fixed point: by weights that add no error, and if it is not fine so, and no fault alone makes
    it so, by weights with as many bits behind the point as its tensors have.

    Parameters
    ----------
    comparison : Comparison, in that precision
    decided : callable Comparison -> Report, by the precision that it has
    """
    report = decided(comparison.in_precision(comparison.precision + FINER, comparison.asked_factor))
    sound = _is_sound(report)
    # Another rounding, coarse enough, makes fine whatever is off by rounding.
    if not report.fine and (not sound or _may_be_weights(report)):
        as_many = decided(comparison)
        report = as_many if as_many.fine or not sound else report
    report.precision = comparison.precision
    return report


def in_integers(comparison, decided):
    """The same of integers of more than 8 bits: by their own rounding, and by int8's where its weights are in int8, or where
    its scales were not given, without which a fault cannot be told from that."""
    report = decided(comparison)
    fitted = any(view.step_size for view in comparison.views.values())
    if not report.fine and (_may_be_weights(report) or fitted and not _is_sound(report)):
        coarse = decided(comparison.in_precision("int8", comparison.asked_factor))
        if coarse.fine:
            return sentences.by_int8(coarse, report)
    return report


def _may_be_weights(report):
    """Whether all that is off may be the rounding of weights."""
    return bool(report.explained_by) and all(
        row["fault"] == WEIGHTS or f"cannot be told from {WEIGHTS}" in row["certainty"] for row in report.explained_by
    )


def _is_sound(report):
    """Whether faults explain all that is off, and not by chance."""
    guessed = any(row["certainty"].startswith("a guess") for row in report.explained_by)
    return bool(report.explained_by) and not guessed and not report.sentence.endswith(sentences.PARTLY)
