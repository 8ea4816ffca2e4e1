"""Third pass: weights in the order in which the kernels read them, in one block of memory."""

import math
from typing import NamedTuple

import numpy as np

from ...errors import UsageError
from .kernels import CONV, DEPTHWISE, VECTORS
from .kernels.kernel import LINE
from .memory import aligned

FLOAT, FLOAT16 = np.dtype(np.float32), np.dtype(np.float16)


class Panel(NamedTuple):
    """Some neighbouring vectors of output channels of a pointwise layer: (input channels, lanes) weights."""

    first: int  # vector
    halves: int  # half vectors: lanes * 2 / width
    weight: int  # bytes from the start of the block
    bias: int

    @property
    def vectors(self):
        return (self.halves + 1) // 2


class PackedLayer(NamedTuple):
    """A layer's weights. Depthwise and first convolutions have one panel: for each vector, bias and taps."""

    panels: tuple[Panel, ...]
    inputs: int  # input channels
    start: int  # bytes: all of it lies from here
    stop: int
    float16: bool = False  # the weights, not the biases


class Weights:
    """All weights of a network.

    Parameters
    ----------
    layers : sequence of Layer
    folded : {layer's name: (weight, bias)} from `fold`
    machine : Machine

    Attributes
    ----------
    block : uint8 array, aligned to cache lines
    layers : {name: PackedLayer}
    """

    def __init__(self, layers, folded, machine):
        self._parts, self._size, self._machine = [], 0, machine
        self.layers = {layer.name: self._pack(layer, *folded[layer.name]) for layer in layers if layer.name in folded}
        self.block = aligned(max(self._size, LINE))
        for offset, array, shape, dtype in self._parts:
            room = self.block[offset : offset + math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
            room[..., : array.shape[-1]] = array
        del self._parts

    def _pack(self, layer, weight, bias):
        start, float16 = self._size, layer.op == "linear" and self._machine.float16
        if float16:
            _check_float16(layer, weight)
        if layer.op in ("pointwise", "linear"):
            panels = self._panels(weight, bias, layer.op == "linear", FLOAT16 if float16 else FLOAT)
            inputs = weight.shape[1]
        else:
            known = DEPTHWISE if layer.op == "depthwise" else CONV
            size, step = weight.shape[-1], layer.stride[1]
            if (size, step) not in known or weight.shape[-2] != size:
                raise UsageError(
                    f"the llvm engine has no kernel for {layer.name}: "
                    f"{layer.op} {weight.shape[-2:]}, stride {layer.stride}"
                )
            panels, inputs = (self._taps(weight, bias),), 1 if layer.op == "depthwise" else weight.shape[1]
        return PackedLayer(panels, inputs, start, self._size, float16)

    def _panels(self, weight, bias, even, dtype):
        """(O, I) weights as panels of up to VECTORS vectors."""
        width, outputs = self._machine.width, len(bias)
        panels = []
        for first, vectors in split_panels(-(-outputs // width), even=even):
            unused = (first + vectors) * width - outputs
            halves = 2 * vectors - (self._machine.halves and vectors > 1 and unused >= width // 2)
            lanes = halves * width // 2
            part = slice(first * width, first * width + lanes)
            at = self._add(weight[part].T, (weight.shape[1], lanes), dtype)
            panels.append(Panel(first, halves, at, self._add(bias[part], (lanes,))))
        return tuple(panels)

    def _taps(self, weight, bias):
        """(C, KH, KW) or (O, I, KH, KW) weights: for each vector of channels its bias, then its taps."""
        rows = np.column_stack([bias, weight.reshape(len(bias), -1)]).T
        missing = -len(bias) % self._machine.width
        padded = np.hstack([rows, np.zeros((len(rows), missing), rows.dtype)]) if missing else rows
        vectors = padded.reshape(len(rows), -1, self._machine.width).transpose(1, 0, 2)
        return Panel(0, 2 * len(vectors), self._add(vectors, vectors.shape), 0)

    def _add(self, array, shape, dtype=FLOAT):
        """The offset of new room for an array of this shape; `array` may have shorter rows, which are filled up with
        zeros."""
        offset, size = self._size, math.prod(shape) * dtype.itemsize
        self._parts.append((offset, array, shape, dtype))
        self._size += -(-size // LINE) * LINE
        return offset


def _check_float16(layer, weight):
    """UsageError if a layer's weights are beyond the range of 16 bits."""
    most, largest = np.finfo(FLOAT16).max, np.abs(weight).max(initial=0)
    if largest > most:
        raise UsageError(
            f"`weight_dtype=float16`, but {layer.name} has a weight of {largest:.4g}, beyond its {most:.0f}; take 'float32'"
        )


def split_panels(vectors, most=VECTORS, even=False):
    """(first, count) of each panel: as few panels as will do, of sizes as equal as can be.

    With `even` an even number of them: two threads share the panels of a layer on one pixel, which can't be cut.
    """
    panels = -(-vectors // most)
    panels += even and panels > 1 and panels % 2
    ends = [vectors * (i + 1) // panels for i in range(panels)]
    return [(start, end - start) for start, end in zip([0, *ends], ends)]
