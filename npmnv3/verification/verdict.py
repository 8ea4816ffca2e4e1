"""From measures and tried faults to a verdict."""

from dataclasses import replace

import numpy as np

from ..network.steps import INPUT
from . import sentences
from .agreement import agrees_whole, logits_row
from .causes import CAUSES, blame, explanation, other_final
from .coarser import COARSER, MANY, as_coarser, as_short, is_loose, may_be_coarser
from .coverage import misnamed, untold
from .diagnosis import Diagnosis, diagnose, input_is_foreign
from .fixed_point import FINER, described
from .measure import plain, share
from .net import block_of
from .overflow import first_overflow, is_within, stuck, with_overflow
from .steps_of_ports import in_fixed_point, in_integers
from .unjudged import fill, first_divergence, unjudged

OTHERS = 5  # runners-up to report
COARSE_LEAST = 6.0  # dB at the logits of a port in int8 or fixed point that is called fine


def decide(comparison, port, explain=True, tell=lambda done, text: None):
    """The Report of a port.

    Parameters
    ----------
    comparison : Comparison
    port : str, its name
    explain : bool, look for the cause
    tell : callable (work done, text), for a progress bar
    """
    if input_is_foreign(comparison):
        return _by_own_input(comparison, port, explain, tell)
    if comparison.is_fixed and not comparison.precision.endswith(FINER):
        return in_fixed_point(comparison, lambda one: _decided(one, port, explain, tell))
    if comparison.precision == "int16":
        return in_integers(comparison, lambda one: _decided(one, port, explain, tell))
    return _decided(comparison, port, explain, tell)


def _decided(comparison, port, explain, tell):
    """The Report by a precision that is settled."""
    comparison = with_overflow(comparison)
    report = unjudged(comparison, port)
    if comparison.precision == "int8":
        return _coarse(comparison, report, sentences.INT8_PORT, "int8")
    overflow = first_overflow(comparison, report.tensors)
    if comparison.is_fixed:
        words = described(comparison)
        if overflow is None and not comparison.failing():
            return _coarse(comparison, report, f"a fixed-point port ({words})", "its")
        report.notes.append(f"the port is in fixed point: {words}")
    other, is_sure = (None, False) if overflow is not None else _by_another_rounding(comparison, port, explain, tell)
    if is_sure:
        return other
    found = _explain(comparison, report, overflow, tell) if explain else Diagnosis()
    if other is not None and not (found.cleared and set(found.certainties) == {"certain"}):
        return other
    return _judged(comparison, report, overflow, found, explain)


def _by_another_rounding(comparison, port, explain, tell):
    """(Report of the port held against a reference that rounds as it may do, or None; whether no fault is likelier)."""
    held = _held_against_short(comparison, port, explain, tell)
    if held is not None and (held.fine or held.explained_by):
        return held, True
    coarse = _as_coarser(comparison, port, COARSER) if _is_spread(comparison) else None
    if held is None:
        return coarse, coarse is not None and not (explain and is_loose(coarse.tensors))
    if coarse is None:
        return held, True
    # Some layers may have kept float32.
    coarse.notes.append(f"by parameters of 16 bits it {held.verdict}: {held.sentence}")
    return coarse, True


def _is_spread(comparison):
    """Whether so much of the port is off that a coarser rounding is likelier than any fault."""
    return len(comparison.rows) >= MANY and may_be_coarser(comparison)


def _judged(comparison, report, overflow, found, explain):
    """The Report by what was found to explain the port."""
    failing = comparison.failing()
    if overflow is not None:
        _overflown(comparison, report, overflow)
    elif found.chain:
        comparison = found.coarse or comparison
        failing = _explained(comparison, report, found)
    elif explain and other_final(comparison, report):
        failing = [logits_row(report.tensors)]
    elif (half := _as_float16_by_block(comparison, report.port)) is not None:
        return half
    elif any(is_cause(comparison, report) for is_cause in CAUSES):
        pass
    elif failing:
        failing = _unexplained(comparison, report, failing, explain)
    else:
        _fine(report)
    if report.fine:
        _doubt(comparison, report)
    if not report.fine:
        report.first_divergence = first_divergence(comparison, report, failing)
    return report


