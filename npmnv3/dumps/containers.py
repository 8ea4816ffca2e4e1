"""Files of named arrays, HDF5 and .npz: listed first, read only when their shapes were found right.

Both are opened so that a hostile file can do no harm: links out of the file, virtual and external datasets, foreign
filters, pickled objects, and sizes that the file cannot hold are refused before anything is allocated.
"""

import contextlib
import itertools
import json
import math
import os
import stat
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import Npmnv3Error, WeightsError, require
from .hdf5_texts import check_heaps, check_texts

MAX_ENTRIES = 20_000
MAX_TEXT = 1 << 20  # bytes of attributes
MAX_RATIO = 1100  # of deflate: no honest stream expands more
NPZ_ATTRIBUTES = "__npmnv3__"  # the entry of an .npz that holds the attributes, as JSON

_CONVERT = "; `npmnv3 convert FILE` makes a dump of a framework's checkpoint"

# What h5py, zipfile and NumPy's header reader raise on damaged bytes.
_DAMAGE = (
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
    tokenize.TokenError,
    struct.error,
)


@dataclass(frozen=True)
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


@contextlib.contextmanager
def open_container(path):
    """Open a file of named arrays.

    Parameters
    ----------
    path : str or os.PathLike; HDF5 or .npz, told by content

    Yields
    ------
    (attributes, entries) : dict, and {name: Entry} in the file's order

    Raises
    ------
    WeightsError
        No such file, not of these formats, damaged or hostile.
    """
    path = os.fspath(path)
    try:
        with open(path, "rb") as file:
            magic = file.read(8)
    except (OSError, ValueError) as error:  # ValueError: a path that no system can have
        raise WeightsError(f"{path}: cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    if magic == b"\x89HDF\r\n\x1a\n":
        opened = _open_hdf5
    elif magic[:4] == b"PK\x03\x04":
        opened = _open_npz
    else:
        raise WeightsError(f"{path}: neither HDF5 nor .npz (it begins with {magic!r}), so no weight dump{_CONVERT}")
    with contextlib.ExitStack() as stack:
        with _damage(path):
            attributes, entries = stack.enter_context(opened(path))
        yield attributes, entries


@contextlib.contextmanager
def _damage(what):
    """Turn what the libraries raise on damaged bytes into our error."""
    try:
        yield
    except Npmnv3Error:
        raise
    except _DAMAGE as error:
        raise WeightsError(f"{what}: damaged or not a weight dump: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _open_hdf5(path):
    h5py = require("h5py", "", f"reading {path} (an .npz dump does without)")
    check_heaps(path)
    with h5py.File(path, "r") as file:
        attributes = _hdf5_attributes(h5py, path, file)
        entries = {}
        _list_group(h5py, path, file, "", entries, set(), os.path.getsize(path))
        yield attributes, entries


def _hdf5_attributes(h5py, path, file):
    plain = (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.ENUM, h5py.h5t.STRING)
    attributes = {}
    for name in file.attrs:
        attribute = file.attrs.get_id(name)
        kind = attribute.get_type()
        if kind.get_class() not in plain or attribute.shape is None:
            raise WeightsError(f"{path}: attribute {name!r} is neither numbers nor texts")
        size = attribute.get_storage_size()
        if size > MAX_TEXT:
            raise WeightsError(f"{path}: attribute {name!r} has {size} bytes, more than {MAX_TEXT}")
        if kind.get_class() == h5py.h5t.STRING and kind.is_variable_str():
            check_texts(path, name, math.prod(attribute.shape), size, MAX_TEXT)
        attributes[name] = _plain(file.attrs[name])
    return attributes


def _plain(value):
    """An HDF5 attribute as plain Python: str, int, float or a list of them."""
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.ravel().tolist()]
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value.item() if isinstance(value, np.generic) else value


def _list_group(h5py, path, group, prefix, entries, seen, file_size):
    """List a group's datasets by path, refusing whatever leads out of the file or round in circles."""
    token = h5py.h5o.get_info(group.id).addr
    if token in seen:
        raise WeightsError(f"{path}: the group {prefix or '/'!r} contains itself")
    seen.add(token)
    for name in group:
        full = f"{prefix}{name}"
        if len(entries) >= MAX_ENTRIES:
            raise WeightsError(f"{path}: more than {MAX_ENTRIES} entries")
        # Not group.get(name, getlink=True): that looks whether the target is there, and so follows the link.
        if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise WeightsError(f"{path}: {full} is a soft or external link; only plain datasets are read")
        item = group[name]
        if isinstance(item, h5py.Group):
            _list_group(h5py, path, item, f"{full}/", entries, seen, file_size)
        elif isinstance(item, h5py.Dataset):
            shape, dtype = _check_dataset(h5py, path, full, item, file_size)
            entries[full] = Entry(shape, dtype, lambda item=item: item[()], f"{path}: {full}")
        else:
            raise WeightsError(f"{path}: {full} is a {type(item).__name__}, expected a dataset")


def _check_dataset(h5py, path, name, dataset, file_size):
    """Shape and dtype; refuse a dataset whose data do not lie, in believable size, in this very file."""
    # Every property of a dataset asks the library anew, and there are hundreds of them: each is asked for once.
    shape, dtype, plist = dataset.shape, dataset.dtype, dataset.id.get_create_plist()
    if shape is None:
        raise WeightsError(f"{path}: {name} is an empty dataset")
    layout = plist.get_layout()
    if layout == h5py.h5d.VIRTUAL or plist.get_external_count():
        raise WeightsError(
            f"{path}: {name} takes its data from elsewhere (virtual or external); only plain datasets are read"
        )
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if set(filters) - {1, 2, 3}:  # deflate, shuffle, fletcher32: what every HDF5 library has
        raise WeightsError(
            f"{path}: {name} is stored with filters {filters}; only gzip, shuffle and fletcher32 are read"
        )
    size = math.prod(shape) * dtype.itemsize
    chunk = math.prod(plist.get_chunk()) * dtype.itemsize if layout == h5py.h5d.CHUNKED else 0
    if max(size, chunk) > file_size * (MAX_RATIO if 1 in filters else 1):
        raise WeightsError(f"{path}: {name} claims {shape} {dtype}, more than a file of {file_size} bytes holds")
    return shape, dtype


@contextlib.contextmanager
def _open_npz(path):
    with zipfile.ZipFile(path) as archive:
        entries = {}
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name == info.filename:
                raise WeightsError(
                    f"{path}: a zip file with {name[:100]!r} in it, which .npz has not, so no weight dump{_CONVERT}"
                )
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
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise WeightsError(f"{path}: {name} has .npy version {version}, expected (1, 0) or (2, 0)")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
        start = stream.tell()
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or start + size != info.file_size:
        raise WeightsError(f"{path}: {name} claims {shape} {dtype}, which is not what its {info.file_size} bytes hold")

    def read():
        with archive.open(info) as stream:
            data = stream.read()
        flat = np.frombuffer(data, dtype, offset=start)
        return flat.reshape(shape, order="F" if fortran else "C").copy()

    return Entry(tuple(shape), dtype, read, f"{path}: {name}")


def _json_attributes(path, entry):
    if entry.dtype.kind != "U" or entry.shape != () or entry.dtype.itemsize > 4 * MAX_TEXT:
        raise WeightsError(f"{path}: {NPZ_ATTRIBUTES} is {entry.dtype} {entry.shape}, expected one JSON text")
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


@contextlib.contextmanager
def replacing(path):
    """A temporary file's path beside `path`, which becomes `path` if all went well and vanishes if not."""
    folder = os.path.dirname(os.path.abspath(path))
    try:
        handle, temporary = tempfile.mkstemp(prefix=".npmnv3-", dir=folder)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written: {error.strerror or error}") from error
    os.close(handle)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp made it private
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def _little(array):
    array = np.asarray(array)
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _write_hdf5(path, arrays, attributes):
    h5py = require("h5py", "", "writing an HDF5 dump (an .npz one does without)")
    with h5py.File(path, "w", track_order=True) as file:
        for name, value in attributes.items():
            file.attrs[name] = value
        for name, array in arrays:
            file.create_dataset(name, data=array, track_times=False)


def _write_npz(path, arrays, attributes):
    text = _little(json.dumps(attributes, ensure_ascii=False))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in itertools.chain([(NPZ_ATTRIBUTES, text)], arrays):
            info = archive_member(f"{name}.npy")
            info.file_size = array.nbytes  # tells zipfile which of its two layouts is needed
            with archive.open(info, "w") as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)


def archive_member(name):
    """The head of a zip's member, the same on every system and at every hour."""
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16  # Unix, also where Windows writes it
    return info
