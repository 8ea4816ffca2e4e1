"""Changes of a layer's weights: in another layout, another block's, quantised, or without a bias."""

import itertools
from dataclasses import replace

import numpy as np

from ...network.folding import norm_line
from ...network.steps import Param, Step
from ..net import block_of
from .edits import edited, without

LEVELS = 127  # of int8, each way


def remade(net, changes):
    """The net with parameters made anew.

    Parameters
    ----------
    net : Net
    changes : list of (Step, Param, mark, function (array, all arrays) -> array of the same shape)
    """
    edits, arrays = {}, {}
    for step, param, mark, make in changes:
        name = f"{param.name}@{mark}"
        step = edits.get(step.name, step)
        params = tuple(p._replace(name=name) if p == param else p for p in step.params)
        edits[step.name] = replace(step, params=params)
        arrays[name] = lambda all_, old=param.name, make=make: make(all_[old], all_)
    return edited(net, edits, arrays)


def laid_out(mark, fits, make):
    """Weights read in another layout: `make` of those layers whose weight `fits`."""

    def apply(net, where):
        found = [(s, p, mark, lambda w, all_: make(w)) for s, p in _weights(net, where) if fits(s, p)]
        return remade(net, found)

    return apply


def _weights(net, where):
    return [(s, p) for s in net.plan if where(s.name) and (p := s.param("weight"))]


def is_spatial(step, param):
    return step.op in ("conv2d", "depthwise_conv2d") and param.canonical[-1] > 1


def is_square(step, param):
    return len(param.canonical) == 2 and param.canonical[0] == param.canonical[1]


def is_matrix(step, param):
    return len(param.canonical) == 2 and param.canonical[0] != param.canonical[1]


def is_depthwise(step, param):
    return step.op == "depthwise_conv2d"


def is_full(step, param):
    return step.op == "conv2d"


def turned(w):
    """By 180 degrees: a convolution in place of a correlation."""
    return w[..., ::-1, ::-1]


def swapped_axes(w):
    """Height and width exchanged."""
    return w.swapaxes(-1, -2)


def mirrored(w):
    """Left to right."""
    return w[..., ::-1]


def upside_down(w):
    return w[..., ::-1, :]


def last_taps_cut(w):
    """The last row and column of taps never reached."""
    cut = np.array(w)
    cut[..., -1, :] = cut[..., -1] = 0
    return cut


def other_major(w):
    """Stored with the outputs last, and read as if they came first."""
    return np.moveaxis(w, 0, -1).reshape(w.shape)


def first_major(w):
    """Stored with the outputs first, and read as if they came last."""
    return np.moveaxis(w.reshape(*w.shape[1:], w.shape[0]), -1, 0)


def twins(net):
    """Every two blocks whose layers have the same shapes: [(block, block)]."""
    blocks = {}
    for step in net.plan:
        if step.params and step.name.startswith("blocks."):
            blocks.setdefault(block_of(step.name), []).append(step)
    for a, b in itertools.combinations(blocks, 2):
        if [_kind(a, s) for s in blocks[a]] == [_kind(b, s) for s in blocks[b]]:
            yield a, b


def _kind(block, step):
    return step.name.removeprefix(block), step.op, tuple((p.role, p.canonical) for p in step.params)


def exchange(a, b):
    """All weights of two blocks exchanged."""

    def apply(net, where):
        if not where(a) and not where(b):
            return None
        edits = {}
        for one, other in ((a, b), (b, a)):
            for step in net.plan:
                twin = net.steps.get(step.name.replace(one, other, 1)) if block_of(step.name) == one else None
                if twin is not None and step.params and twin.params:
                    edits[step.name] = replace(step, params=twin.params)
        return edited(net, edits)

    return apply


def borrowed(net):
    """[(text, function)] for every layer of a block that could have the weights of one of the next layers of its shape."""
    layers = [s for s in net.plan if s.param("weight") and s.name.startswith("blocks.")]
    for one, other in itertools.combinations(layers, 2):
        if one.op == other.op and one.param("weight").canonical == other.param("weight").canonical:
            yield f"the weights of {one.name} and {other.name} exchanged", _exchange_layers(one.name, other.name)


def _exchange_layers(a, b):
    def apply(net, where):
        one, other = net.steps.get(a), net.steps.get(b)
        if one is None or other is None or not where(a):
            return None
        return net.edit({a: _with_weight(one, other), b: _with_weight(other, one)})

    return apply


def _with_weight(step, other):
    weight = other.param("weight")
    return replace(step, params=tuple(weight if p.role == "weight" else p for p in step.params))


def no_bias(net, where):
    """A layer's bias, or a norm's beta, left out."""
    edits, zeroed = {}, []
    for step in net.plan:
        if not where(step.name) or ".se." in step.name:
            continue
        if step.op == "batch_norm":
            zeroed.append((step, step.param("beta"), "none", lambda a, all_: np.zeros_like(a)))
        elif step.param("bias"):
            edits[step.name] = without(step, "bias")
    net = edited(net, edits) or net
    return remade(net, zeroed) or (net if edits else None)


