"""A network's numbers as integers: what a quantised file would hold."""

from dataclasses import dataclass

import numpy as np

from ..network.steps import INPUT
from ..network.walk import readers
from .grids import fit_bias, grid_of, quantize_bias, quantize_weight, weight_scales
from .ranges import SATURATION
from .schemes import SCHEMES
from .stored import named_parts, stored_tensors


@dataclass(frozen=True)
class Recipe:
    """What is asked of a quantiser.

    scheme : str, of `schemes.SCHEMES`
    per_tensor : bool, one scale a weight instead of one for each output channel
    ranges : Ranges
    wide : tuple of str, parts of the network whose tensors are kept in 16 bits
    correct_bias : bool, biases are moved so that every layer's mean is the float network's
    cut : bool, ranges before a hard-swish end at -3
    """

    scheme: str
    per_tensor: bool
    ranges: object
    wide: tuple[str, ...] = ()
    correct_bias: bool = False
    cut: bool = False

    def __str__(self):
        words = ["per tensor" if self.per_tensor else "per channel", str(self.ranges)]
        words += [f"wide {','.join(self.wide)}"] if self.wide else []
        words += ["bias correction"] if self.correct_bias else []
        words += ["cut at -3"] if self.cut else []
        return ", ".join(words)


@dataclass(frozen=True)
class Parameters:
    """A quantised network's numbers, from which its file is written.

    scheme : str
    plan : tuple of Step, folded
    grids : {stored tensor's name: Grid}, in order of execution
    weights : {parameter's name: (integers, scales, zero points)}: int8 in the operations' layout, output channels first;
        float32 (O,) or (1,); int32 like it
    biases : {parameter's name, or "STEP.bias" of a layer without one: (O,) int32}, of scale input's * weight's

    With the scheme tflite the layer before a gate holds 6 * slope * weight and 6 * (slope * bias + 0.5): its sum, cut at
    0 and 6, is what is stored under the layer's name.
    """

    scheme: str
    plan: tuple
    grids: dict
    weights: dict
    biases: dict
    bias_scales: dict  # {as biases: (O,) or (1,) float32}


def choose_grids(plan, statistics, recipe):
    """The grid of every stored tensor.

    Parameters
    ----------
    plan : tuple of Step, folded
    statistics : {stored tensor's name: Statistics}
    recipe : Recipe

    Returns
    -------
    {stored tensor's name: Grid}
    """
    scheme = SCHEMES[recipe.scheme]
    stored = stored_tensors(plan, scheme)
    wide = set(named_parts(recipe.wide, stored))
    before_swish = {name for name, users in readers(plan).items() if users and {u.op for u in users} == {"hard_swish"}}
    grids = {}
    for tensor in stored:
        if tensor.like:
            grids[tensor.name] = grids[tensor.like]
            continue
        low, high = recipe.ranges.of(statistics[tensor.name])
        if recipe.cut and tensor.name in before_swish:
            low = max(low, SATURATION)
        grids[tensor.name] = grid_of(low, high, scheme, wide=tensor.name in wide)
    return grids


def bias_name(step):
    """The name under which a layer's integers of the bias are kept."""
    param = step.param("bias")
    return param.name if param else f"{step.name}.bias"


def layers(plan):
    """The steps that have weights."""
    return tuple(step for step in plan if step.param("weight"))


def read_tensor(plan):
    """{layer's name: the stored tensor that it reads}: identities are other names of theirs."""
    home = {INPUT: INPUT}
    for step in plan:
        home[step.name] = home[step.inputs[0]] if step.op == "identity" else step.name
    return {step.name: home[step.inputs[0]] for step in layers(plan)}


def gate_slopes(plan, scheme):
    """{layer's name: slope} of the layers whose sums are stored as a gate's relu6."""
    slopes = {step.inputs[0]: step.slope for step in plan if step.op == "hard_sigmoid"}
    return {tensor.step: slopes[tensor.step] for tensor in stored_tensors(plan, scheme) if tensor.form == "relu6"}


def held_bias(step, arrays, slope=None, shift=0.0):
    """(O,) float32: the bias that is made integers, moved by a shift; of a layer before a gate, whose slope is given, see
    Parameters."""
    param = step.param("bias")
    bias = np.asarray(arrays[param.name] if param else np.zeros(len(arrays[step.param("weight").name])), np.float64)
    bias = bias + shift
    return (bias if slope is None else 6 * slope * bias + 3).astype(np.float32)


def quantize_layers(plan, arrays, grids, recipe, shifts=None):
    """All weights and biases of a network as integers.

    Parameters
    ----------
    plan : tuple of Step, folded
    arrays : {parameter's name: float array} in the operations' layout
    grids : {stored tensor's name: Grid}
    recipe : Recipe
    shifts : {layer's name: (O,) float}, what is added to biases; default none

    Returns
    -------
    Parameters
    """
    scheme, source = SCHEMES[recipe.scheme], read_tensor(plan)
    slopes, weights, biases, bias_scales = gate_slopes(plan, scheme), {}, {}, {}
    for step in layers(plan):
        name, slope = step.param("weight").name, slopes.get(step.name)
        weight = np.asarray(arrays[name], np.float32)
        bias = held_bias(step, arrays, slope, (shifts or {}).get(step.name, 0.0))
        if slope is not None:
            weight = (weight * np.float32(6 * slope)).astype(np.float32)
        scales = weight_scales(weight, scheme, recipe.per_tensor)
        scales, of_bias = fit_bias(scales, bias, grids[source[step.name]].scale, scheme)
        weights[name] = quantize_weight(weight, scales, scheme), scales, np.zeros(len(scales), np.int32)
        biases[bias_name(step)] = quantize_bias(bias, of_bias, scheme)
        bias_scales[bias_name(step)] = of_bias
    return Parameters(recipe.scheme, plan, dict(grids), weights, biases, bias_scales)


def real_arrays(parameters):
    """The float32 numbers that a quantised network's integers stand for, {parameter's name: array} for its plan's steps.

    A layer before a gate has its weights and biases as the plan means them, without the gate's slope. A layer without
    bias has its own under "STEP.bias".
    """
    slopes, arrays = gate_slopes(parameters.plan, SCHEMES[parameters.scheme]), {}
    for step in layers(parameters.plan):
        name = step.param("weight").name
        integers, scales, _ = parameters.weights[name]
        weight = integers.astype(np.float32) * scales.reshape(-1, *(1,) * (integers.ndim - 1))
        bias = parameters.biases[bias_name(step)] * parameters.bias_scales[bias_name(step)].astype(np.float64)
        if step.name in slopes:
            slope = 6 * slopes[step.name]
            weight, bias = weight / np.float32(slope), (bias - 3) / slope
        arrays[name], arrays[bias_name(step)] = weight.astype(np.float32), bias.astype(np.float32)
    return arrays
