"""fp16 and bf16: tensors stored in them, and sums computed in them, as separate answers."""

import math

import numpy as np

from ..network.steps import INPUT
from ..network.walk import apply, walk
from ..ops import definitions
from .advice import caveats
from .calibrate import calibrate
from .causes import Cause, outcome_text
from .judge import judge_with
from .report import Report
from .schemes import HALVES
from .simulate import Network
from .tables import layer_rows, tensor_rows

SUMMED = 24  # pictures on which sums are kept in few bits, which NumPy does slowly; evenly spread

#: What is asked, each by itself: stored in the format, computed in it with sums in float32, and with sums in it.
STORAGE, ARITHMETIC, ACCUMULATION = "storage", "arithmetic, sums in float32", "arithmetic, sums in {}"

NOTES = (
    "Storage: every tensor and weight is rounded once it is there. Arithmetic: every operation's result is, and with sums in "
    "the format every partial sum; engines differ in the order of these, and so in the last bits.",
)


def rounded(x, form):
    """float32 numbers at their nearest in fp16 or bf16, halves to even; beyond the largest is infinity."""
    x = np.asarray(x, np.float32)
    if form == "fp16":
        with np.errstate(over="ignore"):
            return x.astype(np.float16).astype(np.float32)
    bits = np.ascontiguousarray(x).view(np.uint32)
    kept = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(x), x, kept.view(np.float32))


class Storage:
    """Every tensor and weight is rounded when it is stored; what is in between is float32."""

    def __init__(self, network, form):
        self.network, self.form = network, form
        self.arrays = {name: rounded(array, form) for name, array in network.arrays.items()}

    def logits(self, x):
        """(classes,) float32 of one picture."""
        return self.network.logits(x, self.arrays, lambda name, tensor: rounded(tensor, self.form))


class Arithmetic(Storage):
    """Every operation gives a number of the format: those of an activation one by one, sums at their end.

    With `summed` every product of a layer is added to a running sum of the format, in the order of the channels; which
    order an engine has, and how many sums side by side, is its own, and so are the last bits. Means have their sums in
    float32 still: of as many pixels as there are they would pass what fp16 holds.
    """

    def __init__(self, network, form, summed=False):
        super().__init__(network, form)
        self.summed = summed

    def logits(self, x):
        values = {INPUT: rounded(x[None], self.form)}
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in walk(self.network.plan, values, self._run):
                pass
        return values["logits"][0]

    def _run(self, step, inputs):
        if step.op in ACTIVATIONS:
            return ACTIVATIONS[step.op](step, inputs[0], lambda x: rounded(x, self.form))
        if self.summed and step.param("weight"):
            return self._sum(step, inputs[0])
        return rounded(apply(step, inputs, self.arrays, definitions), self.form)

    def _sum(self, step, x):
        """A layer with running sums of the format."""
        weight = self.arrays[step.param("weight").name]
        if step.op == "linear":
            products, shape = (weight[:, k] * x[:, k, None] for k in range(weight.shape[1])), (len(x), len(weight))
        elif step.op == "pointwise_conv2d":
            products = (weight[:, k, None, None] * x[:, k, None] for k in range(weight.shape[1]))
            shape = len(x), *step.shape
        else:
            products, shape = _taps(step, x, weight), (len(x), *step.shape)
        total, bias = self._running(products, shape), step.param("bias")
        if bias:
            total = rounded(total + self.arrays[bias.name].reshape(-1, *(1,) * (len(shape) - 2)), self.form)
        return total

    def _running(self, terms, shape):
        total = np.zeros(shape, np.float32)
        for term in terms:
            total = rounded(total + rounded(term, self.form), self.form)
        return total


def _taps(step, x, weight):
    """The products of a convolution, a tap (and an input channel) at a time, each (N, O, OH, OW)."""
    padded, (sh, sw), (_, oh, ow) = definitions.pad2d(x, step.pad), step.stride, step.shape
    for i in range(step.kernel):
        for j in range(step.kernel):
            part = padded[:, :, i : i + (oh - 1) * sh + 1 : sh, j : j + (ow - 1) * sw + 1 : sw]
            if step.op == "depthwise_conv2d":
                yield part * weight[:, i, j, None, None]
            else:
                for k in range(part.shape[1]):
                    yield part[:, k, None] * weight[:, k, i, j, None, None]


def _hard_swish(step, x, near):
    gate = near(np.clip(near(x + np.float32(3)), 0, 6))
    return near(near(x * gate) / np.float32(6))


def _hard_sigmoid(step, x, near):
    return near(np.clip(near(near(x * near(np.float32(step.slope))) + np.float32(0.5)), 0, 1))


#: Activations as chains of operations, each of which rounds.
ACTIVATIONS = {"hard_swish": _hard_swish, "hard_sigmoid": _hard_sigmoid}


def quantize_to_halves(model, form, pictures, data, *, shown=None):
    """The Report of a network in fp16 or bf16."""
    network = Network.of(model, None)
    calibration = calibrate(network, pictures, shown=shown)
    ways = [(STORAGE, Storage(network, form)), (ARITHMETIC, Arithmetic(network, form))]
    judged = pictures if data is None else data
    judgement = judge_with(network, [way.logits for _, way in ways], judged, shown=shown)
    exact, outcomes = judgement.parted()
    few = judged.some(SUMMED)
    summed = judge_with(network, [Arithmetic(network, form, summed=True).logits], few, shown=shown).outcomes[1]
    tried = [(title, outcome) for (title, _), outcome in zip(ways, outcomes)]
    tried.append((f"{ACCUMULATION.format(form)}, but those of means (on {summed.pictures} of the pictures)", summed))
    (title, best), (last, _) = tried[0], tried[-1]
    return Report(
        model=model.variant.full_name,
        scheme=form,
        recipe=STORAGE,
        calibration=calibration.pictures,
        data=judgement.data,
        exact=exact,
        outcome=best,
        tensors=tensor_rows(network, calibration, dtype=form),
        layers=layer_rows(network),
        parts={},
        causes=_overflow(network, calibration, form),
        tried=tried,
        advice=f"as {title}: {outcome_text(best)}; with {last}: {outcome_text(summed)}",
        advised=None,
        learned=[],
        caveats=caveats(form, pictures, data),
        notes=NOTES,
        left_out=judgement.left_out,
        parameters=None,
    )


def _overflow(network, calibration, form):
    """The tensors, and the sums of means, that the format cannot hold."""
    bits, top = HALVES[form]
    largest, causes = (2 - 2.0**-bits) * 2.0**top, []
    reach = {name: max(-one.low, one.high) for name, one in calibration.statistics.items()}
    names = [name for name, one in reach.items() if one > largest]
    if names:
        text = f"{', '.join(names[:4])} pass {largest:.5g}, the largest number of {form}, and become infinite"
        causes.append(Cause("overflow", text, tuple(names), {"tensors": len(names)}, "bf16, or float32 for these"))
    sides = {step.name: math.prod(step.shape[1:]) for step in network.plan}
    pixels = {s.name: sides[s.inputs[0]] for s in network.plan if s.op == "global_avg_pool"}
    sums = [name for name, count in pixels.items() if reach[name] * count > largest]
    if sums:
        name = sums[0]
        text = (
            f"{', '.join(sums)}: a mean of up to {reach[name]:.4g} over {pixels[name]} pixels, whose sum passes "
            f"{largest:.5g}, the largest number of {form}, and becomes infinite where it is kept in {form}"
        )
        causes.append(
            Cause("overflow of a mean's sum", text, tuple(sums), {}, "sums of means in float32, or the division first")
        )
    return tuple(causes)
