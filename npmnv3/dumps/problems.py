"""What is wrong with a dump's entries beside the network's, and whose they are instead."""

import numpy as np

from ..network.forms import form_in
from ..network.plan import make_plan
from ..network.variants import get_variant, list_models


def shape_problems(params, entries):
    """{name: what is wrong with it}, for names, shapes and types: no array was read yet.

    Parameters
    ----------
    params : {name: Param}, the network's
    entries : {name: array or Entry}
    """
    problems = {}
    for name, param in params.items():
        entry = entries.get(name)
        if entry is None:
            if param.role != "count":  # nothing uses the counters, and torch did not always write them
                problems[name] = f"missing: {name} {param.shape}"
        elif entry.shape != param.shape:
            problems[name] = f"misshapen: {name} is {entry.shape}, expected {param.shape}"
        elif entry.dtype.kind not in ("iu" if param.role == "count" else "f") or entry.dtype.itemsize > 8:
            expected = "an integer" if param.role == "count" else "float16, float32 or float64"
            problems[name] = f"wrongly typed: {name} is {entry.dtype}, expected {expected}"
    return problems | {name: f"extra: {name} {entries[name].shape}" for name in entries if name not in params}


def value_problem(name, array, role):
    """What is wrong with an array's numbers, None if nothing is."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = ~np.isfinite(array)
        place = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))
        return f"non-finite: {name} has {int(bad.sum())} NaN or infinite values, the first at {place}"
    if role == "variance" and (array < 0).any():
        return f"negative variance: {name}, down to {array.min():.4g}"
    return None


def is_folded(plan, names):
    """Whether a state dict of these names has its norms folded: a layer before a norm has a bias, and there is no norm."""
    norms = [param.name for step in plan if step.op == "batch_norm" for param in step.params]
    if not norms or any(name in names for name in norms):
        return False
    layers = {step.name: step for step in plan}
    normed = [layers[step.inputs[0]] for step in plan if step.op == "batch_norm"]
    return any(layer.param("weight").name in names for layer in normed)


def message(where, variant, num_classes, problems, entries):
    """The networks that the entries are of, where they fit any; else every problem, one a line, after their number."""
    names = [] if len(problems) < 2 else networks_of(entries)
    if names and variant.full_name not in names:
        return _instead(where, variant, entries, names)
    head = f"{where} does not fit {variant.full_name} with {num_classes} classes ({len(problems)} problems):"
    hint = f"npmnv3.param_shapes({variant.full_name!r}, {num_classes}) gives the names and shapes it must have"
    if problems.keys() >= entries.keys():
        hint = f"none of these names is the network's, but `npmnv3 convert FILE` knows other spellings; {hint}"
    return "\n  ".join([head, *problems.values(), hint])


def _instead(where, variant, entries, names):
    """That a dump is of other networks, those first that pad as the one that was asked for."""
    alike = [name for name in names if get_variant(name).source.padding == variant.source.padding] or names
    others = [name for name in names if name not in alike]
    shown = ", ".join(name[:60] for name in list(entries)[:2])
    remainder = f" (and of {', '.join(others)}, which pads otherwise)" if others else ""
    return (
        f"{where} is not {variant.full_name}'s: its {len(entries)} arrays ({shown}, ...) have the names and shapes of "
        f"{', '.join(alike)}{remainder}\n  give {' or '.join(alike)} as the model's name, or weights of {variant.full_name}"
    )


def networks_of(entries):
    """Names of the networks whose names and shapes these entries have, folded or not."""
    return [name for name in list_models() if _is_of(get_variant(name), entries)]


def _is_of(variant, entries):
    classifier = entries.get(make_plan(variant, 1)[-1].param("bias").name)
    if classifier is None or len(classifier.shape) != 1 or not classifier.shape[0]:
        return False
    variant = form_in(variant, {name: entry.shape for name, entry in entries.items()})
    plan = make_plan(variant, classifier.shape[0])
    if is_folded(plan, entries):
        plan = make_plan(variant, classifier.shape[0], folded=True)
    return not shape_problems({param.name: param for step in plan for param in step.params}, entries)
