"""What quantising cost: a port's tensors, as the real numbers they stand for, against the float network's."""

from dataclasses import dataclass

import numpy as np

from ...network.steps import INPUT
from ...network.walk import apply, walk
from ...ops import definitions
from .weights import finite, snr

#: Decibels of the logits below which quantising cost much: at 6 dB one first answer in ten had changed, at 4 two, at 1 four
#: (Keras's small network, 100 photographs).
DEAR = 5.0
MADE_UP = "made-up numbers (no input was given)"


@dataclass(frozen=True)
class Cost:
    """by : whose integers, "the port" or a kernel set; on : which input; snr_db : {step: dB}; logits_db : dB, None without
    logits; flips : pictures whose first answer changes, of `pictures`"""

    by: str
    on: str
    snr_db: dict
    logits_db: float | None
    flips: tuple
    pictures: int

    @property
    def dear(self):
        """Whether it has to be said before all else: logits below `DEAR`, or a first answer that flips on a real input."""
        if self.logits_db is None:
            return False
        return not self.logits_db >= DEAR or (bool(self.flips) and self.on != MADE_UP)

    def decided(self):
        """The logits and the first answers alone, on what, in words."""
        flips = f"{len(self.flips)} of {self.pictures} first answers flip"
        return f"logits {self.logits_db:.1f} dB, {flips} (integers of {self.by}, on {self.on})"

    def as_json(self):
        return {
            "dear": self.dear,
            "by": self.by,
            "input": self.on,
            "logits_snr_db": finite(self.logits_db),
            "first_answers_that_flip": list(self.flips),
            "pictures": self.pictures,
            "snr_db": {name: finite(value) for name, value in self.snr_db.items()},
        }

    def text(self):
        logits = "" if self.logits_db is None else f"logits {self.logits_db:.1f} dB, "
        shown = [f"{name} {value:.1f}" for name, value in sorted(self.snr_db.items(), key=lambda row: row[1])[:3]]
        flips = f"{len(self.flips)} of {self.pictures} first answers flip, " if self.logits_db is not None else ""
        return f"{logits}{flips}least dB at {', '.join(shown)} (integers of {self.by}, on {self.on})"


def float_trace(model, x):
    """{step's name: (N, ...) float32} of the folded network, whose tensors are those that a port stores."""
    plan = model.plan_for(x.shape[2:], folded=True)
    arrays = {name: array.astype(np.float32) for name, array in model.arrays(folded=True).items()}
    rows = []
    for i in range(len(x)):
        values = {INPUT: x[i : i + 1]}
        kept = dict(values)
        with np.errstate(over="ignore", invalid="ignore"):
            for step in walk(plan, values, lambda step, inputs: apply(step, inputs, arrays, definitions)):
                kept[step.name] = values[step.name]
        rows.append(kept)
    found = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    for step in plan:  # a gate's layer with relu6 is 6 times the gate
        if step.op == "hard_sigmoid":
            found[f"{step.inputs[0]} as relu6"] = 6 * found[step.name]
    return found


def measure_cost(model, plan, values, x, by, on):
    """The Cost of integers {step: (N, ...)} on the input x (N, C, H, W)."""
    real, rows = float_trace(model, x), {}
    for step in plan.steps:
        name = f"{step.name} as relu6" if step.act == "relu6" else step.name
        if step.name in values and name in real and real[name].shape == values[step.name].shape:
            rows[step.name] = float(snr(real[name], plan.grids[step.name].dequantize(values[step.name])))
    logits, flips = rows.get("logits"), ()
    if logits is not None:
        found, expected = values["logits"], real["logits"]
        flips = tuple(int(i) for i in np.flatnonzero(found.argmax(1) != expected.argmax(1)))
    return Cost(by, on, rows, logits, flips, len(x))
