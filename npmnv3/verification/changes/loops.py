"""Changes that slips of hand-written loops make: a tail left out, a count off by one, another buffer than the right one."""

import math
from dataclasses import replace

import numpy as np

from ...network.steps import Step
from ..net import block_of
from .edits import ACTIVATIONS, edited
from .weights import laid_out


def residual_overwritten(net, where):
    """What a block ends in added to itself: it was written over what it should be added to."""
    steps = [s for s in net.plan if s.op == "add" and where(s.name)]
    return edited(net, {s.name: replace(s, inputs=s.inputs[:1] * 2) for s in steps})


def residual_of_earlier(net, where):
    """What a block before gave, of the same shape, added in place of what this one got."""
    ends, edits = [], {}
    for step in net.plan:
        same = [s.name for s in ends if s.shape == step.shape and s.name not in step.inputs]
        if step.op == "add" and where(step.name) and same:
            edits[step.name] = replace(step, inputs=(step.inputs[0], same[-1]))
        if step.name == block_of(step.name):
            ends.append(step)
    return edited(net, edits)


def gates_twice(net, where):
    """Each channel times its gate, and once more."""
    edits = {}
    for step in [s for s in net.plan if s.op == "mul" and where(s.name)]:
        once = replace(step, name=f"{step.name}.once")
        edits[step.name] = [once, replace(step, inputs=(once.name, *step.inputs[1:]))]
    return edited(net, edits)


def never_reset(*ops):
    """Sums that go on from pixel to pixel, each channel's from its first."""

    def apply(net, where):
        edits = {}
        for step in [s for s in net.plan if s.op in ops and where(s.name)]:
            own = replace(step, name=f"{step.name}.own")
            edits[step.name] = [own, Step(step.name, "running_sum", (own.name,), ())]
        return edited(net, edits)

    return apply


def unread(*sides):
    """Rows and columns of what spatial kernels get that are taken for padding: (top, bottom, left, right)."""

    def apply(net, where):
        edits = {}
        for step in net.plan:
            if step.op in ("conv2d", "depthwise_conv2d") and step.kernel > 1 and where(step.name):
                kept = Step(f"{step.name}.unread", "unread", step.inputs, (), pad=sides)
                edits[step.name] = [kept, replace(step, inputs=(kept.name,))]
        return edited(net, edits)

    return apply


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


def counted(rule, part=lambda name: True):
    """Sums of pixels divided by another number, in the pools of a part: `rule` of how many there are."""

    def apply(net, where):
        edits = {}
        for step in [s for s in _pools(net, where) if part(s.name)]:
            pixels = math.prod(net.steps[step.inputs[0]].shape[1:])
            if rule(pixels) not in (0, pixels):
                edits[step.name] = replace(step, op="pool_scaled", factor=pixels / rule(pixels))
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
