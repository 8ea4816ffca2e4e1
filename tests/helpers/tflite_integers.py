"""The constants and grids of a quantised .tflite, as they stand in the file: the tests' own reading."""

import numpy as np

from npmnv3.conversion.formats.flatbuffers import Buffer

CONV, DEPTHWISE = 3, 4
KINDS = {9: "i1", 2: "i4", 0: "f4", 4: "i8"}


class Tensor:
    def __init__(self, table, buffers):
        about, data = table.table(4), bytes(buffers[table.number(2, "I")].raw(0))
        self.shape, self.name = table.numbers(0, "i"), table.text(3)
        self.scale = np.array(about.numbers(2, "f") if about else (), np.float32)
        self.zero_point = np.array(about.numbers(3, "q") if about else (), np.int64)
        self.data = np.frombuffer(data, KINDS[table.number(1, "b")]).reshape(self.shape) if data else None


def operators(path):
    """[(kind, [input tensors], output tensor)] of a file."""
    model = Buffer(path.read_bytes()).root()
    graph, buffers = model.tables(2)[0], model.tables(4)
    kinds = [max(code.number(3, "i"), code.number(0, "b")) for code in model.tables(1)]
    tensors = [Tensor(table, buffers) for table in graph.tables(0)]
    return [
        (kinds[op.number(0, "I")], [tensors[i] for i in op.numbers(1, "i")], tensors[op.numbers(2, "i")[0]])
        for op in graph.tables(3)
    ]


def layers(path):
    """[(input, weight with output channels first, scales, bias tensor, output)] of the layers, in order."""
    found = []
    for kind, inputs, output in operators(path):
        if kind in (CONV, DEPTHWISE):
            x, weight, bias = inputs
            axes = (3, 1, 2, 0) if kind == DEPTHWISE else (0, 3, 1, 2)
            found.append((x, weight.data.transpose(axes), weight.scale, bias, output))
    return found
