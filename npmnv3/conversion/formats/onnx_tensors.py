"""Tensors of ONNX models: in the file, or in another one beside it, as exporters of today leave them."""

import math
import os

import numpy as np

from ...dumps.reader import Reader
from ...errors import WeightsError
from . import protobuf
from .arrays import BFLOAT16, itemsize, shaped

# Elements by TensorProto.DataType: NumPy's name, and the field that holds them where raw_data does not.
_FLOATS, _INT32S, _INT64S, _DOUBLES = 4, 5, 7, 10
_TYPES = {
    1: ("f4", _FLOATS),
    2: ("u1", _INT32S),
    3: ("i1", _INT32S),
    4: ("u2", _INT32S),
    5: ("i2", _INT32S),
    6: ("i4", _INT32S),
    7: ("i8", _INT64S),
    9: ("b1", _INT32S),
    10: ("f2", _INT32S),
    11: ("f8", _DOUBLES),
    16: (BFLOAT16, _INT32S),
}
_OF_FEW_BITS = 17  # from this type on
_GIVE_FLOATS = (
    " (17 to 20: floats of 8 bits; 21, 22: integers of 4; beyond: fewer still); give the model in floats that it was made from, or "
    "what is made of that with integers of 8 bits"
)
_EXTERNAL = 1  # TensorProto.DataLocation
_DIGITS = 40  # of an offset or a length; 2^64 has 20
MAX_EXTERNAL = 4  # times the size of the files beside: tensors may share bytes, but not without end


class External:
    """The files beside a model that hold its tensors' data: plain names, in the model's own folder."""

    def __init__(self, path):
        self.path, self.sizes, self.taken = path, {}, 0

    def check(self, tensor, what):
        """(the other file's name, all fields) of a tensor's external data; WeightsError where it is not simply beside."""
        pairs = map(protobuf.collect, tensor.get(13, ()))
        entries = {protobuf.text(pair, 1): protobuf.text(pair, 2) for pair in pairs}
        name = entries.get("location", "")
        elsewhere = f"{what} has its data in another file (location={name[:200]})"
        if name in ("", ".", "..") or set(name) & set("/\\:\0"):
            raise WeightsError(f"{elsewhere}: refused, it does not lie beside the model")
        if self.path is None:
            raise WeightsError(f"{elsewhere}; give the model's path, not its bytes")
        return name, entries

    def read(self, tensor, what, expected):
        """The bytes of a tensor whose data lie in another file."""
        name, entries = self.check(tensor, what)
        offset, length = (_number(entries, key, what) for key in ("offset", "length"))
        if length is not None and length != expected:
            raise WeightsError(f"{what} has {length} bytes in {name[:100]!r}, expected {expected}")
        beside = os.path.join(os.path.dirname(self.path), name)
        if not os.path.exists(beside):
            raise WeightsError(f"{what} has its data in {name[:100]!r}, which is not beside it: put it there")
        with Reader(beside) as reader:
            self.sizes[name] = reader.size
            self.taken += expected
            if self.taken > MAX_EXTERNAL * sum(self.sizes.values()):
                raise WeightsError(f"the tensors in {name[:100]!r} would take more than {MAX_EXTERNAL} times its size")
            return reader.take(offset or 0, expected, f"{what}, in {name[:100]!r},")


def is_external(tensor):
    """Whether a TensorProto has its data in another file."""
    return protobuf.integer(tensor, 14) == _EXTERNAL or 13 in tensor


def read_tensor(tensor, external):
    """A TensorProto's array, read-only.

    Parameters
    ----------
    tensor : fields of the message
    external : External
    """
    what, kind = f"the tensor {protobuf.text(tensor, 8)[:100]!r}", protobuf.integer(tensor, 2)
    if kind not in _TYPES:
        few = kind >= _OF_FEW_BITS
        raise WeightsError(f"{what} has the element type {kind}, which is not read{_GIVE_FLOATS * few}")
    (dtype, field), shape = _TYPES[kind], protobuf.integers(tensor, 1)
    if is_external(tensor):
        size = math.prod(max(n, 0) for n in shape) * itemsize(dtype)
        return shaped(external.read(tensor, what, size), dtype, shape, what)
    if 9 in tensor:
        data = bytes(protobuf.message(tensor, 9))
    elif field in (_FLOATS, _DOUBLES):
        data = protobuf.fixed(tensor, field)
    else:  # 16 bits and fewer lie in 32
        stored = "u2" if dtype in ("f2", BFLOAT16) else dtype
        data = np.array(protobuf.integers(tensor, field), "i8").astype("<" + stored).tobytes()
    return shaped(data, dtype, shape, what)


def _number(entries, key, what):
    text = entries.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise WeightsError(f"{what} has its data at {key} {text[:50]!r}, expected a whole number")
    return int(text)
