"""Checkpoints whose entries have names: torch's, safetensors, paddle's .pdparams, Keras's, and dumps."""

import re

from ...dumps.dumps import is_folded
from ...network.counts import plan_param_shapes
from ...network.plan import make_plan
from .fit import Fit, listed, stored_width_differences

# Buffers that a profiler leaves in every module of a model it has counted.
_PROFILER = ("total_ops", "total_params")
# Keras 3's .weights.h5 without the layers' own names: class and count, in the model's order.
_NUMBERED = re.compile(r"(conv2d|depthwise_conv2d|batch_normalization)(?:_(\d+))?/(\w+)")
_KERAS_ROLES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "gamma",
    "beta": "beta",
    "moving_mean": "mean",
    "moving_variance": "variance",
}


def plausible(checkpoint, variant):
    """Whether the first or the last layer of this network is there under its name: the others need no closer look."""
    names = _by_source_name(checkpoint, variant)
    param_name = variant.source.param_name
    return any(param_name(part, None, "weight") in names for part in ("stem", "classifier"))


def compare(checkpoint, variant):
    """How well the names and shapes fit a network.

    Parameters
    ----------
    checkpoint : Checkpoint
    variant : Variant

    Returns
    -------
    Fit
    """
    arrays, notes = _renamed(checkpoint, variant)
    bias = arrays.get(variant.source.param_name("classifier", None, "bias"))
    num_classes = bias.shape[0] if bias is not None and len(bias.shape) == 1 and bias.shape[0] else variant.num_classes
    plan = make_plan(variant, num_classes)
    folded = is_folded(plan, arrays)
    if folded:
        plan = make_plan(variant, num_classes, folded=True)
    shapes = plan_param_shapes(plan)
    counters = {param.name for step in plan for param in step.params if param.role == "count"}
    missing = [name for name in shapes if name not in arrays and name not in counters]
    extra = [name for name in arrays if name not in shapes]
    misshapen = [name for name in shapes if name in arrays and arrays[name].shape != shapes[name]]
    sentences = stored_width_differences(plan, {name: array.shape for name, array in arrays.items()})
    if misshapen and not sentences:
        told = [f"{name} is {arrays[name].shape}, expected {shapes[name]}" for name in misshapen]
        sentences.append(f"misshapen: {listed(told)}")
    sentences += [f"missing: {listed(missing)}"] * bool(missing) + [f"not of it: {listed(extra)}"] * bool(extra)
    share = 1 - len(missing) / (len(shapes) - len(counters))
    return Fit(
        variant,
        num_classes,
        folded,
        tuple(sentences),
        len(missing) + len(extra) + len(misshapen),
        share=share,
        notes=notes,
    )


def state(checkpoint, fit):
    """The arrays of a checkpoint that fits, under the source's names."""
    arrays, _ = _renamed(checkpoint, fit.variant)
    shapes = plan_param_shapes(make_plan(fit.variant, fit.num_classes, folded=fit.folded))
    return {name: arrays[name] for name in shapes if name in arrays}


def _renamed(checkpoint, variant):
    """({source's name: array}, notes); names that the source does not have are kept."""
    renamed = _by_source_name(checkpoint, variant)
    left_out = [name for name in renamed if name.rpartition(".")[2] in _PROFILER]
    # Averaging and half precision have turned some counters into floats; nothing uses them.
    plan = make_plan(variant, variant.num_classes)
    counters = (param.name for step in plan for param in step.params if param.role == "count")
    left_out += [
        name for name in counters if name in renamed and (renamed[name].dtype.kind not in "iu" or renamed[name].shape)
    ]
    for name in left_out:
        del renamed[name]
    return renamed, (f"left out, used by nothing: {listed(left_out)}",) if left_out else ()


def _by_source_name(checkpoint, variant):
    if not checkpoint.format.startswith("keras") or variant.source.layout != "keras":
        return dict(checkpoint.arrays)
    plan = make_plan(variant)
    if all(_NUMBERED.fullmatch(name) for name in checkpoint.arrays):
        return _numbered(checkpoint.arrays, plan)
    names = {_plain(param.name): param.name for step in plan for param in step.params}
    renamed = {}
    for name, array in checkpoint.arrays.items():
        known = names.get(_plain(name), name)
        renamed[name if known in renamed else known] = array
    return renamed


def _plain(name):
    """Keras 2's `expanded_conv_1/expand/BatchNorm/gamma:0` as Keras 3 spells it: `expanded_conv_1_expand_bn/gamma`."""
    layer, _, weight = name.rpartition("/")
    layer = layer.replace("BatchNorm", "bn").replace("/", "_").lower()
    return f"{layer}/{weight.partition(':')[0].removeprefix('depthwise_')}"


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
        kind, _, entry = _NUMBERED.fullmatch(name).groups()
        index = places[kind].index(_place(name))
        param = order[kind][index].param(_KERAS_ROLES.get(entry, "")) if index < len(order[kind]) else None
        renamed[param.name if param else name] = array
    return renamed


def _place(name):
    """A layer's count within its class: the first has none."""
    return int(_NUMBERED.fullmatch(name).group(2) or 0)
