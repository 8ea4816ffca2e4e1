"""From picture to tensor: the sources' own bytes, and custom recipes."""

import dataclasses

import goldens
import h5py
import numpy as np
import pytest
from picture_material import NAMES, PHOTOS, assert_same, sha256

from npmnv3.errors import UsageError
from npmnv3.network.spec import Preprocess
from npmnv3.pictures import decode as decoding
from npmnv3.pictures import pixels
from npmnv3.pictures.pixels import lookup_table
from npmnv3.pictures.recipes import RECIPES, find_recipe, preprocess, stages

FULL = goldens.SHARED / "golden" / "preprocess.h5"
GOLDEN = FULL if FULL.exists() else goldens.CUT / "preprocess.h5"  # the cut has hashes where the full one has pixels
PIPELINES = ("torchvision", "timm", "ppcls")

Image = pytest.importorskip("PIL.Image", reason="pictures of most formats need Pillow")


@pytest.fixture
def without_pillow(monkeypatch):
    monkeypatch.setattr(pixels, "pillow_image", lambda: None)
    monkeypatch.setattr(decoding, "pillow_image", lambda: None)


def check_golden(name, pipeline):
    made = stages(PHOTOS / name, pipeline)
    with h5py.File(GOLDEN) as file:
        picture = file[name]
        golden = picture[pipeline]
        where = f"{name}, {pipeline}"
        assert made["resized"].shape[1::-1] == tuple(golden.attrs["resized_wh"]), where
        if "crop" in golden:
            assert_same(made["decoded"], (golden if "rgb" in golden else picture)["rgb"][...], f"{where}, decoded")
            assert_same(made["cropped"], golden["crop"][...], f"{where}, cropped")
        else:
            assert sha256(made["decoded"]) == golden.attrs["rgb_sha256"], f"{where}, decoded"
            assert sha256(made["cropped"]) == golden.attrs["crop_sha256"], f"{where}, cropped"
        left, top = golden.attrs["crop_xy"]
        assert_same(made["cropped"], made["resized"][top : top + 224, left : left + 224], f"{where}, crop's place")
        assert sha256(made["normalised"]) == golden.attrs["tensor_sha256"], f"{where}, normalised"


def test_all_golden_pictures_are_here():
    with h5py.File(GOLDEN) as file:
        assert sorted(set(file) - {"lut"}) == NAMES and len(NAMES) == 13


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("name", NAMES)
def test_golden(name, pipeline):
    check_golden(name, pipeline)


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".png")])
def test_golden_without_pillow(name, pipeline, without_pillow):
    check_golden(name, pipeline)


@pytest.mark.parametrize("pipeline", ("torch", "ppcls"))
def test_lookup_table(pipeline):
    with h5py.File(GOLDEN) as file:
        table = lookup_table(RECIPES["torchvision" if pipeline == "torch" else pipeline])
        assert_same(table, file[f"lut/{pipeline}"][...], pipeline)


@pytest.mark.parametrize("where", (goldens.CUT, goldens.SHARED / "golden"), ids=("cut", "full"))
def test_golden_text_lines(where):
    folder = where / "ppocr_cls"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}, which is not here")
    with h5py.File(folder / "expected.h5") as file:
        assert len(file) == 10
        for name, golden in file.items():
            photo = folder / name
            if not photo.exists():
                pytest.skip(f"needs {photo}, which is not here")
            made = stages(photo, "ppocr")
            assert_same(made["resized"][..., ::-1], golden["resized_bgr"][...], name)
            assert sha256(made["normalised"]) == golden.attrs["input_sha256"], name


# Recipes


def test_stages_and_preprocess_are_one_way():
    made = stages(PHOTOS / "made_tiny.jpg", "ppcls")
    assert list(made) == ["decoded", "resized", "cropped", "normalised"]
    assert [made[key].shape for key in made] == [(56, 75, 3), (256, 343, 3), (224, 224, 3), (3, 224, 224)]
    assert [made[key].dtype for key in made] == 3 * [np.uint8] + [np.float32]
    tensor = preprocess(PHOTOS / "made_tiny.jpg", "ppcls")
    assert tensor.flags.c_contiguous and tensor.dtype == np.float32
    assert_same(tensor, made["normalised"], "preprocess against stages")


def test_recipes():
    assert list(RECIPES) == ["torchvision", "timm", "ppcls", "keras", "timm150d", "ppocr"]
    assert all(recipe.name == name and find_recipe(recipe) is recipe for name, recipe in RECIPES.items())
    assert RECIPES["torchvision"] == Preprocess("torchvision")
    assert lookup_table(RECIPES["keras"])[:, [0, 255]].tolist() == 3 * [[-1, 1]]


class Model:
    preprocess = RECIPES["timm"]


def test_recipe_of_a_model():
    expected = preprocess(PHOTOS / "made_tiny.jpg", "timm")
    assert_same(preprocess(PHOTOS / "made_tiny.jpg", Model()), expected, "a model's recipe")


