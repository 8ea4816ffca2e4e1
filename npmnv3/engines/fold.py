"""Fold batch norm into the layers before it, in float64."""

import numpy as np


def canonical_arrays(plan, params, dtype):
    """The parameters of a plan in the operations' layout: {name: array of `dtype`}; counters, which no operation uses, are left out."""
    return {
        param.name: np.ascontiguousarray(param.to_canonical(np.asarray(params[param.name])), dtype)
        for step in plan
        for param in step.params
        if param.role != "count"
    }


def fold_norms(plan, folded_plan, arrays):
    """The parameters of `folded_plan` from those of `plan`.

    Parameters
    ----------
    plan, folded_plan : the same network's plans, with norms and without
    arrays : {name: float64 array} in the operations' layout, of `plan`

    Returns
    -------
    {name: float64 array} of `folded_plan`: with scale = gamma / sqrt(variance + eps), the weight times scale and the bias
    beta + (bias - mean) * scale
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
            gamma, beta, mean, variance = (arrays[norm.param(r).name] for r in ("gamma", "beta", "mean", "variance"))
            factor = gamma / np.sqrt(variance + norm.eps)
            values = values * factor.reshape(-1, *(1,) * (values.ndim - 1))
            offset = beta + (offset - mean) * factor
        folded[weight.name] = values
        if bias is not None:
            folded[bias.name] = offset
    return folded
