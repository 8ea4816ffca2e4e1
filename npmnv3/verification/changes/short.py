"""Parameters that a port keeps in 16 bits while it computes in float32: rounded or cut off, norms folded in or not."""

import numpy as np

from ...network.folding import norm_line
from ..noise import rounded
from .edits import Change
from .weights import norm_behind, remade, rounding

#: what is stored -> roles
STORED = {
    "parameters": ("weight", "bias", "gamma", "beta", "mean", "variance"),
    "weights and biases": ("weight", "bias"),
    "weights": ("weight",),
}


def _cut(x, bits):
    """float32 numbers without their last bits: towards zero."""
    return (np.ascontiguousarray(x, np.float32).view(np.uint32) >> bits << bits).view(np.float32)


def float16(x):
    return rounded(x, "float16")


def float16_cut(x):
    """float16 has 13 bits fewer than float32; below its least normal number steps are even."""
    small = np.trunc(np.asarray(x, np.float32) * 2.0**24) / 2.0**24
    return np.where(np.abs(x) < 2.0**-14, small, _cut(x, 13)).astype(np.float32)


def bfloat16(x):
    return rounded(x, "bfloat16")


def bfloat16_cut(x):
    return _cut(x, 16)


def _stored(scheme, what, folded):
    """A change function: what a file of so many bits has of some parameters."""

    def make(net, step, role):
        if folded and step.op == "batch_norm":
            return lambda beta, arrays: _moved(scheme, step, beta, arrays)
        return rounding(scheme, norm_behind(net, step) if folded and role == "weight" else None)

    def apply(net, where):
        params = [(s, p) for s in net.plan for p in s.params if where(s.name) and _role(s, p, folded) in STORED[what]]
        return remade(net, [(s, p, scheme.__name__, make(net, s, p.role)) for s, p in params])

    return apply


def _role(step, param, folded):
    """A folded norm has a bias, its beta, and nothing else of its own."""
    if folded and step.op == "batch_norm":
        return "bias" if param.role == "beta" else ""
    return param.role


def _moved(scheme, norm, beta, arrays):
    """The beta with which the norm adds a rounded number."""
    offset = norm_line(norm, arrays)[1]
    return (beta + (scheme(offset) - offset)).astype(beta.dtype)


def _rows(scheme, name):
    ways = [
        ("parameters", False),
        *((what, folded) for folded in (False, True) for what in ("weights and biases", "weights")),
    ]
    return [
        Change(
            "rounding",
            f"{what} are in {name}" + ", norms folded in" * folded,
            _stored(scheme, what, folded),
            ties=folded,
        )
        for what, folded in ways
    ]


SHORT = (
    *_rows(float16, "float16"),
    *_rows(bfloat16, "bfloat16"),
    *_rows(bfloat16_cut, "bfloat16, cut off where they should be rounded"),
    *_rows(float16_cut, "float16, cut off where they should be rounded"),
)
