"""A .tflite whose tensors are floats, so that there are no integers to judge: what its weights say beside the network's.

Converters that are given no pictures (TensorFlow Lite's dynamic range quantisation) store weights of 8 bits and leave
tensors in floats. A run of such a file parts from the network, and these weights are why.
"""

import os

import numpy as np

from ...conversion import load_checkpoint
from ...errors import UsageError
from ...model import load
from .weights import snr

LEVELS = 127  # on either side of zero
NEAR = 1e-3  # of a step, by which float32 may miss a grid
HALF = 0.52  # of a step, that rounding moves a number by; the half as folding in float32 leaves it


def refuse_weight_file(network, path):
    """Say what a .tflite with tensors in floats has to do with a network; nothing of any other port.

    Parameters
    ----------
    network : Model
    path : the port

    Raises
    ------
    UsageError
        It is such a file: whether its weights have 8 bits, how far they are from the network's, and what to give instead.
    WeightsError
        Damaged, or another network's.
    """
    if not isinstance(path, (str, os.PathLike)) or not os.path.isfile(path):
        return
    if not os.fspath(path).lower().endswith(".tflite"):
        return
    weights = load_checkpoint(path, network.variant, network.num_classes)
    found = load(network.variant.full_name, weights.arrays, network.num_classes, engine="numpy").arrays(folded=True)
    comparison = compare(network.arrays(folded=True), found)
    raise UsageError(
        f"{path}: its tensors are floats, and {comparison}. It is not run here: run it, save what it gives (.npz, .npy, HDF5 or "
        ".bin) and give that"
    )


def compare(expected, found):
    """A sentence on the weights of a file beside those of the network, both {parameter's name: array}, folded."""
    names = [name for name, array in expected.items() if array.ndim > 1]
    steps = {name: step for name in names if (step := grid_step(found[name])) is not None}
    level = snr(_joined(expected, names), _joined(found, names))
    if not steps:
        return f"its weights too, {_level_text(level)}"
    apart = max(float((np.abs(found[name] - expected[name]) / step).max()) for name, step in steps.items())
    each = "an output channel" if any(step.size > 1 for step in steps.values()) else "a layer"
    rounded = (
        "these are the network's, rounded to that, and cause enough for tensors that differ (kernels may round what such a layer reads to 8 bits as well)"
        if apart <= HALF
        else f"these are up to {apart:.3g} steps from the network's, which rounding to 8 bits does not explain"
    )
    return (
        f"its weights are int8 in {len(steps)} of {len(names)} layers (dynamic range quantisation: 255 levels {each}), "
        f"{_level_text(level)}; {rounded}"
    )


def grid_step(weight):
    """The step of a weight (O, ...) whose numbers lie on an int8 grid, symmetric: one of all (1, 1, ...), or one a
    channel (O, 1, ...); None where they do not. A weight with no more numbers than levels tells nothing."""
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    if rows.size <= 2 * LEVELS:
        return None
    for reach in (np.abs(rows).max().reshape(1, 1), np.abs(rows).max(1, keepdims=True)):
        step = np.where(reach > 0, reach, 1.0) / LEVELS
        places = rows / step
        if np.abs(places - np.rint(places)).max() < NEAR:
            return step.reshape(-1, *(1,) * (weight.ndim - 1))
    return None


def _joined(arrays, names):
    return np.concatenate([np.ravel(arrays[name]) for name in names])


def _level_text(level):
    return "equal to the network's" if level == np.inf else f"{level:.0f} dB from the network's"
