"""Checkpoint files for the tests: the frameworks' own, unpacked from the golden data, and small ones written by hand.

The frameworks' files are kept as a skeleton, the file with its large tensors blanked, and a list of which drawn
tensor goes where; here they are put together again, byte for byte. The writers below know the formats from their
specifications and share nothing with the readers.
"""

import atexit
import functools
import hashlib
import io
import json
import pathlib
import pickle
import shutil
import struct
import tempfile
import zipfile

import goldens
import h5py
import numpy as np
import recipe

FOLDER = goldens.SHARED / "golden" / "checkpoints"


# The frameworks' files


def packs():
    """The packed files, one a network."""
    return sorted(FOLDER.glob("*@10.h5"))


def _shapes(rows):
    return [tuple(int(n) for n in row if n >= 0) for row in rows]


def _stored(file):
    ends = np.cumsum(file["stored/length"][...])
    return dict(zip(file["stored/name"].asstr()[...], np.split(file["stored/value"][...], ends[:-1]), strict=True))


def _fill(file, stored, key, shape, kind):
    if kind in recipe.STORED:
        return stored[key].reshape(shape)
    return recipe.draw(file.attrs["source"], file.attrs["variant"], key, shape, kind)


def _encode(array, how):
    if how == "T":
        return np.ascontiguousarray(array.T).tobytes()
    return array.tobytes().decode("latin-1").encode("utf-8") if how == "U" else array.tobytes()


@functools.cache
def unpacked():
    """{file name: path} of all frameworks' files, in a temporary folder."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="npmnv3-checkpoints-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    paths = {}
    for pack in packs():
        with h5py.File(pack) as file:
            stored = _stored(file)
            for name, group in file["files"].items():
                data = bytearray(group["skeleton"][...].tobytes())
                holes = (group[column].asstr()[...] for column in ("key", "kind", "how"))
                for offset, shape, key, kind, how in zip(
                    group["offset"][...], _shapes(group["shape"][...]), *holes, strict=True
                ):
                    part = _encode(_fill(file, stored, key, shape, kind), how)
                    data[offset : offset + len(part)] = part
                assert hashlib.sha256(data).hexdigest() == group.attrs["sha256"], f"{name} was not rebuilt as it was"
                paths[name] = folder / name
                paths[name].write_bytes(data)
    return paths


@functools.cache
def state(network):
    """The golden state dict of "source/variant" with 10 classes, in the framework's order."""
    with h5py.File(FOLDER / f"{network.replace('/', '--')}@10.h5") as file:
        names, kinds, digests = (file[f"state/{column}"].asstr()[...] for column in ("name", "kind", "sha16"))
        shapes = _shapes(file["state/shape"][...])
        stored = _stored(file)
        arrays = {n: _fill(file, stored, n, shape, kind) for n, shape, kind in zip(names, shapes, kinds, strict=True)}
    for name, digest in zip(names, digests, strict=True):
        assert recipe.digest(arrays[name]) == digest, f"{name}: not the golden run's values"
    return arrays


def assert_same(found, expected):
    """Same names in the same order, same dtypes and shapes, same bits."""
    assert list(found) == list(expected), f"names differ, first at {_first_difference(list(found), list(expected))}"
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        different = np.flatnonzero(found[name].ravel() != array.ravel())
        assert not different.size, f"{name}: {different.size} elements differ, the first at {different[0]}"


def _first_difference(found, expected):
    pairs = enumerate(zip(found, expected, strict=False))
    return next(
        ((i, a, b) for i, (a, b) in pairs if a != b), (min(len(found), len(expected)), len(found), len(expected))
    )


# Pickles by hand


class Name:
    """A global."""

    def __init__(self, full):
        self.module, _, self.name = full.rpartition(".")


class Call:
    """A global called with arguments; `state` is then built into what it gives."""

    def __init__(self, full, *arguments, state=None, opcode=b"R"):
        self.function, self.arguments, self.state, self.opcode = Name(full), arguments, state, opcode


