"""Arguments of the public functions that are not what they take: one kind of error, which names them."""

import re

import goldens
import numpy as np
import pytest

import npmnv3
from npmnv3.dumps.labels import softmax
from npmnv3.quantization.calibrate import Pictures
from npmnv3.testing import random_params
from npmnv3.verification.quantized.tensors import read_tensors

NAME = "ppocr/text_direction"
PICTURE = str(goldens.ROOT / "weights" / "examples" / "sign_upright.png")
FLAG, TEXT, PATH, SIDE = (
    r"expected True(, False or None| or False)$",
    "expected a text",
    "expected a path",
    r"expected \(height, width\)",
)
NO_FLAGS = ("yes", "", 0, 1, float("nan"), [], np.ones(1, bool))
NO_PATHS = (5, True, None, [], b"x", "")
NO_SIDES = (5, True, "", [], (224,), (224, 224, 3), float("nan"))


@pytest.fixture(scope="module")
def model():
    return npmnv3.load(NAME, engine="numpy")


# fmt: off
CASES = (
    # function of (model, value), argument, what is said, values
    (lambda m, v: npmnv3.load(NAME, fetch=v), "fetch", FLAG, NO_FLAGS),
    (lambda m, v: npmnv3.load(NAME, rounded_constants=v), "rounded_constants", FLAG, (*NO_FLAGS, None)),
    (lambda m, v: npmnv3.load(NAME, engine="llvm", threads=v), "threads", "a whole number", (0, True, 1.0, np.float32(2))),
    (lambda m, v: npmnv3.list_models(v), "pattern", TEXT, (5, None, [], b"*", float("nan"))),
    (lambda m, v: npmnv3.fetch(NAME, base_url=v), "base_url", TEXT, (5, [], b"http://x")),
    (lambda m, v: npmnv3.fetch(NAME, cache=v), "cache", PATH, (5, True, [], b"x")),
    (lambda m, v: npmnv3.fetch(NAME, progress=v), "progress", FLAG, NO_FLAGS),
    (lambda m, v: npmnv3.convert(goldens.ROOT / "weights" / "ppocr--text_direction.h5", v), "out", PATH, (5, [], b"x")),
    (lambda m, v: npmnv3.write_dump(v, {}, model=NAME), "path", PATH, NO_PATHS),
    (lambda m, v: npmnv3.write_dump("x.h5", {}, model=NAME, origin=v), "origin", TEXT, (5, None, [])),
    (lambda m, v: npmnv3.write_dump("x.h5", {}, model=NAME, labels=v), "labels", "a sequence of texts", (5, 0, {}, True)),
    (lambda m, v: npmnv3.write_dump("x.h5", {}, model=NAME, preprocess=v), "preprocess", "a recipe", (5, 0, [], {})),
    (lambda m, v: npmnv3.preprocess(PICTURE, npmnv3.Preprocess(v)), "name", TEXT, (5, None, [])),
    (lambda m, v: npmnv3.export_onnx(v, "x.onnx"), "model", "a Model", (NAME, None, 5)),
    (lambda m, v: npmnv3.export_onnx(m, v), "path", PATH, NO_PATHS),
    (lambda m, v: npmnv3.export_onnx(m, "x.onnx", softmax=v), "softmax", FLAG, (*NO_FLAGS, None)),
    (lambda m, v: npmnv3.export_onnx(m, "x.onnx", dynamic_batch=v), "dynamic_batch", FLAG, (*NO_FLAGS, None)),
    (lambda m, v: npmnv3.freeze(v, "x.pyz"), "model", "a Model", (NAME, None, 5)),
    (lambda m, v: npmnv3.freeze(m, v), "path", PATH, NO_PATHS),
    (lambda m, v: npmnv3.freeze(m, "x.pyz", v), "dtype", "expected one of", (5, [], {})),
    (lambda m, v: npmnv3.freeze(m, "x.pyz", names=v), "names", FLAG, (*NO_FLAGS, None)),
    (lambda m, v: npmnv3.freeze(m, "x.pyz", check=v), "check", "a callable", (5, "yes")),
    (lambda m, v: npmnv3.verify(m, m, PICTURE, explain=v), "explain", FLAG, (*NO_FLAGS, None)),
    (lambda m, v: npmnv3.verify(m, m, PICTURE, map=v), "map", "a mapping", (5, "", [])),
    (lambda m, v: npmnv3.verify(m, m, PICTURE, weights=v), "weights", "with its own", ("x.h5", 5)),
    (lambda m, v: npmnv3.quantize(m, PICTURE, weights=v), "weights", "with its own", ("x.h5", 5)),
    (lambda m, v: npmnv3.quantize(m, PICTURE, per_tensor=v), "per_tensor", FLAG, (*NO_FLAGS, None)),
    (lambda m, v: npmnv3.quantize(m, PICTURE, recipes=v), "recipes", FLAG, (*NO_FLAGS, None)),
    (lambda m, v: npmnv3.quantize(m, PICTURE, wide=v), "wide", "a sequence", (5, None, True)),
    (lambda m, v: m.plan_for(v), "side", SIDE, NO_SIDES),
    (lambda m, v: m.plan_for(folded=v), "folded", FLAG, NO_FLAGS),
    (lambda m, v: m.arrays(folded=v), "folded", FLAG, NO_FLAGS),
    (lambda m, v: m.arrays(v), "dtype", "one of floats", (5, "", None, "int32", [], object())),
    (lambda m, v: random_params(m.plan, v), "rng", "a numpy.random.Generator", (5, None)),
    (lambda m, v: random_params(v, np.random.default_rng(0)), "plan", "a tuple of Step", ((), 5, None, "ab")),
)
# fmt: on


