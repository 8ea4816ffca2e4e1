"""TensorFlow Lite models: their tensors and operators, as they are stored.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs
"""

import math

import numpy as np

from ...errors import WeightsError
from .arrays import check_shape, from_bytes, itemsize
from .flatbuffers import Buffer

MAGIC = b"TFL3"  # from the fifth byte on
MAX_BYTES = 512 << 20
MAX_NAME = 400  # characters
MAX_EXPANSION = 16  # of all constants that are read, against the file

SAME = 0  # padding

DTYPES = {0: "f4", 1: "f2", 2: "i4", 3: "u1", 4: "i8", 6: "b1", 7: "i2", 9: "i1", 10: "f8"}


class Op:
    """Numbers of operators that both readers of models know; PADS are with zeros, and with a number of the model's."""

    ADD, MUL, CONV, DEPTHWISE, DENSE, MAX_POOL, MEAN, HARD_SWISH = 0, 18, 3, 4, 9, 17, 40, 117
    DEQUANTIZE, QUANTIZE, TRANSPOSE, PADS = 6, 114, 39, (34, 60)
    LAYERS = CONV, DEPTHWISE, DENSE


class Tensors:
    """The tensors of a model's one graph.

    Raises
    ------
    WeightsError
        Damaged, cut off, or several graphs.
    """

    def __init__(self, reader):
        if reader.size > MAX_BYTES:
            raise WeightsError(f"a TensorFlow Lite file of {reader.size} bytes, more than {MAX_BYTES}")
        model = Buffer(reader.take(0, reader.size, "the model")).root()
        graphs = model.tables(2)
        if len(graphs) != 1:
            raise WeightsError(f"{len(graphs)} graphs, expected one")
        self.graph, self.buffers, self.left = graphs[0], model.tables(4), MAX_EXPANSION * reader.size
        self.tensors, self.stored = self.graph.tables(0), {}
        self._codes = [max(code.number(3, "i"), code.number(0, "b")) for code in model.tables(1)]

    def inputs(self):
        """Numbers of the tensors that the graph gets."""
        return self.graph.numbers(1, "i")

    def operators(self):
        """(number of the operation, its inputs, its outputs, its options or None) in order of execution."""
        for operator in self.graph.tables(3):
            index = operator.number(0, "I")
            if index >= len(self._codes):
                raise WeightsError(f"an operator of kind {index}, of which there are {len(self._codes)}: damaged")
            yield self._codes[index], operator.numbers(1, "i"), operator.numbers(2, "i"), operator.table(4)

    def _tensor(self, index):
        if not 0 <= index < len(self.tensors):
            raise WeightsError(f"the tensor {index}, of which there are {len(self.tensors)}: damaged")
        return self.tensors[index]

    def name(self, index):
        """As the file has it. The converter joins the names of all that it fused: of long ones the first, and the count."""
        name = self._tensor(index).text(3)
        return f"{name[:MAX_NAME]}... {index}" if len(name) > MAX_NAME else name or f"tensor {index}"

    def shape(self, index):
        """As the file has it, the batch first; () where it says none."""
        return self._tensor(index).numbers(0, "i")

    def dtype(self, index):
        """As `DTYPES` has it, or None for what is not read."""
        return DTYPES.get(self._tensor(index).number(1, "b"))

    def array(self, index):
        """The array of a constant as it is stored, None if it is computed."""
        if index in self.stored:
            return self.stored[index]
        if index < 0:
            return None
        tensor = self._tensor(index)
        place = tensor.number(2, "I")
        if place >= len(self.buffers):
            raise WeightsError(f"the tensor {self.name(index)[:100]!r} has the buffer {place}, which is not there")
        buffer = self.buffers[place]
        data, offset = buffer.raw(0), buffer.number(1, "Q")
        if not len(data) and offset < 2:
            return None
        if not len(data):  # behind the tables, where Google's newer tools put large ones
            data = buffer.buffer.bytes(offset, buffer.number(2, "Q"))
        self.stored[index] = self._array(tensor, data, f"the tensor {self.name(index)[:100]!r}")
        return self.stored[index]

    def _array(self, tensor, data, what):
        dtype = DTYPES.get(tensor.number(1, "b"))
        shape = check_shape(tensor.numbers(0, "i"), what)
        if dtype is None or tensor.table(6) is not None:
            raise WeightsError(
                f"{what} has elements of type {tensor.number(1, 'b')} (17: int4), or is sparse: not read; give the model in floats "
                "that it was made from, or what is made of that with dense weights of 8 bits"
            )
        if len(data) != math.prod(shape) * itemsize(dtype):
            raise WeightsError(f"{what} is {dtype} {shape}, but {len(data)} bytes are there")
        self.left -= max(4, itemsize(dtype)) * math.prod(shape)
        if self.left < 0:
            raise WeightsError(f"the constants would take more than {MAX_EXPANSION} times the file's size: refused")
        return from_bytes(bytes(data), dtype, what).reshape(shape)

    def scale(self, index):
        """(scale, zero point, axis) of a quantised tensor, None for others."""
        quantization = self._tensor(index).table(4)
        scale = np.array(quantization.numbers(2, "f") if quantization else (), np.float32)
        if not scale.size:
            return None
        return scale, np.array(quantization.numbers(3, "q") or (0,), np.int64), quantization.number(6, "i")


def window(options, depthwise):
    """((strides down and across), whether it is padded to "same", fused activation) of a convolution's options."""
    act, *dilation = (options.number(n + depthwise, kind) for n, kind in ((3, "b"), (4, "i"), (5, "i")))
    if any(n > 1 for n in dilation) or (depthwise and options.number(3, "i") > 1):
        raise WeightsError("a convolution with dilation or a depth multiplier, which no network here has")
    return (options.number(2, "i"), options.number(1, "i")), options.number(0, "b") == SAME, act


def channels_first(weight, depthwise):
    """(O, I, KH, KW) of a convolution's weight (O, KH, KW, I), or (1, KH, KW, O) where it is depthwise."""
    return weight.transpose(3, 0, 1, 2) if depthwise else weight.transpose(0, 3, 1, 2)
