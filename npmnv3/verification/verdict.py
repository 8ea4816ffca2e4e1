"""From measures and tried faults to a verdict."""

from dataclasses import replace

import numpy as np

from ..network.steps import INPUT
from . import sentences
from .diagnosis import Diagnosis, diagnose, input_is_foreign
from .measure import plain
from .report import Report
from .tensors import correlation

OTHERS = 5  # runners-up to report
HALF_FACTOR = 3.0  # times float16's rounding that a port without its marks may be off
SPREAD = 0.3  # share of the tensors that are off if it is rounding
MANY = 8  # tensors from which that spread alone tells rounding from a fault
UNRELATED = 0.5  # correlation below which two tensors have nothing to do with each other
INT8_LEAST = 6.0  # dB at the logits of a port in int8 that is called fine
DECODER = 4.0, 64.0  # of 255: what another decoder may be off by, typically and at most


def decide(comparison, port, explain=True, tell=lambda done, text: None):
    """The Report of a port.

    Parameters
    ----------
    comparison : Comparison
    port : str, its name
    explain : bool, look for the cause
    tell : callable (work done, text), for a progress bar
    """
    report = Report(comparison.model.variant.full_name, port, "fine", "", comparison.precision, comparison.factor)
    failing = _fill(comparison, report)
    if input_is_foreign(comparison):
        return _by_own_input(comparison, port, explain, tell)
    report.decisions = comparison.decisions()
    report.picture = comparison.views[INPUT].data[0] if INPUT in comparison.views else comparison.x[0]
    _notes(comparison, report)
    if comparison.precision == "int8":
        return _int8(comparison, report)
    row = _overflow(comparison, report)
    if row is None and failing and _may_be_half(comparison) and len(report.tensors) >= MANY:
        half = _as_half(comparison, port)
        if half is not None:
            return half
    found = _explain(comparison, report, row, tell) if explain else Diagnosis()
    if row is not None:
        _overflown(comparison, report, row)
    elif found.chain:
        failing = _explained(comparison, report, found)
    elif explain and _other_final(comparison, report):
        failing = [row for row in report.tensors if row.step == "logits"]
    elif failing and _may_be_half(comparison) and (half := _as_half(comparison, port)) is not None:
        return half
    elif not any(blame(comparison, report) for blame in (_other_order, _by_shape, _decoder, _other_classifier)):
        if failing:
            report.verdict, report.sentence = "diverges", _unexplained(comparison, failing[0], report)
        else:
            _fine(report)
    if not report.fine:
        report.first_divergence = _first(comparison, report, failing)
    return report


def _fill(comparison, report):
    """Put the measures into the report; the rows that are off by more than rounding."""
    report.tensors = comparison.rows
    report.unmatched = [{"port": t.name, "shape": list(t.array.shape)} for t in comparison.matching.free]
    report.copies = comparison.matching.copies
    return comparison.failing()


def _notes(comparison, report):
    if comparison.given.note:
        report.notes.append(comparison.given.note)
    report.notes += comparison.stage_notes()
    if len(comparison.given.x) > 1:
        report.notes.append(
            f"the tensors are those of picture {comparison.index}; the decisions are on all {len(comparison.given.x)}"
        )
    if INPUT in comparison.views and not comparison.port_run.forces_input:
        report.notes.append(
            "the port's input tensor is not what its first layer gets: another stage of its preprocessing"
        )


def _first(comparison, report, failing):
    order = [INPUT, *comparison.net.steps]
    names = {row.step for row in failing} or {step for row in report.explained_by for step in row["steps"]}
    return next((name for name in order if name in names), next(iter(names), None))


# ------------------------------------------------------------------------------------------------ overflow, int8, float16


def _overflow(comparison, report):
    """The first tensor with numbers that are not finite, or that stand at float16's limit; None if there is none."""
    return next((row for row in report.tensors if row.local.non_finite or _stuck(comparison, row)), None)


def _stuck(comparison, row):
    """How many numbers stand at float16's limit where the reference's are beyond it."""
    found, expected = comparison.views[row.step].data, comparison.local[row.step]
    return int(((np.abs(found) == 65504) & (np.abs(expected) > 65600)).sum())


def _overflown(comparison, report, row):
    """The verdict of an overflow; what explains the tensors before it comes first."""
    expected = comparison.local[row.step]
    largest = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
    text = sentences.overflow(row, _stuck(comparison, row), largest)
    snr = row.local.snr_db if np.isfinite(row.local.snr_db) else 0.0
    before = report.explained_by
    sentence = sentences.explained(before, True) + "; and " if before else ""
    _blame(report, "overflow", row.step, text, "certain", snr, snr)
    report.explained_by = before + report.explained_by
    report.sentence = (sentence + report.sentence.removeprefix("explained by: ")) if sentence else report.sentence


