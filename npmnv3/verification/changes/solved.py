"""Faults with an unknown that is solved for, not tried: channels in another order here, a dropout's mask in `dropout`,
numbers in `fits`.

What is found here is a change like all others, and believed only if the network with it gives what the port gave.
"""

import math

import numpy as np

from ...network.steps import INPUT
from ..net import run_step
from .dropout import dropouts
from .edits import ACTIVATIONS, Change
from .fits import fitted_changes
from .weights import reordered_weight

FOLLOWERS = (*ACTIVATIONS, "batch_norm", "identity", "hard_sigmoid")
PIXELS = 24  # of a map that channels are told apart by
FITS = 1e-3  # squared relative error of a channel that is another one's
NEAREST = 0.3  # the same where the channels themselves had to be solved for
LEAST = 0.8  # share of the channels that must be found again
LARGEST = 60_000_000  # numbers to work on for one layer


def solved_changes(comparison):
    """Changes made of what a port's own tensors say.

    Parameters
    ----------
    comparison : Comparison, its rows measured

    Returns
    -------
    list of Change
    """
    if comparison.precision == "int8":
        return []
    off = [row.step for row in comparison.rows if not row.passes and row.step not in (INPUT, "probabilities")]
    found = fitted_changes(comparison)
    for name in off[:2]:  # a fault's own row, and maybe one that it moved
        found += _orders(comparison, name)
    if off and off[-1] in ("logits", *comparison.net.steps["logits"].inputs):
        found += dropouts(comparison)
    return found


def _orders(comparison, name):
    """Orders of the channels of the layer behind which a tensor was given."""
    net, view = comparison.net, comparison.views[name]
    chain = _chain_to(net, name)
    if chain is None or view.finite is not None:
        return []
    layer = chain[0]
    x = comparison.port_run.value(layer.inputs[0])
    arrays = net.with_arrays(comparison.arrays)
    found = [
        _change(layer, order, 0)
        for order in [_output_order(layer, chain[1:], x, view.data, arrays)]
        if order is not None
    ]
    order = _input_order(layer, chain[1:], x, view.data, arrays)
    if order is not None:
        found.append(_change(layer, order, 1))
    return found


def _change(layer, order, axis):
    which = "output" if axis == 0 else "input"
    text = f"{which} channels of {layer.name}'s weight in another order"
    unknowns = math.lgamma(len(order) + 1) / math.log(2)
    apply = reordered_weight(layer.name, layer.param("weight"), order, axis)
    return Change("weight_order", text, apply, whole=True, unknowns=unknowns)


def _chain_to(net, name):
    """[layer with weights, what follows it, ... the step of this name], one input each; None if there is no such chain."""
    chain = [net.steps[name]]
    while not chain[0].param("weight"):
        step = chain[0]
        if len(step.inputs) != 1 or step.inputs[0] == INPUT or step.op not in FOLLOWERS:
            return None
        chain.insert(0, net.steps[step.inputs[0]])
    return chain


def _output_order(layer, followers, x, found, arrays):
    """Which row of the weight makes each channel of `found`; None if most channels are nobody's."""
    weight = arrays[layer.param("weight").name]
    c = len(weight)
    if c < 2 or c * c * PIXELS > LARGEST:
        return None
    target = found.reshape(c, -1)
    pixels = _some_pixels(target)
    target = target[:, pixels]
    scale = np.maximum(
        np.square(target - target.mean(axis=1, keepdims=True)).sum(axis=1), 1e-6 * np.square(target).sum() / c + 1e-30
    )
    rows = _by_row(layer, x, weight, arrays, found.shape, pixels)
    errors = np.empty((c, c), np.float32)
    for i in range(c):
        values = rows(i)[:, None]  # (rows of the weight, 1, pixels)
        errors[i] = np.square(_follow(followers, values, i, arrays)[:, 0] - target[i]).sum(axis=1) / scale[i]
    return _assigned(errors)


