"""Changes of padding and stride."""

from dataclasses import replace

import numpy as np

from ...network.padding import same_padding
from ...network.steps import INPUT, Param, Step
from ..net import block_of
from .edits import edited


def strided(step):
    return step.op in ("conv2d", "depthwise_conv2d") and step.stride != (1, 1)


def same_pad(step, shape):
    """TensorFlow's "same"."""
    return sum(same_padding(shape[1:], (step.kernel,) * 2, step.stride), ())


def padded(rule, part=lambda name: True):
    """Another padding at stride 2: `rule` of the step and of what it gets."""

    def apply(net, where):
        edits = {}
        for step in net.plan:
            if strided(step) and where(step.name) and part(step.name):
                source = step.inputs[0]
                shape = net.input_shape if source == INPUT else net.steps[source].shape
                pad = rule(step, shape)
                if _reads(step, shape, pad) != _reads(step, shape, step.pad):
                    edits[step.name] = replace(step, pad=pad)
        return edited(net, edits)

    return apply


def _reads(step, shape, pad):
    """(first row, first column, rows, columns) under the kernels: zeros beyond the last stride are never read."""
    top, bottom, left, right = pad
    sides = zip(shape[1:], (top + bottom, left + right), step.stride)
    return top, left, *((side + border - step.kernel) // stride for side, border, stride in sides)


def symmetric(step, shape):
    return (step.kernel // 2,) * 4


def mirror(step, shape):
    """TensorFlow's "same", mirrored."""
    top, bottom, left, right = same_pad(step, shape)
    return bottom, top, right, left


def bordered(op):
    """Another border than zeros."""

    def apply(net, where):
        edits = {}
        for step in net.plan:
            if any(step.pad) and where(step.name):
                border = Step(f"{step.name}.border", op, step.inputs, (), pad=step.pad)
                edits[step.name] = [border, replace(step, inputs=(border.name,), pad=(0, 0, 0, 0))]
        return edited(net, edits)

    return apply


def dilated(net, where):
    """Depthwise kernels with a row and a column of zeros between each two of theirs, and twice the padding.

    At stride 2 that is the stride on what the layer gets: see `stride_on`.
    """
    edits, arrays = {}, {}
    for step in net.plan:
        weight = step.param("weight")
        is_plain = step.op == "depthwise_conv2d" and not strided(step) and not weight.name.endswith("@dilated")
        if is_plain and where(step.name):
            shape = (step.shape[0], *(2 * step.kernel - 1,) * 2)
            wide = Param(f"{weight.name}@dilated", "weight", shape, shape)
            arrays[wide.name] = lambda all_, name=weight.name, shape=shape: _spread(all_[name], shape)
            params = tuple(wide if p == weight else p for p in step.params)
            edits[step.name] = replace(step, kernel=shape[1], pad=tuple(2 * p for p in step.pad), params=params)
    return edited(net, edits, arrays)


def _spread(kernels, shape):
    found = np.zeros(shape, kernels.dtype)
    found[:, ::2, ::2] = kernels
    return found


def stride_on(target):
    """The stride of a block on its 1x1 convolution instead of the depthwise one."""

    def apply(net, where):
        edits = {}
        for step in net.plan:
            block = block_of(step.name)
            moved = net.steps.get(f"{block}.{target}.conv") or net.steps.get(f"{block}.{target}")
            is_depthwise = step.name.startswith(f"{block}.depthwise")
            if not (strided(step) and is_depthwise and where(step.name) and moved and moved.op == "pointwise_conv2d"):
                continue
            subsample = Step(f"{moved.name}.subsample", "subsample", moved.inputs, (), stride=step.stride)
            edits[moved.name] = [subsample, replace(moved, inputs=(subsample.name,))]
            edits[step.name] = replace(step, stride=(1, 1))
        return edited(net, edits)

    return apply


def stride_moved(by):
    """The stride of a block on a neighbour's depthwise convolution."""

    def apply(net, where):
        convs = [s for s in net.plan if s.op == "depthwise_conv2d" and ".shortcut" not in s.name]
        edits = {}
        for index, step in enumerate(convs):
            other = index + by
            if strided(step) and where(step.name) and 0 <= other < len(convs) and not strided(convs[other]):
                edits[step.name] = replace(step, stride=(1, 1))
                edits[convs[other].name] = replace(convs[other], stride=step.stride)
        return edited(net, edits)

    return apply


def stride_dropped(net, where):
    """No stride where there should be one; tried one at a time, for each makes the network four times as large."""
    edits = {s.name: replace(s, stride=(1, 1)) for s in net.plan if strided(s) and where(s.name)}
    return net.edit(edits) if len(edits) == 1 else None


def stride_late(net, where):
    """Every second pixel from the second on: a full-resolution convolution, then the wrong phase of it."""
    edits = {}
    for step in net.plan:
        if strided(step) and where(step.name):
            top, bottom, left, right = step.pad
            edits[step.name] = replace(step, pad=(max(top - 1, 0), bottom + 1, max(left - 1, 0), right + 1))
    return edited(net, edits)
