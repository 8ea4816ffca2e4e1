"""What processors with AVX2 and without VNNI make of uint8 times int8: pairs of products saturate at 16 bits.

Neighbours along a sum are multiplied and added by one instruction (vpmaddubsw), whose result has 16 bits. Few weights are
large enough, in pairs, for that to matter; for these the excess is taken off the layer's sum.
"""

import numpy as np

from .parameters import layers, read_tensor

PAIR = 128  # 255 * (|w0| + |w1|) passes 16 signed bits from 129 on


def in_order(weight):
    """A weight (O, I, KH, KW) or (O, I) as rows along its sums, (O, K): channels fastest, then columns, then rows."""
    return (weight.transpose(0, 2, 3, 1) if weight.ndim == 4 else weight).reshape(len(weight), -1)


def saturating_pairs(weight):
    """Which pairs of neighbours along a sum can pass 16 bits with inputs up to 255.

    Parameters
    ----------
    weight : (O, ...) int8

    Returns
    -------
    (O, K // 2) bool; the last of an odd number of terms is alone, and never does
    """
    rows = in_order(weight).astype(np.int32)
    pairs = rows[:, : rows.shape[1] // 2 * 2].reshape(len(rows), -1, 2)
    same = (pairs[..., 0] > 0) == (pairs[..., 1] > 0)
    return same & (np.abs(pairs).sum(-1) > PAIR)


class Saturation:
    """Takes from layers' sums what saturating pairs lose: the `layer` of a `Network.run`.

    Parameters
    ----------
    network : simulate.Network
    parameters : Parameters, of the scheme onnx
    """

    def __init__(self, network, parameters):
        self.pairs, source = {}, read_tensor(network.plan)
        for step in layers(network.plan):
            integers, scales, _ = parameters.weights[step.param("weight").name]
            grid = parameters.grids[source[step.name]]
            if step.op == "depthwise_conv2d" or grid.dtype != "uint8":
                continue
            outputs, places = np.nonzero(saturating_pairs(integers))
            if len(outputs):
                rows = in_order(integers).astype(np.float32)
                weights = rows[outputs, 2 * places], rows[outputs, 2 * places + 1]
                firsts = np.flatnonzero(np.diff(outputs, prepend=-1))  # of each output's pairs
                steps = np.float32(grid.scale) * np.broadcast_to(scales, len(rows))[outputs[firsts]]
                self.pairs[step.name] = grid, 2 * places, weights, firsts, outputs[firsts], steps

    def __bool__(self):
        return bool(self.pairs)

    def __call__(self, step, values):
        if step.name not in self.pairs:
            return
        grid, places, (w0, w1), firsts, outputs, steps = self.pairs[step.name]
        terms, out = _terms(step, _integers(values[step.inputs[0]], grid), grid.zero_point), values[step.name][0]
        sums = terms[places] * w0[:, None]
        sums += terms[places + 1] * w1[:, None]
        sums -= np.clip(sums, -(2**15), 2**15 - 1)
        lost = np.add.reduceat(sums, firsts, 0) * steps[:, None]
        out[outputs] -= lost.reshape(-1, *out.shape[1:])


def _integers(x, grid):
    """The stored integers of numbers that lie on a grid already, as floats."""
    return np.rint(x / np.float32(grid.scale)) + np.float32(grid.zero_point)


def _terms(step, integers, zero_point):
    """(K, P): the integers that the weights along a layer's sum meet, at each output."""
    if step.op != "conv2d":
        return integers[0].reshape(integers.shape[1], -1)
    top, bottom, left, right = step.pad
    padded = np.pad(integers[0], ((0, 0), (top, bottom), (left, right)), constant_values=zero_point)
    (sh, sw), (_, oh, ow) = step.stride, step.shape
    taps = [
        padded[:, i : i + (oh - 1) * sh + 1 : sh, j : j + (ow - 1) * sw + 1 : sw]
        for i in range(step.kernel)
        for j in range(step.kernel)
    ]
    return np.stack(taps).reshape(-1, oh * ow)
