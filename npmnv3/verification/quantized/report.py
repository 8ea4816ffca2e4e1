"""What the verification of a quantised port found, for people, programs and continuous integration."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...model.html import details, points, table, verdict
from ..report import ending
from .because import cause_text
from .cost import Cost

LONG = 48  # characters of a name in the table
HEADER = ("step", "port's tensor", "matched by", "layout", "off", "by", "dB to float", "")
ALIGN = "<<<<>>><"


@dataclass(frozen=True)
class TensorRow:
    """One tensor. exact : whether it is the kernel set's, integer for integer; tied : whether it is but for numbers on a tie,
    as a layer left in floats gives them; because : the rule that explains it if not; exact_of : all the kernel sets, of those
    looked at, whose it is"""

    step: str
    port: str
    how: str
    layout: str
    exact: bool
    off: int = 0  # numbers that differ
    of: int = 0
    largest: int = 0  # steps
    because: str = ""
    snr_db: float | None = None
    exact_of: tuple = ()
    tied: bool = False

    @property
    def right(self) -> bool:
        """Whether nothing is held against it."""
        return self.exact or self.tied

    def as_json(self) -> dict[str, Any]:
        """The row as a dict of plain values."""
        row = {
            key: getattr(self, key)
            for key in ("step", "port", "layout", "exact", "tied", "off", "of", "largest", "because")
        }
        return row | {
            "matched_by": self.how,
            "exact_of": list(self.exact_of),
            "snr_db": self.snr_db if self.snr_db is None or np.isfinite(self.snr_db) else None,
        }


@dataclass
class QuantizedReport:
    """A verification's result.

    Attributes
    ----------
    verdict : "fine" or "diverges"
    sentence : the verdict in words
    kernels : names of the kernel sets whose integers all tensors are; else the one that the causes are told against
    kernel_sets : list of dict(name, exact, of, first)
    causes : list of Cause, in order of execution
    tensors : list of TensorRow
    layers : list of LayerCheck; empty where no float weights are here
    cost : Cost, or None

    Examples
    --------
    >>> model = npmnv3.load("ppocr/text_direction", engine="numpy")
    >>> report = npmnv3.verify(model, "text_direction.npz", "weights/examples/sign_upright.png")
    >>> report.verdict, report.first_divergence, len(report.layers)
    ('fine', None, 54)
    """

    model: str
    port: str
    verdict: str
    sentence: str
    kernels: tuple[str, ...] = ()
    kernel_sets: list[dict[str, Any]] = field(default_factory=list)
    causes: list[Any] = field(default_factory=list)
    tensors: list[TensorRow] = field(default_factory=list)
    unmatched: list[dict[str, Any]] = field(default_factory=list)
    layers: list[Any] = field(default_factory=list)
    cost: Cost | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def fine(self) -> bool:
        """Whether all is the network's, rounded, and the kernel set's integers."""
        return self.verdict == "fine"

    def __bool__(self) -> bool:
        return self.fine

    @property
    def dear(self) -> bool:
        """Whether it is fine, and quantising cost so much that a network of these integers is of little use, or that first
        answers flip."""
        return self.fine and self.cost is not None and self.cost.dear

    @property
    def word(self) -> str:
        """The verdict in a few words: "fine" alone does not stand before a port whose answers are others."""
        what = "integers" if self.tensors else "a file"
        return f"{self.verdict} as {what}, but quantising cost" if self.dear else self.verdict

    @property
    def summary(self) -> str:
        """The sentence; where quantising cost much that comes first."""
        if self.dear and self.cost:
            return f"{self.cost.decided()}; {self.sentence}"
        return self.sentence

    @property
    def first_divergence(self) -> str | None:
        """Name of the first tensor that is not the kernel set's, or None."""
        return next((row.step for row in self.tensors if not row.right), None)

    def as_json(self) -> dict[str, Any]:
        """A dict of plain values, ready for json.dumps.

        Examples
        --------
        >>> model = npmnv3.load("ppocr/text_direction", engine="numpy")
        >>> report = npmnv3.verify(model, "text_direction.npz", "weights/examples/sign_upright.png")
        >>> report.as_json()["verdict"]
        'fine'
        """
        return {
            "model": self.model,
            "port": self.port,
            "verdict": self.verdict,
            "sentence": self.sentence,
            "headline": f"{self.word}: {self.summary}",
            "kernels": list(self.kernels),
            "kernel_sets": self.kernel_sets,
            "first_divergence": self.first_divergence,
            "causes": [cause.as_json() for cause in self.causes],
            "cost": self.cost.as_json() if self.cost else None,
            "layers": [layer.as_json() for layer in self.layers],
            "notes": list(self.notes),
            "unmatched": self.unmatched,
            "tensors": [row.as_json() for row in self.tensors],
        }

    def __str__(self) -> str:
        return self.text()

    def text(self) -> str:
        """The report, verdict first.

        Examples
        --------
        >>> model = npmnv3.load("ppocr/text_direction", engine="numpy")
        >>> report = npmnv3.verify(model, "text_direction.npz", "weights/examples/sign_upright.png")
        >>> print(report.text())
        ppocr/text_direction against text_direction.npz
        FINE: ...
        """
        return "\n".join(_lines(self))

    def _repr_html_(self) -> str:
        """For notebooks: the verdict, the causes, and the tensors' table behind a click."""
        sets = ", ".join(f"{row['name']} {row['exact']} of {row['of']}" for row in self.kernel_sets)
        lines = [
            *([f"Exact tensors: {sets}."] if len(self.kernel_sets) > 1 else []),
            *(f"Cause: {cause_text(cause)}." for cause in self.causes),
            *([f"Weights: {_weights_text(self.layers)}."] if self.layers else []),
            *([f"Quantising cost: {self.cost.text()}."] if self.cost else []),
            *self.notes,
            *(f"Fits no step: {row['port']} {tuple(row['shape'])}." for row in self.unmatched),
        ]
        title = f"{self.model} against {self.port}"
        head = verdict(title, self.word, self.summary, self.fine and not self.dear) + points(lines)
        bad = {i for i, row in enumerate(self.tensors) if not row.right}
        rows = table(map(_row, self.tensors), HEADER, ALIGN, bad)
        return head + (
            details(f"{len(self.tensors)} tensors, {len(bad)} not the kernel set's", rows) if self.tensors else ""
        )

    def junit(self) -> str:
        """JUnit XML: one test case a tensor.

        Examples
        --------
        >>> model = npmnv3.load("ppocr/text_direction", engine="numpy")
        >>> report = npmnv3.verify(model, "text_direction.npz", "weights/examples/sign_upright.png")
        >>> print(report.junit())
        <?xml version='1.0' encoding='...'?>
        <testsuite name="npmnv3 verify ppocr/text_direction" ...
        """
        wrong = [layer for layer in self.layers if layer.wrong]
        failed = [row for row in self.tensors if not row.right]
        count = 1 + len(self.tensors) + len(self.layers)
        suite = ET.Element(
            "testsuite",
            name=f"npmnv3 verify {self.model}",
            tests=str(count),
            failures=str(len(failed) + len(wrong) + (not self.fine)),
        )
        _case(suite, self.model, "verdict", "" if self.fine else self.sentence)
        for row in self.tensors:
            text = "" if row.right else f"{row.off} of {row.of} integers differ, by up to {row.largest}. {row.because}"
            _case(suite, self.model, f"{row.step} ({row.port})", text.strip())
        for layer in self.layers:
            _case(suite, self.model, f"weights of {layer.name}", layer.wrong)
        return ET.tostring(suite, encoding="unicode", xml_declaration=True)


