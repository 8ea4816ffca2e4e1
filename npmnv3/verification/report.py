"""What a verification found, for people, programs and continuous integration."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..model.html import details, points, table, verdict
from .measure import Measure

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

HEADER = "step|port's tensor|layout|local dB|x {precision}|max error|accumulated dB|cosine|bits|worst channel|".split(
    "|"
)
ALIGN = "<<<>>>>>>><"


@dataclass
class TensorReport:
    """One tensor of a port.

    Attributes
    ----------
    port, step : its name in the port, and in the reference
    how : how it was matched, see `matching.Matching`
    layout : how the port stores it: "nchw", "nhwc", "nchw16c", ...
    local : Measure against the step run on the port's own inputs: what this step added
    accumulated : Measure against the reference's whole run: with what it inherited
    passes : bool, local error within the factor of the noise, or little above where the whole and the logits are right
    """

    port: str
    step: str
    how: str
    layout: str
    shape: tuple[int, ...]
    local: Measure
    accumulated: Measure
    passes: bool
    permutation: tuple[int, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The row as a dict of plain values."""
        row = {
            "port": self.port,
            "step": self.step,
            "matched_by": self.how,
            "layout": self.layout,
            "shape": list(self.shape),
        }
        if self.permutation:
            row["permutation"] = list(self.permutation)
        return row | {"pass": self.passes, "local": self.local.as_json(), "accumulated": self.accumulated.as_json()}


@dataclass
class Report:
    """A verification's result.

    Attributes
    ----------
    verdict : "fine" or "diverges"
    sentence : the verdict in words
    explained_by : list of dict(fault, steps, snr_db, snr_before_db, text, certainty), best first; more than one where
        one fault alone does not explain the port
    alternatives : list of dict, what was tried and comes next
    first_divergence : name of the first step that is off by more than rounding, or None
    tensors : list of TensorReport, in order of execution
    unmatched : list of dict(port, shape), tensors that fit no step
    precision, factor : the noise is that of this precision; errors up to `factor` times the noise pass
    copies : {port's name: step's name}, tensors that only repeat another's numbers
    decisions : dict, see `measure.decisions`, or None without logits
    notes : list of str
    reach : "by its own input alone" of a port that was given another picture, else ""

    Examples
    --------
    >>> model = npmnv3.load("ppocr/text_direction", engine="numpy")
    >>> x = npmnv3.preprocess("weights/examples/sign_upright.png", model)[None]
    >>> report = npmnv3.verify(model, {"output": model(x)}, x)
    >>> report.verdict, bool(report), report.first_divergence
    ('fine', True, None)
    >>> report.tensors[0].port, report.tensors[0].step, report.tensors[0].local.max_abs < 1e-5
    ('output', 'logits', True)
    """

    model: str
    port: str
    verdict: str
    sentence: str
    precision: str
    factor: float
    explained_by: list[dict[str, Any]] = field(default_factory=list)
    alternatives: list[dict[str, Any]] = field(default_factory=list)
    first_divergence: str | None = None
    tensors: list[TensorReport] = field(default_factory=list)
    unmatched: list[dict[str, Any]] = field(default_factory=list)
    copies: dict[str, str] = field(default_factory=dict)
    decisions: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    faults_tried: int = 0
    reach: str = ""
    picture: npt.NDArray[np.floating] | None = None  # (3, H, W), the input as the port saw it, for the HTML page

    @property
    def fine(self) -> bool:
        """Whether the port agrees to rounding."""
        return self.verdict == "fine"

    @property
    def word(self) -> str:
        """The verdict in a few words: "fine" alone does not stand before a port that was given another picture."""
        return f"{self.verdict} {self.reach}" if self.fine and self.reach else self.verdict

    def __bool__(self) -> bool:
        return self.fine

    def mapping(self) -> dict[str, str | None]:
        """{port's name: step's name or None}: what `map=` and `--map` take.

        Examples
        --------
        >>> model = npmnv3.load("ppocr/text_direction", engine="numpy")
        >>> x = npmnv3.preprocess("weights/examples/sign_upright.png", model)[None]
        >>> report = npmnv3.verify(model, {"output": model(x)}, x)
        >>> report.mapping()
        {'output': 'logits'}
        """
        matched: dict[str, str | None] = {t.port: t.step for t in self.tensors}
        return matched | {row["port"]: None for row in self.unmatched}

    def as_json(self) -> dict[str, Any]:
        """A dict of plain values, ready for json.dumps.

        Examples
        --------
        >>> model = npmnv3.load("ppocr/text_direction", engine="numpy")
        >>> x = npmnv3.preprocess("weights/examples/sign_upright.png", model)[None]
        >>> report = npmnv3.verify(model, {"output": model(x)}, x)
        >>> import json
        >>> json.dumps(report.as_json())
        '{"model": "ppocr/text_direction", "port": "dict", "verdict": "fine", ...}'
        """
        skipped = ("tensors", "picture")
        row = {key: value for key, value in asdict(_bare(self)).items() if key not in skipped}
        return row | {"tensors": [t.as_json() for t in self.tensors]}

    def __str__(self) -> str:
        return self.text()

    def text(self) -> str:
        """The report as a table, verdict first.

        Examples
        --------
        >>> model = npmnv3.load("ppocr/text_direction", engine="numpy")
        >>> x = npmnv3.preprocess("weights/examples/sign_upright.png", model)[None]
        >>> report = npmnv3.verify(model, {"output": model(x)}, x)
        >>> print(report)
        ppocr/text_direction against dict
        FINE: within ... x float32 rounding
        ...
        """
        return "\n".join(_lines(self))

    def _repr_html_(self) -> str:
        """For notebooks: the verdict, the causes, the tensors that diverge, and behind a click all of them."""
        decided = [f"Decisions: {self.decisions['text']}."] if self.decisions else []
        bad = {i for i, row in enumerate(self.tensors) if not row.passes}
        rows = [*map(_row, self.tensors)]
        faults = [
            (c["fault"], c["text"], c.get("certainty", ""), len(c["steps"])) for c in self.explained_by if not self.fine
        ]
        unmatched = ", ".join(f"{row['port']} {tuple(row['shape'])}" for row in self.unmatched)
        parts = [
            verdict(f"{self.model} against {self.port}", self.word, self.sentence, self.fine and not self.reach),
            points([*decided, *self.notes, *([f"Fits no step: {unmatched}."] if unmatched else [])]),
            table(faults, ("fault", "what", "how sure", "steps"), "<<<>") if faults else "",
            table([rows[i] for i in sorted(bad)], _header(self), ALIGN) if bad else "",
            details(f"{len(rows)} tensors", table(rows, _header(self), ALIGN, bad)) if rows else "",
        ]
        return "".join(parts)

    def junit(self) -> str:
        """JUnit XML: one test case a tensor.

        Examples
        --------
        >>> model = npmnv3.load("ppocr/text_direction", engine="numpy")
        >>> x = npmnv3.preprocess("weights/examples/sign_upright.png", model)[None]
        >>> report = npmnv3.verify(model, {"output": model(x)}, x)
        >>> print(report.junit())
        <?xml version='1.0' encoding='...'?>
        <testsuite name="npmnv3 verify ppocr/text_direction" tests="2" failures="0">...</testsuite>
        """
        failed = [t for t in self.tensors if not t.passes]
        suite = ET.Element(
            "testsuite",
            name=f"npmnv3 verify {self.model}",
            tests=str(len(self.tensors) + 1),
            failures=str(len(failed) + (not self.fine)),
        )
        case = ET.SubElement(suite, "testcase", classname=self.model, name="verdict")
        if not self.fine:
            ET.SubElement(case, "failure", message=self.sentence)
        for tensor in self.tensors:
            case = ET.SubElement(suite, "testcase", classname=self.model, name=f"{tensor.step} ({tensor.port})")
            if not tensor.passes:
                local = tensor.local
                message = (
                    f"{local.ratio:.3g} x {self.precision} noise, largest error {local.max_abs:.3g} at {local.place}"
                )
                ET.SubElement(case, "failure", message=message)
        return ET.tostring(suite, encoding="unicode", xml_declaration=True)


