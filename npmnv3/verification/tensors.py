"""A port's tensor, and the ways in which it can be read as (N, C, H, W)."""

import functools
import math
from dataclasses import dataclass

import numpy as np

from . import decimals
from .fixed_point import bits_of_scale, fraction_bits

SKETCH = 4096  # numbers of a tensor that a quick comparison looks at
LEAST_POWER = float(np.finfo(np.float64).tiny) * 1e20
WORST = 1e12  # a relative error beyond which nothing matters
BLOCKS = (2, 4, 8, 16, 32, 64)  # channels of one block in channel-blocked layouts
#: the same, of those that a graph may declare as (N, C, H, W) with C filled up by zeros: a vector register's floats
BARE_BLOCKS = (8, 16)
#: what a kernel's rows and channels are filled up to, by zeros, a multiple of
ALIGNED = (4, 8, 16, 32, 64)
_TURNED = str.maketrans("hw", "wh")


@dataclass(eq=False)
class PortTensor:
    """One tensor as the port gave it.

    Attributes
    ----------
    name : str, the port's own
    array : array of any shape; integers are already dequantised if their scale is known
    scale : float, what one step of the port's quantisation is worth, 0 if it has none or it is not known
    wide : bool, of integers: whether they have more levels than int8, whose rounding would then hide what is wrong
    """

    name: str
    array: np.ndarray
    scale: float = 0.0
    index: int = 0  # place in the port's own order
    columns_first: bool = False  # whether its maps are stored so: see `columns_first`
    wide: bool = False

    @functools.cached_property
    def finite(self):
        return bool(np.isfinite(self.array).all())

    @functools.cached_property
    def is_raw_integer(self):
        """Integers without a known scale: compared up to scale and offset."""
        return self.array.dtype.kind in "iu"

    @functools.cached_property
    def fraction_bits(self):
        """How many bits behind the point its numbers have, if it is in fixed point; else None."""
        if self.wide:
            return bits_of_scale(self.scale)
        return None if self.scale or self.is_raw_integer else fraction_bits(sketch(self.array))

    @functools.cached_property
    def printed(self):
        """How its numbers were printed on their way, see `decimals.printing`; None if they were not."""
        exact = self.scale or self.is_raw_integer or self.fraction_bits
        return None if exact else decimals.printing(sketch(self.array))

    def views(self, shape, n):
        """Every way to read the tensor as (n, *shape): list of `View`, always the same ones."""
        if (shape, n) not in self._views:
            self._views[shape, n] = self._read(shape, n)
        return self._views[shape, n]

    @functools.cached_property
    def _views(self):
        return {}

    def _read(self, shape, n):
        found = {}
        turned = self.columns_first and len(shape) == 3
        stored = (shape[0], shape[2], shape[1]) if turned else shape
        for layout, array in _layouts(self.array, stored, n):
            if array.shape == (n, *stored) and layout not in found:
                array, name = (array.swapaxes(2, 3), layout.translate(_TURNED)) if turned else (array, layout)
                found[layout] = View(self, name, np.ascontiguousarray(array, np.float32))
        return list(found.values())