class Ordered(Call):
    """An OrderedDict with the attribute _metadata, as torch makes its state dicts."""

    def __init__(self, items):
        super().__init__("collections.OrderedDict", state={"_metadata": Call("collections.OrderedDict")})
        self.items = items


class Persistent:
    """Data outside of the pickle."""

    def __init__(self, *identity):
        self.identity = identity


def emit(value, protocol=2):
    """The opcodes that make a value, without the frame around them."""
    if isinstance(value, Name):
        if protocol >= 4:
            return emit(value.module) + emit(value.name) + b"\x93"
        return b"c" + value.module.encode() + b"\n" + value.name.encode() + b"\n"
    if isinstance(value, Call):
        made = emit(value.function, protocol) + emit(value.arguments, protocol) + value.opcode
        if isinstance(value, Ordered):
            made += emit(value.items, protocol)[1:]
        return made if value.state is None else made + emit(value.state, protocol) + b"b"
    if isinstance(value, Persistent):
        return emit(value.identity, protocol) + b"Q"
    if isinstance(value, dict):
        items = b"".join(emit(item, protocol) for pair in value.items() for item in pair)
        return b"}(" + items + b"u"
    if isinstance(value, (list, tuple)):
        items = b"(" + b"".join(emit(item, protocol) for item in value)
        return items + b"t" if isinstance(value, tuple) else b"]" + items + b"e"
    if isinstance(value, bytes) and protocol < 3:
        return emit(Call("_codecs.encode", value.decode("latin-1"), "latin1"), protocol)
    if isinstance(value, (str, bytes)):
        data = value.encode() if isinstance(value, str) else value
        return (b"X" if isinstance(value, str) else b"B") + struct.pack("<I", len(data)) + data
    return pickle.dumps(value, 3)[2:-1]  # numbers, booleans and None: an opcode and its argument


def pickled(value, protocol=2):
    return b"\x80" + bytes([protocol]) + emit(value, protocol) + b"."


# torch


def tensor(key, array, *, shape=None, strides=None, offset=0, kind="Float", location="cpu", count=None, view=()):
    """A tensor as torch pickles it, by default the whole of a storage, in C order."""
    shape = array.shape if shape is None else shape
    if strides is None:
        strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    count = array.size if count is None else count
    storage = Persistent("storage", Name(f"torch.{kind}Storage"), key, location, count, *view)
    hooks = Call("collections.OrderedDict")
    return Call("torch._utils._rebuild_tensor_v2", storage, offset, tuple(shape), tuple(strides), False, hooks)


