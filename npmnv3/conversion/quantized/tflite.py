"""TensorFlow Lite's quantised models as an IntegerPlan: the graph's own operators, scales and integers.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs; tensorflow/lite/kernels
"""

import math

import numpy as np

from ...errors import WeightsError
from ...network.steps import INPUT
from ...ops.grids import DTYPES as GRIDS
from ..formats.ends import each_class
from ..formats.tflite_tensors import SAME, Op, Tensors
from .builder import FEW, Builder, PartlyInFloats, make_grid
from .tflite_layers import add_layer

SCHEME = "tflite"
_SHAPES = (22, 43)
_TO_CHANNELS_LAST = [0, 2, 3, 1]
_PASSING = (*_SHAPES, Op.DEQUANTIZE, Op.QUANTIZE)
_ENDS = {14: "sigmoid", 25: "softmax", 50: "log_softmax"}  # behind the logits
_ABOUT_SHAPES = (2, 45, 65, 77, 83, 94)
_ACTS = {0: "", 1: "relu", 3: "relu6"}
#: To which the optimised MUL adds a zero point in 16 bits: tensorflow/lite/kernels/internal/optimized/integer_ops/mul.h.
MOST_STEPS = 32767
_NUMPY = {"i1": "int8", "u1": "uint8", "i2": "int16", "f4": "float32"}


def is_quantized(tensors):
    """Whether a model's layers read integers; weights alone may be integers in a model that computes with floats."""
    layers = [inputs for code, inputs, _, _ in tensors.operators() if code in Op.LAYERS and inputs]
    return bool(layers) and all(tensors.dtype(inputs[0]) in ("i1", "u1", "i2") for inputs in layers)


def read(reader):
    """The IntegerPlan of a model.

    Raises
    ------
    WeightsError
        Damaged, not quantised throughout, or with operations that MobileNetV3 does not have; the message names the tensor.
    """
    graph = _Graph(reader)
    for code, inputs, outputs, options in graph.tensors.operators():
        if len(outputs) != 1:
            raise WeightsError(f"an operator with {len(outputs)} outputs, which no network here has")
        graph.add(code, [index for index in inputs if index >= 0], outputs[0], options)
    return graph.builder.done(graph.input_shape)


