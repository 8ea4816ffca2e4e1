"""From a quantiser's numbers to a network of integers, as an engine of that scheme would hold it."""

import os

import numpy as np

from ..dumps.quantized import Quantized, check_out
from ..dumps.writing import check_folder
from ..errors import UsageError
from ..network.integer_plan import SAME_GRID, IntegerPlan
from ..network.lowering import LOWERED, lower
from ..network.steps import INPUT
from ..ops.grids import Grid
from ..ops.kernel_sets import USUAL, get_kernel_set
from .parameters import bias_name
from .schemes import SCHEMES, check_scheme


def check_dump(path, scheme, kernels=None):
    """UsageError or WriteError if no quantised dump of this scheme can be written there; before all the work."""
    check_out(path)
    _check_integers(scheme, kernels)
    check_folder(os.fspath(path))


def check_exact(scheme, kernels=None):
    """UsageError if this scheme makes no integers, or no such kernels are known to run them."""
    _check_integers(check_scheme(scheme, tuple(USUAL)), kernels)


def _check_integers(scheme, kernels):
    if scheme not in SCHEMES:
        raise UsageError(
            f"{scheme} has no integers to write; `npmnv3 convert --dtype float16` stores a dump in 16 bits"
        )
    if kernels is not None:
        get_kernel_set(kernels)


def quantized(model, parameters, kernels=None):
    """What a quantiser made of a model, as a quantised dump holds it.

    Parameters
    ----------
    model : Model, that was quantised
    parameters : Parameters
    kernels : str, the kernel set that the dump is meant for; default it is said when it is loaded

    Returns
    -------
    Quantized
    """
    variant = model.variant
    plan = integer_plan(parameters, (variant.in_channels, *model.preprocess.side))
    about = {name: model.attributes[name] for name in ("origin", "licence") if name in model.attributes}
    return Quantized(
        plan, variant, model.num_classes, parameters.scheme, kernels or "", model.label_source, model.preprocess, about
    )


def integer_plan(parameters, input_shape):
    """The IntegerPlan of a quantised network.

    Parameters
    ----------
    parameters : Parameters
    input_shape : (C, H, W), what its plan is for

    Returns
    -------
    IntegerPlan
    """
    steps, layers = lower(parameters.plan, LOWERED[parameters.scheme], input_shape)
    grids, arrays = {INPUT: parameters.grids[INPUT]}, {}
    by_name = {step.name: step for step in parameters.plan}
    for step in steps:
        grids[step.name] = grids[step.inputs[0]] if step.op in SAME_GRID else parameters.grids[step.name]
        if step.name in layers:
            arrays |= _layer(step.name, layers[step.name], parameters)
        elif step.op == "scale":
            dtype = SCHEMES[parameters.scheme].dtype
            arrays |= _constant(step.name, _factor(by_name[step.name]), dtype)
    return IntegerPlan(steps, grids, arrays, tuple(input_shape))


def _layer(name, layer, parameters):
    """A layer's arrays under the name of the integer step."""
    weight, scale, zero = parameters.weights[layer.param("weight").name]
    bias = parameters.biases[bias_name(layer)]
    values = {"weight": weight, "bias": bias, "weight_scale": scale, "weight_zero_point": zero}
    return {f"{name}.{role}": value for role, value in values.items()}


def _factor(step):
    """What a step multiplies by: a gate's relu6 by 1/6, else its own factor."""
    return 1 / 6 if step.op == "hard_sigmoid" else step.factor


def _constant(name, factor, dtype):
    """A positive factor as the largest integer of its own range, [0, factor]."""
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    grid = Grid(float(np.float32(factor) / np.float32(high - low)), int(low), dtype)
    return {
        f"{name}.constant": np.array(high, dtype),
        f"{name}.weight_scale": np.array([grid.scale], np.float32),
        f"{name}.weight_zero_point": np.array([grid.zero_point], np.int32),
    }
