"""Weights among a port's tensors: who dumps all that an engine holds dumps these too, and no picture made them."""

import collections
import itertools

import numpy as np

from ..errors import UsageError
from .port import SAVE
from .tensors import relative_error, sketch

NEAR = 1e-3  # squared relative error of a weight that an engine rounded, to 8 bits even


def without_weights(tensors, network, mapped=()):
    """A port's tensors without those that are parameters of the network, as it has them or with norms folded in.

    Parameters
    ----------
    tensors : list of PortTensor
    network : Model
    mapped : names of the port's that are said to be steps'

    Returns
    -------
    (tensors, names of what was left out) : lists
    """
    parameters = _by_size(network, {t.array.size for t in tensors})
    weights = [t.name for t in tensors if t.name not in mapped and _is_one(t.array, parameters[t.array.size])]
    return [t for t in tensors if t.name not in weights], weights


def refuse_weights_alone(port, tensors, constants):
    """UsageError where a port, of this name, has weights and nothing else; single numbers are counters of a state dict."""
    if constants and not any(t.array.ndim for t in tensors):
        raise UsageError(
            f"{port}: holds weights of the network ({len(constants)}, such as {constants[0]}) and no tensor of a run. {SAVE}"
        )


def _by_size(network, sizes):
    """{size: list of parameters}, of those that have several numbers."""
    found = collections.defaultdict(list)
    for array in itertools.chain(network.arrays("float32").values(), network.arrays("float32", folded=True).values()):
        if array.size in sizes and array.size > 1:
            found[array.size].append(array)
    return found


def _is_one(array, parameters):
    """Whether an array is one of these, its axes in any order that engines have them in."""
    if not parameters or array.dtype.kind not in "fiu":
        return False
    flat = array.reshape(-1).astype(np.float32)
    mine = sketch(flat)
    for parameter in parameters:
        for axes in _orders(parameter.ndim):
            other = parameter.transpose(axes).reshape(-1)
            if relative_error(mine, sketch(other)) < NEAR and relative_error(flat, other) < NEAR:
                return True
    return False


def _orders(axes):
    """Outputs first, then inputs and window in either order; or outputs last; or inputs first."""
    if axes == 4:
        return (0, 1, 2, 3), (0, 2, 3, 1), (2, 3, 1, 0), (1, 2, 3, 0)
    return ((0, 1, 2), (1, 2, 0)) if axes == 3 else ((0, 1), (1, 0)) if axes == 2 else ((0,),)
