"""The weights in an .onnx that is judged as floats in int8's rounding: which of them are not the network's, rounded.

What a run gives passes up to ten times int8's rounding, and behind that a weight, or two channels exchanged, may hide. The
file says it: each output channel's weights lie on a grid, from which the network's are half a step away at most.
"""

import os

import numpy as np

from ...conversion import load_checkpoint
from ...errors import WeightsError
from ...model import load
from .cost import float_trace
from .weights import FAR, few_biases, known_fault, snr, wrong_bias

LEVELS = 255  # of a channel's largest weight, beyond which 8 bits do not go
FLOATS = 127  # parts of it, one of which a weight may be off where it lies on no such grid
SAME = 1e-5  # of it, within which two weights are one
NEAR = 2e-3  # of a step, by which float32 may miss a grid
TINY = 1e-30  # for what an input spans that is 0 throughout
SHOWN = 4  # layers


def check_file(network, path, x):
    """([(step's name, what is wrong with its weights or biases)], notes) of an .onnx in which layers have 8 bits.

    A layer most of whose channels are off, in no way that is known, is left to the run: tools move weights between layers.

    Parameters
    ----------
    network : Model
    path : of the .onnx
    x : (N, C, H, W), the first of which says how large the layers' inputs and outputs are
    """
    try:
        state = load_checkpoint(os.fspath(path), network.variant, network.num_classes)
    except WeightsError as error:
        return [], [f"the file's weights are not held against the network's, layer by layer: {error}"]
    found = load(network.variant.full_name, state.arrays, network.num_classes, engine="numpy").arrays(folded=True)
    layers = [step for step in network.plan_for(folded=True) if step.param("weight")]
    real, reach = network.arrays(folded=True), _ranges(float_trace(network, x[:1]))
    weights = {step.name: (real[step.param("weight").name],) for step in layers}
    wrong, moved = [], []
    for step in layers:
        expected, given = _of_layer(step, real), _of_layer(step, found)
        text = _wrong(step, expected, given, reach, weights)
        if text is None:
            moved.append(step.name)
        elif text:
            wrong.append((step.name, text))
    return wrong, _said(moved, len(layers))


def _said(moved, count):
    if not moved:
        return [f"the file's weights were held against the network's, layer by layer, in all {count}"]
    names = ", ".join(moved[:SHOWN]) + ", ..." * (len(moved) > SHOWN)
    return [
        f"in {len(moved)} of {count} layers ({names}) most of the file's weights are not the network's, rounded, as where a tool "
        "moves them between layers: these are judged by their numbers alone"
    ]


def _of_layer(step, arrays):
    """(weight, bias) of a layer, (O, ...) and (O,)."""
    weight, bias = arrays[step.param("weight").name], step.param("bias")
    return weight, arrays[bias.name] if bias else np.zeros(len(weight))


def _ranges(trace):
    """{step's name: one 255th of what its tensor spans}."""
    return {name: (max(value.max(), 0) - min(value.min(), 0)) / 255 for name, value in trace.items()}


def _wrong(step, expected, given, reach, layers):
    """What is wrong with a layer's weights or biases, "" if nothing is; None where most weights are off."""
    (real, real_bias), (found, bias) = expected, given
    span, stored = reach[step.inputs[0]] or TINY, reach[step.name] or 1.0
    steps = grid_steps(found, stored / (255 * span))
    off = np.abs(found - real) / steps
    ends = np.abs(found) == np.abs(found).max(tuple(range(1, found.ndim)), keepdims=True)
    off[ends & (np.abs(real) > np.abs(found)) & (real * found > 0)] = 0  # cut at the ends, as some calibrations do
    far = off > 1
    if far.any():
        text = known_fault(step.name, real, found, off, steps, layers)
        few = 4 * np.count_nonzero(far.reshape(len(far), -1).any(1)) <= len(far)
        return text or (f"has {np.count_nonzero(far)} of {far.size} weights that are not these" if few else None)
    bias_steps = steps.ravel() * span
    off = np.abs(bias - real_bias) / bias_steps
    if (np.abs(bias - real_bias) / stored).max(initial=0) <= FAR:
        return ""
    return wrong_bias(bias, snr(real_bias, bias)) or few_biases(off, bias_steps / stored)


def grid_steps(weight, least=0.0):
    """(O, 1, ...) float64: the step of the grid that all numbers of an output channel lie on, the coarsest. Where there is none of
    8 bits, that which 8 bits would have; of a channel of zeros the coarsest of all, `least` at the least."""
    rows = np.abs(weight.reshape(len(weight), -1).astype(np.float64))
    reach = rows.max(1, initial=0)
    gaps = np.diff(np.sort(rows, 1), axis=1, prepend=0)
    gaps[gaps <= SAME * reach[:, None]] = np.inf
    levels, steps = reach / gaps.min(1, initial=np.inf), reach / FLOATS
    rest, parts = np.flatnonzero(reach), 1
    while rest.size:
        count = np.rint(levels[rest] * parts)
        rest, count = rest[count <= LEVELS], count[count <= LEVELS]
        places = rows[rest] / reach[rest, None] * count[:, None]
        fits = np.abs(places - np.rint(places)).max(1, initial=0) < NEAR
        steps[rest[fits]] = reach[rest[fits]] / count[fits]
        rest, parts = rest[~fits], parts + 1
    steps[reach == 0] = max(steps.max(initial=0), least)
    return steps.reshape(-1, *(1,) * (weight.ndim - 1))
