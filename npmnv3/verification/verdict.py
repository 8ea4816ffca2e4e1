"""From measures and tried faults to a verdict."""

import numpy as np

from ..network.steps import INPUT
from .changes.rows import shape_evidence
from .measure import plain
from .noise import precision_of
from .report import Report
from .symptoms import symptom

OTHERS = 5  # runners-up to report
HALF_FACTOR = 3.0  # times float16's rounding that a port without its marks may be off


def judge(bench, port, precision, factor, explain):
    """The Report of a port on the bench."""
    bench.prepare()
    chosen = precision_of(_outputs(bench)) if precision == "auto" else precision
    report = Report(bench.model.variant.full_name, port, "fine", "", chosen, factor)
    failing = _fill(bench, report)
    report.decisions = bench.decisions()
    report.picture = bench.views[INPUT].data[0] if INPUT in bench.views else bench.x[0]
    _notes(bench, report)
    overflow = _overflow(bench, report)
    chain = _explain(bench, report, overflow) if explain else []
    cleared = bool(chain) and not bench.tried.bad(chain[-1].errors)
    if overflow is not None:
        _overflown(bench, report, overflow)
    elif chain:
        if cleared:
            bench.adopt(chain[-1].net)
            failing = _fill(bench, report)
            report.decisions = report.decisions or bench.decisions()
            if failing and len(chain) == 1:  # now that the tensors are surely matched
                errors = [10 ** (-row.local.snr_db / 10) for row in failing]
                report.explained_by[0]["snr_before_db"] = float(-10 * np.log10(np.mean(errors)))
        report.verdict, report.sentence = "diverges", _explained(report, cleared)
    elif failing and precision == "auto" and chosen == "float32" and _is_half(bench, report.tensors, factor):
        return judge(bench, port, "float16", factor, False)
    elif _other_order(bench, report) or _by_shape(bench, report) or _decoder(bench, report):
        pass
    elif failing:
        report.verdict, report.sentence = "diverges", _unexplained(bench, failing[0], report)
    else:
        _fine(report)
    if not report.fine:
        report.first_divergence = _first(bench, report, failing)
    return report


def _outputs(bench):
    """The port's tensors but its input."""
    given = bench.views[INPUT].tensor if INPUT in bench.views else None
    return [tensor for tensor in bench.tensors if tensor is not given]


def _fill(bench, report):
    """Measure the matched tensors into the report; those that are off by more than rounding."""
    report.tensors = bench.measures(report.precision, report.factor)
    report.unmatched = [{"port": t.name, "shape": list(t.array.shape)} for t in bench.matching.free]
    report.copies = bench.matching.copies
    return [row for row in report.tensors if not row.passes]


def _notes(bench, report):
    if bench.given.note:
        report.notes.append(bench.given.note)
    report.notes += bench.stage_notes()
    if len(bench.given.x) > 1:
        report.notes.append(
            f"the tensors are those of picture {bench.index}; the decisions are on all {len(bench.given.x)}"
        )
    if INPUT in bench.views and not bench.port_run.forces_input:
        report.notes.append(
            "the port's input tensor is not what its first layer gets: another stage of its preprocessing"
        )


def _first(bench, report, failing):
    order = [INPUT, *bench.net.steps]
    names = {row.step for row in failing} or {step for row in report.explained_by for step in row["steps"]}
    return next((name for name in order if name in names), next(iter(names), None))


def _overflow(bench, report):
    """The first tensor with numbers that are not finite, or that stand at float16's limit; None if there is none."""
    return next((row for row in report.tensors if row.local.non_finite or _stuck(bench, row)), None)


def _stuck(bench, row):
    """How many numbers stand at float16's limit where the reference's are beyond it."""
    found, expected = bench.views[row.step].data, bench.local[row.step]
    return int(((np.abs(found) == 65504) & (np.abs(expected) > 65600)).sum())


def _overflown(bench, report, row):
    """The verdict of an overflow; what explains the tensors before it comes first."""
    many = f"{row.local.non_finite} values are NaN or infinite"
    what = many if row.local.non_finite else f"{_stuck(bench, row)} values stand at 65504"
    expected = bench.local[row.step]
    largest = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
    text = f"overflow at {row.step} ({row.port}): {what}; the largest reference value there is {largest:.4g}"
    snr = row.local.snr_db if np.isfinite(row.local.snr_db) else 0.0
    before, sentence = report.explained_by, _explained(report, True) + "; and " if report.explained_by else ""
    _blame(report, "overflow", row.step, text, "certain", snr, snr)
    report.explained_by = before + report.explained_by
    report.sentence = (sentence + report.sentence.removeprefix("explained by: ")) if sentence else report.sentence


def _explain(bench, report, overflow):
    """Fill in what explains the tensors, those before an overflow if there is one; the chain of trials."""
    rows = report.tensors if overflow is None else report.tensors[: report.tensors.index(overflow)]
    if overflow is not None and all(row.passes for row in rows):
        return []
    explainer = bench.tried = bench.explainer(report.tensors, report.precision, report.factor)
    explainer.counted &= {row.port for row in rows} | {t.name for t in bench.matching.free}
    chain, others = explainer.explain()
    report.faults_tried = explainer.tried
    rivals = [t for t in others if chain and t.believed and t.fault != chain[0].fault]
    for i, trial in enumerate(chain):
        report.explained_by.append(_entry(bench, trial, _certainty(trial, rivals[0] if rivals and not i else None)))
    seen = {row["fault"] for row in report.explained_by}
    for trial in others:  # of each other fault the best
        if trial.gain > 0.5 and trial.touched and trial.fault not in seen and len(report.alternatives) < OTHERS:
            seen.add(trial.fault)
            report.alternatives.append(_entry(bench, trial, ""))
    return chain


