"""Changes that slips of hand-written loops make: a tail left out, a count off by one, another buffer than the right one."""

import math
from dataclasses import replace

import numpy as np

from ...network.steps import Step
from .edits import ACTIVATIONS, edited
from .weights import laid_out, remade


def residual_overwritten(net, where):
    """What a block ends in added to itself: it was written over what it should be added to."""
    steps = [s for s in net.plan if s.op == "add" and where(s.name)]
    return edited(net, {s.name: replace(s, inputs=s.inputs[:1] * 2) for s in steps})


def before_activation(op):
    """Steps of an operation that get what the activation before them gets."""

    def apply(net, where):
        edits = {}
        for step in [s for s in net.plan if s.op == op and where(s.name)]:
            source = net.steps.get(step.inputs[0])
            if source is not None and source.op in ACTIVATIONS:
                edits[step.name] = replace(step, inputs=(*source.inputs, *step.inputs[1:]))
        return edited(net, edits)

    return apply


def gates_shifted(by):
    """Each channel times the gate of the one `by` before it."""

    def apply(net, where):
        edits = {}
        for step in [s for s in net.plan if s.op == "mul" and where(s.name)]:
            shifted = Step(f"{step.name}.shifted", "roll", step.inputs[1:], (), factor=by)
            edits[step.name] = [shifted, replace(step, inputs=(step.inputs[0], shifted.name))]
        return edited(net, edits)

    return apply


def _pools(net, where):
    return [s for s in net.plan if s.op == "global_avg_pool" and where(s.name)]


def miscounted(by):
    """Sums of pixels divided by `by` more than there are."""

    def apply(net, where):
        edits = {}
        for step in _pools(net, where):
            pixels = math.prod(net.steps[step.inputs[0]].shape[1:])
            if pixels + by > 0:
                edits[step.name] = replace(step, op="pool_scaled", factor=pixels / (pixels + by))
        return edited(net, edits)

    return apply


def pooled_short(left_out):
    """Means without the last `left_out` (width) pixels, divided by the count of all."""

    def apply(net, where):
        steps = _pools(net, where)
        widths = {s.name: net.steps[s.inputs[0]].shape[2] for s in steps}
        return edited(net, {s.name: replace(s, op="pool_short", kernel=left_out(widths[s.name])) for s in steps})

    return apply


def tail_left_out(n, *ops):
    """Sums over inputs without those beyond a multiple of n, a vector's numbers."""

    def has_tail(step, param):
        return step.op in ops and param.canonical[1] % n > 0

    return laid_out(f"tail{n}", has_tail, lambda w: np.where(np.arange(w.shape[1]) < w.shape[1] // n * n, w, 0))


def other_deviation(mark, deviation):
    """Batch norms that divide by `deviation` (variance, epsilon) in place of the root of their sum."""

    def apply(net, where):
        found = [(s, s.param("variance"), s.eps) for s in net.plan if s.op == "batch_norm" and where(s.name)]
        makers = [(s, p, mark, lambda v, all_, eps=eps: deviation(v, eps) ** 2 - eps) for s, p, eps in found]
        return remade(net, makers)

    return apply
