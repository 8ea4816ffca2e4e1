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

_HEIC = "HEIC, which Pillow cannot read: save it as JPEG or PNG (a phone does so when it exports or mails the photo)"
_JXL = "JPEG XL, which Pillow cannot read: save it as PNG"
_PAGE = "a page of the web, no picture: download the picture that it shows"
#: What people give for a picture that is none: (where, mark in small letters) -> what it is, and what to do.
KINDS = {
    (4, b"ftyphei"): _HEIC,
    (4, b"ftyphev"): _HEIC,
    (4, b"ftypmif1"): _HEIC,
    (4, b"ftypmsf1"): _HEIC,
    (4, b"ftypavi"): "AVIF, which this Pillow cannot read, or damaged: save it as PNG, or install Pillow 11.3 or later",
    (4, b"ftyp"): "a video: save a picture of it as PNG",
    (4, b"jxl "): _JXL,
    (0, b"\xff\x0a"): _JXL,
    (0, b"%pdf"): "a PDF: save its page as PNG",
    (0, b"<svg"): "SVG, a drawing: save it as PNG",
    (0, b"<?xml"): "XML, such as an SVG drawing: save that as PNG",
    (0, b"<!doctype html"): _PAGE,
    (0, b"<html"): _PAGE,
    (0, b"version https://git-lfs"): "what Git LFS put in the picture's place: `git lfs pull` brings the picture",
    (0, b"\x93numpy"): "an array of NumPy: in Python, give what np.load makes of it",
    (0, b"pk\x03\x04"): "a zip: unpack it, and give its folder",
}


def kind_of(file):
    """What a file that is no picture is, and what to do, by its first bytes; "" where they do not tell."""
    file.seek(0)
    begin = file.read(64).lower()
    return next((kind for (at, mark), kind in KINDS.items() if begin.startswith(mark, at)), "")


def is_picture(name):
    """Does the file's name say so? Whether it is one shows when it is decoded.

    What macOS lays beside each file, of the same name behind "._", is none.
    """
    return name.lower().endswith(SUFFIXES) and not os.path.basename(name).startswith("._")


def is_one(given):
    """Whether what is given as pictures is a single one, no iterable of them."""
    single = isinstance(given, (str, os.PathLike, bytes, bytearray, memoryview))
    single = single or hasattr(given, "convert") or hasattr(given, "read")  # a PIL image, an open file
    return single or (isinstance(given, np.ndarray) and given.ndim in (2, 3))


def describe(picture):
    """What messages call a picture: its path where it has one, in one line."""
    if isinstance(picture, (str, os.PathLike)):
        return one_line(os.fsdecode(picture)) or "picture with an empty path"
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return f"picture of {len(bytes(picture)):,} bytes"
    if isinstance(picture, np.ndarray):
        return f"picture as {picture.dtype} array of shape {picture.shape}"
    if hasattr(picture, "read"):
        return f"open file {one_line(str(getattr(picture, 'name', type(picture).__name__)))}"
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
    """A binary file to read from; one that is open is read to its end."""
    if hasattr(picture, "read"):
        picture = picture.read()
        if not isinstance(picture, bytes):
            raise PictureError(f"{name}: gives a {type(picture).__name__}, expected bytes: open it with 'rb'")
    if isinstance(picture, (bytes, bytearray, memoryview)):
        if not bytes(picture):
            raise PictureError(f"{name}: is empty")
        return io.BytesIO(bytes(picture))
    if not isinstance(picture, (str, os.PathLike)):
        raise PictureError(
            f"{name}: expected a path, the bytes of a file, an open file, a PIL image or a uint8 array (H, W, 3)"
        )
    try:
        status = os.stat(picture)
        if not stat.S_ISREG(status.st_mode):
            found = "a folder" if stat.S_ISDIR(status.st_mode) else "not a file but a pipe or a device"
            raise PictureError(f"{name}: is {found}, expected a picture's file, or its bytes")
        if not status.st_size:
            raise PictureError(f"{name}: is empty (0 bytes)")
        return open(picture, "rb")
    except (OSError, ValueError) as error:  # ValueError: a path that no system can have, such as one with a NUL
        raise PictureError(f"{name}: cannot be opened ({getattr(error, 'strerror', None) or error})") from error
