"""Files of named arrays, HDF5 and .npz: listed first, read only when their shapes were found right.

Both are read by code of our own, so that a hostile file can do no harm: links out of the file, virtual and external
datasets, foreign filters, pickled objects, and sizes that the file cannot hold are refused before anything is allocated.
"""

import contextlib
import functools
import io
import itertools
import math
import os
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import Npmnv3Error, WeightsError, require
from .hdf5 import MAGIC as HDF5_MAGIC
from .hdf5 import open_tree
from .hdf5.storage import MAX_RATIO
from .npy import as_array, read_header
from .reader import Reader
from .writing import archive_member, replacing

MAX_ENTRIES = 20_000
MAX_TEXT = 1 << 20  # bytes of attributes
NPZ_MAGIC = b"PK\x03\x04"
NPZ_ATTRIBUTES = "__npmnv3__"  # the entry of an .npz that holds the attributes, as JSON

NO_DUMP = ", so no weight dump; `npmnv3 convert FILE` makes a dump of a framework's checkpoint"


def _damage_errors():
    """What zipfile and NumPy raise on damaged bytes."""
    import zipfile  # not at the top, since HDF5 does without: it brings a dozen modules

    return (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        RuntimeError,
        AttributeError,
        IndexError,
        OverflowError,
        MemoryError,
        SyntaxError,
        NotImplementedError,
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
    )


@dataclass(frozen=True, eq=False)
class Entry:
    """An array that has not been read yet."""

    shape: tuple[int, ...]
    dtype: np.dtype
    _read: Callable[[], np.ndarray]
    name: str = ""  # for the error

    def read(self):
        """The array, in this machine's byte order; WeightsError if its bytes are damaged."""
        with _damage(self.name):
            array = self._read()
            return np.asarray(array, array.dtype.newbyteorder("="))


def read_any(value):
    """The array of an array or an `Entry`."""
    return value.read() if isinstance(value, Entry) else value


@contextlib.contextmanager
def open_container(path):
    """Open a file of named arrays.

    Parameters
    ----------
    path : str or os.PathLike; HDF5 or .npz, recognised by content

    Yields
    ------
    (attributes, entries) : dict, and {name: Entry} in the file's order

    Raises
    ------
    WeightsError
        No such file, not of these formats, damaged or hostile.
    """
    with Reader(os.fspath(path)) as file:
        magic = file.read(8)
        file.seek(0)
        if magic == HDF5_MAGIC:
            opened = _open_hdf5
        elif magic[:4] == NPZ_MAGIC:
            opened = _open_npz
        elif not magic:
            raise WeightsError(
                f"{path}: is empty (0 bytes), expected HDF5 or .npz: the copy or the download went wrong"
            )
        else:
            raise WeightsError(f"{path}: neither HDF5 nor .npz (it begins with {magic!r}){NO_DUMP}")
        with contextlib.ExitStack() as stack:
            with _damage(path):
                attributes, entries = stack.enter_context(opened(file))
            yield attributes, entries


@contextlib.contextmanager
def _damage(what):
    """Turn what the libraries raise on damaged bytes into our error."""
    try:
        yield
    except Npmnv3Error:
        raise
    except _damage_errors() as error:
        cause = f"{type(error).__name__}: {error}"[:300]  # zipfile quotes what it takes for a name, up to 64 KB
        raise WeightsError(f"{what}: damaged or not a weight dump: {cause}") from error


@contextlib.contextmanager
def _open_hdf5(file):
    try:
        with open_tree(file) as tree:
            entries = {}
            _list_group(tree, file.name, "", entries, set())
            yield tree.plain_attributes("", MAX_TEXT), entries
    except WeightsError as error:
        if str(error).startswith((f"{file.name}: ", f"{file.name} ")):
            raise
        raise WeightsError(f"{file.name}: {error}") from error


def _list_group(tree, path, group, entries, above):
    """List a group's arrays by path, refusing whatever leads out of the file or round in circles."""
    if tree.address(group) in above:
        raise WeightsError(f"the group {group[1:] or '/'!r} contains itself")
    above = above | {tree.address(group)}
    for name, link in tree.links(group).items():
        full = f"{group}/{name}"
        if len(entries) >= MAX_ENTRIES:
            raise WeightsError(f"more than {MAX_ENTRIES} entries")
        if link.address is None:
            raise WeightsError(f"{full[1:]} is a soft or external link; only plain datasets are read")
        if tree.is_array(full):
            shape, dtype, layout = tree.describe(full)
            tree.source.charge(layout.bytes_in_file(shape, dtype), full[1:])  # many names for one array are not as many
            entries[full[1:]] = Entry(
                shape, dtype, functools.partial(_read_array, tree, full, shape, dtype, layout), f"{path}: {full[1:]}"
            )
        elif tree.is_group(full):
            _list_group(tree, path, full, entries, above)
        else:
            raise WeightsError(f"{full[1:]} is neither a group nor an array")


