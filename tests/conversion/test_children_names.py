"""Networks that were taken apart and registered again, as fastai and nn.Sequential do: names that begin otherwise."""

import re

import checkpoint_files as files
import numpy as np
import pytest
from module_files import SMALL, TORCHVISION, epsilon, torchvisions, whole_module
from states import random_state

from npmnv3.conversion import convert, identify
from npmnv3.conversion.formats import read_checkpoint
from npmnv3.dumps.dumps import load_weights
from npmnv3.errors import WeightsError
from npmnv3.network.counts import plan_param_shapes
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant


def numbered(state, within=""):
    """The state with numbers for the first parts of its names, in their order."""
    firsts = list(dict.fromkeys(name.partition(".")[0] for name in state))
    return {f"{within}{firsts.index(name.partition('.')[0])}.{name.partition('.')[2]}": a for name, a in state.items()}


@pytest.mark.parametrize("model", [SMALL, TORCHVISION])
@pytest.mark.parametrize("within", ["", "model.layers."])
def test_children_under_other_names_are_found(model, within, tmp_path):
    state = random_state(model, 3)
    (tmp_path / "a.pth").write_bytes(files.torch_file(numbered(state, within)))
    done = convert(tmp_path / "a.pth", tmp_path / "a.npz", model)
    assert any("are told by their order, shapes and the names within" in note for note in done.notes)
    files.assert_same(load_weights(done.path).arrays, state)


@pytest.mark.parametrize(
    "old, new",
    [("1.block.0.0", "1.conv.0.0"), ("features.3.block.2", "features.3.more"), ("classifier.3.b", "classifier.3.c")],
)
def test_other_names_within_are_refused(old, new, tmp_path):
    state = {name.replace(old, new): array for name, array in random_state(TORCHVISION, 3).items()}
    (tmp_path / "a.pth").write_bytes(files.torch_file(numbered(state)))
    with pytest.raises(WeightsError, match="no network|no known network"):
        convert(tmp_path / "a.pth", tmp_path / "a.npz")


def test_what_its_modules_are_set_to_is_compared(tmp_path):
    checkpoint = read_checkpoint(whole_module(tmp_path / "a.pth", TORCHVISION, epsilon))
    found = identify(checkpoint.renamed(lambda name: re.sub("^classifier", "3", re.sub("^features", "0", name))))
    assert found.model == TORCHVISION and "epsilon differs" in found.contradictions[0]


# What the source calls them: how far `state` is taken apart, as a Sequential of more or fewer of the network's parts does it.
APART = {
    "its classifier's layers": ((r"^features\.", "0."), (r"^classifier\.(\d)", lambda found: str(int(found[1]) + 3))),
    "all its blocks": ((r"^features\.", ""), (r"^classifier\.(\d)", lambda found: str(int(found[1]) + 15))),
    "the head first": ((r"^features\.", "second."), (r"^classifier\.", "first.")),
}


def renamed(state, rules):
    for old, new in rules:
        state = {re.sub(old, new, name): array for name, array in state.items()}
    return state


def test_a_linear_layer_in_a_convolutions_place_is_found(tmp_path):
    """mmpretrain has timm's head as linear layers."""
    state = random_state(SMALL, 3)
    given = numbered(state | {"conv_head.weight": state["conv_head.weight"][:, :, 0, 0]})
    (tmp_path / "a.pth").write_bytes(files.torch_file(given))
    done = convert(tmp_path / "a.pth", tmp_path / "a.npz", SMALL)
    files.assert_same(load_weights(done.path).arrays, state)


@pytest.mark.parametrize("apart", APART)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_parts_of_any_depth_are_found_in_any_order(apart, suffix, tmp_path):
    """safetensors lists names in the alphabet's order: 10 is before 2."""
    state = random_state(TORCHVISION, 3)
    given, path = renamed(state, APART[apart]), tmp_path / f"a{suffix}"
    in_alphabet = dict(sorted(given.items()))
    path.write_bytes(files.torch_file(given) if suffix == ".pth" else files.safetensors(in_alphabet))
    done = convert(path, tmp_path / "a.npz")
    files.assert_same(load_weights(done.path).arrays, state)
    assert done.model == TORCHVISION and not done.warnings


def test_parts_of_equal_names_within_are_not_told_by_the_alphabet(tmp_path):
    rules = ((r"^features\.(5)\.", "a."), (r"^features\.(6)\.", "b."))
    (tmp_path / "a.safetensors").write_bytes(files.safetensors(renamed(random_state(TORCHVISION, 3), rules)))
    with pytest.raises(WeightsError, match="no network|no known network"):
        convert(tmp_path / "a.safetensors", tmp_path / "a.npz")


def test_what_may_be_between_parts_is_warned_of_or_refused(tmp_path):
    """Of Linear, ReLU, Linear a state dict shows the two alone."""
    state = random_state(TORCHVISION, 3)
    (tmp_path / "a.pth").write_bytes(
        files.torch_file(renamed(state, [(r"^classifier\.0", "fc1"), (r"^classifier\.3", "fc2")]))
    )
    assert "'classifier' lie apart" in convert(tmp_path / "a.pth", tmp_path / "a.npz").warnings[0]
    (tmp_path / "b.pth").write_bytes(
        files.torch_file(renamed(state, [(r"^features", "0"), (r"^classifier", "1"), (r"^1\.3", "1.2")]))
    )
    with pytest.raises(WeightsError, match="no network"):
        convert(tmp_path / "b.pth", tmp_path / "b.npz")


def test_an_activation_in_another_place_of_a_sequence_is_refused(tmp_path):
    def behind_the_classifier(told):
        told["classifier.4"] = told.pop("classifier.1")

    told = torchvisions(behind_the_classifier)
    found = identify(read_checkpoint(whole_module(tmp_path / "a.pth", TORCHVISION, told=told)))
    assert "classifier has a layer and a layer and hard_swish, expected" in found.contradictions[0]


def test_layers_that_torch_fused_are_found(tmp_path):
    """fuse_modules puts Conv2d, whose batch norm is folded into it, and ReLU into one module, as its first."""
    variant = get_variant(TORCHVISION)
    plan = make_plan(variant, 3, folded=True)
    before_relu = {step.inputs[0] for step in plan if step.op == "relu"}
    fused = {
        param.name: re.sub(r"(\w+)$", r"0.\1", param.name) for s in plan if s.name in before_relu for param in s.params
    }
    state = {name: np.zeros(shape, "f") for name, shape in plan_param_shapes(plan).items()}
    given = {fused.get(name, name): array for name, array in state.items()}
    assert "features.1.block.0.0.0.weight" in given and "features.4.block.2.fc1.0.bias" in given
    (tmp_path / "a.pth").write_bytes(files.torch_file(given))
    done = convert(tmp_path / "a.pth", tmp_path / "a.npz")
    assert done.model == TORCHVISION and done.folded and "as torch's fused layers do" in done.notes[0]
    files.assert_same(load_weights(done.path).arrays, state)
    given["features.1.block.0.0.1.weight"] = np.zeros(16, "f")
    (tmp_path / "a.pth").write_bytes(files.torch_file(given))
    with pytest.raises(WeightsError, match="not of it: features.1.block.0.0.1.weight"):
        convert(tmp_path / "a.pth", tmp_path / "a.npz")