def _some_pixels(target):
    """Pixels that tell channels apart: some everywhere, and where each channel is largest."""
    n = target.shape[1]
    spread = np.linspace(0, n - 1, min(n, PIXELS)).astype(int)
    peaks = np.unique(np.abs(target).argmax(axis=1))
    room = max(0, LARGEST // len(target) ** 2 - len(spread))
    return np.unique(np.concatenate([spread, peaks[:: max(1, -(-len(peaks) // max(room, 1)))]]))


def _by_row(layer, x, weight, arrays, shape, pixels):
    """function (channel) -> (rows of the weight, pixels): what that channel is with each row."""
    if layer.op != "depthwise_conv2d":
        full = run_step(layer, [x], arrays).reshape(len(weight), -1)[:, pixels]
        bias = layer.param("bias")
        own = arrays[bias.name] if bias else np.zeros(len(weight), np.float32)
        bare = full - own[:, None]
        return lambda i: bare + own[i]
    top, bottom, left, right = layer.pad
    padded = np.pad(x[0], ((0, 0), (top, bottom), (left, right)))
    k = weight.shape[1]
    taps = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(1, 2))[
        :, :: layer.stride[0], :: layer.stride[1]
    ]
    height, width = taps.shape[1:3]
    at = np.unravel_index(pixels, (height, width))
    flat = weight.reshape(len(weight), -1)
    return lambda i: flat @ taps[i][at].reshape(len(pixels), -1).T


def _follow(followers, values, channel, arrays):
    """Steps behind the layer, done to (rows, 1, pixels) as if they were channel `channel`."""
    for step in followers:
        own = {p.name: arrays[p.name][channel : channel + 1] for p in step.params if p.role != "count"}
        values = run_step(step, [values[..., None]], own)[..., 0]
    return values


def _assigned(errors, fits=FITS):
    """A permutation from the errors (channels, rows): each channel gets a row that fits it.

    Of rows that fit alike, as those of dead channels do, a channel gets its own if it can. None if it is the identity or
    too few channels are found.
    """
    c = len(errors)
    wanted = []
    for i in range(c):
        rows = np.flatnonzero(errors[i] < fits)
        rows = rows[np.argsort(errors[i, rows], kind="stable")]
        wanted.append(sorted(rows.tolist(), key=lambda j: j != i) if len(rows) > 1 and i in rows else rows.tolist())
    owner = {}
    for i in sorted(range(c), key=lambda i: len(wanted[i])):
        _take(i, wanted, owner)
    order = np.full(c, -1)
    for row, channel in owner.items():
        order[channel] = row
    if (order >= 0).mean() < LEAST:
        return None
    order[order < 0] = sorted(set(range(c)) - owner.keys())
    return None if (order == np.arange(c)).all() else order


def _take(start, wanted, owner):
    """Give a channel one of the rows it wants; who has it already moves on, if it can."""
    came_from, queue = {}, [start]
    for channel in queue:
        for row in wanted[channel]:
            if row in came_from:
                continue
            came_from[row] = channel
            if row in owner:
                queue.append(owner[row])
                continue
            while True:  # hand the rows on, back to the channel that began
                channel = came_from[row]
                previous = next((r for r, o in owner.items() if o == channel), None)
                owner[row] = channel
                if channel == start or previous is None:
                    return
                row = previous


def _input_order(layer, followers, x, found, arrays):
    """Which column of the weight each input channel meets, of a layer whose output can be undone; else None."""
    if (
        layer.op == "depthwise_conv2d"
        or layer.op == "conv2d"
        or any(s.op not in ("batch_norm", "identity") for s in followers)
    ):
        return None
    weight = arrays[layer.param("weight").name].astype(np.float64)
    y = _undone(layer, followers, found, arrays)
    inputs = x.reshape(x.shape[1], -1).astype(np.float64)
    o, i = weight.shape
    if i > 1500 or i < 2:
        return None
    if inputs.shape[1] >= i:  # the weight itself can be had
        seen = np.linalg.lstsq(inputs.T, y.T, rcond=1e-7)[0].T
        return _assigned(_distances(seen.T, weight.T), NEAREST)
    if o >= i:  # or what the layer got
        met = np.linalg.lstsq(weight, y, rcond=1e-7)[0]
        order = _assigned(_distances(met, inputs), NEAREST)  # met[j] is input order[j]
        return None if order is None else np.argsort(order)
    return None


def _undone(layer, followers, found, arrays):
    y = found.reshape(found.shape[1], -1).astype(np.float64)
    for step in reversed(followers):
        if step.op == "batch_norm":
            gamma, beta, mean, variance = (
                arrays[step.param(r).name][:, None] for r in ("gamma", "beta", "mean", "variance")
            )
            y = (y - beta) * np.sqrt(variance + step.eps) / np.where(gamma == 0, 1, gamma) + mean
    bias = layer.param("bias")
    return y - arrays[bias.name][:, None] if bias else y


def _distances(a, b):
    """(len(a), len(b)) squared distances of rows, relative to the power of a's; rows of a without power are near to all."""
    power = np.square(a).sum(axis=1)
    dead = power < 1e-9 * power.max(initial=0)
    squares = power[:, None] + np.square(b).sum(axis=1)[None] - 2 * a @ b.T
    return np.where(dead[:, None], 0, np.maximum(squares, 0) / np.maximum(power, 1e-30)[:, None])