@dataclass(eq=False)
class View:
    """A port's tensor read in one layout, as (N, C, H, W) or (N, C) float32."""

    tensor: PortTensor
    layout: str
    data: np.ndarray
    permutation: tuple = ()  # the port's channel i is our channel permutation[i]
    step_size: float = 0.0  # of raw integers, what one step was found to be worth; else see `scale`

    @property
    def scale(self):
        """What one step of the port's quantisation is worth; 0 if it has none."""
        return self.step_size or self.tensor.scale

    @functools.cached_property
    def print_steps(self):
        """What a unit of the last printed place is worth, of each number; None if they were not printed."""
        return decimals.steps(self.tensor.printed, self.data) if self.tensor.printed else None

    @functools.cached_property
    def finite(self):
        """None if all numbers are finite, else where they are."""
        mask = np.isfinite(self.data)
        return None if mask.all() else mask

    @functools.cached_property
    def power(self):
        """Sum of squares about the mean, never 0: what an error is relative to."""
        return signal_power(self.data if self.finite is None else self.data[self.finite])

    @functools.cached_property
    def sketch(self):
        return sketch(self.data).astype(float)

    def error(self, predicted):
        """Squared error relative to the tensor's own power, over its finite numbers, in float64.

        At most one number a picture may be unknown (NaN) in the prediction; else one that is not finite explains nothing.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.square(np.subtract(self.data, predicted, dtype=np.float64))
        total = float(squares.sum())
        if not np.isfinite(total):
            squares = squares if self.finite is None else squares[self.finite]
            unknown = np.isnan(squares)
            if not squares.size or np.isinf(squares).any() or np.count_nonzero(unknown) > len(predicted):
                return WORST
            total = float(squares[~unknown].sum())
        return _ratio(total, self.power)

    def quick_error(self, predicted_sketch):
        """`error`, on the sketch alone."""
        if self.finite is None:
            off = self.sketch - predicted_sketch
            error = float(off @ off)
            if math.isfinite(error):
                return _ratio(error, self.sketch_power)
        return relative_error(self.sketch, predicted_sketch)

    @functools.cached_property
    def sketch_power(self):
        return signal_power(self.sketch)

    def thinned(self, by):
        """The view of every `by`-th pixel, always the same one."""
        if by not in self._thinned:
            self._thinned[by] = View(self.tensor, self.layout, thin(self.data, by)) if by > 1 else self
        return self._thinned[by]

    @functools.cached_property
    def _thinned(self):
        return {}

    def permuted(self, permutation):
        """The view with its channels brought into the reference's order."""
        inverse = np.argsort(permutation)
        return View(self.tensor, f"{self.layout} permuted", self.data[:, inverse], tuple(int(i) for i in permutation))

    def rescaled(self, factor, offset):
        """The view of raw integers as the numbers they stand for."""
        data = (self.data * factor + offset).astype(np.float32)
        return View(self.tensor, f"{self.layout} x {factor:.4g} {offset:+.4g}", data, step_size=abs(float(factor)))


def thin(data, by):
    """Every `by`-th pixel of a map."""
    return np.ascontiguousarray(data[:, :, ::by, ::by]) if data.ndim == 4 and by > 1 else data


def _ratio(error, power):
    """error / power, at most WORST; the power may be next to nothing."""
    return error / power if error < WORST * power else WORST


def signal_power(data):
    """Sum of squares about the mean; of a constant tensor, the plain sum of squares; never 0."""
    if not data.size:
        return 1.0
    data = data.astype(np.float64, copy=False)
    total, plain = float(data.sum()), float(np.square(data).sum())
    return max(plain - total * total / data.size, 1e-6 * plain, LEAST_POWER)