def _int8(comparison, report):
    """A port in int8: its rounding is large enough to hide any other cause, and none is looked for."""
    last = next((row for row in report.tensors if row.step == "logits"), None)
    if last is not None:
        good = last.accumulated.ratio <= comparison.factor and last.accumulated.snr_db >= INT8_LEAST
    else:
        good = all(row.passes for row in report.tensors)
    report.verdict = "fine" if good else "diverges"
    report.sentence = sentences.int8(report.tensors, good, report.decisions)
    if not good:
        report.first_divergence = _first(comparison, report, comparison.failing() or report.tensors[-1:])
    return report


def _may_be_half(comparison):
    """Whether the numbers are float32 and all errors may be float16's, spread over the network as rounding is.

    Weights rounded to float16 leave no marks on the tensors.
    """
    if not comparison.marked or comparison.precision != "float32":
        return False
    off = [not row.passes for row in comparison.rows if row.step != INPUT]
    return bool(off) and np.mean(off) >= SPREAD


def _as_half(comparison, port):
    """The Report of the port as one in float16, if it is fine as that; None."""
    half = comparison.in_precision("float16", min(comparison.factor, HALF_FACTOR))
    if half.failing():
        return None
    report = decide(half, port, False)
    report.factor = comparison.factor
    if report.fine:
        report.sentence = sentences.fine(report.tensors, "float16", True)
    return report if report.fine else None


# ------------------------------------------------------------------------------------------------------------- causes


def _explain(comparison, report, overflow, tell):
    """Fill in what explains the tensors, those before an overflow if there is one; the Diagnosis."""
    only = None
    if overflow is not None:
        rows = report.tensors[: report.tensors.index(overflow)]
        if all(row.passes for row in rows):
            return Diagnosis()
        only = {row.port for row in rows}
    found = diagnose(comparison, only, tell)
    report.faults_tried = found.tried
    for trial, certainty in zip(found.chain, found.certainties):
        report.explained_by.append(_entry(comparison, trial, certainty))
    seen = {row["fault"] for row in report.explained_by}
    for trial in found.others:  # of each other fault the best
        if trial.gain > 0.5 and trial.touched and trial.fault not in seen and len(report.alternatives) < OTHERS:
            seen.add(trial.fault)
            report.alternatives.append(_entry(comparison, trial, ""))
    return found


def _entry(comparison, trial, certainty):
    text = trial.change.text + sentences.original(comparison.net.steps, trial.net.steps, trial.steps)
    return _row(trial.fault, trial.steps, text, certainty, trial.before_db, trial.snr_db)


def _explained(comparison, report, found):
    """The verdict of a port that faults explain; the rows that are off, now that the tensors are surely matched."""
    failing = comparison.failing()
    if found.cleared is not None:
        comparison.adopt(found.cleared)
        failing = _fill(comparison, report)
        report.decisions = report.decisions or comparison.decisions()
        if failing and len(found.chain) == 1:
            errors = [10 ** (-row.local.snr_db / 10) for row in failing]
            report.explained_by[0]["snr_before_db"] = plain(float(-10 * np.log10(np.mean(errors))))
    report.verdict = "diverges"
    report.sentence = sentences.explained(report.explained_by, found.cleared is not None)
    return failing


def _other_final(comparison, report):
    """A tensor of the logits' shape that is their log-softmax: the port's last, which the network does not have."""
    logits = comparison.local["logits"] if "logits" in comparison.views else comparison.oracle["logits"]
    row = next((row for row in report.tensors if row.step == "logits"), None)
    for tensor in comparison.other_finals():
        found = tensor.array.reshape(1, -1).astype(np.float64)
        error = np.square(found - found.mean() - (logits - logits.mean())).sum()
        if row is None or not np.isfinite(error) or np.allclose(found, logits, rtol=1e-3):
            continue
        total = np.log(np.exp(found - found.max()).sum()) + found.max()  # of probabilities it is 0
        relative = error / max(np.square(logits - logits.mean()).sum(), 1e-30)
        if relative <= 100 * 10 ** (-row.accumulated.noise_db / 10) and abs(total) < 1e-2:
            text = f"log-softmax of the logits ({tensor.name}), which the network does not have"
            return _blame(report, "log_softmax", "logits", text, "certain", 0.0, -10 * np.log10(max(relative, 1e-32)))
    return False


def _other_order(comparison, report):
    """The right logits, in another order."""
    view = comparison.views.get("logits")
    if view is None or view.finite is not None:
        return False
    found, expected = np.sort(view.data, axis=1), np.sort(comparison.local["logits"], axis=1)
    error = np.square(found - expected).sum() / view.power
    row = next(row for row in report.tensors if row.step == "logits")
    if (
        row.passes
        or error > max(1e-4, 10 ** (-row.local.noise_db / 10))
        or 10 ** (-row.local.snr_db / 10) < 100 * error
    ):
        return False
    text = "the right logits in another order of the classes"
    return _blame(report, "class_shift", "logits", text, "likely", row.local.snr_db, -10 * np.log10(max(error, 1e-32)))


