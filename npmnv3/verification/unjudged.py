"""What a report says of a port before it is judged: its measures, and notes on how they were taken."""

from ..network.steps import INPUT
from . import sentences
from .report import Report


def unjudged(comparison, port):
    """A Report with all that is there to say before the port is judged."""
    report = Report(comparison.model.variant.full_name, port, "fine", "", comparison.precision, comparison.factor)
    fill(comparison, report)
    report.decisions = comparison.decisions()
    report.picture = comparison.views[INPUT].data[0] if INPUT in comparison.views else comparison.x[0]
    _notes(comparison, report)
    return report


def fill(comparison, report):
    """Put the measures into the report."""
    report.tensors = comparison.rows
    report.unmatched = [{"port": t.name, "shape": list(t.array.shape)} for t in comparison.matching.free]
    report.copies = comparison.matching.copies


def _notes(comparison, report):
    if comparison.given.note:
        report.notes.append(comparison.given.note)
    report.notes += comparison.stage_notes()
    if len(comparison.given.x) > 1:
        report.notes.append(
            f"the tensors are those of picture {comparison.index}; the decisions are on all {len(comparison.given.x)}"
        )
    if fitted := sum(view.step_size > 0 for view in comparison.views.values()):
        report.notes.append(sentences.fitted(fitted))
    if printed := [view.tensor.printed for view in comparison.views.values() if view.tensor.printed]:
        report.notes.append(sentences.printed(printed))
    if INPUT in comparison.views and not comparison.port_run.forces_input:
        report.notes.append(
            "the port's input tensor is not what its first layer gets: another stage of its preprocessing"
        )


def first_divergence(comparison, report, failing):
    """The first step, in order of execution, of what is off or of what explains it; None."""
    order = [INPUT, *comparison.net.steps]
    names = {row.step for row in failing} or {step for row in report.explained_by for step in row["steps"]}
    return next((name for name in order if name in names), next(iter(names), None))
