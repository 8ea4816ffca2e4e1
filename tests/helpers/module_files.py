"""Whole modules (torch.save(model), torch.jit.save) of a network, as files, and what its modules are set to."""

import checkpoint_files as files
import numpy as np
from states import random_state

from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant

TORCHVISION = "torchvision/mobilenet_v3_small"
SMALL, TWIN = "timm/mobilenetv3_small_100", "timm/tf_mobilenetv3_small_100"
ACTIVATIONS = {"relu": "ReLU", "hard_swish": "Hardswish", "hard_sigmoid": "Hardsigmoid"}


def epsilon(name, about):
    if "eps" in about[1]:
        about[1]["eps"] = 1e-5


def dilation(name, about):
    if name == "features.9.block.1.0":
        about[1].update(dilation=(2, 2), padding=(4, 4), stride=(1, 1))


def swish(name, about):
    about[0] = {"Hardswish": "SiLU"}.get(about[0], about[0])


def relu_in_head(name, about):
    about[0] = "ReLU" if name == "acts.head" else about[0]


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


def torchvisions(change):
    """{module: (class, attributes)} of torchvision's small network, its activations in their places, after `change(told)`."""
    told, layer = {}, ""
    for step in make_plan(get_variant(TORCHVISION), 3):
        layer = step.params[0].name.rpartition(".")[0] if step.params else layer
        block, _, last = layer.rpartition(".")
        if step.op in ACTIVATIONS:
            place = {"fc1": "activation", "fc2": "scale_activation", "0": "1", "1": "2"}[last]
            told[f"{block}.{place}"] = [ACTIVATIONS[step.op], {}]
        se, ends = last.startswith("fc"), block == "classifier"
        told[block] = ["Sequential" if ends else "SqueezeExcitation" if se else "Conv2dNormActivation", {}]
        if step.op == "add":
            told[layer.partition(".block")[0]] = ["InvertedResidual", {"use_res_connect": True}]
    change(told)
    return told


def by_kind(name, kind):
    """The class of a scripted module, where one kind has one."""
    return f"__torch__.mine.{kind}.{kind}"


def whole_module(path, model, change=lambda name, about: None, told=None, scripts=None, extra=(), around=None):
    """Write a network as a whole module, which `around` puts into another; with `scripts`, function of a module's name
    and kind that gives its class, as a scripted one, with `extra`, (name, bytes) of its code."""
    state = {name: np.array(array, order="C") for name, array in random_state(model, 3).items()}
    told = told or settings_of(model, change)
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
        inner |= {
            name.removeprefix(prefix).partition(".")[0]: None for name in told if name.startswith(prefix) and name
        }
        kind, more = told.get(prefix.rstrip("."), ("Net", {}))
        numbered = sorted(inner, key=lambda name: int(name) if name.isdecimal() else 0)  # as a sequence registers them
        parts = {name: made(f"{prefix}{name}.") for name in numbered if name}
        if scripts:
            return files.Call(scripts(prefix.rstrip("."), kind), opcode=b"\x81", state=more | arrays | parts)
        return files.module(arrays, parts, name=f"mine.{kind}", more=more.items())

    top = around(made("")) if around else made("")
    path.write_bytes(files.torch_zip(top, {str(i): array for i, array in enumerate(state.values())}, extra=extra))
    return path
