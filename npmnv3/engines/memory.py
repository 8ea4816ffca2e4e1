"""How much memory the NumPy engine takes, worked out from the plan."""

import math
from dataclasses import dataclass

from ..network.counts import picture_channels
from ..network.folding import activations_of_norms
from ..network.steps import INPUT
from ..network.walk import walk
from ..ops import definitions


@dataclass(eq=False)
class _Tensor:
    shape: tuple[int, ...]

    @property
    def size(self):
        return math.prod(self.shape)


def peak_bytes(plan, itemsize=4):
    """Memory that the NumPy engine takes for tensors at its fullest moment.

    Parameters
    ----------
    plan : tuple of Step
    itemsize : int, bytes of a number: 4 for float32, 8 for float64

    Returns
    -------
    int, bytes for one picture, beside the weights and the picture itself: the tensors that are still needed, the one
    that is being made, and what its operation works on
    """
    in_place = {*activations_of_norms(plan).values(), *(s.name for s in plan if s.op in ("batch_norm", "identity"))}

    def run(step, inputs):
        return inputs[0] if step.name in in_place else _Tensor(step.shape)

    picture = _Tensor((picture_channels(plan), *(side * 2 for side in plan[0].shape[1:])))
    peak, tensors, shapes = 0, {INPUT: picture}, {INPUT: picture.shape} | {step.name: step.shape for step in plan}
    for step in walk(plan, tensors, run):
        held = sum(tensor.size for tensor in set(tensors.values()) - {picture})
        peak = max(peak, held + _scratch(step, shapes[step.inputs[0]], step.name in in_place))
    return peak * itemsize


def _scratch(step, shape, in_place):
    """Numbers that a step works on beside its input and output."""
    if step.op == "hard_swish":
        return math.prod(step.shape) * in_place
    if step.op in ("conv2d", "depthwise_conv2d"):
        weight = step.param("weight").canonical
        function = definitions.conv2d_scratch if step.op == "conv2d" else definitions.depthwise_conv2d_scratch
        return function(shape, weight, step.shape, step.stride)
    return 0