def _certainty(trial, rival):
    """How sure it is, in words."""
    if rival is not None and trial.gain - rival.gain < 1:
        return f"cannot be told from {rival.fault} ({rival.change.text}) by these tensors"
    lead = trial.snr_db - trial.before_db
    if rival is not None and trial.gain < 1.5 * rival.gain:
        return "likely"
    return "certain" if lead > 10 else "likely"


def _original(bench, trial):
    """What the original has in place of the first number that a fault changes: " (should be 0.2)", or ""."""
    before, after = bench.net.steps, trial.net.steps
    for name in trial.steps:
        for key in ("slope", "eps", "factor", "pad"):
            if name in after and (before[name].op, before[name].params) == (after[name].op, after[name].params):
                old, new = getattr(before[name], key), getattr(after[name], key)
                if old != new:
                    return f" (should be {old:.4g})" if isinstance(old, float) else f" (should be {old}, is {new})"
    return ""


def _entry(bench, trial, certainty):
    text = trial.change.text + _original(bench, trial)
    return _row(trial.fault, trial.steps, text, certainty, trial.before_db, trial.snr_db)


def _explained(report, cleared):
    parts = [
        f"{row['text']}{_where(row['steps'], row['text'])}: signal-to-noise rises from {row['snr_before_db']:.0f} to {row['snr_db']:.0f} dB ({row['certainty']})"
        for row in report.explained_by
    ]
    rest = "" if cleared else "; something else is wrong as well"
    return "explained by: " + "; and ".join(parts) + rest


def _where(steps, text):
    if not steps or steps == [INPUT] or len(steps) == 1 and steps[0] in text.split():
        return ""
    return f" at {steps[0]}" if len(steps) == 1 else f" at {len(steps)} steps ({steps[0]} ... {steps[-1]})"


def _is_half(bench, rows, factor):
    """Whether all errors are of float16's size, and spread over the network as rounding is.

    Weights rounded to float16 leave no marks on the tensors.
    """
    half = bench.measures("float16", min(factor, HALF_FACTOR))
    off = [row.local.ratio > factor for row in rows if row.step != INPUT]
    return all(row.passes for row in half) and np.mean(off) >= 0.3


def _other_order(bench, report):
    """The right logits, in another order."""
    view = bench.views.get("logits")
    if view is None or view.finite is not None:
        return False
    found, expected = np.sort(view.data, axis=1), np.sort(bench.local["logits"], axis=1)
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


def _by_shape(bench, report):
    """Shapes that the network does not have."""
    if "logits" in bench.views and all(row.passes for row in report.tensors):
        return False  # tensors between our steps
    evidence = shape_evidence(bench.net, bench.model.variant, bench.matching.free, bench.named())
    if not evidence:
        return False
    sure = "by its shape alone"
    report.explained_by = [_row(row["fault"], row["steps"], row["text"], sure, 0.0, 0.0) for row in evidence]
    report.verdict, report.sentence = "diverges", f"explained by: {evidence[0]['text']} ({sure})"
    return True


def _decoder(bench, report):
    """An input that is off a little all over, which no other way of resizing explains."""
    row = next((row for row in report.tensors if row.step != "probabilities"), None)
    if row is None or row.passes or any(not other.passes for other in report.tensors if other is not row):
        return False
    if row.step == INPUT:
        error = (bench.views[INPUT].data - bench.x) * np.asarray(bench.model.preprocess.std)[:, None, None] * 255
        typical, largest = float(np.sqrt(np.square(error).mean())), float(np.abs(error).max())
        if typical > 4 or largest > 64:
            return False
        text = f"another picture decoder: the input is off by up to {largest:.1f} of 255, {typical:.2f} on average"
        return _blame(report, "decoder", INPUT, text, "likely", row.local.snr_db, row.local.noise_db)
    if INPUT in bench.views or not bench.given.pictures:
        return False
    error, typical = 10 ** (-row.local.snr_db / 10), bench.jittered(row.step)
    if not typical / 1000 < error < 10 * typical:
        return False
    text = f"no fault that was tried; {row.step} is as far off as if another decoder gave pictures a few of 255 off"
    return _blame(report, "decoder", INPUT, text, "a guess", row.local.snr_db, row.local.noise_db)


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


def _unexplained(bench, row, report):
    found, expected = bench.views[row.step].data.astype(np.float64), bench.local[row.step]
    looks = symptom(found, expected)
    nearest = f"; nearest is {report.alternatives[0]['text']}" if report.alternatives else ""
    return (
        f"unexplained, first at {row.step}" + (f", {looks}" if looks else "") + f" ({row.local.snr_db:.0f} dB){nearest}"
    )


def _fine(report):
    worst = max((row.local.ratio for row in report.tensors), default=0.0)
    report.verdict, report.sentence = "fine", f"within {worst:.2g} x {report.precision} rounding"
    if worst > 0:
        snr = min(row.accumulated.snr_db for row in report.tensors)
        report.explained_by = [_row("rounding", (), f"{report.precision} rounding", "certain", snr, snr)]
