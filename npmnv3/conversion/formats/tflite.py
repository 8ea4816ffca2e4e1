"""TensorFlow Lite models as a list of layers with their constants, as `onnx_graph` gives them.

The converter fuses activations into layers, puts the + 3 of a hard sigmoid into the bias before it, and has channels
last; all of that is undone here, so that a graph of it is matched as any other.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs
"""

import numpy as np

from ...dumps.reader import naming
from ...errors import WeightsError
from ...network.padding import same_padding
from ..graph_order import in_canonical_order
from .ends import end_notes
from .onnx_folding import KEEP, dequantized
from .record import Checkpoint, Layer, known_sides
from .tflite_tensors import MAGIC, SAME, Op, Tensors, channels_first, window

__all__ = ["GATE", "MAGIC", "read"]

_ARITHMETIC = {Op.ADD: "Add", Op.MUL: "Mul", 41: "Sub", 42: "Div"}
_PLAIN = {  # operations by number, as ONNX calls them
    1: "AveragePool",
    14: "Sigmoid",
    Op.MAX_POOL: "MaxPool",
    19: "Relu",
    25: "Softmax",
    50: "LogSoftmax",
    Op.MEAN: "ReduceMean",
    55: "Max",
    57: "Min",
    Op.HARD_SWISH: "HardSwish",
}
_POOLS = (1, Op.MAX_POOL)
_SAME_ELEMENTS = {22, 39, 43, 53, 70, 130, Op.DEQUANTIZE, Op.QUANTIZE}  # reshape, transpose, squeeze, cast, ...
_ABOUT_SHAPES = {2, 36, 45, 65, 77, 83, 94}  # concatenation, gather, slices, shape, pack, fill
_RELU, _RELU6 = 1, 3  # fused activations
_SHAPE, _TRANSPOSE = 77, 39
_SIX = {"least": np.zeros(1), "most": np.full(1, 6.0)}
_CLIPS = {21: _SIX, 152: {"least": np.zeros(1), "most": np.ones(1)}}  # RELU6, RELU_0_TO_1, where they stand alone
_LIMITS = {55: ("Max", "least"), 57: ("Min", "most")}  # operators of two values
_DYNAMIC_RANGE = (
    "quantised, but its weights alone: they are taken as what they stand for, in float32; where TensorFlow Lite quantises what "
    "a layer reads when it runs, the dump does not, so its logits are other than those"
)
_HALVES = (
    "its constants are float16: weights are taken as they are stored, but a gate's 1/6 and the like as the network has them, "
    "not rounded to 16 bits, so the logits are not quite TensorFlow Lite's"
)
GATE = "folded_gate"  # attribute of a layer whose bias had a hard sigmoid's 3 in it


def read(reader):
    with naming("TensorFlow Lite"):
        graph = _Graph(reader)
    if not graph.weights:
        raise WeightsError("a TensorFlow Lite model in which no layer has weights")
    about = {"quantization": graph.scales} if graph.scales else {}
    layers = in_canonical_order(graph.layers)
    notes, shapes = _notes(graph, layers), map(graph.shape, graph.inputs())
    sides = next((known_sides(shape[1:3]) for shape in shapes if len(shape) == 4), None)
    return Checkpoint("tflite", graph.weights, notes=notes, metadata=about, layers=layers, sides=sides)


def _notes(graph, layers):
    """How a graph ends, and what it stores in fewer bits than the dump."""
    notes = end_notes("the graph", "softmax", 0)[0] if layers[-1].op == "Softmax" else ()
    if graph.scales and "f4" in graph.read_as:
        return *notes, _DYNAMIC_RANGE
    if graph.scales:
        return *notes, f"quantised: its weights are taken as what they stand for, in float32; {KEEP}"
    return *notes, *((_HALVES,) if graph.halves else ())


