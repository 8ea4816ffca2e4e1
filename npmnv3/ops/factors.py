"""What kernels make of the scales of sums and means before they run: integers (m, e) with real = m * 2^(e - 31), or float32.

Of layers and products that is `requantize.integer_factor` and `requantize.float_factor`. x, y, grid and out are Grids.
"""

import numpy as np

from .requantize import F32, quantize_multiplier

#: How much larger than its step an operand of an addition is held, in bits.
ADD_SHIFT = 20
#: How many bits the larger factor of a sum has that is shifted once, less one: XNNPACK's, and QNNPACK's.
SHIFTS = {"shift": 20, "shift_away": 21}


def add_fixed(x, y, out):
    """(m, e), each (3,): of the first operand and the second, to the grid of twice the larger scale, and of their sum."""
    larger = 2 * max(x.scale, y.scale)
    return quantize_multiplier([x.scale / larger, y.scale / larger, larger / ((1 << ADD_SHIFT) * out.scale)])


def add_shift(x, y, out, rule):
    """(m (2,), one shift to the right for both)."""
    ratios = [F32(grid.scale) / F32(out.scale) for grid in (x, y)]
    shift = SHIFTS[rule] - (int(np.frexp(max(ratios))[1]) - 1)
    return np.rint(np.ldexp(np.float64(ratios), shift)).astype(np.int64), shift


def add_fused(x, y, out):
    """(factors (2,), what stands for all the zero points), float32; the zero points' sum is a fused multiply-add too."""
    a, b = (F32(grid.scale) / F32(out.scale) for grid in (x, y))
    merged = F32(np.float64(a) * x.zero_point + np.float64(b * F32(y.zero_point)))
    return np.array([a, b]), F32(out.zero_point) - merged


def mean_fixed(pixels, grid, out):
    """(m, e): the division goes into the factor, whose integer is divided."""
    m, e = mean_twice(pixels, grid, out)
    k = min(pixels.bit_length() - 1, 32, 31 + int(e))
    return (m << k) // pixels, e - k


def mean_twice(pixels, grid, out):
    """(m, e) of a sum that is divided afterwards."""
    return quantize_multiplier(np.float64(F32(grid.scale)) / np.float64(F32(out.scale)))


def mean_offset(pixels, grid, out):
    """(m, e, what stands for both zero points, an int)."""
    offset = F32(grid.zero_point) * F32(grid.scale) / F32(out.scale)
    offset = out.zero_point - int(offset + F32(0.5) if offset > 0 else offset - F32(0.5))
    return *quantize_multiplier(F32(grid.scale) / F32(F32(pixels) * F32(out.scale))), offset


def mean_float_offset(pixels, grid, out):
    """(factor, what stands for both zero points), float32."""
    factor = F32(grid.scale) / F32(out.scale) / F32(pixels)
    return factor, F32(out.zero_point) - F32(pixels * grid.zero_point) * factor


def mean_float(pixels, grid, out):
    """The factor, float32."""
    return F32(grid.scale) / F32(F32(out.scale) * F32(pixels))
