"""Pictures that are still files: where they lie, and their bytes."""

import os
import sys
from typing import NamedTuple

from ..errors import PictureError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class Picture(NamedTuple):
    """A picture that has not been read yet.

    file : path below the data's root, with "/"; in a shard "shard.tar/member"
    label : its class as the data name it (an index, a synset, a name), "" where they say nothing
    place : (shard, offset, size) in bytes, where it lies in a tar shard
    """

    file: str
    label: str
    place: tuple[str, int, int] | None = None


def is_picture(name):
    """Does the file's name say so? Whether it is one shows when it is decoded."""
    return name.lower().endswith(SUFFIXES)


def parent(path):
    """The name of the folder that a file is in, "" at the top."""
    return sys.intern(path.rpartition("/")[0].rpartition("/")[2])  # thousands of files share it


def counted(number, what):
    """`1 picture`, `2,000 pictures`."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def read_picture(root, picture):
    """The bytes of a picture; PictureError if they cannot be had."""
    shard, offset, size = picture.place or (picture.file, 0, -1)
    try:
        with open(os.path.join(root, shard), "rb") as file:
            file.seek(offset)
            return file.read(size)
    except OSError as error:
        raise PictureError(f"cannot be read: {error.strerror or error}") from error
