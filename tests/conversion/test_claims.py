"""Never the wrong network in silence: what a file says of itself, twins, averages and teachers, contradictions."""

import json

import checkpoint_files as files
import h5py
import numpy as np
import pytest
from checkpoint_files import Call
from command_line import run
from states import random_state

import npmnv3
from npmnv3.conversion import convert, identify_file
from npmnv3.conversion.claims import read_claim
from npmnv3.dumps.dumps import load_weights
from npmnv3.errors import UsageError, WeightsError
from npmnv3.network.variants import get_variant

PLAIN, TF = "timm/mobilenetv3_small_100", "timm/tf_mobilenetv3_small_100"
SMALL = "timm/mobilenetv3_small_050"


def written(path, data):
    path.write_bytes(data)
    return path


def assert_holds(path, state):
    """A dump has these arrays, bit by bit."""
    arrays = load_weights(path).arrays
    files.assert_same({name: arrays[name] for name in state}, state)
    assert arrays.keys() == state.keys()


def named(where, text):
    """How a training program wraps a state dict and says which network it is."""
    options = {
        "arch": lambda state: {"arch": text, "state_dict": state},
        "args": lambda state: {
            "args": Call("argparse.Namespace", opcode=b"\x81", state={"model": text}),
            "model": state,
        },
        "hyper_parameters": lambda state: {"hyper_parameters": {"model_name": text}, "state_dict": state},
        "config": lambda state: {"config": {"architecture": text}, "state_dict": state},
    }
    return options[where]


@pytest.mark.parametrize("where", ["arch", "args", "hyper_parameters", "config"])
@pytest.mark.parametrize("text", ["tf_mobilenetv3_small_100", "timm/tf_mobilenetv3_small_100.in1k"])
def test_a_file_is_believed_before_its_shapes(where, text, tmp_path):
    path = written(tmp_path / "a.pth", files.torch_file(random_state(PLAIN, 3), named(where, text)))
    done = convert(path, tmp_path / "a.h5")
    assert (done.model, done.warnings) == (TF, ())
    assert any(text in reason and PLAIN in reason for reason in done.reasons), done.reasons


@pytest.mark.parametrize("text", ["mobilenetv3_large_100", "resnet50", "tf_mobilenetv3_small_075", "mobilenet_v2"])
def test_a_contradiction_is_an_error_that_names_both(text, tmp_path):
    path = written(tmp_path / "a.pth", files.torch_file(random_state(PLAIN, 3), named("arch", text)))
    with pytest.raises(WeightsError, match=f"arch says '{text}', but names and shapes are {PLAIN}'s"):
        convert(path, tmp_path / "a.h5")
    assert not (tmp_path / "a.h5").exists()
    done = convert(path, tmp_path / "a.h5", model=TF)
    assert done.model == TF and f"arch says {text!r}; taken for {TF}, as was asked for" in done.warnings


@pytest.mark.parametrize("text", ["my_net", "small", "mobilenetv3", "MobileNetV3-Small", "mobilenet_v3_small"])
def test_loose_names_are_no_contradiction(text, tmp_path):
    path = written(tmp_path / "a.pth", files.torch_file(random_state(PLAIN, 3), named("arch", text)))
    assert convert(path, tmp_path / "a.h5").model == PLAIN


@pytest.mark.parametrize(
    "text, model, meant",
    [
        ("tf_mobilenetv3_small_100", TF, True),
        ("tf_mobilenetv3_small_100", PLAIN, False),
        ("mobilenetv3_small_100", TF, False),
        ("mobilenetv3_small_100", "torchvision/mobilenet_v3_small", False),
        ("hf-hub:timm/mobilenetv3_large_100.ra_in1k", "timm/mobilenetv3_large_100", True),
        ("mobilenetv3_large_150d", "timm/mobilenetv3_large_150d", True),
        ("mobilenetv3_large_150d", "timm/mobilenetv3_large_100", False),
        ("mobilenetv3_rw", "timm/mobilenetv3_rw", True),
        ("mobilenet_v3_small", "torchvision/mobilenet_v3_small", True),
        ("mobilenet_v3_small", SMALL, False),
        ("MobileNetV3_small_x0_35", "ppcls/MobileNetV3_small_x0_35", True),
        ("mobilenet_v3_small_x0.35", "ppcls/MobileNetV3_small_x0_35", True),
        ("MobileNetV3_small_x0_35", "ppcls/MobileNetV3_small_x0_5", False),
        ("keras/MobileNetV3Small", "keras/MobileNetV3Small", True),
        ("timm/tf_mobilenetv3_large_minimal_100", "timm/tf_mobilenetv3_large_minimal_100", True),
        ("timm/tf_mobilenetv3_large_minimal_100", "timm/tf_mobilenetv3_large_100", False),
        ("efficientnet_b0", PLAIN, False),
    ],
)
def test_names_in_every_spelling(text, model, meant):
    assert read_claim("arch", text).allows(get_variant(model)) is meant


