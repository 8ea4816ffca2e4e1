"""Forms of a network: gray input, another hidden layer or none, in the plan and wherever a network goes."""

import numpy as np
import pytest

import npmnv3
from npmnv3.dumps.dumps import write_dump
from npmnv3.errors import WeightsError
from npmnv3.freezing import freeze
from npmnv3.freezing.cost import open_frozen
from npmnv3.network.forms import form_in, form_of, form_text
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant
from npmnv3.pictures.pixels import luminance
from npmnv3.pictures.recipes import preprocess

FORMS = [
    ("torchvision/mobilenet_v3_small", {"head": 0}, "no hidden layer"),
    ("torchvision/mobilenet_v3_small", {"head": 96}, "hidden layer of 96"),
    ("timm/mobilenetv3_small_050", {"in_channels": 1}, "gray input"),
    ("timm/mobilenetv3_small_050", {"in_channels": 1, "head": 0}, "gray input, no hidden layer"),
    ("ppcls/MobileNetV3_small_x0_35", {"head": 40}, "hidden layer of 40"),
    ("showlo/mobilenetv3_small", {"head": 0}, "no hidden layer"),
    ("sqlai/mobilenetv3_small", {"head": 0}, "no hidden layer"),
    ("keras/MobileNetV3Small", {"head": 0}, "no hidden layer"),
    ("keras/MobileNetV3Small", {"in_channels": 1}, "gray input"),
    ("ppocr/text_direction", {"in_channels": 1}, "gray input"),
]


def state_of(variant, classes, seed=0):
    rng, state = np.random.default_rng(seed), {}
    for step in make_plan(variant, classes):
        for param in step.params:
            values = rng.uniform(0.5, 1.5, param.shape) if param.role == "variance" else rng.normal(0, 0.2, param.shape)
            state[param.name] = np.ones((), np.int64) if param.role == "count" else values.astype(np.float32)
    return state


@pytest.mark.parametrize("name, form, text", FORMS)
@pytest.mark.parametrize("classes", [1, 4])
def test_a_form_goes_everywhere(name, form, text, classes, tmp_path):
    variant = form_of(get_variant(name), **form)
    state = state_of(variant, classes)
    assert form_in(get_variant(name), {n: a.shape for n, a in state.items()}) == variant and form_text(variant) == text
    write_dump(tmp_path / "a.npz", state, model=name)
    exact = npmnv3.load(tmp_path / "a.npz", engine="numpy", dtype="float64")
    own = get_variant(name)
    said = {key: value for key, value in form.items() if getattr(own, key) != value}
    assert {key: exact.attributes.get(key) for key in said} == said and exact.num_classes == classes
    assert exact.variant == variant and npmnv3.load(name, state, engine="numpy").variant == variant
    x = np.random.default_rng(1).standard_normal((2, variant.in_channels, *variant.side)).astype(np.float32)
    expected = exact(x)
    assert expected.shape == (2, classes)
    features = exact.features(x)
    assert features.shape == (2, variant.head or variant.last)
    weight = exact.plan[-1].param("weight").to_canonical(state[exact.plan[-1].param("weight").name])
    bias = state[exact.plan[-1].param("bias").name]
    worst = np.abs(features @ weight.T + bias - expected).max()
    assert worst < 1e-6 * max(1, np.abs(expected).max()), worst
    freeze(npmnv3.load(tmp_path / "a.npz", engine="numpy"), tmp_path / "a.pyz", dtype="float32")
    frozen = open_frozen(tmp_path / "a.pyz")
    found = np.array([frozen["logits"](one) for one in x])
    assert np.abs(found - expected).max() < 1e-3 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("name, form, text", FORMS[:4])
def test_the_fast_engine_has_forms_too(name, form, text):
    pytest.importorskip("numba")
    variant = form_of(get_variant(name), **form)
    state = state_of(variant, 3)
    x = np.random.default_rng(1).standard_normal((3, variant.in_channels, 64, 64)).astype(np.float32)
    expected = npmnv3.load(name, state, engine="numpy", dtype="float64")(x)
    found = npmnv3.load(name, state, engine="numba")(x)
    assert np.abs(found - expected).max() < 1e-4 * max(1, np.abs(expected).max())


