"""What `quantize` found, as text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..evaluation.files import counted
from ..model.html import details, points, table, verdict
from .causes import Cause, outcome_text
from .converters import Possible
from .judge import Outcome


@dataclass(frozen=True)
class Report:
    """What quantising a network costs, why, and what saves it.

    model, scheme, recipe : str
    calibration : int, pictures
    data : str, what was judged on
    exact, outcome : Outcome, of the float network, and of what was asked for
    tensors : list of dict, one a stored tensor: name, low, high, step, zero_point, dtype, ratio, dead, channels, snr_db
    layers : list of dict, one a layer with weights: name, op, ratio, dead, channels, snr_db
    parts : {part: dB}
    causes : tuple of Cause
    tried : list of (title, Outcome), of the recipes, the cheapest first; of fp16 and bf16 the kinds of arithmetic
    advice : str, the cheapest change that saves it
    advised : (Recipe, Outcome, bool: whether it saves), or None
    learned : list of (title, Outcome), simulated to learn where the loss comes from
    notes : tuple of str
    caveats : tuple of str, how far the predicted figures can be believed, to stand beside them
    converter : Possible, what the scheme's own converter can do of what is advised; None where there is no such converter
    left_out : tuple of str, pictures to judge on that do not count, and why
    parameters : Parameters of what was asked for; None for fp16 and bf16

    Examples
    --------
    >>> report = npmnv3.quantize("ppocr/text_direction", "weights/examples/sign_upright.png", scheme="bf16")
    >>> report.scheme, report.recipe, report.outcome.agreement, report.fine
    ('bf16', 'storage', 100.0, True)
    """

    model: str
    scheme: str
    recipe: str
    calibration: int
    data: str
    exact: Outcome
    outcome: Outcome
    tensors: list[dict[str, Any]]
    layers: list[dict[str, Any]]
    parts: dict[str, float]
    causes: tuple[Cause, ...]
    tried: list[tuple[str, Outcome]]
    advice: str
    advised: tuple[Any, Outcome, bool] | None
    learned: list[tuple[str, Outcome]]
    left_out: tuple[str, ...]
    parameters: Any
    notes: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()
    converter: Possible | None = None

    @property
    def beside(self) -> str:
        """What the scheme's own converter can do of what is advised; empty where there is no such converter."""
        return self.converter.text() if self.converter else ""

    @property
    def fine(self) -> bool:
        """Whether what was asked for needs no saving."""
        return self.advised is None or (self.advised[2] and str(self.advised[0]) == self.recipe)

    @property
    def why(self) -> str:
        """The heading of the causes: where nothing is lost they explain nothing."""
        return "There is, though it costs little here" if self.fine else "Why"

    def as_json(self) -> dict[str, Any]:
        """The report as plain dicts, lists, numbers and texts; infinite decibels are None.

        Examples
        --------
        >>> report = npmnv3.quantize("ppocr/text_direction", "weights/examples/sign_upright.png", scheme="bf16")
        >>> report.as_json()["predicted"]["agreement"]
        100.0
        """
        outcomes = {"float": self.exact, "predicted": self.outcome}
        whole: dict[str, Any] = _plain(
            {
                "model": self.model,
                "scheme": self.scheme,
                "recipe": self.recipe,
                "calibration_pictures": self.calibration,
                "data": self.data,
                **{name: asdict(one) for name, one in outcomes.items()},
                "caveats": list(self.caveats),
                "advice": self.advice,
                "converter": self.converter and self.converter.as_json(),
                "recommended": self.advised
                and {"recipe": str(self.advised[0]), "saves": self.advised[2], **asdict(self.advised[1])},
                "causes": [asdict(cause) for cause in self.causes],
                "tried": [{"recipe": title, **asdict(one)} for title, one in self.tried],
                "learned": [{"what": title, **asdict(one)} for title, one in self.learned],
                "tensors": self.tensors,
                "layers": self.layers,
                "parts": self.parts,
                "notes": list(self.notes),
                "left_out": list(self.left_out),
            }
        )
        return whole

    def _repr_html_(self) -> str:
        """For notebooks: what is predicted and advised, why, what was tried, and behind a click the tensors."""
        title = f"{self.model} in {self.scheme}, {self.recipe}; judged on {self.data}"
        word = "fine" if self.fine else "needs saving"
        rows = [
            (row["name"], row["dtype"], f"{row['ratio']:.1f}", decibels_text(row["snr_db"])) for row in self.tensors
        ]
        parts = [
            verdict(title, word, f"predicted {outcome_text(self.outcome)}. {self.advice}.", self.fine),
            points([*([f"{self.beside}."] if self.beside else []), *self.caveats]),
            points(f"{cause.name}: {cause.text}. What helps: {cause.remedy}." for cause in self.causes),
            table(map(_outcome_row, self.tried), OUTCOME_HEADER, ">>>><"),
            details(f"{len(rows)} tensors", table(rows, ("tensor", "type", "ratio", "alone dB"), "<<>>"))
            if rows
            else "",
            points(self.notes),
        ]
        return "".join(parts)

    def __str__(self) -> str:
        return self.text()

    def text(self) -> str:
        """The report as it is printed: the verdict first, then why, what helps, and the tables.

        Examples
        --------
        >>> report = npmnv3.quantize("ppocr/text_direction", "weights/examples/sign_upright.png", scheme="bf16")
        >>> print(report.text())
        ppocr/text_direction, bf16, storage; calibrated on 1 picture
        ...
        predicted  100.0% as in floats, logits ... dB
        ...
        """
        lines = [
            f"{self.model}, {self.scheme}, {self.recipe}; calibrated on {counted(self.calibration, 'picture')}",
            f"judged on {self.data}",
            "",
            *([] if self.exact.top1 is None else [f"float      top-1 {self.exact.top1:.1f}"]),
            f"predicted  {outcome_text(self.outcome)}, logits {decibels_text(self.outcome.snr_db)} dB",
            *self.caveats,
            "",
            self.advice,
            *([self.beside] if self.beside else []),
        ]
        if self.causes:
            lines += ["", self.why + ":"]
            for cause in self.causes:
                lines += [f"* {cause.name}: {cause.text}", f"  what helps: {cause.remedy}"]
        if self.learned:
            lines += ["", "Where it is lost:", *_outcome_lines(self.learned)]
        lines += ["", "What was tried, the cheapest first:", *_outcome_lines(self.tried)]
        if self.tensors:
            lines += ["", *_tensor_lines(self.tensors)]
        if self.layers:
            lines += ["", *_layer_lines(self.layers)]
        lines += ["", *self.notes] if self.notes else []
        return "\n".join(lines)


