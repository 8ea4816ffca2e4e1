"""Batch norm at inference: a factor and an offset a channel, which fold into the layers before it, in float64."""

import numpy as np

from .walk import readers


def canonical_arrays(plan, params, dtype=None):
    """The parameters of a plan in the operations' layout; counters, which no operation uses, are left out.

    Parameters
    ----------
    plan : tuple of Step
    params : {source's name: array as the source stores it}
    dtype : of the result; default as they are, as views that hold no memory of their own

    Returns
    -------
    {source's name: array}
    """
    arrays = {
        param.name: param.to_canonical(np.asarray(params[param.name]))
        for step in plan
        for param in step.params
        if param.role != "count"
    }
    return arrays if dtype is None else {name: np.ascontiguousarray(a, dtype) for name, a in arrays.items()}


def norm_line(norm, arrays):
    """A batch norm in inference: x * factor + offset.

    Parameters
    ----------
    norm : Step
    arrays : {name: array}, among them the norm's parameters

    Returns
    -------
    (factor, offset) : (C,) float64 each
    """
    roles = ("gamma", "beta", "mean", "variance")
    gamma, beta, mean, variance = (np.asarray(arrays[norm.param(role).name], np.float64) for role in roles)
    factor = gamma / np.sqrt(variance + norm.eps)
    return factor, beta - mean * factor


def activations_of_norms(plan):
    """{batch norm's name: activation's name}, where the activation alone reads the norm: both can be done in one pass."""
    after = readers(plan)
    alone = {step.name: after[step.name][0] for step in plan if step.op == "batch_norm" and len(after[step.name]) == 1}
    return {name: step.name for name, step in alone.items() if step.op in ("relu", "hard_swish")}


def scale_outputs(weight, factor, dtype=np.float64):
    """A layer's weight, output channels first, times a factor for each of them, in float64 and rounded once to `dtype`."""
    factors = factor.reshape(-1, *(1,) * (weight.ndim - 1))
    out = np.empty_like(weight, dtype)  # one pass over the memory, where `astype` would make it three
    return np.multiply(weight, factors, out=out, dtype=np.float64, casting="same_kind")


def fold_norms(plan, folded_plan, arrays):
    """The parameters of `folded_plan` from those of `plan`.

    Parameters
    ----------
    plan, folded_plan : the same network's plans, with norms and without
    arrays : {name: float64 array} in the operations' layout, of `plan`

    Returns
    -------
    {name: float64 array} of `folded_plan`
    """
    layers = {param.name: step for step in plan if (param := step.param("weight"))}
    norms = {step.inputs[0]: step for step in plan if step.op == "batch_norm"}
    folded = {}
    for step in folded_plan:
        weight, bias = step.param("weight"), step.param("bias")
        if weight is None:
            continue
        layer = layers[weight.name]
        values = arrays[weight.name]
        offset = arrays[bias.name] if layer.param("bias") else 0.0
        norm = norms.get(layer.name)
        if norm is not None:
            factor, shift = norm_line(norm, arrays)
            values, offset = scale_outputs(values, factor), offset * factor + shift
        folded[weight.name] = values
        if bias is not None:
            folded[bias.name] = offset
    return folded