def _case(suite: ET.Element, model: str, name: str, failure: str) -> None:
    case = ET.SubElement(suite, "testcase", classname=model, name=name)
    if failure:
        ET.SubElement(case, "failure", message=failure)


def _lines(report: QuantizedReport) -> Iterator[str]:
    yield f"{report.model} against {report.port}"
    yield f"{report.word.replace(report.verdict, report.verdict.upper(), 1)}: {report.summary}"
    if len(report.kernel_sets) > 1:
        fits = (f"{row['name']} {row['exact']} of {row['of']}" for row in report.kernel_sets)
        yield f"exact tensors: {', '.join(fits)}"
    for cause in report.causes:
        yield f"cause: {cause_text(cause)}"
    if report.layers:
        yield f"weights: {_weights_text(report.layers)}"
    if report.cost:
        yield f"quantising cost: {report.cost.text()}"
    yield from (f"note: {note}" for note in report.notes)
    yield from ending(report, [HEADER, *map(_row, report.tensors)], ALIGN)


def _weights_text(layers: list[Any]) -> str:
    wrong = [layer for layer in layers if layer.wrong]
    worst = sorted(layers, key=lambda layer: layer.snr_db)
    span = f"{worst[0].snr_db:.0f} dB ({worst[0].name}) to {worst[-1].snr_db:.0f} dB ({worst[-1].name})"
    if not wrong:
        return f"those of {len(layers)} of {len(layers)} layers are the network's, rounded: {span}"
    first = "; ".join(f"{layer.name} {layer.wrong}" for layer in wrong[:4])
    more = f"; and {len(wrong) - 4} layers more" if len(wrong) > 4 else ""
    return f"{len(wrong)} of {len(layers)} layers are not the network's: {first}{more}"


def _short(name: str) -> str:
    """The end of a converter's long names."""
    return name if len(name) <= LONG else f"...{name[3 - LONG :]}"


def _row(row: TensorRow) -> tuple[str, ...]:
    return (
        row.step,
        _short(row.port) if row.port != row.step else "=",
        row.how,
        row.layout,
        "exact" if row.exact else f"{row.off} of {row.of}",
        "" if row.exact else str(row.largest),
        "" if row.snr_db is None else "exact" if row.snr_db == np.inf else f"{row.snr_db:.1f}",
        "" if row.exact else f"{'' if row.tied else '<-- '}{row.because}".rstrip(),
    )