OUTCOME_HEADER = ("top-1", "95%", "as float %", "logits dB", "")


def decibels_text(level: float | None) -> str:
    """`12.3`, `exact`, or `-` where nothing was measured."""
    if level is None:
        return "-"
    return "exact" if level == math.inf else f"{level:.1f}"


def _columns(rows: Sequence[tuple[str, ...]], align: str) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(align))]
    return ["  ".join(f"{cell:{a}{w}}" for cell, a, w in zip(row, align, widths)).rstrip() for row in rows]


def _outcome_row(tried: tuple[str, Outcome]) -> tuple[str, ...]:
    title, one = tried
    top1 = "-" if one.top1 is None else f"{one.top1:.1f}"
    interval = "-" if one.interval is None else f"{one.interval[0]:.0f}..{one.interval[1]:.0f}"
    return top1, interval, f"{one.agreement:.1f}", decibels_text(one.snr_db), title


def _outcome_lines(outcomes: Sequence[tuple[str, Outcome]]) -> list[str]:
    return _columns([OUTCOME_HEADER, *map(_outcome_row, outcomes)], ">>>><")


def _tensor_lines(tensors: list[dict[str, Any]]) -> list[str]:
    rows = [("stored tensor", "low", "high", "step", "zero", "type", "ratio", "dead", "alone dB")]
    for row in tensors:
        step, zero = ("-", "-") if row["step"] is None else (f"{row['step']:.4g}", f"{row['zero_point']}")
        ends = f"{row['low']:.4g}", f"{row['high']:.4g}"
        dead, level = f"{row['dead']}/{row['channels']}", decibels_text(row["snr_db"])
        rows.append((row["name"], *ends, step, zero, row["dtype"], f"{row['ratio']:.1f}", dead, level))
    return _columns(rows, "<>>>><>>>")


def _layer_lines(layers: list[dict[str, Any]]) -> list[str]:
    rows: list[tuple[str, ...]] = [("weights of", "", "ratio", "dead", "alone dB")]
    for row in layers:
        dead, level = f"{row['dead']}/{row['channels']}", decibels_text(row["snr_db"])
        rows.append((row["name"], row["op"], f"{row['ratio']:.1f}", dead, level))
    return _columns(rows, "<<>>>")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