# --- what is not finite, int8, fixed point, other roundings


def _overflown(comparison, report, row):
    """The verdict of an overflow; what explains the tensors before it comes first."""
    expected = comparison.local[row.step]
    largest = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
    index = comparison.views[row.step].tensor.index
    earlier = [t.name for t in comparison.matching.free if t.index < index and not is_within(t)]
    text = sentences.overflow(row, *stuck(comparison, row), largest, earlier)
    snr = row.local.snr_db if np.isfinite(row.local.snr_db) else 0.0
    before = report.explained_by
    sentence = sentences.explained(before, True) + "; and " if before else ""
    blame(report, "overflow", row.step, text, "certain", snr, snr)
    report.explained_by = before + report.explained_by
    report.sentence = (sentence + report.sentence.removeprefix("explained by: ")) if sentence else report.sentence


def _coarse(comparison, report, kind, whose):
    """A port in int8, or fine as one in fixed point: its rounding is large enough to hide any other cause, and none is
    looked for.

    kind, whose : in words, what it is and whose rounding that is
    """
    last, off = logits_row(report.tensors), comparison.failing()
    whole = last is None or last.accumulated.ratio <= comparison.factor and last.accumulated.snr_db >= COARSE_LEAST
    good = whole and not off
    report.verdict = "fine" if good else "diverges"
    report.sentence = sentences.coarse(kind, whose, report.tensors, whole, off, report.decisions)
    if not good:
        report.first_divergence = first_divergence(comparison, report, off or report.tensors[-1:])
    return report


def _held_against_short(comparison, port, explain, tell):
    """The Report of a port that stores its parameters in 16 bits, by the reference that has them so; None of others."""
    if (found := as_short(comparison)) is None:
        return None
    short, change = found
    report = _decided(short, port, explain, tell)
    report.decisions = comparison.decisions()
    report.sentence += sentences.short(report, change.text)
    return report


def _as_coarser(comparison, port, precisions):
    """The Report of the port as one that computes in the first of these precisions in which it is fine; None."""
    for precision in precisions:
        coarse = as_coarser(comparison, precision)
        report = decide(coarse, port, False) if coarse else None
        if report and report.fine:
            report.factor, report.sentence = comparison.factor, sentences.fine(report, True)
            return report
    return None


def _as_float16_by_block(comparison, port):
    """The Report of the port as one that computes in float16, where that is over its blocks, if not its tensors; None."""
    if _is_spread(comparison) or not may_be_coarser(comparison, True):
        return None
    return _as_coarser(comparison, port, ("float16",))


# --- causes


def _explain(comparison, report, overflow, tell):
    """Fill in what explains the tensors, those before an overflow if there is one; the Diagnosis."""
    only, failing = None, comparison.failing()
    if overflow is None and not failing and agrees_whole(comparison.rows, comparison.factor):
        return Diagnosis()  # where the logits are right, tensors that fit no step prove nothing
    if overflow is not None:
        rows = report.tensors[: report.tensors.index(overflow)]
        if all(row.passes for row in rows):
            return Diagnosis()
        only = {row.port for row in rows}
    found = diagnose(comparison, only, tell)
    report.faults_tried = found.tried
    if overflow is None and not failing and not _stands_alone(found):
        return Diagnosis()
    for trial, certainty in zip(found.chain, found.certainties):
        report.explained_by.append(_entry(comparison, trial, certainty))
    seen = {row["fault"] for row in report.explained_by}
    for trial in found.others:  # of each other fault the best
        if trial.gain > 0.5 and trial.touched and trial.fault not in seen and len(report.alternatives) < OTHERS:
            seen.add(trial.fault)
            report.alternatives.append(_entry(comparison, trial, ""))
    return found


