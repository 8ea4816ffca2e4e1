"""npmnv3's own dumps among checkpoints: both come as HDF5, and .npz is a zip as torch's files are."""

import contextlib
import mmap
import os
import re
import struct
import zipfile
from dataclasses import replace

from ..dumps.attributes import FORMAT
from ..dumps.containers import NPZ_MAGIC, open_container
from ..dumps.hdf5 import MAGIC as HDF5_MAGIC
from ..errors import UsageError
from ..network.variants import list_models
from .formats import only
from .formats.record import Checkpoint
from .formats.wrappers import without_wrappers

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
            if magic == HDF5_MAGIC:
                return _is_hdf5_dump(file)
            if magic.startswith(NPZ_MAGIC):
                with zipfile.ZipFile(file) as archive:
                    return any(name.endswith(".npy") for name in archive.namelist())
    except (OSError, ValueError, NotImplementedError, struct.error, zipfile.BadZipFile):
        return False  # the reader that the file falls to says what is wrong
    return False


def _is_hdf5_dump(file):
    """Whether an HDF5 file is a dump, by the bytes of names that it holds, so that no library has to parse it."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(FORMAT.encode()) >= 0 or all(data.find(mark) < 0 for mark in _KERAS_MARKS)


@contextlib.contextmanager
def open_dump(path, key=None):
    """`open_checkpoint` for an HDF5 or .npz dump, or a state dict in such a file whose attributes name no network.

    Yields
    ------
    Checkpoint, its arrays `containers.Entry`: nothing read yet
    """
    with open_container(path) as (attributes, entries):
        model = f"{attributes.get('source')}/{attributes.get('variant')}"
        notes = (f"the dump says it is {model}",) if model in list_models() else ()
        checkpoint = Checkpoint("dump", dict(entries), notes=notes, metadata=attributes)
        if not names_its_network(checkpoint):
            checkpoint = without_wrappers(_dotted(checkpoint))
            yield checkpoint if key is None else only(checkpoint, key)
            return
        if key is not None:
            raise UsageError(
                f"`key={key!r}` is for training checkpoints that hold several state dicts; {path} is a dump"
            )
        yield checkpoint


def _dotted(checkpoint):
    """With dots in names in place of slashes: where a state dict was written into groups, "features/0/weight". Keras's
    own names, which have slashes, end otherwise than in `weight`."""
    names = {name: name.replace("/", ".") for name in checkpoint.arrays}
    weights = [name for name in names if re.search(r"/(.*\.)?weight$", name)]
    if not weights or len(set(names.values())) < len(names):
        return checkpoint
    arrays = {names[name]: array for name, array in checkpoint.arrays.items()}
    return replace(checkpoint, arrays=arrays, notes=(*checkpoint.notes, "took the groups' names for parts of names"))


def names_its_network(checkpoint):
    """Whether a file's attributes name its network, whose names its arrays then have, or say that it is no dump."""
    return {"source", "variant"} <= checkpoint.metadata.keys() or checkpoint.metadata.get("format", FORMAT) != FORMAT
