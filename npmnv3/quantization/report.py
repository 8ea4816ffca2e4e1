"""What `quantize` found, as text and as JSON."""

import math
from dataclasses import asdict, dataclass

import numpy as np

from .causes import said


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
    left_out : tuple of str, pictures to judge on that do not count, and why
    parameters : Parameters of what was asked for; None for fp16 and bf16
    """

    model: str
    scheme: str
    recipe: str
    calibration: int
    data: str
    exact: object
    outcome: object
    tensors: list
    layers: list
    parts: dict
    causes: tuple
    tried: list
    advice: str
    advised: tuple | None
    learned: list
    notes: tuple
    left_out: tuple
    parameters: object

    @property
    def fine(self):
        """Whether what was asked for needs no saving."""
        return self.advised is None or (self.advised[2] and str(self.advised[0]) == self.recipe)

    @property
    def why(self):
        """The heading of the causes: where nothing is lost they explain nothing."""
        return "There is, though it costs little here" if self.fine else "Why"

    def as_json(self):
        """The report as plain dicts, lists, numbers and texts; infinite decibels are null."""
        outcomes = {"float": self.exact, "predicted": self.outcome}
        return _plain(
            {
                "model": self.model,
                "scheme": self.scheme,
                "recipe": self.recipe,
                "calibration_pictures": self.calibration,
                "data": self.data,
                **{name: asdict(one) for name, one in outcomes.items()},
                "advice": self.advice,
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

    def text(self):
        """The report as it is printed: the verdict first, then why, what helps, and the tables."""
        lines = [
            f"{self.model}, {self.scheme}, {self.recipe}; calibrated on {self.calibration} pictures",
            f"judged on {self.data}",
            "",
            *([] if self.exact.top1 is None else [f"float      top-1 {self.exact.top1:.1f}"]),
            f"predicted  {said(self.outcome)}, logits {decibels_text(self.outcome.snr_db)} dB",
            "",
            self.advice,
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


def decibels_text(level):
    """`12.3`, `exact`, or `-` where nothing was measured."""
    if level is None:
        return "-"
    return "exact" if level == math.inf else f"{level:.1f}"


def _columns(rows, align):
    widths = [max(len(row[i]) for row in rows) for i in range(len(align))]
    return ["  ".join(f"{cell:{a}{w}}" for cell, a, w in zip(row, align, widths)).rstrip() for row in rows]


def _outcome_lines(outcomes):
    rows = [("top-1", "95%", "as float %", "logits dB", "")]
    for title, one in outcomes:
        top1 = "-" if one.top1 is None else f"{one.top1:.1f}"
        interval = "-" if one.interval is None else f"{one.interval[0]:.0f}..{one.interval[1]:.0f}"
        rows.append((top1, interval, f"{one.agreement:.1f}", decibels_text(one.snr_db), title))
    return _columns(rows, ">>>><")


def _tensor_lines(tensors):
    rows = [("stored tensor", "low", "high", "step", "zero", "type", "ratio", "dead", "alone dB")]
    for row in tensors:
        step, zero = ("-", "-") if row["step"] is None else (f"{row['step']:.4g}", f"{row['zero_point']}")
        ends = f"{row['low']:.4g}", f"{row['high']:.4g}"
        dead, level = f"{row['dead']}/{row['channels']}", decibels_text(row["snr_db"])
        rows.append((row["name"], *ends, step, zero, row["dtype"], f"{row['ratio']:.1f}", dead, level))
    return _columns(rows, "<>>>><>>>")


def _layer_lines(layers):
    rows = [("weights of", "", "ratio", "dead", "alone dB")]
    for row in layers:
        dead, level = f"{row['dead']}/{row['channels']}", decibels_text(row["snr_db"])
        rows.append((row["name"], row["op"], f"{row['ratio']:.1f}", dead, level))
    return _columns(rows, "<<>>>")


def _plain(value):
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
