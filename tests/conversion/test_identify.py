"""Which network a checkpoint is: every network, any number of classes, what is near, what is nothing of the kind."""

import json

import checkpoint_files as files
import numpy as np
import pytest
from checkpoint_files import framework_files, keras3_names
from command_line import run
from states import random_state

import npmnv3
from npmnv3.conversion import identify, identify_file
from npmnv3.conversion.formats import Checkpoint, read_checkpoint
from npmnv3.network.plan import make_plan
from npmnv3.network.steps import Param
from npmnv3.network.variants import get_variant

RW, LARGE_100 = "timm/mobilenetv3_rw", "timm/mobilenetv3_large_100"


def checkpoint(state, kind="torch", **more):
    return Checkpoint(kind, state, **more)


def distinct():
    """Names of all networks but those that another one has the names and shapes of."""
    twins = {f"timm/tf_mobilenetv3_{name}" for name in ("small_100", "small_075", "large_100", "large_075")}
    return [name for name in npmnv3.list_models() if name not in twins and not name.endswith("_ssld")]


@pytest.mark.parametrize("model", distinct())
def test_every_network_is_known_by_names_and_shapes(model):
    found = identify(checkpoint(random_state(model, 37), "keras-legacy" if model.startswith("keras") else "torch"))
    assert (found.model, found.num_classes, found.contradictions) == (model, 37, ()), found
    assert found.fits and not found.folded and "37 classes" in found.reasons[0]


@pytest.mark.parametrize("model", [name for name in distinct() if name.startswith(("ppcls/", "ppocr/"))])
def test_paddle_inference_is_known_by_order(model):
    internal = {f"w_{i}": array for i, array in enumerate(random_state(model, 2).values())}
    found = identify(checkpoint(internal, "paddle-inference"))
    assert (found.model, found.num_classes) == (model, 2)


@pytest.mark.parametrize("name", framework_files())
def test_the_frameworks_own_files(name, shared):
    _, found = identify_file(files.unpacked()[name])
    source, variant = name.split("-")[:2]
    if source == "keras":
        variant = "MobileNetV3Small"
    assert (found.fits, found.model, found.num_classes) == (True, f"{source}/{variant}", 10), found
    assert found.folded == ("paddle" not in name and name.endswith(".onnx"))


def test_what_it_is_and_what_it_is_not():
    found = identify(checkpoint(random_state(RW)))
    assert found.model == RW and found.num_classes == 1000
    assert (
        f"not {LARGE_100}: squeeze-and-excitation widths 18, 30, 30, 120, 168, 168, 240, 240, not 24, 32,"
        in found.reasons[1]
    )


def test_unknown_widths_give_the_nearest_and_what_contradicts_it():
    state = random_state("timm/mobilenetv3_small_075", 5)
    for name, array in state.items():
        if name.startswith("blocks.3.0.") and 96 in array.shape:
            state[name] = np.ones([104 if n == 96 else n for n in array.shape], array.dtype)
    found = identify(checkpoint(state))
    assert not found.fits and found.model == "timm/mobilenetv3_small_075" and found.num_classes == 5
    assert len(found.contradictions) == 1 and "104" in found.contradictions[0] and "widths" in found.contradictions[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("bn1.weight"), "missing: bn1.weight"),
        (lambda s: s.update({"fc.weight": np.ones(3)}), "not of it: fc.weight"),
        (
            lambda s: s.update({"conv_head.bias": np.ones((1024, 1))}),
            r"misshapen: conv_head.bias is (1024, 1), expected (1024,)",
        ),
        (lambda s: s.pop("classifier.bias"), "missing: classifier.bias"),
        (lambda s: s.update({"classifier.bias": np.ones(())}), "misshapen: classifier.bias is ()"),
    ],
)
def test_one_entry_off(change, message):
    state = random_state("timm/mobilenetv3_small_050")
    change(state)
    found = identify(checkpoint(state))
    assert not found.fits and found.model == "timm/mobilenetv3_small_050"
    assert any(message in sentence for sentence in found.contradictions), found.contradictions


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {
            "conv1.weight": np.ones((64, 3, 7, 7)),
            "layer1.0.conv1.weight": np.ones((64, 64, 3, 3)),
            "fc.bias": np.ones(1000),
        },
        {"classifier.weight": np.ones((10, 512)), "classifier.bias": np.ones(10)},
        {"features.0.0.weight": np.ones((32, 3, 3, 3)), "classifier.1.bias": np.ones(1000)},
    ],
)
@pytest.mark.parametrize(
    "kind", ["torch", "safetensors", "paddle", "paddle-inference", "keras-legacy", "keras-weights"]
)
def test_other_networks_are_nothing_we_know(arrays, kind):
    found = identify(checkpoint(arrays, kind))
    assert (
        not found.fits and found.variant is None and found.model == "" and "no known network" in found.contradictions[0]
    )


