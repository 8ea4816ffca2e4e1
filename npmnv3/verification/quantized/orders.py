"""Rule changes of a layer's weights, scales and biases that stand in another order, or in one another's place."""

import functools
import math

import numpy as np

from ...network.steps import INPUT
from .accumulators import FEW, PLACES, columns, differing
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


#: What channels may have taken from one another beside the weights: (in words, the bias, the weights' scale).
_TAKEN = (
    ("channels", True, True),
    ("the weights of channels", False, False),
    ("the weights and biases, not the scales, of channels", True, False),
)


def exchanged(case):
    """Channels of a layer in one another's place, with all that they have or a part of it."""
    channels = differing(case)
    if not 1 < channels.size <= FEW:
        return
    for what, *taken in _TAKEN if np.ptp(case.bias[channels]) else _TAKEN[:2]:
        if sources := _sources(case, channels, taken):
            output = functools.partial(_in_place_of, case, sources, taken)
            yield Claim(what, f"{what} {_exchanged_text(sources)}", output, math.factorial(len(sources)))


def _sources(case, channels, taken):
    """{channel: whose place it took} among these channels, each once; None where some channel is none of them."""
    rows = np.unique(np.linspace(0, len(case.rows) - 1, min(PLACES, len(case.rows))).astype(int))
    sources = {}
    for channel in channels:
        met, wanted = columns(case, channel)[rows], case.rows[rows, channel]
        free = (source for source in channels if source not in (channel, *sources.values()))
        fits = (source for source in free if np.array_equal(_as_another(case, met, channel, source, taken), wanted))
        sources[channel] = next(fits, None)
        if sources[channel] is None:
            return None
    return sources


def _as_another(case, met, channel, source, taken):
    """(places,) integers of a channel that has another's weights, and its bias and scale where these are taken too.

    met : (places, taps), the channel's `columns`
    """
    zero = np.broadcast_to(case.weight_zero_point, len(case.bias))[source]
    bias, scale = (source if moved else channel for moved in taken)
    acc = met @ (case.weight[source].ravel().astype(np.int64) - zero) + case.bias[bias]
    return finish(case, acc[:, None], channels=slice(scale, scale + 1))[:, 0]


def _in_place_of(case, sources, taken):
    out = finish(case, case.accumulated)
    for channel, source in sources.items():
        out[:, channel] = _as_another(case, columns(case, channel), channel, source, taken)
    return out


def _exchanged_text(sources):
    """ "3 and 5 exchanged", or what some of more have."""
    if len(sources) == 2:
        return "{} and {} exchanged".format(*sources)
    pairs = [f"{channel} has {source}'s" for channel, source in list(sources.items())[:3]]
    more = f" and {len(sources) - 3} more" * (len(sources) > 3)
    return f"in one another's place: {', '.join(pairs)}{more}"
