"""Keras's files: how each of its ways to name the same weights becomes Keras 2's."""

import re

from ...network.plan import make_plan
from ..formats.keras_program import plain_layer

# Keras 3's .weights.h5 without the layers' own names: class and count, in the model's order.
_NUMBERED = re.compile(r"(conv2d|depthwise_conv2d|batch_normalization)(?:_(\d+))?/(\w+)")
_DENSE = re.compile(r"[^/]*dense[^/]*/(kernel|bias)(:0)?")
_ROLES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "gamma",
    "beta": "beta",
    "moving_mean": "mean",
    "moving_variance": "variance",
}


def by_source_name(arrays, variant):
    """{Keras 2's name: array} for Keras's networks, the same dict for others; unknown names are kept."""
    if variant.source.layout != "keras":
        return dict(arrays)
    plan = make_plan(variant)
    if arrays and all(_NUMBERED.fullmatch(name) or _DENSE.fullmatch(name) for name in arrays):
        return _numbered(arrays, plan)
    names = {plain_parameter(param.name): param.name for step in plan for param in step.params}
    renamed = {}
    for name, array in arrays.items():
        known = names.get(plain_parameter(name), name)
        renamed[name if known in renamed else known] = array
    return renamed


def names_in_program(checkpoint, names):
    """What a checkpoint's program calls parameters of these names in the file. Keras's configurations have the layers' own,
    which a file may have behind those of the models that they are in."""
    if not checkpoint.format.startswith("keras"):
        return list(names)
    used = {name for made in checkpoint.program for name in made.inputs}
    plain = map(plain_parameter, names)
    return [
        name if name in used else max((suffix for suffix in used if name.endswith(f"_{suffix}")), key=len, default=name)
        for name in plain
    ]


def plain_parameter(name):
    """Keras 2's `expanded_conv_1/expand/BatchNorm/gamma:0` as Keras 3 spells it: `expanded_conv_1_expand_bn/gamma`."""
    layer, _, weight = name.rpartition("/")
    return f"{plain_layer(layer)}/{weight.partition(':')[0].removeprefix('depthwise_')}"


def _numbered(arrays, plan):
    """Go by each class's own count, which runs in the model's order."""
    order = {"conv2d": [], "depthwise_conv2d": [], "batch_normalization": []}
    for step in plan:
        if step.op == "batch_norm":
            order["batch_normalization"].append(step)
        elif step.params:
            order["depthwise_conv2d" if step.op == "depthwise_conv2d" else "conv2d"].append(step)
    renamed = {}
    places = {
        kind: sorted({_place(name) for name in arrays if name.startswith((f"{kind}/", f"{kind}_"))}) for kind in order
    }
    for name, array in arrays.items():
        match = _NUMBERED.fullmatch(name)
        if match is None:
            renamed[name] = array
            continue
        kind, _, entry = match.groups()
        index = places[kind].index(_place(name))
        param = order[kind][index].param(_ROLES.get(entry, "")) if index < len(order[kind]) else None
        renamed[param.name if param else name] = array
    return renamed


def _place(name):
    """A layer's count within its class: the first has none."""
    return int(_NUMBERED.fullmatch(name).group(2) or 0)
