"""verify: what an error looks like that no known fault explains."""

import numpy as np
import pytest

from npmnv3.verification.symptoms import symptom


def test_hints_remove_most_of_the_error():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((1, 8, 12, 12))
    assert symptom(x + 1e-3 * rng.standard_normal(x.shape), x) == ""
    assert symptom(x, x) == symptom(x, np.where(x > 1, np.inf, x)) == ""
    assert "scale: 0.8 x" in symptom(0.8 * x, x)
    assert "shift by" in symptom(np.roll(x, 1, axis=3), x)


@pytest.mark.parametrize("bits", [4, 8, 12])
def test_a_grid_of_fixed_point_is_said(bits):
    x = np.random.default_rng(3).standard_normal((1, 8, 12, 12))
    assert f"multiples of 2^-{bits}: fixed point" in symptom(np.floor(x * 2**bits) / 2**bits, x)
    cut = np.clip(np.round(x), 0, 1)
    assert "fixed point" not in symptom(np.roll(cut, 1), cut)  # the reference's are 0 and 1 too


def test_few_different_numbers_are_a_table():
    x = np.random.default_rng(3).standard_normal((1, 8, 12, 12))
    table = np.tanh(np.linspace(-3, 3, 64))
    places = np.arange(x.size).reshape(x.shape) % 64
    assert symptom(table[places], x) == "only 64 different numbers of 1152: a look-up table?"
    assert "table" not in symptom(x[:, :, :1, :1] + 0 * x, x)  # one number a channel


def test_a_row_at_the_bottom_is_of_no_other_side():
    x = np.random.default_rng(3).standard_normal((1, 8, 12, 12))
    found = x.copy()
    found[:, :, -1] *= -1
    assert "border fault (bottom)" in symptom(found, x)
    assert "border" not in symptom(found, x, spatial=False)


def test_what_a_loop_left_out_is_one_number_a_channel():
    """A sum that was never made is zero, and what a norm makes of it."""
    x = np.random.default_rng(3).standard_normal((1, 8, 12, 12))
    pixels, channels = x.copy(), x.copy()
    pixels.reshape(1, 8, 144)[:, :, 128:] = np.arange(8)[:, None]
    channels[:, 7:] = 0.25
    for found, place in ((pixels, "2 x 12 of 12 x 12 pixels, from row 10, column 0"), (channels, "channel 7")):
        assert f"{place}: one number a channel there: never written?" in symptom(found, x)
    assert "never written" not in symptom(np.maximum(x, 0), x)


def test_a_tile_a_row_or_a_column_that_alone_is_wrong_is_said():
    x = np.random.default_rng(3).standard_normal((1, 8, 12, 12))
    for rows, columns, words in (
        (slice(2, 6), slice(3, 4), "only in 4 x 1 of 12 x 12 pixels, from row 2, column 3"),
        (slice(11, 12), slice(None), "only in 1 x 12 of 12 x 12 pixels, from row 11, column 0"),
    ):
        found = x + 1e-7
        found[:, :, rows, columns] *= -0.5
        assert words in symptom(found, x)
    assert "only in" not in symptom(x * np.where(x > 2, 2, 1), x)