def _stands_alone(found):
    """Whether a fault may be believed of a port of which nothing that is surely a step's is off.

    A fault gives numbers that the reference has nowhere, and so does an engine's own inner step: a hard-swish written as a
    hard-sigmoid and a product looks like a hard-sigmoid in its place, wherever what is behind it was not given.
    """
    return found.cleared is not None and all(len(trial.touched) > 1 for trial in found.chain)


def _entry(comparison, trial, certainty):
    text = trial.change.text + sentences.original(comparison.net.steps, trial.net.steps, trial.steps)
    return explanation(trial.fault, trial.steps, text, certainty, trial.before_db, trial.snr_db)


def _explained(comparison, report, found):
    """The verdict of a port that faults explain; the rows that are off, now that the tensors are surely matched."""
    if found.cleared is not None:
        comparison.adopt(found.cleared)
        fill(comparison, report)
        report.decisions = report.decisions or comparison.decisions()
        errors = [share(row.local.snr_db) for row in comparison.failing()]
        if errors and len(found.chain) == 1:
            report.explained_by[0]["snr_before_db"] = plain(float(-10 * np.log10(np.mean(errors))))
    report.verdict, report.precision = "diverges", comparison.precision
    report.sentence = sentences.explained(report.explained_by, found.cleared is not None)
    if found.coarse or found.short:
        report.sentence += sentences.INFERRED if found.coarse else sentences.short(report, found.short)
    return comparison.failing()


def _by_own_input(comparison, port, explain, tell):
    """The Report of a port that saw another picture, judged by its own input tensor."""
    row = next(row for row in comparison.rows if row.step == INPUT)
    view = comparison.views[INPUT]
    own = replace(comparison.given, x=view.data, pictures=None, note="")
    report = decide(comparison.of_input(own), port, explain, tell)
    report.reach, report.sentence = "by its own input alone", sentences.other_picture(row.local.snr_db, report.sentence)
    return report


def _unexplained(comparison, report, failing, tried):
    """The verdict of a port that nothing explains; the rows that are off.

    A tensor that is off by much fits no step, and the first that does may be far behind it: one that by the port's own order
    stands between that and the last that is right comes first.
    """
    net, row, seen = comparison.net, failing[0], comparison
    before = net.back_to(row.step, comparison.views)
    ordered = comparison.by_order(sure=True)
    placed = [one for one in ordered.failing() if one.how == "order" and one.step in before] if ordered else []
    if placed:
        row, seen = placed[0], ordered
        failing = [row, *failing]
    region = set(net.back_to(row.step, seen.views))
    blocks = list(dict.fromkeys(block_of(step.name) for step in net.plan if step.name in region))
    if len(region) > len(net.plan) - 1:  # all there is
        blocks = []
    spatial = INPUT in region or any(net.steps[name].kernel > 1 for name in region)
    found, expected = seen.views[row.step].data.astype(np.float64), seen.local[row.step]
    report.verdict, report.sentence = (
        "diverges",
        sentences.unexplained(row, found, expected, blocks, tried, spatial=spatial, fixed=comparison.is_fixed),
    )
    if may_be_coarser(comparison, True) and as_coarser(comparison, "bfloat16"):
        report.sentence += sentences.AS_LARGE
    return failing


def _fine(report):
    report.verdict, report.sentence = "fine", sentences.fine(report, False)
    if any(row.local.ratio > 0 for row in report.tensors):
        snr = min(row.accumulated.snr_db for row in report.tensors)
        sure = "certain" if report.precision == "float32" else "likely"  # coarser rounding may hide a small fault
        report.explained_by = [explanation("rounding", (), f"{report.precision} rounding", sure, snr, snr)]


def _doubt(comparison, report):
    """What tensors that fit no step have to say against a port that is fine without them."""
    if names := untold(comparison):
        report.verdict, report.sentence, report.explained_by = "diverges", sentences.untold(report.tensors, names), []
    elif names := misnamed(comparison):
        report.sentence += sentences.misnamed(names)