def torch_zip(top, storages, *, folder="archive", protocol=2, extra=(), compression=zipfile.ZIP_STORED):
    """A zip file as torch writes it; storages is {key: array}."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr(f"{folder}/data.pkl", top if isinstance(top, bytes) else pickled(top, protocol))
        for key, array in storages.items():
            archive.writestr(f"{folder}/data/{key}", array.tobytes())
        archive.writestr(f"{folder}/version", "3\n")
        for name, data in extra:
            archive.writestr(name, data)
    return stream.getvalue()


def torch_legacy(top, storages, *, protocol=2):
    """A file as torch before 1.6 writes it; storages is {key: array}."""
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}]
    pickles = b"".join(pickled(part, protocol) for part in head)
    pickles += (top if isinstance(top, bytes) else pickled(top, protocol)) + pickled(list(storages), protocol)
    return pickles + b"".join(struct.pack("<q", array.size) + array.tobytes() for array in storages.values())


# The other formats


def paddle_array(array, protocol=2, numpy=1):
    """A NumPy array as NumPy 1 or 2 pickles it."""
    core = "numpy.core" if numpy == 1 else "numpy._core"
    dtype = Call(
        "numpy.dtype", array.dtype.str[1:], False, True, state=(3, array.dtype.str[0], None, None, None, -1, -1, 0)
    )
    data = array.tobytes("A")
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    return Call(
        f"{core}.multiarray._reconstruct",
        Name("numpy.ndarray"),
        (0,),
        b"b",
        state=(1, array.shape, dtype, fortran, data),
    )


def safetensors(arrays, dtypes=None, metadata=None, **changes):
    """A safetensors file; `changes` replaces entries of the header."""
    names = {
        "<f4": "F32",
        "<f2": "F16",
        "<f8": "F64",
        "<i8": "I64",
        "<i4": "I32",
        "|u1": "U8",
        "|b1": "BOOL",
        "|i1": "I8",
        "<i2": "I16",
    }
    header, position = {} if metadata is None else {"__metadata__": metadata}, 0
    for name, array in arrays.items():
        kind = (dtypes or {}).get(name) or names[array.dtype.str]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [position, position + array.nbytes]}
        position += array.nbytes
    for name, change in changes.items():
        header[name] = {**header.get(name, {}), **change}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(array.tobytes() for array in arrays.values())


def keras_legacy(layers, *, fixed=False, split=False, root=""):
    """Legacy HDF5: {layer: {weight name: array}}."""
    stream = io.BytesIO()

    def texts(names):
        return np.array([n.encode() for n in names]) if fixed and names else list(names)

    with h5py.File(stream, "w") as file:
        top = file.create_group(root) if root else file
        for layer, weights in layers.items():
            top.require_group(layer).attrs["weight_names"] = texts(weights)
            for name, array in weights.items():
                top[layer].create_dataset(name, data=array)
        names = list(layers)
        if split:
            top.attrs["layer_names0"], top.attrs["layer_names1"] = texts(names[:1]), texts(names[1:])
        else:
            top.attrs["layer_names"] = texts(names)
        top.attrs["backend"] = "tensorflow"
    return stream.getvalue()


def keras_weights(layers):
    """Keras 3's .weights.h5: {path of the layer: (its name, arrays)}."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for path, (name, arrays) in layers.items():
            group = file.create_group(f"{path}/vars")
            if name:
                group.attrs["name"] = name
            for i, array in enumerate(arrays):
                group.create_dataset(str(i), data=array)
    return stream.getvalue()


def framework_files():
    """Names of the frameworks' own checkpoint files, where the golden data are at hand."""
    names = unpacked() if packs() else ()
    of_parameters = (".json", ".pdmodel", ".info")  # these lie beside the files that are read
    return sorted(name for name in names if not name.endswith(of_parameters))


def keras3_names(state, numbered):
    """A state dict under Keras 3's names or, where layers have none, under class and count."""
    renamed, counts, seen = {}, {}, {}
    for name, array in state.items():
        layer, _, weight = name.rpartition("/")
        if numbered:
            kind = (
                "batch_normalization"
                if "BatchNorm" in layer
                else "depthwise_conv2d"
                if "depthwise" in weight
                else "conv2d"
            )
            if layer not in seen:
                seen[layer] = f"{kind}_{counts[kind]}" if kind in counts else kind
                counts[kind] = counts.get(kind, 0) + 1
            layer = seen[layer]
        else:
            layer = layer.replace("/BatchNorm", "_bn").replace("/", "_").lower()
        renamed[f"{layer}/{weight[:-2].replace('depthwise_', '')}"] = array
    return dict(sorted(renamed.items()))


def torch_file(state, wrap=None, **more):
    """A state dict as torch's zip file; `wrap` puts it into what a training program saves: callable (dict of tensors)."""
    kinds = {"f": "Float", "i": "Long"}
    arrays = {name: np.array(array, order="C") for name, array in state.items()}
    top = Ordered({n: tensor(str(i), a, kind=kinds[a.dtype.kind]) for i, (n, a) in enumerate(arrays.items())})
    storages = {str(i): array for i, array in enumerate(arrays.values())}
    return torch_zip(wrap(top) if wrap else top, storages, **more)


def module(arrays, inner=(), *, name="mine.Net", more=()):
    """A module of torch as it pickles itself: arrays are tensors by name, inner are modules by name."""
    parts = {"_parameters": dict(arrays), "_buffers": {}, "_modules": dict(inner)}
    hooks = {"_forward_hooks": Call("collections.OrderedDict"), "_non_persistent_buffers_set": Call("builtins.set", [])}
    return Call(name, opcode=b"\x81", state={"training": False, **parts, **hooks, **dict(more)})