@pytest.mark.parametrize(("call", "name", "said", "values"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_what_a_function_does_not_take(call, name, said, values, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for value in values:
        with pytest.raises(npmnv3.UsageError, match=said) as caught:
            call(model, value)
        assert re.search(rf"\b{name}\b", str(caught.value)), str(caught.value)
    assert not list(tmp_path.iterdir())


def test_bools_of_numpy_are_as_good(model):
    assert model.plan_for(folded=np.True_) == model.plan_for(folded=True)
    assert npmnv3.load(NAME, engine="numpy", fetch=np.bool_(False)).name == NAME


LINES = np.ma.masked_equal(np.ones((1, 3, 48, 192), np.float32), 0)
PIXELS = np.ma.masked_equal(np.ones((48, 192, 3), np.uint8), 0)
TAKERS = {
    "a model": (lambda m, x: m(x), LINES),
    "a trace": (lambda m, x: m.trace(x), LINES),
    "predict": (lambda m, x: m.predict([x]), PIXELS),
    "probabilities": (lambda m, x: softmax(x), LINES[0, 0, :, :2]),
    "a port's tensors": (lambda m, x: npmnv3.verify(m, {"logits": x}, PICTURE, explain=False), LINES[0, 0, :1, :2]),
    "a port's input": (lambda m, x: npmnv3.verify(m, m, [x], explain=False), LINES),
    "a device's tensors": (lambda m, x: read_tensors({"input": x}), PIXELS),
    "calibration": (lambda m, x: Pictures(x, m)[0], LINES),
    "weights": (lambda m, x: npmnv3.load(NAME, {**m.params, "conv1_bn_scale": x}, engine="numpy"), LINES[0, 0, 0, :8]),
}


@pytest.mark.parametrize("name", TAKERS)
def test_masked_arrays_are_filled_by_who_knows_with_what(name, model):
    take, array = TAKERS[name]
    take(model, array)  # it masks nothing
    masked = array.copy()
    masked[..., -1] = np.ma.masked
    with pytest.raises(
        npmnv3.Npmnv3Error, match=r" a masked array, [0-9,]+ of [0-9,]+ numbers masked, expected numbers"
    ):
        take(model, masked)


class Refusing:
    """Something that NumPy would take for an array, such as a tensor in a device's memory."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("it lies elsewhere")


@pytest.mark.parametrize("name", TAKERS)
def test_what_is_no_array_is_an_error_of_ours(name, model):
    for value in ([[1.0, 2.0], [3.0]], Refusing(), [Refusing()]):
        with pytest.raises(npmnv3.Npmnv3Error, match=rf"{type(value).__name__} that is no array|of type|expected"):
            TAKERS[name][0](model, value)


class Tensor:
    """As torch's is that has a gradient."""

    def __init__(self, array):
        self.array, self.dtype = array, "torch.float32"

    def detach(self):
        return self

    def cpu(self):
        return self.array


def test_a_model_takes_a_frameworks_tensor(model):
    x = np.ones((1, 3, 48, 192), np.float32)
    assert np.array_equal(model(Tensor(x)), model(x))


def test_whole_numbers_of_numpy_and_views_of_bytes_are_as_good(model):
    with open(PICTURE, "rb") as file:
        data = memoryview(file.read())
    assert model.predict(data, top=np.int64(1)) == model.predict(PICTURE, top=1)
