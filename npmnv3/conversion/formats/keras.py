"""Keras's weight files: the legacy HDF5 that Keras 2 and 3 write, and Keras 3's .weights.h5."""

import json
from dataclasses import replace

from ...dumps.hdf5 import natural, open_tree
from ...dumps.reader import Reader
from ...errors import WeightsError
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
MAX_CONFIG = 4 << 20  # bytes
_OTHER_LAYERS = ("GlobalMaxPooling2D", "MaxPooling2D", "AveragePooling2D", "LayerNormalization", "UnitNormalization")


def read_archive(reader, entries):
    """Read a .keras file, a zip of the weights and of what the model is."""
    with Reader(read_entry(reader, entries[WEIGHTS])) as inner:
        checkpoint = read(inner)
    config = _parsed(read_entry(reader, entries[CONFIG], MAX_CONFIG)) if CONFIG in entries else None
    _check_layers(config)
    return replace(checkpoint, says=_model_name(config, CONFIG))


def _parsed(text):
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None  # the weights are what counts


def _check_layers(config):
    """WeightsError where a configuration has layers that compute otherwise and whose weights do not show it."""
    queue, odd = [config], []
    while queue:
        item = queue.pop()
        if isinstance(item, dict):
            odd += [name for name in _OTHER_LAYERS if item.get("class_name") == name]
            item = list(item.values())
        queue += item if isinstance(item, list) else []
    if odd:
        raise WeightsError(f"its configuration has a {odd[0]}, which no network here has: other logits than its own")


def _model_name(config, where):
    """What a configuration, found there, calls the model, and the models in it."""
    try:
        layers = [config, *config.get("config", {}).get("layers", ())]
        names = [layer["config"].get("name") for layer in layers if layer.get("class_name") in ("Functional", "Model")]
    except (KeyError, TypeError, AttributeError):
        return ()
    return tuple((where, name[:100]) for name in names if isinstance(name, str))


def read(reader):
    with open_tree(reader) as tree:
        root = "/model_weights" if "model_weights" in tree.members("") else ""  # of a whole model's file
        layers = tree.names(root, "layer_names")
        if layers:
            about = {name: tree.text(root, name) for name in ("backend", "keras_version")}
            config = _parsed(tree.text("", OF_MODEL, MAX_CONFIG))
            _check_layers(config)
            says = _model_name(config, OF_MODEL)
            return Checkpoint("keras-legacy", _legacy(tree, root, layers), metadata=about, says=says)
        arrays, notes = _weights(tree)
    if not arrays:
        raise WeightsError("an HDF5 file, but without Keras's weights: no layer_names, no layers with vars")
    return Checkpoint("keras-weights", arrays, notes=notes)


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