def test_headless_keras_file_says_what_is_missing():
    state = {
        k: v for k, v in random_state("keras/MobileNetV3Large").items() if not k.startswith(("Conv_2/", "Logits/"))
    }
    found = identify(checkpoint(state, "keras-legacy"))
    assert found.model == "keras/MobileNetV3Large"
    missing = "missing: Conv_2/kernel:0, Conv_2/bias:0, Logits/kernel:0, Logits/bias:0"
    end = ": a backbone without its end, which gives no classes; give the file of the whole network, its classifier included"
    assert found.contradictions == (missing + end,)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("backbone.fpn.inner_blocks.0.0.weight", "an object detector"),
        ("head.regression_head.module_list.0.1.weight", "an object detector"),
        ("classifier.0.convs.1.0.weight", "a network for segmentation"),
    ],
)
def test_networks_of_other_tasks_are_told(name, told):
    state = random_state("torchvision/mobilenet_v3_small_050", 3)
    state = {f"backbone.{name}": array for name, array in state.items() if not name.startswith("classifier")}
    found = identify(checkpoint(state | {name: np.ones((3, 8, 1, 1), np.float32)}))
    assert (
        f": {told}, of which MobileNetV3 is the backbone alone; give the file of a classifier"
        in found.contradictions[-1]
    )


def test_factors_that_are_not_multiplied_yet():
    state = random_state("torchvision/mobilenet_v3_small", 3)
    state |= {f"classifier.3.base_layer.{end}": state.pop(f"classifier.3.{end}") for end in ("weight", "bias")}
    found = identify(checkpoint(state | {"classifier.3.lora_A.default.weight": np.ones((4, 1024))}))
    missing, strange = found.contradictions
    assert "without its end" not in missing and "merge_and_unload(); Keras merges them" in strange


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("", "timm/mobilenetv3_small_100"),
        ("model.safetensors", "timm/mobilenetv3_small_100"),
        ("mobilenetv3_small_100_lamb-266a294c.pth", "timm/mobilenetv3_small_100"),
        ("tf_mobilenetv3_small_100-37f49e2b.pth", "timm/tf_mobilenetv3_small_100"),
        ("my_tf_small_finetuned.pth", "timm/tf_mobilenetv3_small_100"),
        ("runs/tf_mobilenetv3_small_100.in1k/model.safetensors", "timm/tf_mobilenetv3_small_100"),
        ("TF_MobileNetV3_small_100.pth", "timm/tf_mobilenetv3_small_100"),
        ("gtf_model.pth", "timm/mobilenetv3_small_100"),
    ],
)
def test_equal_names_and_shapes_are_told_by_the_files_name(path, model):
    found = identify(checkpoint(random_state("timm/mobilenetv3_small_100", 3)), path)
    other = {"timm/mobilenetv3_small_100", "timm/tf_mobilenetv3_small_100"} - {model}
    assert found.fits and found.model == model and set(found.also) == other
    told = found.warnings if path in ("", "model.safetensors", "gtf_model.pth") else found.notes
    assert any("--model" in note and other.copy().pop() in note for note in told), found


def test_same_function_under_two_names():
    state = random_state("ppcls/MobileNetV3_small_x1_0")
    found = identify(checkpoint(state, "paddle"), "model.pdparams")
    assert found.model == "ppcls/MobileNetV3_small_x1_0" and found.also == ("ppcls/MobileNetV3_small_x1_0_ssld",)
    assert "computes the same" in found.notes[0]
    found = identify(checkpoint(state, "paddle"), "MobileNetV3_small_x1_0_ssld_pretrained.pdparams")
    assert found.model == "ppcls/MobileNetV3_small_x1_0_ssld"


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("model", npmnv3.list_models("keras/*"))
def test_keras_3_names(model, numbered):
    found = identify(checkpoint(keras3_names(random_state(model, 9), numbered), "keras-weights"))
    assert (found.model, found.num_classes, found.fits) == (model, 9, True), found.contradictions


