"""A plan is a flat tuple of steps. A step is an operation, the names of its inputs, and plain numbers: no arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

# fmt: off
#: operation -> (roles of its parameters, fields of the step that it takes). Weights are (O, I, KH, KW) for conv2d,
#: (C, KH, KW) for depthwise_conv2d, (O, I) elsewhere; all other parameters have one number a channel.
OPS = {
    "conv2d":           (("weight", "bias"), ("stride", "pad")),
    "depthwise_conv2d": (("weight", "bias"), ("stride", "pad")),
    "pointwise_conv2d": (("weight", "bias"), ()),
    "linear":           (("weight", "bias"), ()),                           # on (C,) vectors
    "batch_norm":       (("gamma", "beta", "mean", "variance"), ("eps",)),  # torch stores a count, which is never used
    "relu":             ((), ()),
    "hard_swish":       ((), ()),
    "hard_sigmoid":     ((), ("slope",)),                                   # clip(slope * x + 0.5, 0, 1)
    "global_avg_pool":  ((), ()),                                           # (C, H, W) -> (C,)
    "max_pool2d":       ((), ("kernel",)),                                  # kernel = stride, no padding
    "scale":            ((), ("factor",)),
    "mul":              ((), ()),                                           # (C, H, W) times a gate (C,)
    "add":              ((), ()),
    "identity":         ((), ()),                                           # another name for its input
}
# fmt: on

INPUT = "input"  # the name by which a step refers to the picture


class Param(NamedTuple):
    """One entry of a weight file, and how its array becomes the operation's."""

    name: str  # the source's own
    role: str  # weight, bias, gamma, beta, mean, variance, count
    shape: tuple[int, ...]  # as the source stores it
    canonical: tuple[int, ...]  # as the operation wants it: transpose by `axes`, then reshape
    axes: tuple[int, ...] = ()  # () leaves the order alone

    def to_canonical(self, array: Any) -> Any:
        """The stored array as the operation's: (O, I, KH, KW), (C, KH, KW), (O, I) or (C,)."""
        return (array.transpose(self.axes) if self.axes else array).reshape(self.canonical)

    def from_canonical(self, array: Any) -> Any:
        """The inverse of `to_canonical`: the operation's array as the source stores it."""
        if not self.axes:
            return array.reshape(self.shape)
        inverse = sorted(range(len(self.axes)), key=self.axes.__getitem__)
        return array.reshape([self.shape[axis] for axis in self.axes]).transpose(inverse)


@dataclass(frozen=True)
class Step:
    """One operation of a plan. Shapes have no batch axis: (C, H, W) or (C,)."""

    name: str
    op: str
    inputs: tuple[str, ...]  # names of earlier steps, or INPUT
    shape: tuple[int, ...]  # of the output
    params: tuple[Param, ...] = ()
    kernel: int = 0  # pixels
    stride: tuple[int, int] = (1, 1)  # (height, width), pixels
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, bottom, left, right, pixels of zeros
    eps: float = 0.0
    slope: float = 0.0
    factor: float = 1.0

    def __hash__(self) -> int:
        """A name tells a plan's steps apart; this must be quick, as plans are keys of caches that every run looks into."""
        return hash(self.name)

    def param(self, role: str) -> Param | None:
        """The parameter of this role, or None."""
        for param in self.params:
            if param.role == role:
                return param
        return None