def _read_array(tree, full, *described):
    tree.source.renew()
    return tree.read(full, *described)


@contextlib.contextmanager
def _open_npz(file):
    import zipfile

    path = file.name
    with zipfile.ZipFile(path) as archive:
        entries = {}
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name == info.filename:
                raise WeightsError(f"{path}: a zip file with {name[:100]!r} in it, which .npz has not{NO_DUMP}")
            if name in entries or len(entries) >= MAX_ENTRIES:
                raise WeightsError(f"{path}: the entry {name} occurs twice, or there are more than {MAX_ENTRIES}")
            entries[name] = _npy_entry(path, archive, info, name)
        attributes = {}
        if NPZ_ATTRIBUTES in entries:
            attributes = _json_attributes(path, entries.pop(NPZ_ATTRIBUTES))
        yield attributes, entries


def _npy_entry(path, archive, info, name):
    if info.file_size > max(info.compress_size, 1) * MAX_RATIO:
        raise WeightsError(f"{path}: {name} claims to expand from {info.compress_size} to {info.file_size} bytes")
    with archive.open(info) as stream:
        shape, fortran, dtype, start = read_header(stream, f"{path}: {name}")
    size = math.prod(shape) * dtype.itemsize
    if start + size != info.file_size:
        raise WeightsError(f"{path}: {name} claims {shape} {dtype}, which is not what its {info.file_size} bytes hold")

    def read():
        with archive.open(info) as stream:
            stream.read(start)
            return as_array(stream.read(), shape, fortran, dtype, f"{path}: {name}")

    return Entry(tuple(shape), dtype, read, f"{path}: {name}")


def _json_attributes(path, entry):
    if entry.dtype.kind != "U" or entry.shape != () or entry.dtype.itemsize > 4 * MAX_TEXT:
        raise WeightsError(f"{path}: {NPZ_ATTRIBUTES} is {entry.dtype} {entry.shape}, expected one JSON text")
    import json

    attributes = json.loads(str(entry.read()))
    if not isinstance(attributes, dict):
        raise WeightsError(f"{path}: {NPZ_ATTRIBUTES} is not a JSON object")
    return attributes


def write_container(path, arrays, attributes):
    """Write arrays, {name: array} or pairs of them, and attributes to `path`, HDF5 or, if it ends in .npz, .npz.

    Numbers are little-endian whatever the machine. The same content gives the same bytes. The file appears whole or not
    at all.
    """
    path = os.fspath(path)
    write = _write_npz if path.endswith(".npz") else _write_hdf5
    with replacing(path) as temporary:
        pairs = arrays.items() if isinstance(arrays, Mapping) else arrays
        write(temporary, ((name, _little(array)) for name, array in pairs), attributes)


def _little(array):
    array = np.asarray(array)
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _write_hdf5(path, arrays, attributes):
    """Made in memory, and written by our own hand: the HDF5 library does not survive a full disk."""
    h5py = require("h5py", "", "writing an HDF5 dump (an .npz one does without)")
    image = io.BytesIO()  # not the library's own memory, in which what was never written is whatever lay there
    with _new_hdf5(h5py, image) as file:
        for name, value in attributes.items():
            file.attrs[name] = value
        for name, array in arrays:
            file.create_dataset(name, data=array, track_times=False)
    with open(path, "wb") as out:
        out.write(image.getbuffer())


def _new_hdf5(h5py, image):
    """An HDF5 file in `image`, in which names keep their order. The time is not noted: h5py.File does that before 3.15."""
    creation, access = h5py.h5p.create(h5py.h5p.FILE_CREATE), h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    creation.set_obj_track_times(False)
    in_order = h5py.h5p.CRT_ORDER_TRACKED | h5py.h5p.CRT_ORDER_INDEXED
    creation.set_link_creation_order(in_order)
    creation.set_attr_creation_order(in_order)
    access.set_fileobj_driver(h5py.h5fd.fileobj_driver, image)
    access.set_libver_bounds(h5py.h5f.LIBVER_EARLIEST, h5py.h5f.LIBVER_LATEST)
    name = f"{id(image):x}".encode()  # the library takes two open files of one name for the same one
    return h5py.File(h5py.h5f.create(name, h5py.h5f.ACC_TRUNC, fapl=access, fcpl=creation))


def _write_npz(path, arrays, attributes):
    import json
    import zipfile

    text = _little(json.dumps(attributes, ensure_ascii=False))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in itertools.chain([(NPZ_ATTRIBUTES, text)], arrays):
            info = archive_member(f"{name}.npy")
            info.file_size = array.nbytes  # by which zipfile chooses one of its two layouts
            with archive.open(info, "w") as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)