class _Graph(Tensors):
    """The layers of a graph; scales is {name of a quantised tensor: (scale, zero point, axis)}."""

    def __init__(self, reader):
        super().__init__(reader)
        self.layers, self.weights, self.scales, self.made = [], {}, {}, {}
        self.read_as, self.halves = set(), False  # types of what layers read; whether there are constants of 16 bits
        self.made_by = {}  # number of a tensor: the place in `layers` of what gave it
        self.sizes = set()  # the same of tensors' sizes, and of what is made of these
        for code, inputs, outputs, options in self.operators():
            if outputs:
                variables = [index for index in inputs if index >= 0 and self.constant(index) is None]
                if code == _SHAPE or self.sizes.issuperset(variables):
                    self.sizes |= set(outputs)
                self._add(code, inputs, outputs[0], options)

    def constant(self, index):
        """The array of a constant, floats where it is quantised; None if it is computed."""
        if index not in self.made:
            array = self.array(index)
            if array is None:
                return None
            self.made[index] = self._real(index, array)
        return self.made[index]

    def _real(self, index, array):
        name, scale = self.name(index), self.scale(index)
        self.halves |= array.dtype == np.float16
        if scale is not None:
            self.scales[name] = scale
        if scale is None or array.dtype.kind not in "iu":
            return array.astype(np.float32) if array.dtype == np.float16 else array
        try:
            return dequantized(array, *scale)
        except (ValueError, IndexError) as error:
            raise WeightsError(f"the tensor {name[:100]!r} is quantised by what does not fit it: {error}") from error

    def _add(self, code, inputs, output, options):
        if code in Op.LAYERS:
            self._weighted(code, inputs, output, options)
        elif code in _SAME_ELEMENTS:
            self._pass_on(code, inputs, output)
        elif code in _ARITHMETIC:
            op, constant = _ARITHMETIC[code], self._constant_among(inputs)
            of_constant = op in ("Sub", "Div") and self.constant(inputs[0]) is not None
            params, attributes = (
                {} if constant is None else {"constant": constant},
                {"constant_first": 1} if of_constant else {},
            )
            self._append(op, inputs, output, params, attributes)
            self._activate(output, options.number(0, "b") if options else 0)
        elif code in Op.PADS:
            pads = self.constant(inputs[1]) if len(inputs) > 1 else None
            attributes = {} if pads is None else {"pads": tuple(int(n) for n in pads.T.ravel())}
            self._append("Pad", inputs, output, {}, attributes)
        elif code in _CLIPS:
            self._append("Clip", inputs, output, _CLIPS[code], {})
        elif code in _POOLS and options:
            self._append(_PLAIN[code], inputs, output, {}, _pool_window(options))
            self._activate(output, options.number(5, "b"))
        elif code in _LIMITS and (constant := self._constant_among(inputs)) is not None:
            op, role = _LIMITS[code]
            self._append(op, inputs, output, {role: constant}, {})
        elif code not in _ABOUT_SHAPES or not self.sizes.issuperset({output}):
            attributes = (
                {} if code != Op.MEAN or (axes := self._constant_among(inputs)) is None else {"axes": (*axes.ravel(),)}
            )
            self._append(_PLAIN.get(code, f"operation {code}"), inputs, output, {}, attributes)

    def _pass_on(self, code, inputs, output):
        """Take the output of what moves elements, or casts them, for its input; a transposition is kept."""
        value = self.constant(inputs[0]) if inputs else None
        if value is not None:
            self.made[output] = value
        elif code == _TRANSPOSE:
            perm = self.constant(inputs[1]) if len(inputs) > 1 else None
            attributes = {} if perm is None else {"perm": tuple(perm.ravel().tolist())}
            self._append("Transpose", inputs, output, {}, attributes)
        elif inputs and inputs[0] in self.made_by:
            self.made_by[output] = self.made_by[inputs[0]]

    def _constant_among(self, inputs):
        """The first constant that an operator reads, or None."""
        return next((value for value in map(self.constant, inputs) if value is not None), None)

    def _append(self, op, inputs, output, params, attributes):
        read = tuple(self.made_by[index] for index in inputs if index in self.made_by)
        self.made_by[output] = len(self.layers)
        self.layers.append(Layer(op, self.name(output), params, attributes, read))

    def _activate(self, output, fused):
        if fused in (_RELU, _RELU6):
            self._append("Relu" if fused == _RELU else "Clip", [output], output, {} if fused == _RELU else _SIX, {})
        elif fused:
            raise WeightsError(f"{self.name(output)[:100]!r} has the activation {fused}, which no network here has")

    def _weighted(self, code, inputs, output, options):
        """A convolution or a dense layer, its channels first; an activation that is fused becomes a layer."""
        weight = self.constant(inputs[1]) if len(inputs) > 1 else None
        if (
            weight is None
            or weight.ndim != (2 if code == Op.DENSE else 4)
            or weight.dtype.kind != "f"
            or options is None
        ):
            raise WeightsError(f"{self.name(output)[:100]!r} has weights that are no constants, or no floats")
        bias = self.constant(inputs[2]) if len(inputs) > 2 else None
        self.read_as.add(self.dtype(inputs[0]))
        count = weight.shape[3] if code == Op.DEPTHWISE else weight.shape[0]
        if bias is not None and (bias.shape != (count,) or bias.dtype.kind != "f"):
            raise WeightsError(
                f"{self.name(output)[:100]!r} has a bias {bias.dtype} {bias.shape}, expected {count} floats"
            )
        for index, value in ((inputs[1], weight), (inputs[2] if bias is not None else -1, bias)):
            if value is not None:
                self.weights[self.name(index)] = value
        if code == Op.DENSE:
            attributes, fused = {}, options.number(0, "b")
        else:
            weight = channels_first(weight, code == Op.DEPTHWISE)
            attributes, fused = self._spatial(code, inputs[0], weight, options)
        params = {"weight": weight} if bias is None or not bias.any() else {"weight": weight, "bias": bias}
        if fused == _RELU6:  # relu6(x + 3), whose 3 went into the bias
            params["bias"] = (np.zeros(count, np.float32) if bias is None else bias) - np.float32(3)
            self._append("Gemm" if code == Op.DENSE else "Conv", inputs, output, params, attributes | {GATE: 1})
            self._append("Add", [output], output, {"constant": np.array(3, np.float32)}, {})
        else:
            self._append("Gemm" if code == Op.DENSE else "Conv", inputs, output, params, attributes)
        self._activate(output, fused)

    def _spatial(self, code, source, weight, options):
        """(attributes, fused activation) of a convolution."""
        depthwise = code == Op.DEPTHWISE
        strides, same, fused = window(options, depthwise)
        shape = self.shape(source)
        channels = shape[3] if len(shape) == 4 else 0
        group = len(weight) if depthwise else max(channels // max(weight.shape[1], 1), 1)
        pads = _same(shape[1:3], weight.shape[2:], strides) if same else {}
        return {"strides": strides, "group": group} | pads, fused


def _pool_window(options):
    """Attributes of a pool."""
    across, down, width, height = (options.number(n, "i") for n in (1, 2, 3, 4))
    pads = {"auto_pad": "SAME_UPPER"} if options.number(0, "b") == SAME else {}
    return {"strides": (down, across), "kernel_shape": (height, width)} | pads


def _same(sides, kernels, strides):
    """The padding that makes ceil(side / stride) of each side: in pixels where the input's sides are known."""
    if len(sides) != 2 or min(sides) < 1 or min(strides) < 1:
        return {"auto_pad": "SAME_UPPER"}
    before, after = zip(*same_padding(sides, kernels, strides))
    return {"pads": (*before, *after)}
