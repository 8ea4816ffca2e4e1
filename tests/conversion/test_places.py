"""The network anywhere in a file: prefixes, entries of others beside it, other repositories' names, other heads."""

import checkpoint_files as files
import numpy as np
import pytest
from states import random_state

import npmnv3
from npmnv3.conversion import convert
from npmnv3.conversion.match.namings import namings_of
from npmnv3.dumps.dumps import load_weights
from npmnv3.errors import WeightsError
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant

TORCHVISION, SMALL = "torchvision/mobilenet_v3_small", "timm/mobilenetv3_small_050"
RNG = np.random.default_rng(7)


def draw(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def taken(state, tmp_path, **more):
    """(Converted, arrays) of a state dict in a torch file."""
    (tmp_path / "a.pth").write_bytes(files.torch_file(state))
    done = convert(tmp_path / "a.pth", tmp_path / "a.npz", **more)
    return done, load_weights(done.path).arrays


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    files.assert_same({name: found[name] for name in expected}, expected)


@pytest.mark.parametrize(
    "prefix", ["net.", "backbone.", "timm_model.", "_module.", "student.", "a.b.c.", "ema_model.module."]
)
def test_any_prefix(prefix, tmp_path):
    state = random_state(SMALL, 3)
    done, arrays = taken({prefix + name: array for name, array in state.items()}, tmp_path)
    assert done.model == SMALL and f"took {prefix!r} off the names" in done.notes
    assert_same(arrays, state)


def test_entries_of_others_are_listed_as_left_out(tmp_path):
    state = random_state(SMALL, 3)
    idle = {"criterion.weight": draw(3), "train_metrics.confmat": draw(3, 3), "optimizer.blocks.0.weight": draw(2, 2)}
    used = {"normalize.mean": draw(3), "mean": draw(1, 3, 1, 1), "temperature": draw(1)[0], "p": draw(1)}
    done, arrays = taken({f"model.{n}": a for n, a in state.items()} | idle | used, tmp_path)
    assert_same(arrays, state)
    (note,) = [note for note in done.notes if note.startswith("left out, used by nothing")]
    assert all(name in note for name in idle), note
    (warning,) = [told for told in done.warnings if told.startswith("left out")]
    assert "do not tell whether the network computes with them" in warning
    assert all(name in warning for name in used), warning


@pytest.mark.parametrize("names", [("conv_stem.weight", "classifier.weight"), ("bn1.weight",), ("classifier.bias",)])
def test_pruned_ends_norms_and_biases(names, tmp_path):
    state, parts = random_state(SMALL, 3), {}
    for name, array in state.items():
        if name in names:
            mask = (draw(*array.shape) > 0).astype(np.float32)
            parts |= {f"{name}_orig": array, f"{name}_mask": mask}
            state[name] = array * mask
        else:
            parts[name] = array
    done, arrays = taken(parts, tmp_path)
    assert done.model == SMALL and "pruned, weight times mask" in done.notes[0]
    assert_same(arrays, state)


@pytest.mark.parametrize("axes", [(0,), (1, 2, 3), (0, 1, 2, 3)])
def test_weight_norm_along_any_axes(axes, tmp_path):
    state, name = random_state(SMALL, 3), "blocks.0.0.conv_pw.weight"  # as many channels out as in
    direction, wanted = draw(*state[name].shape), dict(state)
    length = np.abs(draw(*(1 if axis in axes else n for axis, n in enumerate(direction.shape))))
    norm = np.sqrt(np.sum(np.square(direction, dtype=np.float64), axis=axes, keepdims=True))
    wanted[name] = (direction * (length / norm)).astype(np.float32)
    length = length.reshape(()) if len(axes) == 4 else length
    _, arrays = taken(
        {n: a for n, a in state.items() if n != name} | {f"{name}_g": length, f"{name}_v": direction}, tmp_path
    )
    assert_same(arrays, wanted)


def test_a_length_that_fits_no_axes_is_refused(tmp_path):
    state = random_state(SMALL, 3)
    parts = {"classifier.weight_g": draw(3), "classifier.weight_v": state.pop("classifier.weight")}
    with pytest.raises(
        WeightsError, match=r"weight norm: classifier.weight_g is \(3,\), .* of classifier.weight_v \(3, 1024\)"
    ):
        taken(state | parts, tmp_path)


@pytest.mark.parametrize(
    "extra",
    [
        {"fc.weight": draw(5, 3), "fc.bias": draw(5)},  # behind the logits
        {"aux.weight": draw(3, 1024), "aux.bias": draw(3)},  # another classifier
        {"model.bn9.running_mean": draw(3)},
        {"model.blocks.9.0.conv.weight": draw(4, 4, 1, 1)},
    ],
)
def test_what_would_change_the_function_is_not_left_out(extra, tmp_path):
    state = {f"model.{n}": a for n, a in random_state(SMALL, 3).items()} | extra
    with pytest.raises(
        WeightsError, match=f"(?s)the nearest is {SMALL}:.*not of it: .*{list(extra)[0].split('.')[-2]}"
    ):
        taken(state, tmp_path)


def test_weights_in_parts(tmp_path):
    state = random_state(SMALL, 3)
    weight, mask = state["classifier.weight"], (draw(3, 1024) > 0).astype(np.float32)
    pruned = dict(state)
    del pruned["classifier.weight"]
    done, arrays = taken({**pruned, "classifier.weight_orig": weight, "classifier.weight_mask": mask}, tmp_path)
    assert_same(arrays, {**state, "classifier.weight": weight * mask})
    assert any("pruned, weight times mask: classifier.weight" in note for note in done.notes)
    length = np.linalg.norm(weight.astype(np.float64), axis=1, keepdims=True).astype(np.float32)
    for first, second in (
        ("classifier.weight_g", "classifier.weight_v"),
        ("classifier.parametrizations.weight.original0", "classifier.parametrizations.weight.original1"),
    ):
        _, arrays = taken({**pruned, first: length, second: weight}, tmp_path)
        worst = np.abs(arrays["classifier.weight"] - weight).max()
        assert worst < 1e-6, worst


# Heads


def headless(model, root=""):
    state = random_state(model)
    trunk = {n: a for n, a in state.items() if not n.startswith(("classifier", "conv_head"))}
    return {root + name: array for name, array in trunk.items()}


@pytest.mark.parametrize("module", ["classifier", "classifier.1", "fc", "head.linear", "my.head"])
@pytest.mark.parametrize("classes", [1, 5])
def test_one_linear_layer_on_the_pooled_channels(module, classes, tmp_path):
    weight, bias = draw(classes, 576), draw(classes)
    done, arrays = taken({**headless(TORCHVISION), f"{module}.weight": weight, f"{module}.bias": bias}, tmp_path)
    assert (done.model, done.num_classes) == (TORCHVISION, classes)
    assert_same(arrays, {**headless(TORCHVISION), "classifier.weight": weight, "classifier.bias": bias})
    loaded = load_weights(done.path)
    assert (loaded.variant.head, loaded.attributes["head"]) == (0, 0)


def test_features_alone_and_a_layer_of_ones_own(tmp_path):
    trunk = {n.replace("features.", "backbone.", 1): a for n, a in headless(TORCHVISION).items()}
    done, arrays = taken({**trunk, "fc.weight": draw(4, 576), "fc.bias": draw(4)}, tmp_path)
    assert (done.model, done.num_classes) == (TORCHVISION, 4) and "'backbone.' stands for 'features.'" in done.notes
    assert "classifier.weight" in arrays


@pytest.mark.parametrize("module", ["classifier.3.1", "classifier.3.drop.fc"])
def test_a_sequence_in_place_of_the_last_layer(module, tmp_path):
    state = random_state(TORCHVISION, 5)
    moved = {n.replace("classifier.3", module): a for n, a in state.items()}
    done, arrays = taken(moved, tmp_path)
    assert done.model == TORCHVISION and done.warnings == ()
    assert_same(arrays, state)


def test_another_hidden_width(tmp_path):
    state = headless(TORCHVISION)
    state |= {"classifier.0.weight": draw(256, 576), "classifier.0.bias": draw(256)}
    state |= {"classifier.3.weight": draw(5, 256), "classifier.3.bias": draw(5)}
    done, arrays = taken(state, tmp_path)
    assert_same(arrays, state)
    assert load_weights(done.path).variant.head == 256 and "activation" in done.warnings[0]


def test_what_lies_between_two_layers_is_not_guessed(tmp_path):
    state = headless(TORCHVISION)
    state |= {"classifier.0.weight": draw(256, 576), "classifier.0.bias": draw(256)}
    state |= {"classifier.2.weight": draw(5, 256), "classifier.2.bias": draw(5)}
    with pytest.raises(WeightsError, match="(?s)missing: classifier.3.weight.*not of it: classifier.2.weight"):
        taken(state, tmp_path)


def test_gray_input(tmp_path):
    state = random_state(SMALL, 3)
    state["conv_stem.weight"] = draw(16, 1, 3, 3)
    done, arrays = taken(state, tmp_path, model=SMALL)
    assert_same(arrays, state)
    assert load_weights(done.path).attributes["in_channels"] == 1 and "gray input" in done.notes[-1]


@pytest.mark.parametrize("form", ["nested", "flat"])
def test_keras_without_its_top(form, tmp_path):
    state = random_state("keras/MobileNetV3Small")
    trunk = {n: a for n, a in state.items() if not n.startswith(("Logits", "Conv_2"))}
    kernel, bias = draw(576, 3), draw(3)
    layers = {}
    for name, array in trunk.items():
        layers.setdefault("MobilenetV3small" if form == "nested" else name.rpartition("/")[0], {})[name] = array
    layers["dense"] = {"dense/kernel:0": kernel, "dense/bias:0": bias}
    (tmp_path / "a.h5").write_bytes(files.keras_legacy(layers))
    done = convert(tmp_path / "a.h5", tmp_path / "b.npz")
    arrays = load_weights(done.path).arrays
    assert_same(arrays, {**trunk, "Logits/kernel:0": kernel[None, None], "Logits/bias:0": bias})


# Other repositories' names


OTHERS = [
    (variant.full_name, naming.title)
    for variant in map(get_variant, npmnv3.list_models())
    for naming in namings_of(variant)
    if naming.title
]


@pytest.mark.parametrize("model, title", OTHERS)
def test_names_of_other_repositories(model, title, tmp_path):
    state = random_state(model, 4)
    naming = next(naming for naming in namings_of(get_variant(model)) if naming.title == title)
    here = [p for step in make_plan(naming.variant, 4) for p in step.params if p.role != "count"]
    there = [p for step in make_plan(get_variant(model), 4) for p in step.params if p.role != "count"]
    renamed = {a.name: a.from_canonical(b.to_canonical(state[b.name])) for a, b in zip(here, there, strict=True)}
    assert renamed.keys() != state.keys()
    done, arrays = taken(renamed, tmp_path)
    assert done.model == model and f"named as {title} names them" in done.notes
    assert_same(arrays, {p.name: state[p.name] for p in there})


def test_paddleocrs_names():
    names = [
        p.name for step in make_plan(namings_of(get_variant("ppocr/text_direction"))[1].variant) for p in step.params
    ]
    assert names[:3] == ["backbone.conv1.conv.weight", "backbone.conv1.bn.weight", "backbone.conv1.bn.bias"]
    assert names[-2:] == ["head.fc.weight", "head.fc.bias"] and "backbone.blocks.10.linear_conv.bn._variance" in names


@pytest.mark.parametrize("wrapper", ["_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_orig_mod", "module"])
def test_wrappers_in_the_middle_of_names_come_out(wrapper, tmp_path):
    state = random_state(SMALL, 3)
    done, arrays = taken({n.replace("blocks.", f"blocks.{wrapper}."): a for n, a in state.items()}, tmp_path)
    assert f"took {wrapper!r} out of the names" in done.notes
    assert_same(arrays, state)


def test_names_that_would_meet_keep_their_wrappers(tmp_path):
    state = random_state(SMALL, 3)
    both = state | {name.replace("blocks.", "blocks.module."): array for name, array in state.items()}
    with pytest.raises(WeightsError, match="not of it: blocks.module"):
        taken(both, tmp_path)


def test_a_classifier_that_is_a_sequence_of_one_layer(tmp_path):
    state = {n: a for n, a in random_state(TORCHVISION, 3).items() if not n.startswith("classifier.")}
    done, arrays = taken(state | {"classifier.0.weight": draw(5, 576), "classifier.0.bias": draw(5)}, tmp_path)
    assert done.num_classes == 5 and "a form of its own: no hidden layer" in done.notes
    assert arrays["classifier.weight"].shape == (5, 576)
    with pytest.raises(WeightsError, match="missing: classifier.3.weight"):  # as wide as the hidden layer: it is that
        taken(state | {"classifier.0.weight": draw(1024, 576), "classifier.0.bias": draw(1024)}, tmp_path)


def test_a_norm_before_the_classifier_is_not_left_out(tmp_path):
    state = {
        n: a for n, a in random_state("keras/MobileNetV3Small", 3).items() if not n.startswith(("Logits", "Conv_2"))
    }
    layers = {}
    for name, array in state.items():
        layers.setdefault(name.rpartition("/")[0], {})[name] = array
    norm = {f"batch_normalization/{role}": draw(576) for role in ("gamma", "beta", "moving_mean", "moving_variance")}
    head = {"dense/kernel:0": draw(576, 3), "dense/bias:0": draw(3)}
    (tmp_path / "good.h5").write_bytes(files.keras_legacy(layers | {"dense": head}))
    assert convert(tmp_path / "good.h5", tmp_path / "a.npz").num_classes == 3
    (tmp_path / "bad.h5").write_bytes(files.keras_legacy(layers | {"batch_normalization": norm, "dense": head}))
    with pytest.raises(WeightsError, match="not of it: batch_normalization/gamma"):
        convert(tmp_path / "bad.h5", tmp_path / "a.npz")


def test_what_observers_of_quantisation_saw_is_left_out(tmp_path):
    state = random_state(SMALL, 3)
    seen = {
        "conv_stem.activation_post_process.min_val": draw(1)[0],
        "blocks.0.0.conv_dw.activation_post_process.histogram": draw(64),
        "blocks.0.0.conv_dw.weight_fake_quant.scale": draw(16),
    }
    done, arrays = taken(state | seen, tmp_path)
    assert_same(arrays, state)
    assert any(note.startswith("left out") and "activation_post_process" in note for note in done.notes)
