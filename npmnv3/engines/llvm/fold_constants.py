"""First pass: batch norm and constant factors go into the weights, in float64."""

import numpy as np

from ...errors import UsageError
from ...network.folding import norm_line, scale_outputs
from ...network.walk import readers

#: Steps that multiply or add constants a channel, and so vanish into the layers beside them.
FOLDED = ("batch_norm", "scale", "identity")


def fold(plan, params, dtype=np.float32):
    """Weight and bias of every layer of a plan.

    Parameters
    ----------
    plan : tuple of Step, with batch norm or already without
    params : {source's name: array as the source stores it}
    dtype : what the result is rounded to

    Returns
    -------
    {step's name: (weight, bias)}, of `dtype` in the operation's own layout: a norm that follows multiplies weight and bias
    by gamma / sqrt(variance + eps), a factor on the layer's input multiplies the weight
    """
    after, factors = readers(plan), _factors(plan)
    return {
        step.name: _fold_layer(step, params, after[step.name], factors, dtype) for step in plan if step.param("weight")
    }


def _fold_layer(step, params, after, factors, dtype):
    norm = next((other for other in after if other.op == "batch_norm"), None)
    if norm and len(after) > 1:
        raise UsageError(
            f"{step.name} feeds {' and '.join(other.name for other in after)}; a norm must be alone after its layer"
        )
    factor = factors.get(step.inputs[0], 1.0)
    weight = _array(step, "weight", params)
    bias = _array(step, "bias", params).astype(np.float64) if step.param("bias") else np.zeros(len(weight))
    if factor != 1:
        weight = weight.astype(np.float64) * factor
    if norm:
        scale, shift = norm_line(norm, params)
        weight, bias = scale_outputs(weight, scale, dtype), bias * scale + shift
    return weight.astype(dtype, copy=False), bias.astype(dtype, copy=False)


def _array(step, role, params):
    param = step.param(role)
    return param.to_canonical(np.asarray(params[param.name]))


def _factors(plan):
    """{tensor's name: constant factor that its reader's weights take over}; only layers with weights may read it."""
    factors = {step.name: step.factor for step in plan if step.op == "scale"}
    for step in plan:
        for name in step.inputs:
            if name in factors and step.param("weight") is None:
                raise UsageError(
                    f"{step.name} ({step.op}) reads {name}, a scaled tensor; only a layer with weights can"
                )
    return factors
