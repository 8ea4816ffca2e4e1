"""Sums and left shifts of accumulators, in 32 bits as the engines' are."""

import numpy as np
import pytest

from npmnv3.ops import integers
from npmnv3.ops.grids import Grid
from npmnv3.ops.kernel_sets import get_kernel_set
from npmnv3.ops.requantize import double, up

try:
    from npmnv3.ops import integer_loops
except ImportError:
    integer_loops = None


def test_a_left_shift_wraps_round_at_32_bits():
    """What LiteRT gave behind a dead squeeze: a sum of -22787 with a factor of 68849 came out at the upper end, not the
    lower."""
    x, m, e = np.array([-22787, -11320]), np.array([1128031579, 1390873127]), np.array([17, 17])
    shifted = [-22787 * 2**17 + 2**32, -11320 * 2**17]
    expected = [(value * int(factor) + 2**30) >> 31 for value, factor in zip(shifted, m)]
    assert expected[0] > 0 > expected[1]
    assert double(x, m, e).tolist() == up(x, m, e).tolist() == expected


@pytest.mark.parametrize(
    "twins", [None, pytest.param(integer_loops, marks=pytest.mark.skipif(not integer_loops, reason="no Numba"))]
)
@pytest.mark.parametrize("kernels", ["onnxruntime", "tflite-reference", "tflite-optimized", "single-rounding"])
@pytest.mark.parametrize("dtype, bits", [("uint8", 32), ("int16", 64)])
def test_a_sum_wraps_round_beside_a_bias_at_the_end_of_its_type(dtype, bits, kernels, twins):
    """Behind a dead squeeze ONNX Runtime's converter makes biases of 2^31 - 1; its sums have no more bits than they need."""
    grid, out = Grid(0.01, 0, dtype), Grid(1e6, 0, "int8")
    x, weight = np.array([[3, 5]], dtype), np.array([[2, 4], [-2, -4]])
    bias, ones = np.array([2**31 - 1, 7], np.int32), np.ones(1, np.float32)
    exact = integers.exact_weight(weight, np.zeros(1, np.int64), grid)
    found = integers.layer(
        "linear", x, exact, bias, ones, grid=grid, out=out, kernels=get_kernel_set(kernels), twins=twins
    )
    total = 2**31 - 1 + 26 - (2**32 if bits == 32 else 0)
    assert found[0].tolist() == [round(total * 0.01 / 1e6), 0]
