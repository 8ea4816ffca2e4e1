"""verify: what an error looks like that no known fault explains."""

import numpy as np

from npmnv3.verification.symptoms import symptom


def test_hints_remove_most_of_the_error():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((1, 8, 12, 12))
    assert symptom(x + 1e-3 * rng.standard_normal(x.shape), x) == ""
    assert symptom(x, x) == symptom(x, np.where(x > 1, np.inf, x)) == ""
    assert "scale: 0.8 x" in symptom(0.8 * x, x)
    assert "shift by" in symptom(np.roll(x, 1, axis=3), x)


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