@pytest.mark.parametrize("where", ["config.json", "model_config"])
def test_keras_has_one_name_for_all_widths(where):
    claim = read_claim(where, "MobileNetV3Small")
    for model in ("keras/MobileNetV3Small", "keras/MobileNetV3Small_075", "keras/MobileNetV3Small_minimalistic"):
        assert claim.allows(get_variant(model))
    assert not claim.allows(get_variant("keras/MobileNetV3Large_075"))


@pytest.mark.parametrize("model", ["keras/MobileNetV3Small_075", "keras/MobileNetV3Small_minimalistic"])
def test_a_whole_keras_model_is_told_by_its_shapes(model, tmp_path):
    path = written(tmp_path / "a.h5", files.keras_legacy({"all": random_state(model, 4)}))
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": {"name": "MobileNetV3Small"}})
    assert convert(path, tmp_path / "b.h5").model == model
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": {"name": "MobileNetV3Large"}})
    with pytest.raises(
        WeightsError, match="model_config says 'MobileNetV3Large', but names and shapes are keras/Mobile"
    ):
        convert(path, tmp_path / "c.h5")


def test_twins_are_a_warning_and_listed(tmp_path, capsys):
    path = written(tmp_path / "best.pth", files.torch_file(random_state(PLAIN, 3)))
    code, out, err = run(capsys, "convert", path, "-o", tmp_path / "a.h5")
    assert code == 0 and "warning" in err and TF in err and "--model" in err and PLAIN in out
    code, out, _ = run(capsys, "identify", path)
    assert code == 0 and f"also     {TF}" in out and PLAIN in out
    assert convert(path, tmp_path / "b.h5", model=TF).warnings == ()


@pytest.mark.parametrize(
    "model",
    [
        "timm/mobilenetv3_large_075",
        "timm/mobilenetv3_small_035",
        "timm/mobilenetv3_large_150d",
        "torchvision/mobilenet_v3_small_050",
        "torchvision/mobilenet_v3_large_075",
    ],
)
def test_other_widths(model, tmp_path):
    path = written(tmp_path / "a.pth", files.torch_file(random_state(model, 4)))
    done = convert(path, tmp_path / "a.h5")
    assert done.model == model and load_weights(done.path).variant == get_variant(model)


def test_two_fits_in_one_file_are_a_choice(tmp_path):
    student, teacher = random_state(SMALL, 4, seed=1), random_state(PLAIN, 4, seed=2)
    both = {f"student.{n}": a for n, a in student.items()} | {f"teacher.{n}": a for n, a in teacher.items()}
    path = written(tmp_path / "a.pth", files.torch_file(both))
    done = convert(path, tmp_path / "a.h5")
    assert done.model == SMALL and any("left out, of another network: teacher." in note for note in done.notes)
    assert_holds(done.path, student)
    assert_holds(convert(path, tmp_path / "b.h5", PLAIN, key="teacher").path, teacher)
    with pytest.raises(UsageError, match="nothing to take under 'pupil'"):
        convert(path, tmp_path / "c.h5", key="pupil")
    alike = {f"one.{n}": a for n, a in student.items()} | {f"two.{n}": a for n, a in student.items()}
    path = written(tmp_path / "b.pth", files.torch_file(alike))
    with pytest.raises(WeightsError, match="several times, under 'one.', 'two.'; say which with --key"):
        convert(path, tmp_path / "c.h5")
    other = {f"one.{n}": a for n, a in student.items()} | {f"two.{n}": a for n, a in teacher.items()}
    path = written(tmp_path / "c.pth", files.torch_file(other))
    with pytest.raises(WeightsError, match="several networks: 'one.' is .*; say which with --key"):
        convert(path, tmp_path / "c.h5")