class _Graph:
    def __init__(self, reader):
        self.tensors, self.builder = Tensors(reader), Builder()
        inputs = self.tensors.graph.numbers(1, "i")
        if len(inputs) != 1:
            raise WeightsError(f"{len(inputs)} inputs, expected one picture")
        self.input, self.input_shape = inputs[0], self.shape(inputs[0])
        if self._channels_first():
            self.input_shape = tuple(self.tensors.shape(self.input)[1:])
        self.behind = set()  # tensors behind the logits
        self.floats = set()  # tensors of the real numbers that integers stand for
        self.used = {
            index for code, inputs, _, _ in self.tensors.operators() if code not in _PASSING for index in inputs
        }
        if self.tensors.dtype(self.input) != "f4":
            self.builder.begin(self.name(self.input), self.input_shape, self.grid(self.input))

    def _channels_first(self):
        """Whether the input is (1, C, H, W), turned before the first layer: a network of PyTorch's."""
        operators = [
            (code, inputs[0], outputs[0]) for code, inputs, outputs, _ in self.tensors.operators() if inputs and outputs
        ]
        turned = {
            self.input,
            *(output for code, source, output in operators if code == Op.QUANTIZE and source == self.input),
        }
        return any(code == Op.TRANSPOSE and source in turned for code, source, _ in operators)

    def name(self, index):
        """A tensor's own name and place: names need not differ."""
        return f"{index}:{self.tensors.name(index)}"

    def shape(self, index):
        """(C, H, W) or (C,) of a tensor (1, H, W, C) or (1, C)."""
        shape = self.tensors.shape(index)[1:]
        return (shape[-1], *shape[:-1]) if shape else ()

    def grid(self, index):
        name, scale = self.tensors.name(index), self.tensors.scale(index)
        dtype = _NUMPY.get(self.tensors.dtype(index))
        if scale is None or dtype not in GRIDS:
            raise WeightsError(
                f"the tensor {name[:FEW]!r} is {dtype or 'of another type'} without a scale: not quantised"
            )
        if dtype == "int16":
            raise WeightsError(
                f"the tensor {name[:FEW]!r} is int16: int16x8 models, whose kernels differ, are not read; convert to a float dump, "
                "-o NAME.h5"
            )
        return make_grid(name, scale[0], scale[1], dtype)

    def add(self, code, inputs, output, options):
        name, sources = self.name(output), [self.name(index) for index in inputs]
        known = [source for source in sources if self.builder.known(source)]
        if code == Op.QUANTIZE and inputs == [self.input] and self.tensors.dtype(self.input) == "f4":
            self.builder.begin(sources[0], self.input_shape, self.grid(output))
            self.builder.rename(sources[0], name)
        elif code == Op.QUANTIZE and known:
            self._moved(inputs[0], output, name, known[0])
        elif code == Op.TRANSPOSE and (inputs[0] == self.input or self.builder.known(sources[0]) == INPUT):
            self._turned(inputs, output, name)
        elif code == Op.DEQUANTIZE and known:
            self.floats.add(output)
        elif code in _ABOUT_SHAPES:
            return
        elif code in _PASSING and inputs and inputs[0] in self.behind:
            self.behind.add(output)
        elif code in _ENDS and known and output not in self.used:
            self.behind.add(output)
            self._end(_ENDS[code], self.builder.shapes[self.builder.known(known[0])])
        elif self.floats.intersection(inputs):
            raise PartlyInFloats(
                f"the tensor {name[:FEW]!r} (operator {code}) is computed in floats: not quantised throughout; quantise every "
                "operation, or convert to a float dump, -o NAME.h5"
            )
        elif not known or (code in (Op.ADD, Op.MUL) and len(inputs) != 2):
            raise WeightsError(
                f"the tensor {name[:FEW]!r} (operator {code}) reads nothing that is computed from the picture"
            )
        else:
            self._computed(code, inputs, output, options, name, known)

    def _end(self, activation, shape):
        self.builder.notes.append(f"the {activation} at its end is left out: the last tensor is the logits'")
        if activation == "sigmoid" and shape[0] > 1:
            self.builder.warnings.append(each_class("the graph", activation, shape[0]))

    def _moved(self, source, output, name, known):
        """Integers on another grid: where that is the same but for its zero point, another name of the same numbers."""
        ours, theirs = self.grid(source), self.grid(output)
        if ours.scale != theirs.scale or ours.low - ours.zero_point != theirs.low - theirs.zero_point:
            raise WeightsError(
                f"the tensor {name[:FEW]!r} is quantised anew, from the scale {ours.scale:.6g} and the zero point "
                f"{ours.zero_point} of {ours.dtype} to {theirs.scale:.6g} and {theirs.zero_point} of {theirs.dtype}: only "
                "between int8 and uint8 of one scale is that read; convert the model without requantising"
            )
        outer, inner = (ours, theirs) if source == self.input else (theirs, ours)
        if source == self.input:
            self.builder.grids[INPUT] = theirs  # what the layers read
        self.builder.rename(known, name)
        if outer.dtype != inner.dtype:
            place = "input" if source == self.input else "output"
            self.builder.notes.append(
                f"the file's {place} is {outer.dtype}; the dump has it as {inner.dtype}, "
                f"{abs(outer.low - inner.low)} {'lower' if inner.low < outer.low else 'higher'}: the same numbers"
            )

    def _turned(self, inputs, output, name):
        """The picture with its channels last, which a plan has first all along."""
        axes, is_real = self._ints(inputs, 1), self.tensors.dtype(output) == "f4"
        if axes != _TO_CHANNELS_LAST or not (is_real or self.grid(output) == self.builder.grids[INPUT]):
            raise WeightsError(
                f"the tensor {name[:FEW]!r} turns the picture's axes by {axes}, expected {_TO_CHANNELS_LAST} and the same scale"
            )
        if is_real:
            self.input = output
        else:
            self.builder.rename(self.name(inputs[0]), name)

    def _computed(self, code, inputs, output, options, name, known):
        builder, source = self.builder, self.builder.known(known[0])
        shape, grid = builder.shapes[source], self.grid(output)
        if code in Op.LAYERS:
            add_layer(self, code, inputs, output, options, name, source)
        elif code in (Op.ADD, Op.MUL):
            self._arithmetic(code, inputs, options, name, known, grid)
        elif code == Op.HARD_SWISH:
            builder.add(name, "hard_swish", (source,), shape, grid)
        elif code == Op.MEAN:
            if len(shape) != 3 or sorted(self._ints(inputs, 1)) != [1, 2]:
                raise WeightsError(f"the tensor {name[:FEW]!r}: a mean over other axes than height and width")
            keeps_dims = options and options.number(0, "b")
            builder.add(name, "global_avg_pool" if keeps_dims else "mean_to_vector", (source,), shape[:1], grid)
        elif code == Op.MAX_POOL:
            self._max_pool(options, name, source, grid)
        elif code in Op.PADS:
            self._pad(inputs, name, source, grid)
        elif code in _SHAPES:
            if math.prod(shape[1:]) > 1:  # a plan has its channels first, so would flatten it in another order
                raise WeightsError(
                    f"the tensor {name[:FEW]!r} is a map of {shape[1]} x {shape[2]} pixels as one row of numbers, which no network "
                    "here has: give a model that takes the mean of a map, GlobalAveragePooling2D in place of Flatten"
                )
            builder.add(name, "identity", (source,), shape[:1], grid)
        else:
            raise WeightsError(f"the tensor {name[:FEW]!r} is of operator {code}, which MobileNetV3 does not have")

    def _ints(self, inputs, place):
        array = self.tensors.array(inputs[place]) if len(inputs) > place else None
        if array is None or array.dtype.kind != "i" or array.size > 16:
            raise WeightsError(
                f"the tensor {self.tensors.name(inputs[0])[:FEW]!r} goes through numbers that are no constants"
            )
        return [int(n) for n in array.ravel()]

    def _max_pool(self, options, name, source, grid):
        c, h, w = self.builder.shapes[source] if len(self.builder.shapes[source]) == 3 else (0, 0, 0)
        sides = [options.number(field, "i") for field in (1, 2, 3, 4)] if options else []
        if len(set(sides)) != 1 or sides[0] < 1 or (options.number(0, "b") == SAME and (h % sides[0] or w % sides[0])):
            raise WeightsError(f"the tensor {name[:FEW]!r}: a pool whose windows are no squares side by side")
        self.builder.add(name, "max_pool2d", (source,), (c, h // sides[0], w // sides[0]), grid, kernel=sides[0])

    def _pad(self, inputs, name, source, grid):
        pads = self._ints(inputs, 1)
        if len(pads) != 8 or any(pads[:2]) or any(pads[6:]) or min(pads) < 0 or len(self.builder.shapes[source]) != 3:
            raise WeightsError(f"the tensor {name[:FEW]!r}: a padding {pads} of other axes than height and width")
        top, bottom, left, right = pads[2:6]
        c, h, w = self.builder.shapes[source]
        self.builder.add(name, "pad2d", (source,), (c, h + top + bottom, w + left + right), grid, pad=tuple(pads[2:6]))

    def _arithmetic(self, code, inputs, options, name, known, grid):
        act = self.act(options.number(0, "b") if options else 0, name)
        if code == Op.MUL:
            self._check_product(name, [self.grid(index) for index in inputs], grid)
        shapes = [self.builder.shapes[self.builder.known(source)] for source in known]
        if len(known) == 2:
            known = sorted(known, key=lambda source: -len(self.builder.shapes[self.builder.known(source)]))
            self.builder.add(name, "mul" if code == Op.MUL else "add", known, max(shapes, key=len), grid, act=act)
            return
        constant = next(index for index in inputs if self.builder.known(self.name(index)) is None)
        array, scale = self.tensors.array(constant), self.tensors.scale(constant)
        if array is None or array.size != 1 or scale is None:
            raise WeightsError(
                f"the tensor {name[:FEW]!r} is computed with a constant that is not one quantised number"
            )
        if code == Op.ADD:
            other = f"{name};constant"
            arrays = {"constant": array.reshape(())}
            self.builder.add(other, "fill", (), shapes[0], self.grid(constant), arrays)
            self.builder.add(name, "add", [*known, other], shapes[0], grid, act=act)
            return
        arrays = {
            "constant": array.reshape(()),
            "weight_scale": scale[0].reshape(1),
            "weight_zero_point": scale[1].reshape(1).astype(np.int32),
        }
        self.builder.add(name, "scale", known, shapes[0], grid, arrays, act=act)

    def _check_product(self, name, grids, out):
        """Warn of a product so large for its grid that one of the kernel sets wraps round where all others are at its end."""
        most = math.prod(max(grid.high - grid.zero_point, grid.zero_point - grid.low) for grid in grids)
        if most * math.prod(grid.scale for grid in grids) / out.scale + abs(out.zero_point) > MOST_STEPS:
            self.builder.warnings.append(
                f"the product {name[:FEW]!r} can be more than {MOST_STEPS:,} steps of its grid: TensorFlow Lite's optimised "
                "kernels wrap round there, --kernels tflite-optimized stays at the grid's end as the other kernels do"
            )

    def act(self, number, name):
        if number not in _ACTS:
            raise WeightsError(
                f"the tensor {name[:FEW]!r} has the fused activation {number}, which no network here has"
            )
        return _ACTS[number]
