"""Raw bytes of a checkpoint as arrays of the machine's own byte order."""

import math

import numpy as np

from ...errors import WeightsError

BFLOAT16 = "bfloat16"  # stands for the type that NumPy does not have
MAX_DIMS = 8
MAX_ELEMENTS = 1 << 40  # dimensions beyond are damage, whatever they multiply to


def itemsize(dtype):
    """Bytes of one element of a NumPy dtype or BFLOAT16."""
    return 2 if dtype == BFLOAT16 else np.dtype(dtype).itemsize


def numpy_dtype(dtype):
    """The NumPy dtype, of the machine's byte order, that `from_bytes` makes of it."""
    return np.dtype("f4" if dtype == BFLOAT16 else dtype)


def check_shape(shape, what):
    """`shape` as a tuple of ints, or WeightsError if it is none that an array can have."""
    if not isinstance(shape, (tuple, list)) or len(shape) > MAX_DIMS or any(type(n) is not int or n < 0 for n in shape):
        raise WeightsError(f"{what} has a shape that is not a list of up to {MAX_DIMS} whole numbers from 0")
    if math.prod(max(n, 1) for n in shape) > MAX_ELEMENTS:
        raise WeightsError(f"{what} has the impossible shape {tuple(shape)}")
    return tuple(shape)


def from_bytes(data, dtype, what, *, order="<"):
    """Bytes as a flat, read-only array.

    Parameters
    ----------
    data : bytes
    dtype : NumPy's name of a type without byte order ("f4", "i8", "b1", ...), or BFLOAT16, which becomes float32
    what : str, for the error
    order : "<" or ">", the byte order of `data`

    Returns
    -------
    (elements,) array; a view of `data` where that can be
    """
    if len(data) % itemsize(dtype):
        raise WeightsError(f"{what} has {len(data)} bytes, not a multiple of {itemsize(dtype)}")
    if dtype == BFLOAT16:  # the upper half of a float32
        flat = (np.frombuffer(data, order + "u2").astype("u4") << 16).view("f4")
    elif dtype == "b1":
        flat = np.frombuffer(data, "u1") != 0
    else:
        flat = np.frombuffer(data, order + dtype)
        flat = flat.astype(flat.dtype.newbyteorder("="), copy=False)
    flat.flags.writeable = False
    return flat


def shaped(data, dtype, shape, what, *, order="<", fortran=False):
    """Bytes as a read-only array of a shape, which must take exactly all of them; parameters as in `from_bytes`."""
    shape = check_shape(shape, what)
    expected = math.prod(shape) * itemsize(dtype)
    if len(data) != expected:
        raise WeightsError(f"{what} is {dtype} {shape}, {expected} bytes, but {len(data)} are there")
    return from_bytes(data, dtype, what, order=order).reshape(shape, order="F" if fortran else "C")
