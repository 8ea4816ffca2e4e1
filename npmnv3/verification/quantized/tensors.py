"""A device's tensors: arrays of integers from a file, a folder or a mapping, and the floats that came with them."""

import os
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...dumps.mappings import as_array
from ...errors import UsageError
from ..port import COMPANIONS, check_listed, read_arrays


@dataclass(eq=False)
class Given:
    """One tensor as it was given.

    name : str, its own
    array : of integers; flat bytes where a raw file says no shape
    index : int, its place in the order given
    raw : bool, bytes without a shape or a type
    layout : "nchw" or "nhwc" where the other tensors tell which of both it has
    """

    name: str
    array: np.ndarray
    index: int
    raw: bool = False
    layout: str = ""


def read_tensors(tensors):
    """(list of Given with integers, {name: floating array}) of a device's tensors.

    Parameters
    ----------
    tensors : path of an .npz, HDF5 or .npy file, of a folder of .npy files, of .bin files with a JSON list of them, or
        of bare .bin files, a byte a number; or mapping {name: array}

    Raises
    ------
    UsageError
        Nothing there, unreadable, or no integers in it; the message names the tensor.
    """
    if isinstance(tensors, Mapping):
        where = "the mapping"
        arrays = {str(name): as_array(value, f"{where}: {name}") for name, value in tensors.items()}
    elif isinstance(tensors, (str, os.PathLike)):
        where, path = os.fspath(tensors), pathlib.Path(tensors)
        if path.is_dir() and not any(path.rglob("*.npy")) and not any(path.glob("*.json")):
            return _bare(path), {}
        arrays = read_arrays(path)
    else:
        raise UsageError(f"tensors is a {type(tensors).__name__}, expected a path or a mapping {{name: array}}")
    given, floats = [], {}
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not any(name.endswith(end) for end in COMPANIONS):
            floats[name] = array
        elif array.dtype.kind in "iu" and array.size:
            given.append(Given(name, array, len(given)))
    if not given:
        kinds = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in list(arrays.items())[:3])
        raise UsageError(
            f"{where}: holds no tensor of integers ({kinds or 'nothing'}); a quantised port is judged by the integers that it "
            "stores, not by what they stand for"
        )
    return given, floats


def _bare(folder):
    """The .bin files of a folder: bytes."""
    check_listed(folder)
    files = sorted(folder.rglob("*.bin"))
    if not files:
        raise UsageError(f"{folder}: holds no .npy and no .bin files")
    given = []
    for file in files:
        name = file.relative_to(folder).with_suffix("").as_posix()
        data = np.fromfile(file, np.uint8)
        if data.size:
            given.append(Given(name, data, len(given), raw=True))
    return given
