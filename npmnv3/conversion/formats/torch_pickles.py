"""Tensors as they lie in torch's pickles: a storage, and how the tensor's elements lie in it."""

import math

import numpy as np

from ...errors import WeightsError
from .arrays import BFLOAT16, MAX_ELEMENTS, check_shape, from_bytes, itemsize, numpy_dtype
from .numpy_pickles import KNOWN as NUMPY
from .pickles import table
from .stand_ins import Known, Opaque, Stored

_STORAGES = {
    "Float": "f4",
    "Half": "f2",
    "BFloat16": BFLOAT16,
    "Double": "f8",
    "Long": "i8",
    "Int": "i4",
    "Short": "i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "b1",
    "ComplexFloat": "c8",
    "ComplexDouble": "c16",
    "QInt8": "i1",
    "QUInt8": "u1",
    "QInt32": "i4",
    "Untyped": "u1",
}


class StorageType(Opaque):
    """Stands for torch.FloatStorage and its like."""

    def __init__(self, name, dtype):
        self.name, self.dtype = name, dtype


class Storage(Opaque):
    """A run of elements that tensors share; `read` gives its bytes, and `tensors` is how many share it."""

    def __init__(self, key, kind, count):
        self.key, self.kind, self.count = key, kind, count
        self.order, self.read, self.tensors, self._kept = "<", None, 0, None

    @property
    def nbytes(self):
        """Bytes in the file."""
        return self.count * itemsize(self.kind.dtype)

    def flat(self):
        """(count,) array: kept for further tensors, where there are any."""
        if self._kept is not None:
            return self._kept
        flat = from_bytes(self.read(), self.kind.dtype, f"storage {self.key!r}", order=self.order)
        if self.tensors > 1:
            self._kept = flat
        return flat


class Part(Opaque):
    """A storage's elements from `start`: what very old files call a view."""

    def __init__(self, storage, start):
        self.storage, self.start = storage, start


class Tensor(Stored):
    """Elements of a storage."""

    def __init__(self, storage, offset, shape, strides, *_):
        part = storage if isinstance(storage, Part) else Part(storage, 0)
        if not isinstance(part.storage, Storage):
            raise WeightsError("the pickle has a tensor without a storage")
        self.storage = part.storage
        what = f"a tensor in storage {self.storage.key!r}"
        self.shape, self.strides = check_shape(shape, what), strides
        if not _are_places((offset,)) or not _are_places(strides) or len(self.shape) != len(strides):
            raise WeightsError(
                f"{what} has offset {str(offset)[:50]}, shape {self.shape} and strides {str(strides)[:50]}"
            )
        self.offset, self.size = part.start + offset, math.prod(self.shape)
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if self.size and last >= self.storage.count:  # expanded, it may be larger than its storage
            raise WeightsError(
                f"{what} has shape {self.shape}, strides {self.strides} and offset {self.offset}: "
                f"more than the storage's {self.storage.count} elements"
            )
        self.dtype = numpy_dtype(self.storage.kind.dtype)
        self.nbytes = self.size * self.dtype.itemsize
        self.storage.tensors += 1

    def check(self):
        if self.storage.read is None:
            raise WeightsError(f"storage {self.storage.key!r} is not in the file: cut off")

    def read(self):
        flat = self.storage.flat()
        if not self.size:
            return flat[:0].reshape(self.shape)
        flat = flat[self.offset :]
        # The step of an axis of one number is never taken, and may be anything in the file.
        steps = [step * flat.itemsize if n > 1 else 0 for n, step in zip(self.shape, self.strides)]
        return np.lib.stride_tricks.as_strided(flat, self.shape, steps, writeable=False)


class Quantized(Tensor):
    """Integers on a grid, or on one for each channel: read as the real numbers that they stand for.

    integers, scale, zero_point : functions without arguments that read these: (C,) or (1,) of the last two
    axis : of the channels, None where all have one scale
    """

    def __init__(self, storage, offset, shape, strides, grid, *_):
        super().__init__(storage, offset, shape, strides)
        if not _is_grid(grid, len(self.shape)):
            raise WeightsError(f"a quantised tensor in storage {self.storage.key!r} has a grid that is none")
        self._scale, self._zero_point, *axis = grid[1:]
        self.axis = axis[0] if axis else None
        self.dtype = np.dtype(np.float32)
        self.nbytes = self.size * self.dtype.itemsize

    def integers(self):
        return super().read()

    def scale(self):
        return _numbers(self._scale).astype(np.float32)

    def zero_point(self):
        return _numbers(self._zero_point).astype(np.int64)

    def read(self):
        along = [1] * len(self.shape)
        if self.axis is not None:
            along[self.axis] = -1
        real = (self.integers() - self.zero_point().reshape(along)).astype(np.float32)
        return real * self.scale().reshape(along)