@pytest.mark.parametrize(
    ("size", "recipe", "resized"),
    [
        ((300, 451), "torchvision", (256, 384)),  # 384.85, cut off
        ((300, 451), "ppcls", (256, 385)),  # rounded
        ((451, 300), "torchvision", (384, 256)),
        ((256, 341), "timm", (256, 341)),
        ((9, 9), "ppcls", (256, 256)),
        ((5, 1000), "torchvision", (256, 51200)),
        ((32, 64), "ppocr", (48, 96)),
        ((10, 15), "ppocr", (48, 72)),
        ((33, 100), "ppocr", (48, 146)),  # 145.45, up
        ((32, 500), "ppocr", (48, 192)),  # squeezed
        ((900, 2), "ppocr", (48, 1)),
    ],
)
def test_sizes(size, recipe, resized):
    picture = np.zeros((*size, 3), np.uint8)
    assert stages(picture, recipe)["resized"].shape == (*resized, 3)


def test_a_line_is_padded_with_zeros_after_normalization():
    tensor = preprocess(np.zeros((48, 50, 3), np.uint8), "ppocr")
    assert (tensor[:, :, :50] == -1).all() and (tensor[:, :, 50:] == 0).all() and tensor.shape == (3, 48, 192)


def test_custom_recipe():
    """Every field changed, on a picture where the result is known: nothing is resampled."""
    picture = np.random.default_rng(5).integers(0, 256, (40, 61, 3), dtype=np.uint8)
    recipe = Preprocess("mine", resize=40, side=(21, 32), mean=(0.1, 0.2, 0.3), std=(1, 2, 3), channels="BGR")
    crop = picture[10:31, 14:46]  # 9.5 and 14.5, halves to even
    mean, std = (np.float32(v)[:, None, None] for v in (recipe.mean, recipe.std))
    expected = (crop.transpose(2, 0, 1)[::-1] / np.float32(255) - mean) / std
    assert_same(preprocess(picture, recipe), expected, "mine")
    lower = preprocess(picture, dataclasses.replace(recipe, interpolation="cv2_linear"))
    mean_of_lower = (picture[9:30, 14:46].transpose(2, 0, 1)[::-1] / np.float32(255) - mean) / std
    assert_same(lower, mean_of_lower, "halves down, as ppcls")


def test_squash():
    picture = np.random.default_rng(6).integers(0, 256, (31, 77, 3), dtype=np.uint8)
    made = stages(picture, Preprocess("device", fit="squash", interpolation="cv2_linear"))
    assert made["resized"].shape == (256, 256, 3)
    assert_same(made["cropped"], made["resized"][16:240, 16:240], "squash")


def test_a_small_picture_is_padded_before_the_crop():
    """As torchvision's CenterCrop: zeros around it, the odd one at the right and at the bottom."""
    picture = np.full((5, 8, 3), 200, np.uint8)
    cropped = stages(picture, Preprocess("small", resize=5, side=(8, 6)))["cropped"]
    expected = np.zeros((8, 6, 3), np.uint8)
    expected[1:6] = 200
    assert_same(cropped, expected, "padded")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"decode": "opencv"}, "decode is 'opencv'; expected one of pil, cv2"),
        ({"fit": "long"}, "fit is 'long'"),
        ({"interpolation": "nearest"}, "interpolation is 'nearest'; expected one of bilinear, bicubic, cv2_linear"),
        ({"arithmetic": None}, "arithmetic is None"),
        ({"channels": "GRAY"}, "channels is 'GRAY'; expected one of RGB, BGR"),
        ({"resize": 0}, "resize is 0; expected a whole number of pixels, 1 to 4096"),
        ({"resize": 256.0}, "resize is 256.0"),
        ({"resize": True}, "resize is True"),
        ({"resize": 10**9}, "resize is 1000000000"),
        ({"side": 224}, r"side is 224; expected \(height, width\)"),
        ({"side": (224, -1)}, r"side is \(224, -1\)"),
        ({"side": (224, 224, 3)}, "side is"),
        ({"mean": (0.5, 0.5)}, r"mean is \(0.5, 0.5\); expected 3 numbers"),
        ({"mean": (0.5, 0.5, float("nan"))}, "mean is"),
        ({"mean": "0.5"}, "mean is '0.5'"),
        ({"std": (0.5, 0, 0.5)}, "std is"),
        ({"std": (0.5, float("inf"), 0.5)}, "std is"),
        ({"std": (0.5, -0.5, 0.5)}, "std is"),
        ({"std": (0.5, 1e-9, 0.5)}, "std is"),
    ],
)
def test_impossible_recipes(change, complaint):
    with pytest.raises(UsageError, match="recipe 'timm': " + complaint):
        preprocess(np.zeros((4, 4, 3), np.uint8), dataclasses.replace(RECIPES["timm"], **change))


@pytest.mark.parametrize("recipe", ("resnet", None, 3, {}, "", b"timm", Preprocess))
def test_unknown_recipes(recipe):
    with pytest.raises(
        UsageError, match="is unknown; expected one of torchvision, timm, ppcls, keras, timm150d, ppocr"
    ):
        preprocess(np.zeros((4, 4, 3), np.uint8), recipe)
