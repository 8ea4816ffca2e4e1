"""Causes that no faulty network stands for: each looks at the measures, and makes itself the verdict if it is the one."""

import numpy as np

from ..network.steps import INPUT
from . import sentences
from .agreement import logits_row
from .measure import plain, share
from .noise import trace
from .tensors import correlation, relative_error

UNRELATED = 0.5  # correlation below which two tensors have nothing to do with each other
FEWEST = 8  # different logits from which that says something
DECODER = 4.0, 64.0  # of 255: what another decoder may be off by, typically and at most


def blame(report, fault, step, text, certainty, before, after):
    """Make one fault the verdict; True."""
    report.explained_by = [explanation(fault, [step] if step else [], text, certainty, before, after)]
    report.verdict, report.sentence = "diverges", f"explained by: {text} ({certainty})"
    return True


def explanation(fault, steps, text, certainty, before, after):
    return {
        "fault": fault,
        "steps": list(steps),
        "snr_db": plain(float(after)),
        "snr_before_db": plain(float(before)),
        "text": text,
        "certainty": certainty,
    }


def other_final(comparison, report):
    """A tensor of the logits' shape that is their log-softmax: the port's last, which the network does not have."""
    logits = comparison.local["logits"] if "logits" in comparison.views else comparison.oracle["logits"]
    row = logits_row(report.tensors)
    for tensor in comparison.other_finals():
        found = tensor.views(logits.shape[1:], 1)[0].data.astype(np.float64)
        error = np.square(found - found.mean() - (logits - logits.mean())).sum()
        if row is None or not np.isfinite(error) or np.allclose(found, logits, rtol=1e-3):
            continue
        total = np.log(np.exp(found - found.max()).sum()) + found.max()  # of probabilities it is 0
        relative = error / max(np.square(logits - logits.mean()).sum(), 1e-30)
        if relative <= 100 * share(row.accumulated.noise_db) and abs(total) < 1e-2:
            text = f"log-softmax of the logits ({tensor.name}), which the network does not have"
            return blame(report, "log_softmax", "logits", text, "certain", 0.0, -10 * np.log10(max(relative, 1e-32)))
    return False


def other_order(comparison, report):
    """The right logits, in another order."""
    view = comparison.views.get("logits")
    if view is None or view.finite is not None:
        return False
    found, expected = np.sort(view.data, axis=1), np.sort(comparison.local["logits"], axis=1)
    error = np.square(found - expected).sum() / view.power
    row = logits_row(report.tensors)
    is_near = error <= max(1e-4, share(row.local.noise_db)) and 100 * error <= share(row.local.snr_db)
    if row.passes or not is_near:
        return False
    text = "the right logits in another order of the classes"
    return blame(report, "class_shift", "logits", text, "likely", row.local.snr_db, -10 * np.log10(max(error, 1e-32)))


def other_classifier(comparison, report):
    """Logits that have nothing to do with the reference's, from features that are right."""
    view, source = comparison.views.get("logits"), comparison.net.steps["logits"].inputs[0]
    off = [row.step for row in report.tensors if not row.passes and row.step != "probabilities"]
    if view is None or view.finite is not None or off != ["logits"] or len(report.tensors) < 2:
        return False
    near = abs(correlation(view.data.ravel(), comparison.local["logits"].ravel()))
    if near > UNRELATED or len(np.unique(view.data)) < FEWEST or not _given_behind(comparison, source):
        return False
    row = logits_row(report.tensors)
    text = sentences.other_classifier(near)
    return blame(report, "other_classifier", "logits", text, "likely", row.local.snr_db, row.local.snr_db)


def _given_behind(comparison, name):
    """Whether the port gave, and rightly, a tensor from which this step follows without another layer's weights."""
    steps = comparison.net.steps
    while name not in comparison.views:
        step = steps.get(name)
        if step is None or len(step.inputs) != 1 or step.params and step.op != "batch_norm":
            return False
        name = step.inputs[0]
    return True


def by_shape(comparison, report):
    """Shapes that the network does not have."""
    last = logits_row(report.tensors)
    if last is not None and last.accumulated.ratio <= comparison.factor:
        return False  # tensors between our steps
    if last is not None and report.tensors and all(row.passes for row in report.tensors):
        return False
    evidence = comparison.shape_evidence()
    if not evidence:
        return False
    sure = "by its shape alone"
    report.explained_by = [explanation(row["fault"], row["steps"], row["text"], sure, 0.0, 0.0) for row in evidence]
    report.verdict, report.sentence = "diverges", f"explained by: {evidence[0]['text']} ({sure})"
    return True


def decoder(comparison, report):
    """An input that is off a little all over, which no other way of resizing explains."""
    rows = [row for row in report.tensors if row.step != "probabilities"]
    off = [row for row in rows if not row.passes]
    if not off or off[0] is not rows[0]:
        return False
    if off[0].step == INPUT:
        std = np.asarray(comparison.model.preprocess.std)[:, None, None]
        error = (comparison.views[INPUT].data - comparison.x) * std * 255
        if (
            len(off) > 1
            or float(np.sqrt(np.square(error).mean())) > DECODER[0]
            or float(np.abs(error).max()) > DECODER[1]
        ):
            return False
        row = off[0]
        return blame(report, "decoder", INPUT, sentences.decoder(error), "likely", row.local.snr_db, row.local.noise_db)
    if INPUT in comparison.views or not comparison.given.pictures or not _are_of_jitter(comparison, off):
        return False
    row = off[0]
    text = sentences.decoder(step=row.step)
    return blame(report, "decoder", INPUT, text, "a guess", row.local.snr_db, row.local.noise_db)


def _are_of_jitter(comparison, rows):
    """Whether tensors are made of the input, and of none that is right, and off as if it were by up to 2 of 255."""
    net, given = comparison.net, comparison.views
    if not all(INPUT in net.back_to(row.step, given.keys() - {row.step}) for row in rows):
        return False
    levels = np.random.default_rng(0).integers(-2, 3, comparison.x.shape) / 255
    x = comparison.x + levels / np.asarray(comparison.model.preprocess.std)[:, None, None]
    found = trace(net, comparison.exact, x, keep=tuple(row.step for row in rows))
    typical = [relative_error(comparison.oracle[row.step], found[row.step]) for row in rows]
    return all(one / 1000 < share(row.local.snr_db) < 10 * one for row, one in zip(rows, typical))


#: function (comparison, report) -> whether it is the cause, in the order in which they are asked
CAUSES = (other_order, by_shape, decoder, other_classifier)