def bias_twice(net, where):
    """Linear layers' biases added twice."""
    steps = [s for s in net.plan if s.op == "linear" and s.param("bias") and where(s.name)]
    return remade(net, [(s, s.param("bias"), "twice", lambda b, all_: 2 * b) for s in steps])


def no_scale(net, where):
    """A norm's gamma left out."""
    found = [s for s in net.plan if s.op == "batch_norm" and where(s.name)]
    return remade(net, [(s, s.param("gamma"), "one", lambda a, all_: np.ones_like(a)) for s in found])


def quantized(scheme, folded=False):
    """Weights rounded as a scheme has it; `folded`: those with a norm behind them, after that was folded in."""

    def apply(net, where):
        found = []
        for step, param in _weights(net, where):
            norm = norm_behind(net, step)
            if folded and norm is None:
                continue
            found.append((step, param, scheme.__name__, rounding(scheme, norm if folded else None)))
        return remade(net, found)

    return apply


def dynamic_range(scheme, least=0):
    """Weights in int8, and what they meet in int8 with a range a picture; all other numbers stay float32.

    As TensorFlow's converter and ONNX Runtime's quantiser do without pictures to calibrate on.

    Parameters
    ----------
    scheme : function of a weight, its norm folded in, as both do for convolutions, squeeze layers among them
    least : numbers from which on a weight is rounded
    """

    def apply(net, where):
        edits, arrays = {}, {}
        for step, param in _weights(net, where):
            late, name = f"{step.name}.grid", f"{param.name}@range"
            if np.prod(param.canonical) < least or late in net.steps:
                continue
            make = rounding(scheme, None if block_of(step.name) == "head" else norm_behind(net, step))
            arrays[name] = lambda all_, old=param.name, make=make: make(all_[old], all_)
            params = tuple(p._replace(name=name) if p == param else p for p in step.params)
            edits[step.name] = [Step(late, "grid", step.inputs, ()), replace(step, inputs=(late,), params=params)]
        return edited(net, edits, arrays)

    return apply


def norm_behind(net, step):
    return next((s for s in net.plan if s.op == "batch_norm" and s.inputs[0] == step.name), None)


def rounding(scheme, norm):
    def make(w, arrays):  # in float32, as ports do: float64 puts what lies next to a tie on the other level
        if norm is None:
            return scheme(np.asarray(w, np.float32)).astype(w.dtype)
        factor = norm_line(norm, arrays)[0].reshape(-1, *(1,) * (w.ndim - 1))
        safe = np.where(factor == 0, 1, factor)
        return (scheme((w * factor).astype(np.float32)) / safe).astype(w.dtype)

    return make


def a_tensor(w):
    """One scale a tensor, symmetric."""
    scale = np.abs(w).max() / LEVELS or 1.0
    return np.round(w / scale) * scale


def a_tensor_wide(w):
    """One scale a tensor, symmetric, 128 steps below zero."""
    scale = np.abs(w).max() / (LEVELS + 0.5) or 1.0
    return np.clip(np.round(w / scale), -LEVELS - 1, LEVELS) * scale


def a_tensor_skewed(w):
    """One scale and zero point a tensor, from the least to the largest weight."""
    low, high = min(w.min(), 0), max(w.max(), 0)
    scale = (high - low) / 255 or 1.0
    zero = np.round(-low / scale)
    return (np.clip(np.round(w / scale) + zero, 0, 255) - zero) * scale


def a_power_of_two(w):
    """Eight bits with a scale a tensor that is a power of two."""
    scale = 2.0 ** np.ceil(np.log2(np.abs(w).max() / LEVELS)) if w.any() else 1.0
    return np.round(w / scale) * scale


def a_fraction(bits):
    """So many bits behind the point."""

    def scheme(w):
        return np.round(w * 2.0**bits) / 2.0**bits

    scheme.__name__ = f"a_fraction_of_{bits}"
    return scheme


def a_channel(w):
    """A scale an output channel, symmetric."""
    scale = np.abs(w).max(axis=tuple(range(1, w.ndim)), keepdims=True) / LEVELS
    scale = np.where(scale > 0, scale, 1)
    return np.round(w / scale) * scale


def reordered_weight(step, param, order, axis):
    """A change function: the channels of one layer's weight in another order."""

    def apply(net, where):
        now = net.steps.get(step)
        if now is None or not where(step) or now.param("weight") != param:
            return None
        return remade(net, [(now, param, "order", lambda w, all_: w.take(order, axis))])

    return apply


def masked(name, mask, gain):
    """A change function: some channels of what a step gets are zero, the others times `gain`."""

    def apply(net, where):
        step = net.steps.get(name)
        if step is None or not where(name):
            return None
        late = f"{name}.dropout"
        params = [
            Param(f"{late}.{role}", role, mask.shape, mask.shape) for role in ("gamma", "beta", "mean", "variance")
        ]
        values = (mask * gain, np.zeros_like(mask), np.zeros_like(mask), np.ones_like(mask))
        arrays = {p.name: (lambda all_, v=v: v.astype(np.float32)) for p, v in zip(params, values)}
        source = step.inputs[0]
        drop = replace(step, name=late, op="batch_norm", inputs=(source,), shape=(), params=tuple(params), eps=0.0)
        return net.edit({name: [drop, replace(step, inputs=(late,))]}, arrays)

    return apply