def _is_grid(grid, dims):
    """Whether this is (name of the scheme, scale, zero point), or the same with arrays of these and their axis."""
    if type(grid) is not tuple or len(grid) not in (3, 4):
        return False
    if len(grid) == 3:
        return type(grid[1]) in (int, float) and type(grid[2]) is int
    return all(isinstance(part, Tensor) for part in grid[1:3]) and type(grid[3]) is int and 0 <= grid[3] < dims


def _numbers(value):
    """A tensor's numbers, or one number, as (N,)."""
    return np.asarray(value.read() if isinstance(value, Stored) else value).reshape(-1)


def _are_places(numbers):
    """Whether these are whole numbers of elements, each of which a file may have."""
    return isinstance(numbers, (tuple, list)) and all(
        type(number) is int and 0 <= number < MAX_ELEMENTS for number in numbers
    )


def _first(tensor, *_):
    return tensor


def _subclass(function, kind, arguments, state):
    """A tensor of a class of somebody's own, as the plain tensor that it is."""
    known = isinstance(function, Known) and type(arguments) is tuple
    return function.call(*arguments) if known and function.least <= len(arguments) <= function.most else Opaque()


class OtherTensor(Stored):
    """A tensor whose numbers are not read."""

    is_numbers, shape, nbytes = False, (), 0

    def __init__(self, why):
        self.why = why


def _of_dtype(*arguments):
    """A tensor of a type that storages have no class of: eight bits, or unsigned."""
    dtype = getattr(arguments[6], "name", "an unknown type")
    return OtherTensor(f"of {dtype}, not float16, bfloat16, float32 or float64: save t.float()")


_SPARSE = "sparse, not dense: save t.to_dense()"
_OTHERS = {
    "sparse_tensor": _SPARSE,
    "sparse_csr_tensor": _SPARSE,
    "nested_tensor": "nested, not plain: save its parts",
    "meta_tensor_no_storage": "on the meta device, which keeps no numbers: load the weights into the model before it is saved",
    "wrapper_subclass": "of a class of its own: save plain tensors",
}
_LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")  # of scripted modules

KNOWN = (
    NUMPY
    | table(
        ("torch._utils._rebuild_tensor", Tensor, 4, 4),
        ("torch._utils._rebuild_tensor_v2", Tensor, 6, 7),
        ("torch._utils._rebuild_qtensor", Quantized, 7, 7),
        ("torch._utils._rebuild_parameter", _first, 3, 3),
        ("torch._utils._rebuild_parameter_with_state", _first, 4, 4),
        ("torch._utils._rebuild_device_tensor_from_numpy", _first, 4, 4),
        ("torch._tensor._rebuild_from_type_v2", _subclass, 4, 4),
        ("torch.jit._pickle.restore_type_tag", _first, 2, 2),
        ("torch._utils._rebuild_tensor_v3", _of_dtype, 7, 8),
        *(
            (f"torch._utils._rebuild_{name}", lambda *_, why=why: OtherTensor(why), 0, 20)
            for name, why in _OTHERS.items()
        ),
        *((f"torch.jit._pickle.{name}", _first, 1, 1) for name in _LISTS),
    )
    | {f"torch.{name}Storage": StorageType(f"{name}Storage", dtype) for name, dtype in _STORAGES.items()}
    | {"torch.storage.UntypedStorage": StorageType("UntypedStorage", _STORAGES["Untyped"])}
)


class Storages:
    """The storages that a pickle refers to, by key; `persistent` is the pickle's callback."""

    def __init__(self, file_size):
        self.file_size, self.by_key = file_size, {}

    def persistent(self, identity):
        """Make a storage of ("storage", type, key, location, elements[, view]); the location, a device, is ignored."""
        if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
            raise WeightsError("the pickle refers to data that are no storage")
        _, kind, key, _, count, *view = identity
        if not isinstance(kind, StorageType) or type(key) is not str or type(count) is not int:
            raise WeightsError("the pickle refers to a storage without type, key or size")
        storage = self.by_key.setdefault(key, Storage(key, kind, count))
        if (storage.kind, storage.count) != (kind, count):
            raise WeightsError(
                f"storage {key[:50]!r} is {storage.count} {storage.kind.name} here and {count} {kind.name} there"
            )
        if count < 0 or storage.nbytes > self.file_size:
            raise WeightsError(
                f"storage {key[:50]!r} claims {count} elements, {storage.nbytes} bytes, in a file of {self.file_size}"
            )
        return _view(storage, view[0]) if view and view[0] is not None else storage


def _view(storage, view):
    if type(view) is not tuple or len(view) != 3 or type(view[1]) is not int or not 0 <= view[1] <= storage.count:
        raise WeightsError(f"storage {storage.key[:50]!r} has a view that is none")
    return Part(storage, view[1])
