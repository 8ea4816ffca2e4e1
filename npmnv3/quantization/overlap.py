"""Calibration pictures that are among those judged on: by what the files hold, since copies have other names."""

import hashlib
import os

from ..errors import PictureError
from ..evaluation.files import Picture, read_picture


def overlap(pictures, data):
    """How many calibration pictures are among those judged on.

    Parameters
    ----------
    pictures : calibrate.Pictures; what is no file and no file's bytes is not looked for
    data : Dataset

    Returns
    -------
    int

    Only files of a calibration picture's size are read, so that a large set costs little more than its listing.
    """
    found = [one for one in map(_file, pictures.sources) if one is not None]
    sizes = {_size(*one) for one in found} - {None}
    judged = ((data.root, picture) for picture in data.pictures)
    known = {_hash(*one) for one in judged if _size(*one) in sizes} - {None}
    return sum(_hash(*one) in known for one in found) if known else 0


def _file(source):
    """(root, Picture or bytes) of a calibration picture; None of numbers, whose file is not known."""
    if isinstance(source, tuple):
        return source
    if isinstance(source, (bytes, bytearray)):
        return "", bytes(source)
    return ("", Picture(os.path.abspath(source), "")) if isinstance(source, (str, os.PathLike)) else None


def _size(root, picture):
    """Bytes; None of a file that cannot be had."""
    if isinstance(picture, bytes):
        return len(picture)
    if picture.place:
        return picture.place[2]
    try:
        return os.stat(os.path.join(root, picture.file)).st_size
    except (OSError, ValueError):
        return None


def _hash(root, picture):
    """What stands for the bytes; None of a file that cannot be read, which is told elsewhere."""
    try:
        data = picture if isinstance(picture, bytes) else read_picture(root, picture)
    except PictureError:
        return None
    return hashlib.sha256(data).digest()
