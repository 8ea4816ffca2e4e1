"""What is given as a picture, a path, a file's bytes, a PIL image or an array: what it is called, and its file opened."""

import io
import os
import stat
import sys

import numpy as np

from ..errors import PictureError, one_line

#: Endings of the files that are taken for pictures in folders.
# fmt: off
SUFFIXES = (
    ".avif", ".bmp", ".dds", ".gif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".pcx",
    ".pgm", ".png", ".ppm", ".psd", ".qoi", ".ras", ".sgi", ".tga", ".tif", ".tiff", ".webp", ".xbm", ".xpm",
)
# fmt: on


def is_picture(name):
    """Does the file's name say so? Whether it is one shows when it is decoded.

    What macOS lays beside each file, of the same name behind "._", is none.
    """
    return name.lower().endswith(SUFFIXES) and not os.path.basename(name).startswith("._")


def is_one(given):
    """Whether what is given as pictures is a single one, no iterable of them."""
    single = isinstance(given, (str, os.PathLike, bytes, bytearray, memoryview)) or hasattr(given, "convert")
    return single or (isinstance(given, np.ndarray) and given.ndim in (2, 3))


def describe(picture):
    """What messages call a picture: its path where it has one, in one line."""
    if isinstance(picture, (str, os.PathLike)):
        return one_line(os.fsdecode(picture)) or "picture with an empty path"
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return f"picture of {len(bytes(picture)):,} bytes"
    if isinstance(picture, np.ndarray):
        return f"picture as {picture.dtype} array of shape {picture.shape}"
    if is_pil_image(picture):
        file = getattr(picture, "filename", "")
        return (
            one_line(os.fsdecode(file))
            if file
            else f"PIL image, mode {picture.mode}, {picture.width} x {picture.height}"
        )
    return f"picture of type {type(picture).__name__}"


def pillow_image():
    """The module PIL.Image, or None where Pillow is not installed."""
    try:
        import PIL.Image
    except ImportError:
        return None
    return PIL.Image


def is_pil_image(picture):
    module = sys.modules.get("PIL.Image")  # who has no Pillow loaded has no image of it
    kind = getattr(module, "Image", None)  # another thread may be importing it
    return kind is not None and isinstance(picture, kind)


def open_picture(picture, name):
    """A binary file to read from."""
    if isinstance(picture, (bytes, bytearray, memoryview)):
        if not bytes(picture):
            raise PictureError(f"{name}: is empty")
        return io.BytesIO(bytes(picture))
    if not isinstance(picture, (str, os.PathLike)):
        raise PictureError(f"{name}: expected a path, the bytes of a file, a PIL image or a uint8 array (H, W, 3)")
    try:
        status = os.stat(picture)
        if not stat.S_ISREG(status.st_mode):
            raise PictureError(f"{name}: is {'a folder' if stat.S_ISDIR(status.st_mode) else 'not a file'}")
        if not status.st_size:
            raise PictureError(f"{name}: is empty (0 bytes)")
        return open(picture, "rb")
    except (OSError, ValueError) as error:  # ValueError: a path that no system can have, such as one with a NUL
        raise PictureError(f"{name}: cannot be opened ({getattr(error, 'strerror', None) or error})") from error