def test_the_files_own_habit_says_which_dict(tmp_path):
    """What is taken is the network as trained, not the largest dict, nor an average or a teacher."""
    small, large = random_state(SMALL, 4), random_state(PLAIN, 4)
    for wanted, other in (("state_dict", "state_dict_ema"), ("model", "model_ema"), ("student", "teacher")):
        both = {f"{wanted}/{n}": a for n, a in small.items()} | {f"{other}/{n}": a for n, a in large.items()}

        def wrap(state, wanted=wanted, other=other):
            parts = {wanted: {}, other: {}, "epoch": 3}
            for name, item in state.items.items():
                part, _, rest = name.partition("/")
                parts[part][rest] = item
            return parts

        path = written(tmp_path / "a.pth", files.torch_file(both, wrap))
        assert convert(path, tmp_path / "a.h5").model == SMALL
        assert convert(path, tmp_path / "a.h5", key=other).model == PLAIN


def test_several_dicts_of_which_none_is_likelier(tmp_path):
    state = random_state(SMALL, 4)
    path = written(
        tmp_path / "a.pth", files.torch_file(state, lambda top: {"folds": [dict(top.items), dict(top.items)]})
    )
    with pytest.raises(WeightsError, match="several state dicts, of which none is likelier: 'folds.0', 'folds.1'"):
        convert(path, tmp_path / "a.h5")
    assert_holds(convert(path, tmp_path / "a.h5", key="folds.1").path, state)


def test_hubs_config_json(tmp_path):
    config = {
        "architecture": "tf_mobilenetv3_small_100",
        "label_names": ["a", "b", "c"],
        "pretrained_cfg": {
            "input_size": [3, 192, 192],
            "interpolation": "bicubic",
            "crop_pct": 0.9,
            "mean": [0.1, 0.2, 0.3],
            "std": [0.4, 0.5, 0.6],
        },
    }
    path = written(tmp_path / "model.safetensors", files.safetensors(random_state(PLAIN, 3)))
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = convert(path, tmp_path / "a.h5")
    model = npmnv3.load(done.path, engine="numpy")
    assert (done.model, done.warnings, model.labels) == (TF, (), ("a", "b", "c"))
    recipe = model.preprocess
    assert (recipe.resize, recipe.side, recipe.interpolation) == (213, (192, 192), "bicubic")
    assert (recipe.mean, recipe.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    for change, message in (
        ({"architecture": "mobilenetv3_large_100"}, "config.json beside it says 'mobilenetv3_large_100'"),
        ({"label_names": ["a"]}, "1 label_names for 3 classes"),
        ({"pretrained_cfg": {**config["pretrained_cfg"], "interpolation": "lanczos"}}, "interpolation 'lanczos'"),
        ({"pretrained_cfg": {**config["pretrained_cfg"], "mean": "x"}}, "a pretrained_cfg that is none"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(WeightsError, match=message):
            convert(path, tmp_path / "b.h5")
    (tmp_path / "config.json").write_text("{not JSON")
    assert convert(path, tmp_path / "b.h5").model == PLAIN


def test_onnx_metadata_are_believed(tmp_path):
    pytest.importorskip("onnx")
    state = random_state("keras/MobileNetV3Small_minimalistic", 3)
    from npmnv3.export.onnx import export_onnx

    for name in ("keras/MobileNetV3Small_minimalistic", "timm/tf_mobilenetv3_small_minimal_100"):
        arrays = random_state(name, 3) if name.startswith("timm") else state
        export_onnx(npmnv3.load(name, arrays, engine="numpy"), tmp_path / "a.onnx")
        _, found = identify_file(tmp_path / "a.onnx")
        assert found.fits and found.model == name


def test_networks_that_are_none_of_ours_are_refused_by_name(tmp_path):
    ones = np.ones((16, 1, 3, 3), np.float32)
    theirs = ["features.0.0.weight", "features.1.conv.0.weight", "features.4.se.fc.0.weight"]
    path = written(tmp_path / "a.pth", files.torch_file({f"module.net.{name}": ones for name in theirs}))
    with pytest.raises(WeightsError, match="kuan-wang/pytorch-mobilenet-v3's network.*sigmoid"):
        convert(path, tmp_path / "a.h5")
    theirs = ["features.0.0.weight", "features.1.conv.0.weight", "conv.0.weight", "classifier.0.weight"]
    path = written(tmp_path / "a.pth", files.torch_file(dict.fromkeys(theirs, ones)))
    with pytest.raises(WeightsError, match="d-li14/mobilenetv3.pytorch's network"):
        convert(path, tmp_path / "a.h5")
