"""What training programs keep beside the network: names of classes, and how pictures were prepared."""

import json

import checkpoint_files as files
import pytest
from checkpoint_files import Call
from states import random_state

import npmnv3
from npmnv3.conversion import convert
from npmnv3.dumps.labels import label_set

SMALL, TORCHVISION = "timm/mobilenetv3_small_050", "torchvision/mobilenet_v3_small"
TIMMS = {"img_size": None, "input_size": None, "crop_pct": None, "interpolation": "", "mean": None, "std": None}


def converted(tmp_path, model=SMALL, file="a.pth", **beside):
    """(Converted, the dump loaded) of a checkpoint with this beside the state dict."""
    path = tmp_path / file
    path.write_bytes(files.torch_file(random_state(model, 3), lambda state: {"state_dict": state, **beside}))
    done = convert(path, tmp_path / "a.h5")
    return done, npmnv3.load(done.path, engine="numpy")


@pytest.mark.parametrize(
    "beside",
    [
        {"class_to_idx": {"cat": 1, "bat": 0, "dog": 2}},
        {"classes": ["bat", "cat", "dog"]},
        {"hyper_parameters": {"class_names": ("bat", "cat", "dog")}},
        {"meta": {"dataset_meta": {"classes": ("bat", "cat", "dog")}}},
        {"config": {"id2label": {"0": "bat", "1": "cat", "2": "dog"}, "label2id": {"bat": 0, "cat": 1, "dog": 2}}},
        {"idx_to_class": {0: "bat", 1: "cat", 2: "dog"}, "classes": ["few"]},
    ],
)
def test_names_of_classes_are_taken(beside, tmp_path):
    done, model = converted(tmp_path, **beside)
    assert model.labels == ("bat", "cat", "dog")
    assert any(note.endswith("names the classes: 'bat', 'cat', 'dog'") for note in done.notes), done.notes


def test_the_ids_of_imagenets_folders_are_read_as_its_classes(tmp_path):
    path = tmp_path / "a.pth"
    ids = {label.synset: label.index for label in label_set("imagenet")}
    state = random_state(SMALL)
    path.write_bytes(files.torch_file(state, lambda state: {"state_dict": state, "class_to_idx": ids}))
    done = convert(path, tmp_path / "a.h5")
    assert npmnv3.load(done.path, engine="numpy").labels[0] == "tench"
    assert any("synset ids" in note for note in done.notes), done.notes


@pytest.mark.parametrize(
    ("beside", "note"),
    [
        ({"classes": ["a", "b"]}, "classes has 2 names for 3 classes: not taken"),
        (
            {"classes": ["a", "b", "c"], "class_to_idx": {"a": 2, "b": 1, "c": 0}},
            "classes and class_to_idx name the classes differently: none is taken",
        ),
        ({"classes": 3}, None),
        ({"classes": ["a", 1, None]}, None),
        ({"class_to_idx": {"a": 1, "b": 2, "c": 3}}, None),
        ({"history": {"classes": ["a", "b", "c"]}}, None),
    ],
)
def test_names_that_cannot_be_these_are_not(beside, note, tmp_path):
    done, model = converted(tmp_path, **beside)
    assert model.labels == ("0", "1", "2")
    assert [said for said in done.notes if "class" in said] == ([note] if note else [])


def test_timms_program_says_how_it_prepared_pictures(tmp_path):
    given = {
        "img_size": 160,
        "crop_pct": 0.95,
        "interpolation": "bilinear",
        "mean": [0.1, 0, 0.3],
        "std": [0.2, 0.2, 0.2],
    }
    args = Call("argparse.Namespace", opcode=b"\x81", state=TIMMS | given)
    done, model = converted(tmp_path, args=args)
    recipe = model.preprocess
    assert (recipe.resize, recipe.side, recipe.interpolation) == (168, (160, 160), "bilinear")  # floor(160 / 0.95)
    assert (recipe.mean, recipe.std) == ((0.1, 0, 0.3), (0.2, 0.2, 0.2))
    assert done.warnings == () and any("args.img_size 160" in note for note in done.notes)
    usual = converted(tmp_path, args=TIMMS)
    assert usual[1].preprocess.name == "timm" and usual[0].warnings == ()
    sized = converted(tmp_path, args=TIMMS | {"img_size": 160})[1].preprocess
    assert (sized.resize, sized.side, sized.interpolation) == (182, (160, 160), "bicubic")


def test_torchvisions_program_does_too(tmp_path):
    given = {"val_crop_size": 192, "val_resize_size": 232, "interpolation": "bicubic", "train_crop_size": 176}
    done, model = converted(tmp_path, TORCHVISION, args=given)
    recipe = model.preprocess
    assert (recipe.resize, recipe.side, recipe.interpolation) == (232, (192, 192), "bicubic")
    assert done.warnings == ()


@pytest.mark.parametrize(
    "beside",
    [
        {"image_size": 160},
        {"config": {"input_size": [3, 192, 160]}},
        {"hyper_parameters": {"mean": [127.5, 127.5, 127.5]}},
        {"args": TIMMS | {"mean": [0.5, 0.5, 0.5], "input_size": [3, 160, 128]}},
        {"args": TIMMS | {"crop_pct": 1e-9}},
        {"args": TIMMS | {"crop_pct": 1.5}},
        {"args": TIMMS | {"std": [0, 0, 0]}},
    ],
)
def test_another_program_that_says_otherwise_is_warned_of(beside, tmp_path):
    done, model = converted(tmp_path, **beside)
    (warning,) = done.warnings
    assert warning.startswith("the file says ") and "prepares pictures by the recipe timm" in warning
    assert model.preprocess.name == "timm"


@pytest.mark.parametrize(
    "beside",
    [
        {"image_size": 224, "mean": [0.485, 0.456, 0.406], "std": (0.229, 0.224, 0.225), "interpolation": "bicubic"},
        {"config": {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}},
        {"input_size": [3, 224, 224], "crop_pct": 0.875, "mean": "imagenet", "std": None},
    ],
)
def test_what_agrees_needs_no_word(beside, tmp_path):
    done, model = converted(tmp_path, **beside)
    assert done.warnings == () and model.preprocess.name == "timm"


CARD = {
    "architecture": "mobilenetv3_small_050",
    "label_names": ["ant", "bee", "cow"],
    "pretrained_cfg": {"input_size": [3, 192, 192], "crop_pct": 1.0, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}


@pytest.mark.parametrize("card", [{**CARD, "label_names": None}, {**CARD, "pretrained_cfg": {}}])
def test_a_card_beside_the_file_counts_more_than_settings_in_it(card, tmp_path):
    """Each for what it says: what it leaves open is taken from the settings."""
    (tmp_path / "config.json").write_text(json.dumps(card), "utf-8")
    settings = {"classes": ["x", "y", "z"], "args": TIMMS | {"img_size": 160}}
    done, model = converted(tmp_path, file="pytorch_model.bin", **settings)
    recipe, notes = model.preprocess, " ".join(done.notes)
    named, prepared = bool(card["label_names"]), bool(card["pretrained_cfg"])
    assert model.labels == (("ant", "bee", "cow") if named else ("x", "y", "z"))
    assert (recipe.side, recipe.mean[0]) == (((192, 192), 0.5) if prepared else ((160, 160), 0.485))
    assert ("classes names the classes" in notes) == (not named)
    assert ("pictures are prepared as the file says: args.img_size 160" in notes) == (not prepared)
    assert done.warnings == ()
