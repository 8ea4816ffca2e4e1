"""A graph's layers with weights, each with what follows it up to the next."""

import math
from dataclasses import dataclass, field

import numpy as np

from ..graph_order import WEIGHTED

NOBODYS = (-1, 0, 0, 0)  # for padding that no network has
_LAYOUTS = ((0, 2, 3, 1), (0, 3, 1, 2), (0, 1, 2, 3))
_NORM_ROLES = ("gamma", "beta", "mean", "variance")


@dataclass
class Place:
    """One layer with weights.

    affine : the norms and the per-channel sums and products right behind it, in order
    after : the other operations behind it
    pad : the Pad right before it, if any
    """

    layer: object  # checkpoints.Layer
    affine: list = field(default_factory=list)
    after: list = field(default_factory=list)
    pad: object = None

    def __str__(self):
        return f"{self.layer.op} {self.layer.name[:80]!r}"

    @property
    def weight(self):
        """(O, I, KH, KW), (C, KH, KW) or (O, I), as a plan's operations want it."""
        weight = self.layer.params["weight"]
        if weight.ndim != 4:
            return weight
        out, inp, *kernel = weight.shape
        if inp == 1 and out > 1 and self.layer.attributes.get("group", 1) == out:
            return weight[:, 0]
        return weight.reshape(out, inp) if kernel == [1, 1] else weight

    @property
    def bias(self):
        """(O,), None where the layer itself has none."""
        return self.layer.params.get("bias")

    @property
    def norms(self):
        """The batch norms among `affine`."""
        return [layer for layer in self.affine if layer.op == "BatchNormalization"]

    @property
    def computed_pad(self):
        """Whether it pads by what the graph computes: arithmetic on sizes then lies among the layers before it."""
        return self.pad is not None and "pads" not in self.pad.attributes

    def pads(self, step):
        """(top, left, bottom, right) pixels; None where the graph says "same", or computes them."""
        attributes = self.layer.attributes
        sides, auto = attributes.get("pads", (0, 0, 0, 0)), attributes.get("auto_pad", "NOTSET")
        if self.pad is not None and not _pads_zeros(self.pad):
            return NOBODYS
        if self.computed_pad or (auto == "SAME_UPPER" and step.stride != (1, 1)):
            return None
        if auto.startswith("SAME"):
            return (step.kernel // 2,) * 4 if step.stride == (1, 1) else NOBODYS  # SAME_LOWER is nobody's
        if self.pad is None:
            return sides
        # Before each axis, then after; channels, which nobody pads, may be the last one.
        more = self.pad.attributes["pads"]
        if not isinstance(more, tuple) or len(more) != 8:
            return NOBODYS
        first = 1 if more[1] or more[5] else 2
        return tuple(a + b for a, b in zip(sides, more[first : first + 2] + more[first + 4 : first + 6]))

    def folded(self):
        """Weight and bias (or None) with all of `affine` in them, computed in float64."""
        weight, bias = self.weight, self.bias
        if not self.affine:
            return weight, bias
        values, offset = weight.astype(np.float64), 0.0 if bias is None else bias.astype(np.float64)
        dtype = np.promote_types(weight.dtype, np.float32)
        with np.errstate(all="ignore"):  # what is not finite then is named when the arrays are checked
            for layer in self.affine:
                scale, shift = _scale_and_shift(layer)
                values = values * scale.reshape(-1, *(1,) * (values.ndim - 1))
                offset = offset * scale + shift
            return values.astype(dtype), offset.astype(dtype)


def is_weighted(layer):
    return layer.op in WEIGHTED


def find_places(layers):
    """(the layers before the first that has weights, [Place])"""
    before, places = [], []
    for layer in (layer for layer in layers if not is_layout(layer)):
        if is_weighted(layer):
            behind = places[-1].after if places else before
            pad = behind.pop() if behind and behind[-1].op == "Pad" else None
            places.append(Place(layer, pad=pad))
        elif not places:
            before.append(layer)
        elif not places[-1].after and _is_affine(layer, len(places[-1].weight)):
            places[-1].affine.append(layer)
        else:
            places[-1].after.append(layer)
    return before, places


def _pads_zeros(pad):
    value = pad.params.get("value", pad.attributes.get("value", 0))
    return pad.attributes.get("mode", "constant") in ("constant", "") and not np.any(value)


def is_layout(layer):
    """Whether it puts channels last, or back."""
    return layer.op == "Transpose" and layer.attributes.get("perm", (0, 2, 3, 1)) in _LAYOUTS


def eps_of(norm):
    """The epsilon of a BatchNormalization."""
    return norm.attributes.get("epsilon", 1e-5)


def factor_of(layer):
    """What a product with a single constant multiplies by, 1 where it is none."""
    constant = layer.params.get("constant")
    if constant is None or constant.size != 1 or not constant.all():
        return 1.0
    value = float(constant.ravel()[0])
    return value if layer.op == "Mul" else 1 / value if layer.op == "Div" else 1.0


def classifier_gain(places):
    """The constant by which the graph multiplies what the classifier gets, but for hard-swish's 1/6."""
    factors = (factor_of(layer) for layer in places[-2].after)
    return math.prod(factor for factor in factors if not math.isclose(factor, 1 / 6, rel_tol=1e-3))


def plan_gain(plan):
    """The factor of `classifier_gain` in a plan."""
    return math.prod(step.factor for step in plan if step.op == "scale")


def _is_affine(layer, channels):
    if layer.op == "BatchNormalization":
        return layer.params["gamma"].size == channels
    constant = layer.params.get("constant")
    if constant is None or layer.op not in ("Add", "Sub", "Mul"):
        return False
    return constant.size == channels and (channels > 1 or constant.ndim > 1)


def _scale_and_shift(layer):
    """(C,) or (1,) float64 arrays: what the layer multiplies by and adds."""
    if layer.op == "BatchNormalization":
        gamma, beta, mean, variance = (layer.params[role].astype(np.float64) for role in _NORM_ROLES)
        scale = gamma / np.sqrt(variance + eps_of(layer))
        return scale, beta - mean * scale
    constant = layer.params["constant"].astype(np.float64).ravel()
    if layer.op == "Mul":
        return constant, np.zeros(1)
    return np.ones(1), -constant if layer.op == "Sub" else constant
