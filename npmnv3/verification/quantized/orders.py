"""Rule changes of a layer's weights, scales and biases that stand in another order, or in one another's place."""

import numpy as np

from ...network.steps import INPUT
from .claims import Claim, finish


def kernels(case):
    """The weights in another order."""
    weight = case.weight
    orders = {}
    if case.step.op in ("conv2d", "depthwise_conv2d"):
        orders |= {
            "transposed": ("the kernel's rows and columns transposed", weight.swapaxes(-1, -2)),
            "rotated": ("the kernel turned by 180 degrees", weight[..., ::-1, ::-1]),
            "rows": ("the kernel's rows upside down", weight[..., ::-1, :]),
            "columns": ("the kernel's columns mirrored", weight[..., ::-1]),
        }
    if case.step.op != "depthwise_conv2d":
        colours = " (of the picture, BGR for RGB)" * (case.step.inputs[0] == INPUT)
        orders["inputs"] = f"the weights' input channels in reverse{colours}", weight[:, ::-1]
        if weight.shape[0] == weight.shape[1]:
            orders["matrix"] = "inputs and outputs of the weights transposed", weight.swapaxes(0, 1)
    orders["outputs"] = "the weights' output channels in reverse", weight[::-1]
    for setting, (text, changed) in orders.items():
        if not np.array_equal(changed, weight):
            yield Claim(
                setting, text, lambda changed=changed: case.run(arrays={"weight": np.ascontiguousarray(changed)})
            )


def neighbours(case):
    """Scales of the weights, or biases, of the channel beside."""
    scale, weight_scale = case.factors
    for by, which in ((1, "before"), (-1, "after")):
        if len(set(weight_scale.tolist())) > 1:
            factors = scale, np.roll(weight_scale, by)
            yield Claim(
                f"scales {by}",
                f"the weights' scale of the channel {which} for each channel",
                lambda factors=factors: finish(case, case.accumulated, factors=factors),
            )
        bias = np.roll(case.bias, by)
        if (bias != case.bias).any():
            yield Claim(
                f"biases {by}",
                f"the bias of the channel {which} for each channel",
                lambda bias=bias: finish(case, case.products + bias),
            )