def sketch(data):
    """Up to `SKETCH` numbers spread over a tensor, always the same places for the same shape."""
    flat = data.reshape(-1)
    stride = max(1, flat.size // SKETCH)
    if stride > 1:
        stride |= 1  # odd, so that it walks through rows and columns
        while stride % 7 == 0:  # the pictures' sides are multiples of 7
            stride += 2
    return np.ascontiguousarray(flat[::stride], np.float32)


def relative_error(found, expected):
    """Sum of squared differences over the power of `found`.

    Numbers that are not finite in `found` do not count, nor does one that is unknown (NaN) in `expected`.
    """
    good = np.isfinite(found)
    if np.isnan(expected).sum() == 1:
        good &= ~np.isnan(expected)
    if not good.any():
        return np.inf
    with np.errstate(over="ignore", invalid="ignore"):
        error = float(np.square(np.subtract(found[good], expected[good], dtype=np.float64)).sum())
    return _ratio(error, signal_power(found[good]))


def correlation(found, expected):
    """Pearson's, over what is finite; 0 where one of the two is constant."""
    good = np.isfinite(found) & np.isfinite(expected)
    if good.sum() < 2:
        return 0.0
    a = found[good] - found[good].mean(dtype=np.float64)
    b = expected[good] - expected[good].mean(dtype=np.float64)
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > 0 else 0.0


def _layouts(array, shape, n):
    """(layout, array) for each layout whose shape fits; `shape` is (C, H, W) or (C,)."""
    if array.size == n * math.prod(shape):
        yield from _plain_layouts(array, shape, n)
    elif array.size > n * math.prod(shape):
        yield from _aligned_layouts(array, shape, n)
    yield from _blocked_layouts(array, shape, n)


def _plain_layouts(array, shape, n):
    trimmed = _trim(array.shape)
    if len(shape) == 1:
        if trimmed == _trim((n, *shape)):
            yield "nc", array.reshape(n, *shape)
        return
    c, h, w = shape
    if trimmed == _trim((n, c, h, w)):
        yield "nchw", array.reshape(n, c, h, w)
    if trimmed == _trim((n, h, w, c)):
        yield "nhwc", array.reshape(n, h, w, c).transpose(0, 3, 1, 2)
    if trimmed == _trim((n, w, h, c)) and h != w:
        yield "nwhc", array.reshape(n, w, h, c).transpose(0, 3, 2, 1)
    if len(trimmed) == 1:  # a file without shapes
        yield "flat nchw", array.reshape(n, c, h, w)
        yield "flat nhwc", array.reshape(n, h, w, c).transpose(0, 3, 1, 2)
    if trimmed == _trim((n, h * w, c)):
        yield "n(hw)c", array.reshape(n, h, w, c).transpose(0, 3, 1, 2)
    if trimmed == _trim((n, c, h * w)):
        yield "nc(hw)", array.reshape(n, c, h, w)


def _aligned_layouts(array, shape, n):
    """Channels, and the rows' pixels, filled up by zeros for the sake of alignment."""
    c, h, w = (*shape, 1, 1)[:3]
    for layout, own, order in (("nchw", (c, h, w), (0, 1, 2, 3)), ("nhwc", (h, w, c), (0, 3, 1, 2))):
        stored = (n, *array.shape[-3:]) if array.ndim >= 3 else (n, array.shape[-1], 1, 1)
        if array.size != math.prod(stored) or array.ndim < 3 and (len(shape) > 1 or layout != "nchw"):
            continue
        if all(side in (size, *_aligned(size)) for size, side in zip(own, stored[1:])):
            whole = array.reshape(stored)
            kept = whole[(slice(None), *map(slice, own))]
            if np.count_nonzero(whole) == np.count_nonzero(kept):
                yield f"{layout} filled up", kept.transpose(order).reshape(n, *shape)


def _aligned(size):
    return {-(-size // multiple) * multiple for multiple in ALIGNED} if size > 1 else ()


def _trim(shape):
    return tuple(side for side in shape if side != 1)


def _blocked_layouts(array, shape, n):
    """Channels in blocks of b, the last block filled up: (N, C/b, H, W, b), (N, C/b, H*W, b), or declared as (N, C, H, W)."""
    c, h, w = (*shape, 1, 1)[:3]
    for b in BLOCKS:
        blocks = -(-c // b)
        if array.size != n * blocks * b * h * w or array.ndim < 3:
            continue
        trimmed = _trim(array.shape)
        apart = trimmed in (_trim((n, blocks, h, w, b)), _trim((n, blocks, h * w, b)))
        if array.shape[-1] == b and apart:
            yield f"nchw{b}c", _unblocked(array, n, blocks, h, w, b)[:, :c].reshape(n, *shape)
        elif b in BARE_BLOCKS and trimmed == _trim((n, blocks * b, h, w)) and (h * w > 1 or blocks * b > c):
            whole = _unblocked(array, n, blocks, h, w, b)
            if not whole[:, c:].any():
                yield f"nchw{b}c as nchw", whole[:, :c].reshape(n, *shape)


def _unblocked(array, n, blocks, h, w, b):
    """(N, C/b * b, H, W) of numbers that stand in memory as (N, C/b, H, W, b)."""
    return array.reshape(n, blocks, h, w, b).transpose(0, 1, 4, 2, 3).reshape(n, blocks * b, h, w)
