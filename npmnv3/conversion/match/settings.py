"""What whole modules are set to, beside the plan: a state dict does not tell epsilon, padding and activations; they do."""

import collections
import math

from .fit import listed

_KINDS = {  # classes by their name in small letters, as a plan calls what they do
    "relu": "relu",
    "hardswish": "hard_swish",
    "hswish": "hard_swish",
    "hardsigmoid": "hard_sigmoid",
    "hsigmoid": "hard_sigmoid",
}
# Activations and pools that no network here has. One sigmoid may stand behind the logits.
_OTHERS = frozenset(
    "silu swish gelu quickgelu mish hardmish hardswishjit leakyrelu elu celu selu prelu softplus softsign tanh hardtanh "
    "sigmoid logsigmoid adaptivemaxpool2d adaptiveavgmaxpool2d fastadaptivemaxpool".split()
)


def setting_differences(plan, names, prefix, modules):
    """Sentences on what the modules are set to where the plan has other numbers or activations.

    Parameters
    ----------
    plan : tuple of Step
    names : {parameter's name in the plan: its name in the file}
    prefix : str, of the names in the file that are the network's
    modules : {dotted name: settings} as `Checkpoint` has them
    """
    wrong = {"epsilon": [], "stride": [], "padding": [], "dilation": []}
    for step in plan:
        name = names.get(step.params[0].name, "").rpartition(".")[0] if step.params else ""
        told = modules.get(name, {})
        if step.op == "batch_norm" and not math.isclose(told.get("eps", step.eps), step.eps, rel_tol=1e-5):
            wrong["epsilon"].append(f"{name} has {told['eps']:g}, expected {step.eps:g}")
        if step.kernel and told:
            for what, found, expected in _window_differences(step, told):
                wrong[what].append(f"{name} has {found}, expected {expected}")
    sentences = [f"{what} differs: {listed(places)}" for what, places in wrong.items() if places]
    inside = {name: told for name, told in modules.items() if f"{name}.".startswith(prefix)}
    return sentences + _activations(plan, inside) + _pools(inside)


def _window_differences(step, told):
    """(what, found, expected) of a convolution's window where it moves or reaches otherwise."""
    before, after, by_size = step.pad[::2], step.pad[1::2], "same" in told["class"].lower()
    padding = told.get("padding", before)
    padding = (step.kernel // 2,) * 2 if padding == "same" else _pair(padding)
    # What pads by the input's size, as TensorFlow does, is symmetric where the stride is 1.
    if by_size and before == after and step.stride != (1, 1):
        yield "padding", told["class"], before
    elif not by_size and (padding != before or padding != after):
        yield "padding", padding, step.pad
    for what, expected in (("stride", step.stride), ("dilation", (1, 1))):
        found = _pair(told.get(what, expected))
        if found != expected:
            yield what, found, expected


def _pair(value):
    return value if isinstance(value, tuple) else (value, value)


def _activations(plan, modules):
    """Activations that there are more of than the plan has: fewer may be computed without a module."""
    expected, found = collections.Counter(step.op for step in plan), collections.Counter()
    for told in modules.values():
        kind = told["class"].replace("_", "").lower()
        found[_KINDS.get(kind, told["class"] if kind in _OTHERS else "")] += 1
    wrong = [
        f"{count} of {kind}, expected {expected[kind]}"
        for kind, count in found.items()
        if kind and count > max(expected[kind], kind.lower() == "sigmoid")
    ]
    return [f"activations or pools differ: {', '.join(wrong)}"] if wrong else []


def _pools(modules):
    wrong = [f"{name} pools by {told['pool_type']!r}" for name, told in modules.items() if _pools_otherwise(told)]
    return [f"pooling differs: {listed(wrong)}"] if wrong else []


def _pools_otherwise(told):
    return isinstance(told.get("pool_type"), str) and told["pool_type"] not in ("", "avg", "fast", "fastavg")
