"""Left shifts of accumulators, in 32 bits as the engines' are."""

import numpy as np

from npmnv3.ops.requantize import double, up


def test_a_left_shift_wraps_round_at_32_bits():
    """What LiteRT gave behind a dead squeeze: a sum of -22787 with a factor of 68849 came out at the upper end, not the lower."""
    x, m, e = np.array([-22787, -11320]), np.array([1128031579, 1390873127]), np.array([17, 17])
    shifted = [-22787 * 2**17 + 2**32, -11320 * 2**17]
    expected = [(value * int(factor) + 2**30) >> 31 for value, factor in zip(shifted, m)]
    assert expected[0] > 0 > expected[1]
    assert double(x, m, e).tolist() == up(x, m, e).tolist() == expected
