"""Quantised dumps: written by other tools, written and read again, and everything that does not fit together."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from damages import damaged, damaged_json

import npmnv3
from npmnv3.dumps.dumps import is_quantized
from npmnv3.dumps.quantized import read_quantized, write_quantized
from npmnv3.errors import Npmnv3Error, UsageError, WeightsError

STEPS = [
    {"name": "stem", "op": "conv2d", "inputs": ["input"], "shape": [4, 3, 3], "stride": [2, 2], "pad": [1, 1, 1, 1], "act": "relu"},
    {"name": "pool", "op": "global_avg_pool", "inputs": ["stem"], "shape": [4]},
    {"name": "logits", "op": "linear", "inputs": ["pool"], "shape": [2]},
]  # fmt: skip
ABOUT = {"format": "npmnv3-quantized", "version": 1, "input_shape": [3, 5, 6], "steps": STEPS}


def arrays():
    """A small network, as another tool would write it with NumPy alone."""
    rng, made = np.random.default_rng(0), {}
    for name, scale, zero in (("input", 0.02, 3), ("stem", 0.05, -128), ("pool", 0.04, -128), ("logits", 0.1, 0)):
        made[f"{name}.scale"], made[f"{name}.zero_point"] = np.float32(scale), np.int8(zero)
    for name, shape in (("stem", (4, 3, 3, 3)), ("logits", (2, 4))):
        made[f"{name}.weight"] = rng.integers(-127, 128, shape).astype(np.int8)
        made[f"{name}.bias"] = rng.integers(-99, 99, shape[0]).astype(np.int32)
        made[f"{name}.weight_scale"] = np.full(shape[0], 0.01, np.float32)
        made[f"{name}.weight_zero_point"] = np.zeros(1, np.int32)
    return made


def written(path, about=None, drop=(), **changes):
    entries = {name: value for name, value in {**arrays(), **changes}.items() if name not in drop}
    np.savez(path, __npmnv3__=json.dumps(ABOUT | (about or {})), **entries)
    return path


def test_another_tools_dump(tmp_path):
    path = written(tmp_path / "q.npz")
    assert is_quantized(path)
    model = npmnv3.load(path, kernels="tflite-reference")
    assert repr(model) == "<npmnv3.QuantizedModel an unknown network, 2 classes, tflite-reference>"
    x = np.random.default_rng(1).normal(size=(2, 3, 5, 6)).astype(np.float32)
    tensors = model.trace(x, integers=True)
    assert list(tensors) == ["input", "stem", "pool", "logits"] and tensors["stem"].shape == (2, 4, 3, 3)
    # The logits by hand, of the integers before them.
    made = arrays()
    sums = (tensors["pool"].astype(int) + 128) @ made["logits.weight"].T.astype(int) + made["logits.bias"]
    assert np.abs(tensors["logits"] - np.clip(sums * (0.04 * 0.01 / 0.1), -128, 127)).max() <= 0.5
    assert np.array_equal(model(x), model.trace(x)["logits"])
    with pytest.raises(UsageError, match="5 x 5 pixels; this quantised network takes 5 x 6"):
        model(x[..., :5])
    with pytest.raises(UsageError, match="nothing says how this network's pictures are prepared"):
        next(model.predict_each([np.zeros((5, 6, 3), np.uint8)]))


def test_written_and_read_again(tmp_path):
    first = read_quantized(written(tmp_path / "a.npz", {"scheme": "tflite", "labels": ["cat", "dog"]}))
    write_quantized(tmp_path / "b.npz", first)
    second = read_quantized(tmp_path / "b.npz")
    assert second.plan.steps == first.plan.steps and second.plan.grids == first.plan.grids
    assert all(np.array_equal(second.plan.arrays[name], value) for name, value in first.plan.arrays.items())
    assert (second.scheme, second.labels, second.kernels) == ("tflite", ("cat", "dog"), "")
    write_quantized(tmp_path / "c.npz", replace(second, kernels="xnnpack"))
    assert npmnv3.load(tmp_path / "c.npz").kernels == "xnnpack"
    write_quantized(tmp_path / "d.npz", replace(second, kernels="xnnpack"))
    assert (tmp_path / "c.npz").read_bytes() == (tmp_path / "d.npz").read_bytes()
    with pytest.raises(UsageError, match="written as .npz, found"):
        write_quantized(tmp_path / "e.h5", second)


def test_what_a_bias_of_floats_lost_is_kept(tmp_path):
    """Without it, layers that ONNX Runtime computes in floats are said to differ."""
    plan = read_quantized(written(tmp_path / "a.npz", **{"logits.bias_rest": np.array([0.25, -0.5])})).plan
    write_quantized(tmp_path / "b.npz", replace(read_quantized(written(tmp_path / "c.npz")), plan=plan))
    rests = read_quantized(tmp_path / "b.npz").plan.bias_rests
    assert {name: rest.tolist() for name, rest in rests.items()} == {"logits": [0.25, -0.5]}


def test_sums_of_sixteen_bits(tmp_path):
    """Twenty bits finer, times 31: more than 64, which no rule in fixed point may pass over in silence."""
    steps = [*STEPS[:1], {"name": "sum", "op": "add", "inputs": ["stem", "stem"], "shape": [4, 3, 3]}, *STEPS[1:]]
    wide = {"stem.zero_point": np.int16(0), "sum.zero_point": np.int16(0), "sum.scale": np.float32(0.1)}
    path = written(tmp_path / "q.npz", {"steps": steps}, **wide)
    assert npmnv3.load(path, kernels="onnxruntime")(np.ones((1, 3, 5, 6), np.float32)).shape == (1, 2)
    with pytest.raises(UsageError, match="sum adds tensors of 16 bits, for which tflite-reference has no rule"):
        npmnv3.load(path, kernels="tflite-reference")


def test_a_model_is_pickled(tmp_path):
    model = npmnv3.load(written(tmp_path / "q.npz"), kernels="xnnpack")
    again = pickle.loads(pickle.dumps(model))
    x = np.ones((1, 3, 5, 6), np.float32)
    assert again.kernels == "xnnpack" and np.array_equal(again(x), model(x))


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "whose int8.*name a kernel set"),
        ({"kernels": "ncnn"}, "kernels is 'ncnn', expected one of"),
        ({"kernels": "xnnpack", "engine": "llvm"}, "engine is 'llvm', but integers are computed by"),
        ({"kernels": "xnnpack", "dtype": "float64"}, "gives float32 alone"),
        ({"kernels": "xnnpack", "dtype": "abc"}, "dtype is 'abc', but a quantised network gives float32 alone"),
        ({"kernels": "xnnpack", "rounded_constants": True}, "are for floats, but .*q.npz is quantised"),
        ({"kernels": "xnnpack", "num_classes": 3}, "has 2 classes, expected 3"),
        (
            {"kernels": "xnnpack", "weights": "Q", "name": "ppocr/text_direction"},
            "is no network that is known, quantised",
        ),
    ],
)
def test_what_cannot_be_loaded(tmp_path, options, message):
    path = str(written(tmp_path / "q.npz"))
    options = {key: path if value == "Q" else value for key, value in options.items()}
    with pytest.raises(UsageError, match=message):
        npmnv3.load(options.pop("name", path), **options)


def test_kernels_are_not_for_floats():
    with pytest.raises(UsageError, match="kernels='xnnpack'` is for quantised dumps"):
        npmnv3.load("ppocr/text_direction", kernels="xnnpack")


def test_kernels_of_a_file_that_is_no_dump_yet_say_how_it_becomes_one(tmp_path):
    path = tmp_path / "q.onnx"
    path.write_bytes(b"model")
    with pytest.raises(UsageError, match=r"q.onnx is not; .*npmnv3 convert FILE -o q.npz"):
        npmnv3.load(path, kernels="xnnpack")
    with pytest.raises(UsageError, match="none.npz: no such dump"):
        npmnv3.load(tmp_path / "none.npz", kernels="xnnpack")


def changed(index, **fields):
    return {"steps": [{**step, **(fields if i == index else {})} for i, step in enumerate(STEPS)]}


# fmt: off
BAD = [
    ({"about": {"version": 2}}, "npmnv3-quantized version 2, expected npmnv3-quantized version 1"),
    ({"about": {"steps": []}}, "steps is .*expected a list of 1 to"),
    ({"about": {"steps": [1]}}, "step 0 is 1, expected name, op, inputs, shape"),
    ({"about": {"input_shape": [3, 5]}}, r"input_shape is \[3, 5\], expected"),
    ({"about": {"input_shape": [4, 5, 6]}}, r"'stem' \(conv2d\): reads 4 channels with weights \(4, 3, 3, 3\)"),
    ({"about": {"num_classes": 9}}, "says 9 classes, but its last step gives 2"),
    ({"about": {"kernels": "mine"}}, "kernels is 'mine', expected one of"),
    ({"about": {"labels": ["one"]}}, "labels has 1 entries, expected 2 texts"),
    ({"about": changed(0, op="conv3d")}, r"'stem' \(conv3d\): no operation of MobileNetV3"),
    ({"about": changed(0, inputs=["nothing"])}, "'stem' .*reads .*nothing.*, expected 1 of the tensors before it"),
    ({"about": changed(0, stride=[0, 1])}, r"stride \(0, 1\)"),
    ({"about": changed(0, stride=[2])}, r"step 0, 'stem': stride is \[2\], expected whole numbers"),
    ({"about": changed(0, act="tanh")}, "the activation 'tanh', expected one of"),
    ({"about": changed(0, shape=[4, 9, 9])}, r"gives \(4, 3, 3\), but is said to be \(4, 9, 9\)"),
    ({"about": changed(1, name="stem")}, "two tensors of the name 'stem'"),
    ({"about": changed(1, slope="steep")}, "slope is 'steep', expected a number"),
    ({"drop": ["pool.scale"]}, "'pool' has no scale or no zero point"),
    ({"drop": ["stem.bias"]}, "'stem' .*stem.bias missing"),
    ({"stem.scale": np.float32(0)}, "'stem': a scale of 0.0"),
    ({"stem.weight_scale": np.ones(1, np.int32)}, r"weight scales int32 \(1,\) from 1, expected"),
    ({"stem.scale": np.float32("nan")}, "'stem': a scale of nan"),
    ({"stem.scale": np.float64(0.1)}, "'stem' has a scale float64"),
    ({"stem.zero_point": np.int64(0)}, "'stem': a grid of 'int64'"),
    ({"stem.weight": np.zeros((4, 3, 3, 3), np.float32)}, "'stem' .*weights float32"),
    ({"stem.weight": np.zeros((4, 3, 3), np.int8)}, "'stem' .*expected 4 axes of int8"),
    ({"stem.bias": np.zeros(5, np.int32)}, "'stem' .*a bias int32 .5,., expected int32 .4,."),
    ({"stem.bias_rest": np.zeros(4, np.float32)}, "'stem' .*the rest of a bias float32 .4,., expected float64 .4,."),
    ({"stem.bias_rest": np.full(4, np.nan)}, "'stem' .*the rest of a bias float64"),
    ({"stem.weight_scale": np.zeros(4, np.float32)}, "'stem' .*weight scales float32"),
    ({"stem.weight_scale": np.ones(3, np.float32)}, "'stem' .*expected 4 or 1 positive finite float32"),
    ({"stem.weight_zero_point": np.full(1, 999)}, "'stem' .*weight zero points"),
]
# fmt: on


@pytest.mark.parametrize("changes, message", BAD, ids=[message[:40] for _, message in BAD])
def test_what_does_not_fit_together(tmp_path, changes, message):
    changes = dict(changes)
    path = written(tmp_path / "q.npz", changes.pop("about", None), changes.pop("drop", ()), **changes)
    with pytest.raises(WeightsError, match=message) as caught:
        read_quantized(path)
    assert str(path) in str(caught.value)


def test_damaged_dumps(tmp_path):
    path, rng, refused = tmp_path / "q.npz", np.random.default_rng(3), 0
    whole = written(path).read_bytes()
    for index in range(300):
        if index % 2:
            path.write_bytes(damaged(whole, rng))
        else:
            np.savez(path, __npmnv3__=damaged_json(ABOUT, rng).decode("utf-8", "replace"), **arrays())
        try:
            npmnv3.load(path, kernels="tflite-reference")
        except Npmnv3Error:
            refused += 1
    assert 100 < refused < 300
