"""What whole modules are set to, beside the plan: a state dict has no epsilon, padding and activations; they have."""

import collections
import math

from ..formats.modules import AROUND, BESIDE
from .fit import listed, pair
from .module_activations import KINDS, TAIL, activations_in, place_differences

_SKIPS = ("use_res_connect", "has_skip")  # whether a block adds its input, as torchvision and timm call it


def setting_differences(plan, names, prefix, modules):
    """(sentences on what modules are set to that the plan has otherwise, notes on what they do not state).

    names : {parameter's name in the plan: its name in the file}
    prefix : str, of the names in the file that are the network's
    modules : {dotted name: settings} as `Checkpoint` has them
    """
    wrong = {"epsilon": [], "stride": [], "padding": [], "dilation": []}
    for step in plan:
        name = names.get(step.params[0].name, "").rpartition(".")[0] if step.params else ""
        settings = modules.get(name, {})
        if step.op == "batch_norm" and not math.isclose(settings.get("eps", step.eps), step.eps, rel_tol=1e-5):
            wrong["epsilon"].append(f"{name} has {settings['eps']:g}, expected {step.eps:g}")
        if step.kernel and settings:
            for what, actual, expected in _window_differences(step, settings):
                wrong[what].append(f"{name} has {actual}, expected {expected}")
    sentences = [f"{what} differs: {listed(places)}" for what, places in wrong.items() if places]
    inside = {
        n: settings for n, settings in modules.items() if f"{n}.".startswith(prefix) and n[:1] not in (AROUND, BESIDE)
    }
    last = names.get(plan[-1].params[0].name, "").rpartition(".")[0] if plan[-1].params else ""
    counted, notes = _activations(plan, inside)
    placed, open_ones = ([], []) if counted else place_differences(plan, names, inside, last)
    return sentences + counted + placed + _skips(plan, names, inside) + _pools(inside), notes + open_ones


def _window_differences(step, settings):
    """(what, found, expected) of a convolution's window where it moves or reaches otherwise."""
    before, after, by_size = step.pad[::2], step.pad[1::2], "same" in settings["class"].lower()
    padding = settings.get("padding", before)
    padding = (step.kernel // 2,) * 2 if padding == "same" else pair(padding)
    if any(step.pad) and settings.get("padding_mode", "zeros") != "zeros":
        yield "padding", f"{settings['padding_mode']!r} padding", "zeros"
    # What pads by the input's size, as TensorFlow does, is symmetric where the stride is 1.
    elif by_size and before == after and step.stride != (1, 1):
        yield "padding", settings["class"], before
    elif not by_size and (padding != before or padding != after):
        yield "padding", padding, step.pad
    for what, expected in (("stride", step.stride), ("dilation", (1, 1))):
        actual = pair(settings.get(what, expected))
        if actual != expected:
            yield what, actual, expected


def _activations(plan, modules):
    """(sentences on activations that there are more of than the plan has, notes: fewer may be computed without a module,
    and ReLU6 may be a part of a hard-swish)."""
    expected, counts = collections.Counter(step.op for step in plan), collections.Counter()
    for name, kind in activations_in(modules).items():
        counts[kind if kind in KINDS.values() or kind in TAIL else modules[name]["class"]] += 1
    relu6, tails = counts.pop("ReLU6", 0), [kind for kind in TAIL if counts.get(kind) == 1]
    wrong = [
        f"{count} of {kind}, expected {expected[kind]}"
        for kind, count in counts.items()
        if count > max(expected[kind], kind in TAIL)
    ]
    notes = [f"behind the classifier the modules have {', '.join(tails)}; the dump ends with the logits"] * bool(tails)
    if relu6:
        notes.append(f"{relu6} of ReLU6, which this network has at most as a part of hard-swish and hard-sigmoid")
    return [f"activations or pools differ: {', '.join(wrong)}"] * bool(wrong), notes


def _skips(plan, names, modules):
    """Blocks that are set to add their input and do not in the plan, or the other way round."""
    layers, adding = {}, []
    for step in plan:
        layers[step.name] = names.get(step.params[0].name, "") if step.params else layers.get(step.inputs[0], "")
        adding += [layers[step.name]] if step.op == "add" else []
    wrong = []
    for name, settings in modules.items():
        for setting in _SKIPS:
            adds = any(layer.startswith(f"{name}.") for layer in adding)
            if isinstance(settings.get(setting), bool) and settings[setting] != adds:
                wrong.append(f"{name} has {setting} {settings[setting]}, expected {adds}")
    return [f"sums differ: {listed(wrong)}"] if wrong else []


def _pools(modules):
    wrong = [
        f"{name} pools by {settings['pool_type']!r}" for name, settings in modules.items() if _pools_otherwise(settings)
    ]
    return [f"pooling differs: {listed(wrong)}"] if wrong else []


def _pools_otherwise(settings):
    return isinstance(settings.get("pool_type"), str) and settings["pool_type"] not in ("", "avg", "fast", "fastavg")