def _bare(report: Report) -> Report:
    return replace(report, tensors=[], picture=None)


def _lines(report: Report) -> Iterator[str]:
    yield f"{report.model} against {report.port}"
    yield f"{report.word.upper()}: {report.sentence}"
    if report.decisions:
        yield f"decisions: {report.decisions['text']}"
    yield from (f"note: {note}" for note in report.notes)
    yield from ending(report, [_header(report), *map(_row, report.tensors)], ALIGN)


def ending(report: Any, rows: list[tuple[str, ...]], align: str) -> Iterator[str]:
    """The last lines of a report of any kind: its tensors in a table, the header first, and what fits no step.

    align : "<" or ">" for each column
    """
    if report.tensors:
        yield ""
        widths = [max(map(len, column)) for column in zip(*rows)]
        for row in rows:
            yield "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, align, widths)).rstrip()
    if report.unmatched:
        yield ""
        yield "fits no step: " + ", ".join(f"{row['port']} {tuple(row['shape'])}" for row in report.unmatched)


def _header(report: Report) -> tuple[str, ...]:
    return tuple(title.format(precision=report.precision) for title in HEADER)


def _row(t: TensorReport) -> tuple[str, ...]:
    return (
        t.step,
        t.port if t.port != t.step else "=",
        t.layout,
        _number(t.local.snr_db, ".1f"),
        _number(t.local.ratio, ".3g"),
        _number(t.local.max_abs, ".2e"),
        _number(t.accumulated.snr_db, ".1f"),
        _number(t.accumulated.cosine, ".7f"),
        _number(t.accumulated.effective_bits, ".1f"),
        f"{t.local.worst_channel} ({t.local.worst_channel_share:.0%})",
        "" if t.passes else "<-- not finite" if t.local.non_finite else "<--",
    )


def _number(value: float, form: str) -> str:
    return "exact" if value == float("inf") and form == ".1f" else f"{value:{form}}"
