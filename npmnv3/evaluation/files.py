"""Pictures that are still files: where they lie, and their bytes."""

import os
import stat
import sys
from typing import NamedTuple

from ..errors import PictureError

MAX_BYTES = 1 << 29  # of a picture's file: 8 for each pixel of the largest picture that is decoded

#: What else than pictures, tar shards and texts of labels is given as these, by its first bytes.
OTHERS = {
    b"\x1f\x8b": "compressed; unpack it with gunzip",
    b"BZh": "compressed; unpack it with bunzip2",
    b"\xfd7zXZ": "compressed; unpack it with unxz",
    b"\x28\xb5\x2f\xfd": "compressed; unpack it with unzstd",
    b"PK\x03\x04": "a zip; unpack it, and give the folder (a workbook of Excel; save it as CSV)",
    b"\xd0\xcf\x11\xe0": "a workbook of Excel; save it as CSV",
    b"PAR1": "a Parquet table; save its pictures as files, and its labels as CSV",
    b"\x80": "a pickle, which may do anything when it is read; save it as CSV",
    b"\x93NUMPY": "an array of NumPy; save it as CSV",
    b"\x89HDF": "HDF5 (also MATLAB's of version 7.3); save it as CSV",
    b"MATLAB 5.0": "MATLAB's .mat; save it as CSV",
    b"ARROW1": "an Arrow table; save its pictures as files, and its labels as CSV",
    b"<?xml": "XML (boxes of a detector, it may be); save it as CSV",
    b"<annotation": "XML (boxes of a detector, it may be); save it as CSV",
}


def kind_of_data(begin):
    """What a file is by its first bytes, and what to do with it; "" where they do not tell."""
    return next((what for mark, what in OTHERS.items() if begin.startswith(mark)), "")


class Picture(NamedTuple):
    """A picture that has not been read yet.

    file : path below the data's root, with "/"; in a shard "shard.tar/member"; with "/" at its end a folder that cannot
        be listed, in place of the pictures in it
    label : its class as the data name it (an index, a synset, a name), "" where they say nothing
    place : (shard, offset, size) in bytes, where it lies in a tar shard
    """

    file: str
    label: str
    place: tuple[str, int, int] | None = None


def parent(path):
    """The name of the folder that a file is in, "" at the top."""
    return sys.intern(path.rpartition("/")[0].rpartition("/")[2])  # thousands of files share it


def is_aside(folder):
    """Whether a folder's name says that it is hidden or a tool's: .ipynb_checkpoints, .git, __MACOSX.

    What is in it are no pictures of the set, and it is no class.
    """
    return (folder.startswith(".") and folder not in (".", "..")) or folder == "__MACOSX"


def asides(names):
    """What is said of such folders, as a list: nothing where there are none."""
    return [f"left out: {counted(len(names), 'folder')}, hidden or a tool's: {some(names)}"] if names else []


def counted(number, what):
    """`1 picture`, `2,000 pictures`."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def shown(name):
    """A name as it can be printed: quoted where it has line breaks or bytes that are no text."""
    return name if name.isprintable() else ascii(name)


def some(names, count=3):
    """The first names of a list, in one line."""
    return ", ".join(map(shown, names[:count])) + (", ..." if len(names) > count else "")


def spread(total, count):
    """The indices of so many of `total` things, evenly spread over all of them."""
    count = min(count, total)
    return [i * total // count for i in range(count)]


def read_picture(root, picture):
    """The bytes of a picture; PictureError if they cannot be had, or are too many."""
    path, offset, size = picture.place or (picture.file, 0, None)
    path = os.path.join(root, path)
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise PictureError(f"is {'a folder that cannot be listed' if stat.S_ISDIR(status.st_mode) else 'no file'}")
        size = status.st_size if size is None else size
        if size > MAX_BYTES:
            raise PictureError(f"has {size:,} bytes; at most {MAX_BYTES:,} are taken")
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(size)
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise PictureError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
