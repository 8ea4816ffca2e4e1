"""Keras's weight files: the legacy HDF5 that Keras 2 and 3 write, and Keras 3's .weights.h5."""

from dataclasses import replace

import numpy as np

from ...dumps.hdf5 import natural, open_tree
from ...dumps.reader import Reader
from ...errors import WeightsError
from .keras_config import MAX_BYTES, QUANTISED, read_config
from .record import Checkpoint
from .zips import read_entry

# The variables of Keras 3's layers, which are only numbered: {class: {how many there are: their roles}}.
_KERNEL = {1: ("kernel",), 2: ("kernel", "bias")}
_ROLES = {
    "conv2d": _KERNEL,
    "depthwise_conv2d": _KERNEL,
    "dense": _KERNEL,
    "batch_normalization": {4: ("gamma", "beta", "moving_mean", "moving_variance")},
}


WEIGHTS, CONFIG = "model.weights.h5", "config.json"  # entries of a .keras file
OF_MODEL = "model_config"  # the same as an attribute of a whole model's legacy file


def read_archive(reader, entries):
    """Read a .keras file, a zip of the weights and of what the model is."""
    with Reader(read_entry(reader, entries[WEIGHTS])) as inner:
        checkpoint = read(inner)
    if CONFIG not in entries:
        return checkpoint
    fields = read_config(read_entry(reader, entries[CONFIG], MAX_BYTES), CONFIG, counted=bool(checkpoint.notes))
    return replace(checkpoint, **fields | {"notes": (*checkpoint.notes, *fields.get("notes", ()))})


def read(reader):
    with open_tree(reader) as tree:
        root = "/model_weights" if "model_weights" in tree.members("") else ""  # of a whole model's file
        layers = tree.names(root, "layer_names")
        if layers:
            about = {name: tree.text(root, name) for name in ("backend", "keras_version")}
            fields = read_config(tree.text("", OF_MODEL, MAX_BYTES), OF_MODEL)
            return Checkpoint("keras-legacy", _in_floats(_legacy(tree, root, layers)), metadata=about, **fields)
        arrays, notes = _weights(tree)
        _in_floats(arrays)
    if not arrays:
        raise WeightsError("an HDF5 file, but without Keras's weights: no layer_names, no layers with vars")
    return Checkpoint("keras-weights", arrays, notes=notes)


def _in_floats(arrays):
    """The arrays, no kernel of which is of integers of 8 bits: WeightsError where Keras quantised a layer."""
    for name, array in arrays.items():
        if name.endswith(("/kernel", "/0")) and array.dtype in (np.int8, np.uint8):
            raise WeightsError(QUANTISED.format(f"{name[:100]} is {array.dtype}"))
    return arrays


def _legacy(tree, root, layers):
    """Go by the lists of names in the attributes: layers' names have slashes, so their groups lie in one another."""
    arrays = {}
    for layer in layers:
        for name in tree.names(f"{root}/{layer}", "weight_names"):
            if name in arrays:
                raise WeightsError(f"the weight {name[:200]} is listed twice")
            arrays[name] = tree.array(f"{root}/{layer}/{name}")
    return arrays


def _weights(tree):
    """Walk: a group with a group `vars` is a layer, called CLASS_COUNT; its own name is an attribute of `vars`."""
    arrays, unnamed, queue, seen = {}, 0, [""], set()
    while queue:
        path = queue.pop()
        if tree.address(path) in seen:
            raise WeightsError(f"{path[:200]!r} is a second name of another group or array: refused")
        seen.add(tree.address(path))
        inner = tree.members(path)
        indices = sorted(tree.members(f"{path}/vars"), key=lambda index: (len(index), index)) if "vars" in inner else []
        if indices:
            named = tree.text(f"{path}/vars", "name")
            unnamed += not named
            arrays |= _variables(tree, path, indices, named, arrays)
        queue += [f"{path}/{name}" for name in reversed(inner) if name != "vars" and f"{path}/{name}" != "/optimizer"]
    notes = (f"{unnamed} layers have no names of their own and are called by class and count",) if unnamed else ()
    return arrays, notes


def _variables(tree, path, indices, named, taken):
    called = path.rpartition("/")[2]
    roles = _ROLES.get(natural(called)[0], {}).get(len(indices), indices)
    names = [f"{named or called}/{role}" for role in roles]
    if any(name in taken for name in names):  # a model within a model may have layers of the same names
        names = [f"{path[1:]}/{role}" for role in roles]
    return {name: tree.array(f"{path}/vars/{index}") for name, index in zip(names, indices, strict=True)}