def _other_classifier(comparison, report):
    """Logits that have nothing to do with the reference's, from features that are right."""
    view, source = comparison.views.get("logits"), comparison.net.steps["logits"].inputs[0]
    off = [row.step for row in report.tensors if not row.passes and row.step != "probabilities"]
    if view is None or view.finite is not None or off != ["logits"] or len(report.tensors) < 2:
        return False
    near = abs(correlation(view.data.ravel(), comparison.local["logits"].ravel()))
    if near > UNRELATED or view.data.size < 8 or not _given_behind(comparison, source):
        return False
    row = next(row for row in report.tensors if row.step == "logits")
    text = sentences.other_classifier(near)
    return _blame(report, "other_classifier", "logits", text, "likely", row.local.snr_db, row.local.snr_db)


def _given_behind(comparison, name):
    """Whether the port gave, and rightly, a tensor from which this step follows without another layer's weights."""
    steps = comparison.net.steps
    while name not in comparison.views:
        step = steps.get(name)
        if step is None or len(step.inputs) != 1 or step.params and step.op != "batch_norm":
            return False
        name = step.inputs[0]
    return True


def _by_shape(comparison, report):
    """Shapes that the network does not have."""
    last = next((row for row in report.tensors if row.step == "logits"), None)
    if last is not None and last.accumulated.ratio <= comparison.factor:
        return False  # tensors between our steps
    if last is not None and report.tensors and all(row.passes for row in report.tensors):
        return False
    evidence = comparison.shape_evidence()
    if not evidence:
        return False
    sure = "by its shape alone"
    report.explained_by = [_row(row["fault"], row["steps"], row["text"], sure, 0.0, 0.0) for row in evidence]
    report.verdict, report.sentence = "diverges", f"explained by: {evidence[0]['text']} ({sure})"
    return True


def _decoder(comparison, report):
    """An input that is off a little all over, which no other way of resizing explains."""
    row = next((row for row in report.tensors if row.step != "probabilities"), None)
    if row is None or row.passes or any(not other.passes for other in report.tensors if other is not row):
        return False
    if row.step == INPUT:
        std = np.asarray(comparison.model.preprocess.std)[:, None, None]
        error = (comparison.views[INPUT].data - comparison.x) * std * 255
        if float(np.sqrt(np.square(error).mean())) > DECODER[0] or float(np.abs(error).max()) > DECODER[1]:
            return False
        return _blame(
            report, "decoder", INPUT, sentences.decoder(error), "likely", row.local.snr_db, row.local.noise_db
        )
    if INPUT in comparison.views or not comparison.given.pictures:
        return False
    error, typical = 10 ** (-row.local.snr_db / 10), comparison.jittered(row.step)
    if not typical / 1000 < error < 10 * typical:
        return False
    text = sentences.decoder(step=row.step)
    return _blame(report, "decoder", INPUT, text, "a guess", row.local.snr_db, row.local.noise_db)


def _by_own_input(comparison, port, explain, tell):
    """The Report of a port that saw another picture, judged by its own input tensor."""
    row = next(row for row in comparison.rows if row.step == INPUT)
    view = comparison.views[INPUT]
    own = replace(comparison.given, x=view.data, pictures=None, note="")
    report = decide(comparison.of_input(own), port, explain, tell)
    report.sentence = sentences.other_picture(row.local.snr_db, report.sentence)
    return report


def _blame(report, fault, step, text, certainty, before, after):
    """Make one fault the verdict; True."""
    report.explained_by = [_row(fault, [step] if step else [], text, certainty, before, after)]
    report.verdict, report.sentence = "diverges", f"explained by: {text} ({certainty})"
    return True


def _row(fault, steps, text, certainty, before, after):
    return {
        "fault": fault,
        "steps": list(steps),
        "snr_db": plain(float(after)),
        "snr_before_db": plain(float(before)),
        "text": text,
        "certainty": certainty,
    }


def _unexplained(comparison, row, report):
    found, expected = comparison.views[row.step].data.astype(np.float64), comparison.local[row.step]
    return sentences.unexplained(row, found, expected)


def _fine(report):
    report.verdict, report.sentence = "fine", sentences.fine(report.tensors, report.precision, False)
    if any(row.local.ratio > 0 for row in report.tensors):
        snr = min(row.accumulated.snr_db for row in report.tensors)
        sure = "certain" if report.precision == "float32" else "likely"  # coarser rounding may hide a small fault
        report.explained_by = [_row("rounding", (), f"{report.precision} rounding", sure, snr, snr)]
