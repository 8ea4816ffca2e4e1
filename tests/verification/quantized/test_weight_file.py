"""A .tflite with tensors in floats: what its weights are beside the network's, int8 among them."""

import numpy as np
import pytest
from states import random_state
from tflite_files import write

import npmnv3
from npmnv3.errors import UsageError, WeightsError
from npmnv3.verification.quantized.weight_file import compare, grid_step

KERAS = "keras/MobileNetV3Small"


@pytest.fixture(scope="module")
def model():
    return npmnv3.load(KERAS, random_state(KERAS, 3), engine="numpy")


@pytest.mark.parametrize(
    "weights, told",
    [
        ("i1", r"its tensors are floats, and its weights are int8 in 51 of 54 layers \(dynamic range quantisation: 255 levels a "
               r"layer\), \d+ dB from the network's; these are the network's, rounded to that, and cause enough"),
        ("f4", r"its tensors are floats, and its weights too, 1\d\d dB from the network's\. It is not run here: run it"),
        ("f2", r"its weights too, \d\d dB from the network's"),
    ],
)  # fmt: skip
def test_a_file_of_floats(weights, told, model, tmp_path):
    (tmp_path / "a.tflite").write_bytes(write(model, weights))
    with pytest.raises(UsageError, match=f"a.tflite: .*{told}"):
        npmnv3.verify(model, tmp_path / "a.tflite")


def test_a_damaged_file(model, tmp_path):
    (tmp_path / "a.tflite").write_bytes(write(model)[:5000])
    with pytest.raises(WeightsError, match="a.tflite: "):
        npmnv3.verify(model, tmp_path / "a.tflite")


def test_a_channel_each_and_what_rounding_does_not_explain():
    rng = np.random.default_rng(0)
    real = {"a": rng.standard_normal((8, 40)).astype(np.float32), "b": rng.standard_normal((4, 9)).astype(np.float32)}
    steps = np.abs(real["a"]).max(1, keepdims=True) / np.float32(127)
    found = real | {"a": np.rint(real["a"] / steps) * steps}
    assert "int8 in 1 of 2 layers (dynamic range quantisation: 255 levels an output channel)" in compare(real, found)
    moved = found | {"a": found["a"] + 3 * steps * (np.arange(40) == 7)}
    assert "up to 3" in compare(real, moved) and "rounding to 8 bits does not explain" in compare(real, moved)
    assert compare(real, real) == "its weights too, equal to the network's"


def test_what_lies_on_no_grid():
    rng = np.random.default_rng(1)
    assert grid_step(rng.standard_normal((8, 40))) is None
    assert grid_step(np.ones((4, 9))) is None  # too few to tell
    whole = rng.integers(-127, 128, (300, 9))
    whole[0, 0] = 127
    np.testing.assert_allclose(grid_step(whole * 0.25), [[0.25]])
