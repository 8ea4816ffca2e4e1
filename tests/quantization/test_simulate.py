"""Simulated rounding, ranges, statistics and half formats against their definitions."""

import goldens
import numpy as np
import pytest

import npmnv3
from npmnv3.ops.grids import Grid
from npmnv3.quantization.alone import alone
from npmnv3.quantization.calibrate import Pictures, calibrate
from npmnv3.quantization.causes import crushed, own_grid, weight_ratio
from npmnv3.quantization.halves import Arithmetic, Storage, rounded
from npmnv3.quantization.judge import Candidate
from npmnv3.quantization.parameters import Recipe, bias_name
from npmnv3.quantization.ranges import BINS, Ranges, Statistics
from npmnv3.quantization.recipes import prepare
from npmnv3.quantization.saturation import Saturation
from npmnv3.quantization.schemes import SCHEMES
from npmnv3.quantization.simulate import Network, snap, snapping


@pytest.fixture(scope="module")
def model():
    return npmnv3.load("ppocr/text_direction", engine="numpy")


@pytest.fixture(scope="module")
def lines(model):
    return Pictures(str(goldens.ROOT / "weights" / "examples"), model)


def test_one_picture_is_one_whatever_it_is_given_as(model):
    file = goldens.ROOT / "weights" / "examples" / "sign_upright.png"
    gray = np.random.default_rng(2).integers(0, 256, (48, 192), np.uint8)
    for given in (file, memoryview(file.read_bytes()), gray, gray[..., None]):
        pictures = Pictures(given, model)
        assert len(pictures) == 1 and pictures[0].shape == (3, 48, 192)


@pytest.mark.parametrize("grid", [Grid(0.1, -3), Grid(0.01, 200, "uint8"), Grid(3e-4, 0, "int16"), Grid(7.8e-9, 0)])
def test_snap_is_the_grids_own_rounding(grid):
    x = (np.random.default_rng(1).standard_normal((2, 3, 9, 9)) * 5).astype(np.float32)
    x.flat[:3] = 0, 0.05, -0.05
    assert np.array_equal(snap(x.copy(), grid), grid.dequantize(grid.quantize(x)))
    transposed = snap(x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2), grid)
    assert np.array_equal(transposed, snap(x.copy(), grid))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_without_rounding_it_is_the_float_network(scheme, model, lines):
    network, x = Network.of(model, scheme), lines[0]
    assert np.abs(network.logits(x) - model(x[None])[0]).max() < 1e-3


def test_statistics(model, lines):
    found = calibrate(Network.of(model, "tflite"), lines, shown=False)
    assert found.pictures == 6
    inputs = np.stack([lines[i] for i in range(6)])
    seen = found.statistics["input"]
    assert (seen.low, seen.high) == (inputs.min(), inputs.max()) and seen.counts.sum() == inputs.size
    assert np.array_equal(seen.channel_high, inputs.max((0, 2, 3)))
    trace = model.trace(inputs)
    mine = trace["stem"]
    assert np.isclose(found.statistics["stem"].high, mine.max(), rtol=1e-4)
    assert found.statistics["stem"].counts.sum() == mine.size
    gate = trace["blocks.0.gate"]
    assert np.isclose(found.statistics["blocks.0.se.excite"].high, 6 * gate.max(), rtol=1e-4)


def statistics(counts, low=-4.0, high=4.0):
    return Statistics(low, high, np.asarray(counts, np.int64), np.float32([low]), np.float32([high]))


