"""A port's tensors, from whatever they come in: a file, a folder, an ONNX graph, a mapping or a function."""

import json
import math
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from ..dumps.attributes import FORMAT
from ..dumps.containers import NO_DUMP, open_container
from ..dumps.mappings import as_array
from ..dumps.npy import read_npy
from ..dumps.reader import Reader
from ..errors import UsageError, WeightsError, once_each
from . import printed
from .fixed_point import LEVELS
from .saved_dict import is_saved_dict, read_saved_dict
from .tensors import PortTensor

DTYPES = ("float16", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32")
WEIGHT_FILES = (".pdparams", ".ckpt", ".tflite", ".keras", ".param", ".xml")
MAX_BYTES = 4 << 30  # of a port's tensors together
SAVE = "Run the port and save what it gives (.npz, .npy, HDF5 or .bin)"
COMPANIONS = (".scale", ".zero_point")  # entries that say how another entry is quantised


def load_port(port, x):
    """The tensors of a port.

    Parameters
    ----------
    port : path of an .npz, an HDF5 file, a folder of .npy, a folder of raw .bin with a JSON file, a dict that torch.save,
        safetensors, pickle or np.save wrote, the logits as text, or an .onnx file, which is run; mapping {name: array};
        or callable: (N, 3, H, W) float32 -> logits, mapping, or sequence of arrays
    x : (N, 3, H, W) float32, what an ONNX file or a callable is given; None if it is not known

    Returns
    -------
    list of PortTensor, in the port's own order

    Raises
    ------
    UsageError
        Nothing there, unreadable, or not tensors.
    """
    if isinstance(port, Mapping):
        return _tensors("the mapping", dict(port))
    if isinstance(port, (str, os.PathLike)):
        return _from_path(pathlib.Path(port), x)
    if callable(port):
        return _tensors("what the port returned", _as_mapping(port(np.array(x))))
    raise UsageError(f"port is a {type(port).__name__}, expected a path, a mapping {{name: array}} or a callable")


def runs(port):
    """Whether a port computes its tensors from an input, rather than bringing them."""
    is_path = isinstance(port, (str, os.PathLike))
    return str(port).lower().endswith(".onnx") if is_path else callable(port) and not isinstance(port, Mapping)


def _as_mapping(result):
    if isinstance(result, Mapping):
        return dict(result)
    if isinstance(result, (tuple, list)) and not np.isscalar(result[0] if result else 0):
        return {f"output.{i}": value for i, value in enumerate(result)}
    return {"logits": result}


def _from_path(path, x):
    if path.suffix.lower() == ".onnx" and path.is_file():
        from .onnx_port import run_onnx

        return _tensors(str(path), run_onnx(path, x))
    return _tensors(str(path), read_arrays(path, None if x is None else len(x)))


def read_arrays(path, pictures=None):
    """{name: array} of a file or a folder of tensors, of so many pictures, as they are, scales and zero points among them.

    Raises
    ------
    UsageError
        Nothing there, unreadable, or not tensors.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        return _from_folder(path)
    if not path.exists():
        raise UsageError(
            f"{path}: no such file or folder; a port is an .npz, HDF5, .pt, .txt or .onnx file, or a folder of .npy or .bin files"
        )
    if path.suffix.lower() in WEIGHT_FILES:
        raise UsageError(
            f"{path}: a file of weights, not of a run's tensors; {SAVE[0].lower()}{SAVE[1:]}, "
            "give an .onnx file, which is run here, or ask `npmnv3 identify` whose weights they are"
        )
    if is_saved_dict(path):
        _check_size(path, path.stat().st_size)
        return read_saved_dict(path)
    if path.suffix.lower() == ".npy":
        return {"logits": load_npy(path)}
    if path.suffix.lower() in printed.ENDINGS:
        _check_size(path, path.stat().st_size)
        return printed.read_printed(path, pictures)
    try:
        with open_container(path) as (attributes, entries):
            if attributes.get("format") == FORMAT:
                raise UsageError(
                    f"{path}: a weight dump, as its attribute format says; it holds no tensor of a run. {SAVE}, or give it "
                    "as the network's own weights: `weights=FILE`"
                )
            _check_size(path, sum(math.prod(e.shape) * e.dtype.itemsize for e in entries.values()))
            return {name: entry.read() for name, entry in entries.items()}
    except WeightsError as error:
        raise UsageError(
            f"the port's tensors cannot be read: {str(error).removesuffix(NO_DUMP)}; of a bare file of numbers no shape is known: put .bin into a folder "
            "with a JSON file, or save .npy or text"
        ) from error


def check_listed(folder):
    """UsageError where a folder, or one in it, cannot be listed: what it holds would be overlooked."""

    def refuse(error):
        raise UsageError(f"{error.filename}: cannot be listed: {error.strerror or error}") from error

    for _ in os.walk(folder, onerror=refuse):
        pass


def _from_folder(folder):
    check_listed(folder)
    arrays = sorted(folder.rglob("*.npy"))
    if arrays:
        _check_size(folder, sum(path.stat().st_size for path in arrays))
        return {path.relative_to(folder).with_suffix("").as_posix(): load_npy(path) for path in arrays}
    lists = sorted(folder.glob("*.json"))
    if len(lists) == 1:
        return _from_raw(folder, lists[0])
    raw = "no" if not any(folder.rglob("*.bin")) else "some"
    raise UsageError(
        f"{folder}: holds no .npy files, {raw} .bin files and {len(lists)} .json files; expected .npy files, or .bin files with "
        'one JSON file {"NAME": {"shape": [...], "dtype": "float32"}, ...}'
    )


def load_npy(path):
    """The array of a .npy file; UsageError if it cannot be read."""
    try:
        return read_npy(path)
    except WeightsError as error:
        raise UsageError(f"{path}: not a readable .npy file: {str(error).removeprefix(f'{path}: ')}") from error


def read_json(path, data):
    """What a file of JSON with these bytes says, in which no name is twice; UsageError if it is none."""
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=once_each)
    except WeightsError as error:
        raise UsageError(f"{path}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not a readable JSON file: {error}") from error


def _read_list(path):
    """The bytes of a file that a folder holds: nobody named it, so a pipe is not waited for."""
    try:
        with Reader(path) as file:
            return file.read()
    except (WeightsError, OSError) as error:
        raise UsageError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error


def _from_raw(folder, path):
    """Raw little-endian files, as a JSON object {name: {shape, dtype, and maybe file, scale, zero_point}} lists them."""
    listed = read_json(path, _read_list(path))
    listed = listed.get("tensors", listed) if isinstance(listed, dict) else listed
    if isinstance(listed, list) and all(isinstance(row, dict) and isinstance(row.get("name"), str) for row in listed):
        listed = {row["name"]: row for row in listed}
    if not isinstance(listed, dict) or not all(isinstance(row, dict) for row in listed.values()):
        raise UsageError(f'{path}: expected {{"NAME": {{"shape": [...], "dtype": "float32"}}, ...}}')
    arrays = {}
    for name, row in listed.items():
        arrays[name] = _load_raw(folder, path, name, row)
        for companion in COMPANIONS:
            if companion[1:] in row:
                arrays[name + companion] = _listed(path, name + companion, row[companion[1:]])
    return arrays


def _listed(path, name, value):
    """A number, or a list of them, as an array."""
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{path}: {name} is {str(value)[:100]}, expected a number or a list of them") from error


def _load_raw(folder, path, name, row):
    dtype, shape = row.get("dtype", "float32"), row.get("shape")
    if dtype not in DTYPES:
        raise UsageError(f"{path}: {name} has the dtype {dtype!r}, expected one of {', '.join(DTYPES)}")
    if not isinstance(shape, list) or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in shape):
        raise UsageError(f"{path}: {name} has the shape {shape!r}, expected a list of whole numbers from 1")
    file = row.get("file", f"{name}.bin")
    if not isinstance(file, str) or "\0" in file or len(file) > 1000:
        raise UsageError(f"{path}: {name} names the file {str(file)[:100]!r}, which is no file's name")
    file = folder / file
    if folder.resolve() not in file.resolve().parents:
        raise UsageError(f"{path}: {name} names the file {file}, which lies outside the folder")
    expected = math.prod(shape) * np.dtype(dtype).itemsize
    _check_size(path, expected)
    if not os.path.isfile(file):  # also where the system refuses the name
        raise UsageError(f"{path}: {name} names {file.name}, which is not there")
    if file.stat().st_size != expected:
        raise UsageError(f"{file}: has {file.stat().st_size} bytes, expected {expected} for {dtype} {tuple(shape)}")
    return np.fromfile(file, np.dtype(dtype).newbyteorder("<")).reshape(shape)


def _check_size(path, size):
    if size > MAX_BYTES:
        raise UsageError(f"{path}: {size:,} bytes of tensors, more than {MAX_BYTES:,}; give fewer pictures or tensors")


def _tensors(where, arrays):
    """The arrays as PortTensors, integers dequantised where `NAME.scale` (and `NAME.zero_point`) are there too."""
    arrays = {str(name): _array(where, name, value) for name, value in arrays.items()}
    companions = {n + c for n in arrays for c in COMPANIONS if n + c in arrays}
    found = []
    for name, array in arrays.items():
        if name in companions:
            continue
        wide = array.dtype.kind in "iu" and array.size > 0 and np.ptp(array.astype(np.float64)) > LEVELS
        scale = arrays.get(f"{name}.scale")
        if scale is not None:
            array, scale = _dequantized(where, name, array, scale, arrays.get(f"{name}.zero_point", np.zeros(())))
        if array.dtype.kind == "f" and array.dtype.itemsize > 4:
            with np.errstate(over="ignore"):
                array = array.astype(np.float32)
        if array.size:
            found.append(PortTensor(name, array, scale or 0.0, len(found), wide=wide))
    if not found:
        raise UsageError(f"{where}: holds no tensors")
    return found


def _array(where, name, value):
    array = as_array(value, f"{where}: {name}")
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        raise UsageError(f"{where}: {name} is {array.dtype}, expected numbers: {', '.join(DTYPES)}")
    return array


def _dequantized(where, name, array, scale, zero):
    """(scale * (array - zero), scale), per tensor or along the one axis whose length fits."""
    if not scale.size or not zero.size:
        raise UsageError(
            f"{where}: {name} has {scale.size} scales and {zero.size} zero points, expected one of each or more"
        )
    if not np.abs(scale.astype(np.float64)).max() <= np.finfo(np.float32).max:
        raise UsageError(f"{where}: {name} has a scale of {scale.max():.3g}, expected a number within float32's range")
    if scale.size == 1:
        scale = np.float32(scale.reshape(()))
        return scale * (array.astype(np.float32) - np.float32(zero.reshape(-1)[0])), float(scale)
    axes = [i for i, n in enumerate(array.shape) if n == scale.size]
    if not axes or zero.size not in (1, scale.size):
        raise UsageError(
            f"{where}: {name} {array.shape} has {scale.size} scales and {zero.size} zero points, which fit none of its axes"
        )
    along = tuple(scale.size if i == axes[0] else 1 for i in range(array.ndim))
    zero = zero.reshape(along) if zero.size > 1 else zero.reshape(())
    return (scale.reshape(along) * (array.astype(np.float32) - zero)).astype(np.float32), float(
        np.float32(scale.mean())
    )
