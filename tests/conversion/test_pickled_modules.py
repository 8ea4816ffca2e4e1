"""Whole modules (torch.save(model)): what they are set to is held against the network, which a state dict cannot tell."""

import checkpoint_files as files
import pytest
from module_files import SMALL, TORCHVISION, TWIN, dilation, epsilon, relu_in_head, swish, torchvisions, whole_module

from npmnv3.conversion import convert
from npmnv3.conversion.formats import read_checkpoint
from npmnv3.errors import WeightsError


@pytest.mark.parametrize("model", [SMALL, TWIN, TORCHVISION])
def test_what_modules_are_set_to_tells_twins_apart(model, tmp_path):
    done = convert(whole_module(tmp_path / "a.pth", model), tmp_path / "a.npz")
    assert (done.model, done.warnings) == (model, ())


def _max_pool(name, about):
    if name == "features.0.0":
        about[1]["pool_type"] = "max"


@pytest.mark.parametrize(
    "change, told",
    [
        (epsilon, "epsilon differs: features.0.1 has 1e-05, expected 0.001"),
        (dilation, r"dilation differs: features.9.block.1.0 has \(2, 2\)"),
        (swish, "19 of SiLU, expected 0"),
        (relu_in_head, "15 of relu, expected 14"),
        (_max_pool, "pooling differs: features.0.0 pools by 'max'"),
    ],
)
def test_a_network_that_computes_otherwise_is_refused(change, told, tmp_path):
    with pytest.raises(WeightsError, match=told):
        convert(whole_module(tmp_path / "a.pth", TORCHVISION, change), tmp_path / "a.npz")


def _class(name, kind):
    return lambda told: told[name].__setitem__(0, kind)


def _swapped(told):
    _class("features.2.block.0.2", "Hardswish")(told)
    _class("features.7.block.1.2", "ReLU")(told)


def _made_of_relu6(told):
    _class("features.0.2", "MySwish")(told)
    told["features.0.2.act"] = ["ReLU6", {}]


def _all(old, new):
    return lambda told: [_class(name, new)(told) for name, about in told.items() if about[0] == old]


def _setting(name, **more):
    return lambda told: told.setdefault(name, ["Conv2d", {}])[1].update(more)


@pytest.mark.parametrize(
    "change, told",
    [
        (_all("Hardswish", "ReLU6"), "features.0.2 is ReLU6, expected hard_swish"),
        (_all("ReLU", "ReLU6"), "features.1.block.0.2 is ReLU6, expected relu"),
        (_class("features.5.block.0.2", "Identity"), "features.5.block.0 has no activation, expected hard_swish"),
        (_class("classifier.1", "Dropout"), "classifier has no activation, expected hard_swish"),
        (
            _class("features.1.block.1.activation", "Identity"),
            "1.block.1 has hard_sigmoid, expected relu and hard_sigmoid",
        ),
        (_swapped, "2.block.0.2 is Hardswish, expected relu, features.7.block.1.2 is ReLU, expected hard_swish"),
        (_class("features.2.block.2", "LayerNorm"), "1 of LayerNorm, expected 0"),
        (_setting("features.5", use_res_connect=False), "features.5 has use_res_connect False, expected True"),
        (_setting("features.0.0", padding_mode="reflect"), "features.0.0 has 'reflect' padding, expected zeros"),
    ],
)
def test_activations_sums_and_padding_are_compared_place_by_place(change, told, tmp_path):
    with pytest.raises(WeightsError, match=told):
        convert(whole_module(tmp_path / "a.pth", TORCHVISION, told=torchvisions(change)), tmp_path / "a.npz")


@pytest.mark.parametrize(
    "change, note",
    [
        (lambda told: None, ""),
        (lambda told: told.pop("features.1.block.1.scale_activation"), "layers of features.1.block.1 is not told"),
        (_class("features.0.2", "MySwish"), "layers of features.0 is not told"),
        (_made_of_relu6, "layers of features.0 is not told"),
        (_class("features.0.2", "HardSwishMe"), ""),
        (_all("Hardswish", "h_swish"), ""),
        (
            lambda told: told.update({"classifier.4": ["Softmax", {}]}),
            "modules have softmax; the dump ends with the logits",
        ),
    ],
)
def test_activations_that_cannot_be_told_are_taken_with_a_note(change, note, tmp_path):
    done = convert(whole_module(tmp_path / "a.pth", TORCHVISION, told=torchvisions(change)), tmp_path / "a.npz")
    assert "what Net may compute beside their modules is not told" in done.notes[-1]
    assert any(note in told for told in done.notes) and (note or len(done.notes) == 1)


@pytest.mark.parametrize("name", ["model", "module", "net"])
@pytest.mark.parametrize(
    "kind, beside, note",
    [
        ("mine.Wrapper", {}, "Wrapper may compute beside their modules is not told"),
        (
            "torch.nn.modules.container.Sequential",
            {"tail": "torch.nn.Tanh"},
            "beside the network the modules have Tanh",
        ),
        ("torch.nn.modules.container.Sequential", {"drop": "torch.nn.Dropout"}, ""),
        ("torch.nn.modules.container.Sequential", {"quant": "torch.ao.quantization.stubs.QuantStub"}, ""),
        ("torch.nn.parallel.data_parallel.DataParallel", {}, ""),
    ],
)
def test_what_is_around_a_network_and_beside_it_is_said(name, kind, beside, note, tmp_path):
    others = {other: files.module({}, name=kind) for other, kind in beside.items()}
    told = torchvisions(lambda told: None)
    path = whole_module(
        tmp_path / "a.pth",
        TORCHVISION,
        told=told,
        around=lambda inner: files.module({}, {name: inner, **others}, name=kind),
    )
    notes = " ".join(convert(path, tmp_path / "a.npz").notes)
    assert note in notes and all((word in notes) == (word in note) for word in ("Wrapper", "beside the network"))


def test_settings_go_by_the_names_of_the_parameters(tmp_path):
    found = read_checkpoint(whole_module(tmp_path / "a.pth", TORCHVISION))
    assert found.modules["features.0.1"] == {"class": "BatchNorm2d", "eps": 0.001}
    assert found.modules["features.0.0"]["stride"] == (2, 2)
