"""Pairs of products that AVX2's vpmaddubsw, without VNNI, adds with saturation to 16 bits: which they are, what they lose."""

import math
from typing import NamedTuple

import numpy as np


class Pairs(NamedTuple):
    """Neighbours (2i, 2i + 1) along a layer's sums whose products can pass 16 bits, by their outputs.

    shape : of the weight
    outputs : (M,) output channels, rising
    places : (M,) 2i, along a sum
    weights : (M, 2) int8
    """

    shape: tuple
    outputs: np.ndarray
    places: np.ndarray
    weights: np.ndarray


def saturates(op, weight, grid, out, kernels):
    """Whether pairs of a layer's products are added with saturation; of one that stores 16 bits ONNX Runtime's are floats."""
    dtypes = grid.dtype, weight.dtype, out.dtype
    return kernels.saturates and op != "depthwise_conv2d" and dtypes == ("uint8", np.int8, "uint8")


def saturating_pairs(weight):
    """The Pairs of a weight (O, ...) int8 that can saturate with inputs up to 255; None if no pair can.

    Sums run over the kernel's rows, columns and then channels. The last of an odd number of terms is alone, and never does.
    """
    rows = (weight.transpose(0, 2, 3, 1) if weight.ndim == 4 else weight).reshape(len(weight), -1)
    pairs = rows[:, : rows.shape[1] // 2 * 2].reshape(len(rows), -1, 2)
    # Of two signs they only take from one another; 255 * 128 is still below 2^15.
    able = ((pairs > 0).all(2) | (pairs < 0).all(2)) & (np.abs(pairs.sum(2, dtype=np.int32)) > 128)
    outputs, places = np.nonzero(able)
    return Pairs(weight.shape, outputs, 2 * places, pairs[outputs, places]) if len(outputs) else None


def lost_to_saturation(x, pairs, zero_point, *, stride=(1, 1), pad=(0, 0, 0, 0), twins=None):
    """What Pairs of products lose where they pass 16 bits: AVX2's vpmaddubsw, without VNNI.

    x : (N, C, ...) uint8, before the zero point is taken off -> (N, O, ...) int32
    """
    terms, side = _terms(x, pairs.shape, zero_point, stride, pad)
    lost = np.zeros((pairs.shape[0], terms.shape[1]), np.int32)
    # Only where the largest numbers that the two meet leave 16 bits.
    largest, (a, b) = terms.max(1).astype(np.int32), np.abs(pairs.weights.T.astype(np.int32))
    able = a * largest[pairs.places] + b * largest[pairs.places + 1] > 32767
    outputs, places, weights = pairs.outputs[able], pairs.places[able], pairs.weights[able]
    (twins.add_lost if twins else _add_lost)(terms, outputs, places, weights, lost)
    return lost.reshape(len(lost), len(x), *side).swapaxes(0, 1)


def _add_lost(terms, outputs, places, weights, lost):
    """Add to (O, P) what each pair of terms (K, P) loses, some pairs at a time."""
    some = max(1, (1 << 18) // terms.shape[1])
    for at in range(0, len(outputs), some):
        output, place, pair = outputs[at : at + some], places[at : at + some], weights[at : at + some].astype(np.int32)
        total = terms[place] * pair[:, :1]
        total += terms[place + 1] * pair[:, 1:]
        kept = np.clip(total, -32768, 32767)
        kept -= total
        firsts = np.flatnonzero(np.diff(output, prepend=-1))  # of each output's pairs
        lost[output[firsts]] += np.add.reduceat(kept, firsts, 0)


def _terms(x, shape, zero_point, stride, pad):
    """((K, N * OH * OW) numbers that meet a layer's weights along its sums, (OH, OW)); ((K, N), ()) of vectors."""
    if len(shape) == 2:
        return x.swapaxes(0, 1).reshape(x.shape[1], -1), x.shape[2:]
    top, bottom, left, right = pad
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=zero_point)
    windows = np.lib.stride_tricks.sliding_window_view(padded, shape[2:], axis=(2, 3))[:, :, :: stride[0], :: stride[1]]
    side = windows.shape[2:4]
    return windows.transpose(4, 5, 1, 0, 2, 3).reshape(math.prod(shape[1:]), -1), side