def test_counters_and_profilers_leftovers_do_no_harm():
    state = random_state("sqlai/mobilenetv3_large", 4)
    for name in [name for name in state if name.endswith("num_batches_tracked")]:
        state[name] = np.float32(5)  # as averaging leaves them
        state[name.replace("num_batches_tracked", "total_ops")] = np.zeros(1)
    found = identify(checkpoint({**state, "total_params": np.zeros(1)}))
    assert found.fits and found.model == "sqlai/mobilenetv3_large"
    assert any("used by nothing: bn1.total_ops" in note for note in found.notes), found.notes
    del state["bn1.num_batches_tracked"]
    assert identify(checkpoint(state)).fits


def test_two_spellings_of_one_name_are_one_too_many():
    state = random_state("keras/MobileNetV3Small", 4)
    found = identify(checkpoint({**state, "logits/bias": state["Logits/bias:0"]}, "keras-legacy"))
    assert found.model == "keras/MobileNetV3Small" and found.contradictions == ("not of it: logits/bias",)


def test_background_class_is_noticed():
    found = identify(checkpoint(random_state("timm/tf_mobilenetv3_large_075", 1001)))
    assert found.fits and any("background class" in note for note in found.notes)


def test_canonical_and_back():
    rng = np.random.default_rng(3)
    for model in npmnv3.list_models():
        for param in (param for step in make_plan(get_variant(model), 3) for param in step.params):
            stored = rng.integers(0, 1000, param.shape)
            assert (param.from_canonical(param.to_canonical(stored)) == stored).all(), (model, param)
    param = Param("x", "weight", (3, 5, 7, 2), (2, 7, 3, 5), (3, 2, 0, 1))
    assert param.from_canonical(np.zeros(param.canonical)).shape == param.shape


def test_command(capsys, tmp_path):
    path = tmp_path / "tuned.safetensors"
    path.write_bytes(files.safetensors(random_state(RW, 12)))
    code, out, err = run(capsys, "identify", path)
    assert (
        code == 0
        and not err
        and out.startswith(f"{path}: {RW}, 12 classes (safetensors)\n")
        and "not " + LARGE_100 in out
    )
    code, out, _ = run(capsys, "identify", "--json", path)
    row = json.loads(out)
    assert code == 0 and (row["model"], row["source"], row["num_classes"], row["fits"]) == (RW, "timm", 12, True)
    assert row["format"] == "safetensors" and row["reasons"] and row["contradictions"] == []


def test_command_where_nothing_fits(capsys, tmp_path):
    path, state = tmp_path / "x.safetensors", random_state(RW, 12)
    del state["bn1.bias"]
    path.write_bytes(files.safetensors(state))
    code, out, _ = run(capsys, "identify", path)
    assert (
        code == 1
        and f"none of the known networks (safetensors); the nearest is {RW}" in out
        and "missing: bn1.bias" in out
    )
    path.write_bytes(files.safetensors({"a": np.ones(3, "f4")}))
    code, out, _ = run(capsys, "identify", "--json", path)
    row = json.loads(out)
    assert (
        code == 1 and row["model"] is None and row["fits"] is False and "no known network" in row["contradictions"][0]
    )
    code, _, err = run(capsys, "identify", tmp_path / "nowhere.pth")
    assert code == 2 and "nowhere.pth: cannot be opened" in err
    (tmp_path / "text.pth").write_text("hello")
    code, _, err = run(capsys, "identify", tmp_path / "text.pth")
    assert code == 2 and "not a checkpoint" in err


def test_command_on_a_training_checkpoint(capsys, shared):
    path = files.unpacked()["sqlai-mobilenetv3_small-10-checkpoint-best.pth"]
    code, out, _ = run(capsys, "identify", path, "--key", "model_ema", "--json")
    assert code == 0 and json.loads(out)["taken"] == "model_ema" and json.loads(out)["others"] == ["model"]
    assert run(capsys, "identify", path, "--key", "nonsense")[0] == 2
    assert read_checkpoint(path).taken == "model"


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_dumps_are_known_too(suffix, tmp_path):
    model, path = "timm/tf_mobilenetv3_small_100", tmp_path / f"dump{suffix}"
    npmnv3.write_dump(path, random_state(model, 6), model=model)
    found_checkpoint, found = identify_file(path)
    assert (found_checkpoint.format, found.model, found.num_classes) == ("dump", model, 6)
    assert any("says it is" in note for note in found.notes)
