"""Telling npmnv3's own dumps from checkpoints: both come as HDF5, and .npz is a zip as torch's files are."""

import mmap
import os
import struct
import zipfile

from ..dumps.attributes import FORMAT
from ..dumps.containers import open_container
from ..errors import UsageError
from ..network.variants import list_models
from .formats.record import Checkpoint

_KERAS_MARKS = (b"layer_names", b"vars\0")  # an attribute's and a group's name: one of them is in each of Keras's files


def is_dump(path):
    """Whether a file is an HDF5 or .npz dump; False where it cannot be read."""
    if not isinstance(path, (str, os.PathLike)):
        return False
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            magic = file.read(8)
            if magic == b"\x89HDF\r\n\x1a\n":
                return _is_hdf5_dump(file)
            if magic[:4] == b"PK\x03\x04":
                with zipfile.ZipFile(file) as archive:
                    return any(name.endswith(".npy") for name in archive.namelist())
    except (OSError, ValueError, NotImplementedError, struct.error, zipfile.BadZipFile):
        return False  # the reader that the file falls to says what is wrong
    return False


def _is_hdf5_dump(file):
    """By the names that lie in the file as they are, so that no library has to parse it."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(FORMAT.encode()) >= 0 or all(data.find(mark) < 0 for mark in _KERAS_MARKS)


def read_dump_shapes(path, key=None):
    """A dump as a Checkpoint whose arrays are `containers.Entry`: shapes and dtypes, nothing read yet."""
    if key is not None:
        raise UsageError(f"`key={key!r}` is for training checkpoints that hold several state dicts; {path} is a dump")
    with open_container(path) as (attributes, entries):
        said = f"{attributes.get('source')}/{attributes.get('variant')}"
        notes = (f"the dump says it is {said}",) if said in list_models() else ()
        return Checkpoint("dump", dict(entries), notes=notes, metadata=attributes)
