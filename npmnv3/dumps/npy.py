"""The .npy format, read without evaluating anything: NumPy's own reader takes its header for Python.

Source: numpy.lib.format, versions 1.0 to 3.0
"""

import math
import re
import sys

import numpy as np

from ..errors import WeightsError

MAGIC = b"\x93NUMPY"
MAX_HEADER = 10_000  # bytes; NumPy's own limit
MAX_DIMS = 32
_ITEM = re.compile(r"""\s*(['"])(\w+)\1\s*:\s*(True|False|\([\d\sL,]*\)|(['"])[<>|=]?[a-zA-Z]\d*\4)\s*(?:,|$)""")


def read_header(stream, name):
    """The header of a .npy file.

    Parameters
    ----------
    stream : binary file, at its begin; it is left where the numbers begin
    name : str, for messages

    Returns
    -------
    (shape, fortran order, dtype, bytes of the head)

    Raises
    ------
    WeightsError
        Not a .npy file, or one of something else than plain numbers, texts or booleans.
    """
    text, size = header_text(stream, name)
    return *_parse(text, name), size


def header_text(stream, name):
    """(the dict that a .npy file begins with, as its text, bytes of the head); the stream is left behind it."""
    start = stream.read(8)
    if len(start) < 8 or not start.startswith(MAGIC):
        raise WeightsError(f"{name}: damaged or no .npy file: it begins with {start!r}")
    width = {1: 2, 2: 4, 3: 4}.get(start[6])
    if width is None:
        raise WeightsError(f"{name}: has .npy version {start[6]}.{start[7]}, expected 1.0 to 3.0")
    size = int.from_bytes(stream.read(width), "little")
    if size > MAX_HEADER:
        raise WeightsError(f"{name}: damaged: its .npy header claims {size} bytes, more than {MAX_HEADER}")
    text = stream.read(size)
    if len(text) != size:
        raise WeightsError(f"{name}: damaged: cut off within its .npy header")
    return text.decode("utf-8", "replace"), 8 + width + size


def _parse(text, name):
    header, inside = {}, text.strip()
    if not (inside.startswith("{") and inside.endswith("}")):
        raise WeightsError(f"{name}: damaged: its .npy header is {text[:100]!r}")
    inside, position = inside[1:-1].strip(), 0
    while position < len(inside):
        item = _ITEM.match(inside, position)
        if item is None or item[2] in header:
            raise WeightsError(f"{name}: damaged, or no plain array: its .npy header is {text[:200]!r}")
        header[item[2]], position = item[3], item.end()
    if header.keys() != {"descr", "fortran_order", "shape"} or header["fortran_order"] not in ("True", "False"):
        raise WeightsError(f"{name}: damaged: its .npy header is {text[:200]!r}")
    if not header["shape"].startswith("(") or header["descr"][:1] not in "'\"":
        raise WeightsError(f"{name}: damaged: its .npy header is {text[:200]!r}")
    return _shape(header["shape"], name), header["fortran_order"] == "True", _dtype(header["descr"][1:-1], name)


def _shape(text, name):
    numbers = [part.strip().removesuffix("L") for part in text[1:-1].split(",")]
    if numbers and not numbers[-1]:
        numbers.pop()
    if len(numbers) > MAX_DIMS or not all(n.isdecimal() and len(n) < 20 for n in numbers):
        raise WeightsError(f"{name}: damaged: its .npy header has the shape {text[:100]}")
    return tuple(map(int, numbers))


def _dtype(text, name):
    try:
        dtype = np.dtype(text)
    except (TypeError, ValueError, SyntaxError, OverflowError) as error:
        raise WeightsError(f"{name}: damaged: its .npy header has the type {text[:50]!r}, which is none") from error
    if dtype.hasobject or not dtype.itemsize:
        raise WeightsError(
            f"{name}: claims elements of the type {dtype}, which are objects, no numbers; save arrays by name: np.savez(FILE, **state)"
        )
    return dtype


def read_npy(path):
    """The array of a .npy file.

    Raises
    ------
    WeightsError
        It cannot be opened, is damaged, or claims to be larger than it is.
    """
    from .reader import Reader

    with Reader(path) as file:
        shape, fortran, dtype, start = read_header(file, file.name)
        size = math.prod(shape) * dtype.itemsize
        if start + size != file.size:
            raise WeightsError(f"{file.name}: claims {shape} {dtype}, which is not what its {file.size} bytes hold")
        return as_array(file.take(start, size, file.name), shape, fortran, dtype, file.name)


def as_array(data, shape, fortran, dtype, name):
    """Bytes as an array of its own, of the file's byte order; WeightsError if it is of texts that are none."""
    array = np.frombuffer(data, dtype, math.prod(shape)).reshape(shape, order="F" if fortran else "C").copy()
    # NumPy makes a str of any number, which then breaks where it is first used.
    if dtype.kind == "U" and (array.reshape(-1).view(f"{dtype.byteorder}u4") > sys.maxunicode).any():
        raise WeightsError(f"{name}: damaged: a text with numbers that are no characters")
    return array
