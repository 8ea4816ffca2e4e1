"""The real numbers that a quantised tensor can hold: scale * (integer - zero point)."""

from dataclasses import dataclass

import numpy as np

from ..errors import UsageError

# dtype -> the least and the largest integer, as Python's own
_ENDS = {dtype: (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) for dtype in ("int8", "uint8", "int16", "uint16")}
DTYPES = tuple(_ENDS)


@dataclass(frozen=True)
class Grid:
    """How the integers of one tensor stand for real numbers.

    Attributes
    ----------
    scale : float, the step between two neighbours; a float32's value, above 0
    zero_point : int, the integer that stands for 0
    dtype : str, one of DTYPES

    Raises
    ------
    UsageError
        A scale that is no positive finite number, or a zero point that the dtype does not hold.

    Example
    -------
    >>> Grid(0.5, -128).dequantize(np.array([-128, -127], np.int8)).tolist()
    [0.0, 0.5]
    """

    scale: float
    zero_point: int
    dtype: str = "int8"

    def __post_init__(self):
        if self.dtype not in DTYPES:
            raise UsageError(f"a grid of {self.dtype!r}, expected one of {', '.join(DTYPES)}")
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise UsageError(f"a scale of {self.scale!r}, expected a finite number above 0")
        if not self.low <= self.zero_point <= self.high:
            raise UsageError(f"a zero point of {self.zero_point}, expected {self.low} to {self.high} of {self.dtype}")

    @property
    def low(self):
        return _ENDS[self.dtype][0]

    @property
    def high(self):
        return _ENDS[self.dtype][1]

    def quantize(self, x, *, fused=False):
        """The nearest integers, halves to even, cut at the ends: of real numbers, in float32 as most engines do it.

        fused : bool, times the scale's reciprocal and plus the zero point in one rounding (a fused multiply-add), as
            PyTorch does

        Infinities go to the ends. NaN, for which no integer stands, is a UsageError.
        """
        scale, zero = np.float32(self.scale), np.float32(self.zero_point)
        with np.errstate(over="ignore"):  # what no float32 holds is infinite
            x = np.asarray(x, np.float32)
            if fused:  # float64 holds the product of two float32
                steps = np.rint((x.astype(np.float64) * np.float64(np.float32(1) / scale) + zero).astype(np.float32))
            else:
                steps = np.rint(x / scale) + zero
        if np.isnan(steps).any():
            raise UsageError("a tensor with NaN in it cannot be quantised")
        return np.clip(steps, self.low, self.high).astype(self.dtype)

    def dequantize(self, q):
        """The real numbers, float32, that integers stand for."""
        return (np.asarray(q, np.int32) - np.int32(self.zero_point)).astype(np.float32) * np.float32(self.scale)
