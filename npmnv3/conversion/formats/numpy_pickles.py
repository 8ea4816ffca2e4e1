"""NumPy arrays as they lie in pickles, rebuilt without NumPy's own unpickling functions."""

import math

from ...dumps.npy import header_text
from ...errors import WeightsError
from .arrays import BFLOAT16, check_shape, numpy_dtype, shaped
from .pickles import BASIC, load, opaque, table
from .stand_ins import Opaque, Stored

_KINDS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}


class Dtype(Opaque):
    """Stands for numpy.dtype."""

    def __init__(self, kind, align=False, copy=False):
        self.kind, self.order = kind, "<"

    def build(self, state):
        if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise WeightsError("the pickle describes a NumPy dtype that is none")
        self.order = ">" if state[1] == ">" else "<"


class Latin1(Opaque):
    """Stands for bytes that pickle protocol 2 keeps as text; they are made when an array is read, not before."""

    def __init__(self, text, encoding):
        if type(text) is not str or encoding not in ("latin1", "latin-1", "iso-8859-1"):
            raise WeightsError("the pickle encodes text otherwise than in latin-1")
        self.text = text


class Array(Stored):
    """Stands for numpy.ndarray; `build` checks that it is whole."""

    nbytes, bfloat16, objects = 0, False, ()

    def __init__(self, *_):
        self.data, self.is_numbers = None, True

    def build(self, state):
        if type(state) is not tuple or len(state) != 5 or not isinstance(state[2], Dtype):
            raise WeightsError("the pickle describes a NumPy array that is none")
        _, shape, self.stored_as, self.fortran, data = state
        kind = self.stored_as.kind
        self.is_numbers = type(kind) is str and kind in _KINDS
        if not self.is_numbers:  # texts, dates, objects: nobody's weights, but what np.save makes of a dict
            self.objects = data if type(data) is list else []
            return
        self.dtype = numpy_dtype(kind)
        self.shape = check_shape(shape, "an array of the pickle")
        self.data = data.text if isinstance(data, Latin1) else data
        if type(self.data) not in (bytes, str):
            raise WeightsError(f"the pickle has an array whose data are a {type(self.data).__name__}")
        self.nbytes = len(self.data)
        if self.nbytes != math.prod(self.shape) * self.dtype.itemsize:
            raise WeightsError(f"the pickle has an array {kind} {self.shape} of {self.nbytes} bytes")

    def as_bfloat16(self):
        """Take whole numbers of 16 bits for bfloat16, which NumPy does not have; whether they are."""
        self.bfloat16 = self.data is not None and self.stored_as.kind == "u2"
        if self.bfloat16:
            self.dtype = numpy_dtype(BFLOAT16)
        return self.bfloat16

    def check(self):
        if self.data is None:
            raise WeightsError("the pickle has an array without content")

    def read(self):
        if type(self.data) is str:
            try:
                self.data = self.data.encode("latin-1")
            except UnicodeEncodeError as error:
                raise WeightsError(f"the pickle has an array whose text is no latin-1: {error.reason}") from error
        kind, order = BFLOAT16 if self.bfloat16 else self.stored_as.kind, self.stored_as.order
        return shaped(self.data, kind, self.shape, "an array", order=order, fortran=bool(self.fortran))


def _from_buffer(data, dtype, shape, order):
    """An array as protocol 5 keeps it."""
    array = Array()
    if not isinstance(dtype, Dtype) or order not in ("C", "F"):
        raise WeightsError("the pickle describes a NumPy array that is none")
    array.build((1, shape, dtype, order == "F", bytes(data) if type(data) in (bytes, bytearray) else None))
    return array


def load_npy(reader, known):
    """What np.save was given that is no array: it lies in the file as an array of one object, or, being a list, of
    several."""
    text, _ = header_text(reader, "it")
    array = load(reader, known) if "'|O'" in text else None
    if not isinstance(array, Array) or not array.objects:
        raise WeightsError("one array, not a state dict: save that, as .npz or with torch.save")
    return array.objects if len(array.objects) > 1 else array.objects[0]


KNOWN = BASIC | table(("numpy.dtype", Dtype, 1, 3), ("_codecs.encode", Latin1, 2, 2)) | {"numpy.ndarray": Opaque()}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):  # NumPy 1 and 2
    KNOWN |= table((f"{_module}._reconstruct", Array, 3, 3), (f"{_module}.scalar", opaque, 2, 2))
for _module in ("numpy.core.numeric", "numpy._core.numeric"):
    KNOWN |= table((f"{_module}._frombuffer", _from_buffer, 4, 4))