def test_ranges():
    counts = np.zeros(BINS, np.int64)
    counts[BINS // 2 : BINS // 2 + BINS // 16] = 10_000  # nearly all within 0 .. 0.5
    counts[0] = counts[-1] = 1
    seen = statistics(counts)
    assert Ranges().of(seen) == (-4.0, 4.0)
    low, high = Ranges("percentile", 99.99).of(seen)
    assert low == 0.0 and 0.49 < high < 0.51
    low, high = Ranges("mse").of(seen)
    assert -2 < low <= 0 and 0.4 < high < 2  # between the ends and where nearly all numbers are
    assert Ranges("percentile", 100.0).of(seen) == (-4.0, 4.0)


def test_channels():
    seen = Statistics(0.0, 9.0, np.ones(BINS, np.int64), np.float32([0, 0, 0, 0]), np.float32([0, 1, 2, 9]))
    assert seen.dead == 1 and seen.ratio == 4.5
    weight = np.float32([[100, 50, 7], [1, 0.2, 0.1], [9, 0, 2]])
    assert np.isclose(weight_ratio(weight), 100 / 9) and crushed(weight) == (1, 0)


def test_channels_that_one_scale_crushes():
    weight = np.float32([[127, 1], [2.4, 1], [0.4, 0.1], [0, 0], [3, 0]])
    assert crushed(weight) == (3, 1) and crushed(np.zeros((2, 3), np.float32)) == (2, 0)


def test_saturation_is_that_of_integers(model, lines):
    """Sums of a real network's layers with their largest pairs, against saturating integers pair by pair."""
    network = Network.of(model, "onnx")
    calibration = calibrate(network, lines, shown=False)
    candidate, parameters = prepare(network, calibration, lines, Recipe("onnx", False, Ranges()))
    for weight, _, _ in parameters.weights.values():
        weight[0] = 127  # so that something saturates
    saturation, checked = Saturation(network, parameters), []
    assert saturation

    def layer(step, values):
        if step.name not in saturation.layers or step.op != "pointwise_conv2d":
            return
        before = values[step.name].copy()
        saturation(step, values)
        grid = saturation.layers[step.name][0]
        weight, scales, _ = parameters.weights[step.param("weight").name]
        q = grid.quantize(values[step.inputs[0]])[0, :, 0].astype(np.int64)  # a row of pixels, (C, W)
        products = weight[0].astype(np.int64)[:, None] * q
        pairs = products.reshape(-1, 2, q.shape[1]).sum(1)
        lost = (pairs - np.clip(pairs, -32768, 32767)).sum(0) * grid.scale * scales[0]
        np.testing.assert_allclose((before - values[step.name])[0, 0, 0], lost, rtol=1e-4, atol=1e-3)
        checked.append(lost.max())

    network.logits(lines[0], candidate.arrays, snapping(candidate.grids), layer)
    assert len(checked) > 10 and max(checked) > 0


@pytest.mark.parametrize("zero", [0, 3, 131, 255])
def test_a_grid_that_weights_have_already(zero):
    q = np.random.default_rng(zero).integers(0, 256, (30, 40))
    step, first, last = own_grid(((q - zero) * 0.013).astype(np.float32))
    assert np.isclose(step, 0.013) and (first, last) == (-zero, 255 - zero)
    assert own_grid(np.random.default_rng(1).standard_normal((30, 40)).astype(np.float32)) is None


def test_alone_is_what_a_whole_run_gives(model, lines, monkeypatch):
    """A part's rerun from a trace is the same as the network run with that part alone rounded; over pictures, not one."""
    monkeypatch.setattr("npmnv3.quantization.alone.PICTURES", 2)
    network = Network.of(model, "tflite")
    calibration = calibrate(network, lines, shown=False)
    recipe = Recipe("tflite", True, Ranges())
    candidate, _ = prepare(network, calibration, lines, recipe)
    tensors, weights, parts = alone(network, candidate, lines, shown=False)
    assert list(tensors) == [tensor.name for tensor in network.stored] and len(weights) == 54 and "blocks.3" in parts

    def level(arrays, grids):
        exact = np.stack([network.logits(lines[i]) for i in lines.spread(2)]).astype(np.float64)
        rough = np.stack([network.logits(lines[i], arrays, snapping(grids)) for i in lines.spread(2)])
        signal = ((exact - exact.mean(1, keepdims=True)) ** 2).sum()
        return 10 * np.log10(signal / ((rough - exact) ** 2).sum())

    stem = {name: candidate.grids[name] for name in ("stem.conv", "stem")}
    assert np.isclose(parts["stem"], level(network.arrays, stem), atol=0.1)
    assert np.isclose(
        tensors["blocks.4.se.excite"],
        level(network.arrays, {"blocks.4.se.excite": candidate.grids["blocks.4.se.excite"]}),
        atol=0.1,
    )


@pytest.mark.parametrize("per_tensor", [True, False])
def test_corrected_means(per_tensor, model, lines):
    """With biases corrected the mean logits are the float network's, but for how they are stored.

    The mean of every layer's sums is made the float network's, to half a step of its bias, which is an integer. The logits
    are such sums and then rounded, each by half a step of theirs at most: so far their means may be apart, and no farther.
    That holds only if later layers were corrected behind the very biases that are stored; behind unrounded ones other numbers
    round up, and half of the error comes back.
    """
    network = Network.of(model, "tflite")
    calibration = calibrate(network, lines, shown=False)
    gaps = []
    for correct in (False, True):
        recipe = Recipe("tflite", per_tensor, Ranges(), (), correct)
        candidate, parameters = prepare(network, calibration, lines, recipe)
        rough = [network.logits(lines[i], candidate.arrays, snapping(candidate.grids)) for i in range(6)]
        exact = [network.logits(lines[i]) for i in range(6)]
        gaps.append(np.abs(np.mean(rough, 0) - np.mean(exact, 0)).max())
    bias_step = parameters.bias_scales[bias_name(network.plan[-1])].max()
    bound = (candidate.grids["logits"].scale + bias_step) / 2
    assert gaps[1] < bound and gaps[1] < gaps[0] / 3 and isinstance(candidate, Candidate)
    assert not per_tensor or gaps[0] > 3 * bound


# fmt: off
ROUNDED = (
    #  form    number              nearest
    ("fp16",   1 + 2.0 ** -11,     1.0),                # a tie, to the even one
    ("fp16",   1 + 3 * 2.0 ** -11, 1 + 2.0 ** -9),
    ("fp16",   65519.0,            65504.0),
    ("fp16",   65520.0,            np.inf),
    ("bf16",   1 + 2.0 ** -8,      1.0),
    ("bf16",   1 + 3 * 2.0 ** -8,  1 + 2.0 ** -6),
    ("bf16",   -1e30,              -202 * 2.0**92),
)
# fmt: on


@pytest.mark.parametrize("form,number,nearest", ROUNDED)
def test_half_formats(form, number, nearest):
    assert rounded(np.float32([number]), form)[0] == pytest.approx(nearest, rel=1e-6)
    assert np.isnan(rounded(np.float32([np.nan]), form)[0])


def test_sums_in_half_formats(model, lines):
    """Storage loses least, sums kept in the format most."""
    network, x = Network.of(model, None), lines[0]
    exact = network.logits(x)
    errors = []
    for way in (Storage(network, "bf16"), Arithmetic(network, "bf16"), Arithmetic(network, "bf16", summed=True)):
        errors.append(float(np.abs(way.logits(x) - exact).max()))
    assert 0 < errors[0] < errors[2] and 0 < errors[1] < errors[2]