def test_pictures_become_luminance():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (300, 280, 3), np.uint8)
    image = pytest.importorskip("PIL.Image")
    expected = np.asarray(image.fromarray(picture).convert("L"))
    gray = luminance(picture)
    assert (gray == expected[..., None]).all()
    name = "timm/mobilenetv3_small_050"
    model = npmnv3.load(name, state_of(form_of(get_variant(name), in_channels=1), 2), engine="numpy")
    x = preprocess(picture, model)
    assert x.shape == (1, 224, 224) and (model.preprocess.channels, len(model.preprocess.mean)) == ("L", 1)
    assert model.predict([picture])[0][0][0] in (0, 1)


def test_one_class_has_the_sigmoids_probability():
    name = "timm/mobilenetv3_small_050"
    model = npmnv3.load(name, state_of(get_variant(name), 1), engine="numpy")
    x = np.zeros((1, 3, 224, 224), np.float32)
    picture = np.zeros((224, 224, 3), np.uint8)
    ((index, label, probability),) = model.predict([picture])[0]
    logit = float(model(preprocess(picture, model)[None])[0, 0])
    assert (index, label) == (0, "0") and probability == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-6)
    assert model(x).shape == (1, 1)


@pytest.mark.parametrize(
    "attributes, message",
    [
        ({"head": -1}, "head is -1, expected the hidden layer's width"),
        ({"head": "wide"}, "head is 'wide'"),
        ({"in_channels": 7}, "in_channels is 7, expected 1 or 3"),
        ({"head": 12}, "misshapen: conv_head.weight"),
        ({"in_channels": 1}, "misshapen: conv_stem.weight"),
    ],
)
def test_attributes_that_contradict_the_arrays(attributes, message, tmp_path):
    import json

    name = "timm/mobilenetv3_small_050"
    about = {
        "format": "npmnv3-dump",
        "version": 1,
        "source": "timm",
        "variant": "mobilenetv3_small_050",
        "num_classes": 2,
    }
    state = state_of(get_variant(name), 2)
    np.savez(tmp_path / "a.npz", __npmnv3__=np.array(json.dumps(about | attributes)), **state)
    with pytest.raises(WeightsError, match=message):
        npmnv3.load(tmp_path / "a.npz", engine="numpy")


def test_tensors_of_frameworks_serve_as_weights():
    class Tensor:
        """As torch's: no array while it has a gradient, and no NumPy type for bfloat16."""

        def __init__(self, array, dtype="torch.float32"):
            self.array, self.dtype, self.free = array, dtype, False

        def detach(self):
            made = Tensor(self.array, self.dtype)
            made.free = True
            return made

        def cpu(self):
            return self

        def float(self):
            made = Tensor(self.array)
            made.free = True
            return made

        def __array__(self, dtype=None, copy=None):
            if not self.free or self.dtype != "torch.float32":
                raise RuntimeError("Can't call numpy() on this tensor")
            return self.array

    name = "timm/mobilenetv3_small_050"
    state = {n: a for n, a in state_of(get_variant(name), 2).items() if a.shape}
    x = np.zeros((1, 3, 32, 32), np.float32)
    expected = npmnv3.load(name, state, engine="numpy")(x)
    for dtype in ("torch.float32", "torch.bfloat16"):
        tensors = {n: Tensor(a, dtype) for n, a in state.items()}
        np.testing.assert_array_equal(npmnv3.load(name, tensors, engine="numpy")(x), expected)
    with pytest.raises(WeightsError, match="conv_stem.weight is a Tensor that is no array: Can't call numpy"):
        npmnv3.load(
            name, {**state, "conv_stem.weight": Tensor(state["conv_stem.weight"], "torch.float8")}, engine="numpy"
        )
