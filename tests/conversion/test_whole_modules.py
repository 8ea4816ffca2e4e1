"""Whole modules (torch.save(model)): what they are set to is held against the network, which a state dict cannot tell."""

import checkpoint_files as files
import numpy as np
import pytest
from states import random_state

from npmnv3.conversion import convert
from npmnv3.conversion.formats import read_checkpoint
from npmnv3.errors import WeightsError
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant

SMALL, TWIN = "timm/mobilenetv3_small_100", "timm/tf_mobilenetv3_small_100"
TORCHVISION = "torchvision/mobilenet_v3_small"
ACTIVATIONS = {"relu": "ReLU", "hard_swish": "Hardswish", "hard_sigmoid": "Hardsigmoid"}


def settings_of(model, change):
    """{module: (class, attributes)} of a network as its framework would set its modules, after `change(module, told)`."""
    told = {}
    for step in make_plan(get_variant(model), 3):
        name = step.params[0].name.rpartition(".")[0] if step.params else f"acts.{step.name.replace('.', '_')}"
        if step.op == "batch_norm":
            told[name] = ["BatchNorm2d", {"eps": step.eps}]
        elif step.kernel:
            before, by_size = step.pad[::2], step.pad[::2] != step.pad[1::2]
            window = {"stride": step.stride, "padding": (0, 0) if by_size else before, "dilation": (1, 1)}
            told[name] = ["Conv2dSame" if by_size else "Conv2d", window]
        elif step.op in ACTIVATIONS:
            told[name] = [ACTIVATIONS[step.op], {}]
    for name, about in told.items():
        change(name, about)
    return told


def whole_module(path, model, change=lambda name, about: None, script=None):
    """Write a network as a whole module, or as a scripted one whose norms' code is `script`, with an epsilon put in."""
    state = {name: np.array(array, order="C") for name, array in random_state(model, 3).items()}
    told = settings_of(model, change)
    kinds = {"f": "Float", "i": "Long"}

    def made(prefix):
        arrays, inner = {}, {}
        for i, (name, array) in enumerate(state.items()):
            if name.startswith(prefix):
                first, dot, _ = name.removeprefix(prefix).partition(".")
                if dot:
                    inner[first] = None
                else:
                    arrays[first] = files.tensor(str(i), array, kind=kinds[array.dtype.kind])
        inner |= {name.removeprefix(prefix).partition(".")[0]: None for name in told if name.startswith(prefix)}
        kind, more = told.get(prefix.rstrip("."), ("Net", {}))
        parts = {name: made(f"{prefix}{name}.") for name in inner}
        if script:
            return files.Call(f"__torch__.mine.{kind}.{kind}", opcode=b"\x81", state=arrays | parts)
        return files.module(arrays, parts, name=f"mine.{kind}", more=more.items())

    norm = next((more["eps"] for kind, more in told.values() if "eps" in more), None)
    code = [("archive/code/__torch__/mine/BatchNorm2d.py", (script % norm).encode())] if script else []
    path.write_bytes(files.torch_zip(made(""), {str(i): array for i, array in enumerate(state.values())}, extra=code))
    return path


@pytest.mark.parametrize("model", [SMALL, TWIN, TORCHVISION])
def test_what_modules_are_set_to_tells_twins_apart(model, tmp_path):
    done = convert(whole_module(tmp_path / "a.pth", model), tmp_path / "a.npz")
    assert (done.model, done.warnings) == (model, ())


def _epsilon(name, about):
    if "eps" in about[1]:
        about[1]["eps"] = 1e-5


def _dilation(name, about):
    if name == "features.9.block.1.0":
        about[1].update(dilation=(2, 2), padding=(4, 4), stride=(1, 1))


def _swish(name, about):
    about[0] = {"Hardswish": "SiLU"}.get(about[0], about[0])


def _relu_in_head(name, about):
    about[0] = "ReLU" if name == "acts.head" else about[0]


def _max_pool(name, about):
    if name == "features.0.0":
        about[1]["pool_type"] = "max"


@pytest.mark.parametrize(
    "change, told",
    [
        (_epsilon, "epsilon differs: features.0.1 has 1e-05, expected 0.001"),
        (_dilation, r"dilation differs: features.9.block.1.0 has \(2, 2\)"),
        (_swish, "19 of SiLU, expected 0"),
        (_relu_in_head, "15 of relu, expected 14"),
        (_max_pool, "pooling differs: features.0.0 pools by 'max'"),
    ],
)
def test_a_network_that_computes_otherwise_is_refused(change, told, tmp_path):
    with pytest.raises(WeightsError, match=told):
        convert(whole_module(tmp_path / "a.pth", TORCHVISION, change), tmp_path / "a.npz")


SCRIPTS = {
    "traced": "    x = torch.batch_norm(argument_1, weight, bias, running_mean, running_var, False, 0.01, %r, True)\n",
    "scripted": "    _3 = _0(input, running_mean, running_var, weight, bias, bn_training, 0.01, %r, )\n    return _3\n",
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_the_code_of_scripted_norms_tells_their_epsilon(script, tmp_path):
    right = convert(whole_module(tmp_path / "a.pt", TORCHVISION, script=script), tmp_path / "a.npz")
    assert right.model == TORCHVISION
    with pytest.raises(WeightsError, match="epsilon differs: features.0.1 has 1e-05, expected 0.001"):
        convert(whole_module(tmp_path / "b.pt", TORCHVISION, _epsilon, script=script), tmp_path / "b.npz")


@pytest.mark.parametrize("script", ["running_var, 1.e, 2-.3-)  # %r", "running_var, %r) running_var, 0.5)", "%r"])
def test_code_that_tells_no_epsilon_is_none(script, tmp_path):
    assert convert(whole_module(tmp_path / "a.pt", TORCHVISION, script=script), tmp_path / "a.npz").model == TORCHVISION


def test_settings_go_by_the_names_of_the_parameters(tmp_path):
    found = read_checkpoint(whole_module(tmp_path / "a.pth", TORCHVISION))
    assert found.modules["features.0.1"] == {"class": "BatchNorm2d", "eps": 0.001}
    assert found.modules["features.0.0"]["stride"] == (2, 2)
