"""A folded plan as the operations of an integer engine: what is fused, what is stored, what has a step of its own."""

from typing import NamedTuple

from .counts import is_linear
from .integer_plan import LAYERS, IntegerStep
from .padding import same_padding
from .steps import INPUT
from .walk import readers


class Scheme(NamedTuple):
    """How an engine's converter writes what engines differ in.

    relu : "fused" into the step before it, or stored "apart" from it
    hard_swish : "whole", or as its "gate" and the product, each of them stored
    gate : what a hard-sigmoid is: "whole"; x + 3, cut by what its integers can hold, and a product with 1/6 ("parts"); or
        a layer with relu6, whose 3 is in the bias, and a product with 1/6 ("relu6")
    tensorflow : bool, padding that is not TensorFlow's "same" is an operation of its own, and so is a linear layer
    """

    relu: str
    hard_swish: str
    gate: str
    tensorflow: bool = False


SCHEMES = {
    "tflite": Scheme("fused", "whole", "relu6", tensorflow=True),
    "onnx": Scheme("fused", "gate", "whole"),
    "relu": Scheme("apart", "gate", "whole"),  # as ActivationSymmetric leaves it
    "parts": Scheme("fused", "gate", "parts"),  # as tf2onnx writes Keras's
    "plain": Scheme("fused", "whole", "whole"),
    "apart": Scheme("apart", "whole", "whole"),
}
#: Scheme of quantisation -> the scheme here by whose operations such a network runs.
LOWERED = {"tflite": "tflite", "onnx": "onnx", "symmetric": "onnx", "pow2": "plain", "torch": "plain"}
OWN_GATE = ".hard_sigmoid"  # behind a hard-swish's name: its own gate, where that is stored
_FUSES_RELU = (*LAYERS, "mul", "add")


def lower(plan, scheme, input_shape):
    """The integer steps of a plan without norms.

    Parameters
    ----------
    plan : tuple of Step, folded
    scheme : one of SCHEMES
    input_shape : (C, H, W)

    Returns
    -------
    (steps, layers) : tuple of IntegerStep, named as the plan's steps whose tensors they store; and {integer step's name:
        Step of the plan that has its weight}
    """
    shapes = {INPUT: tuple(input_shape)} | {step.name: step.shape for step in plan}
    lowering = _Lowering(readers(plan), SCHEMES[scheme], shapes)
    for step in plan:
        getattr(lowering, step.op, lowering.plain)(step)
    return tuple(lowering.steps), lowering.layers


class _Lowering:
    """Takes the plan's steps one by one, an operation a method; `same` is {step's name: the integer step that gives its
    tensor}."""

    def __init__(self, readers, scheme, shapes):
        self.readers, self.scheme, self.shapes = readers, scheme, shapes
        self.steps, self.layers, self.same = [], {}, {}

    def _only_reader(self, step, op):
        after = self.readers[step.name]
        return after[0] if len(after) == 1 and after[0].op == op else None

    def _add(self, step, op, inputs=None, name=None, **fields):
        """Append a step for one of the plan's; under the name of the relu that is fused into it, if one is."""
        inputs = step.inputs if inputs is None else inputs
        fuses = op in _FUSES_RELU and name is None and self.scheme.relu == "fused"
        relu = self._only_reader(step, "relu") if fuses else None
        act = {"act": "relu"} if relu else {}
        name = relu.name if relu else name or step.name
        if relu:
            self.same[step.name] = relu.name
        inputs = tuple(self.same.get(source, source) for source in inputs)
        self.steps.append(IntegerStep(name, op, inputs, step.shape, **(act | fields)))
        return name

    def plain(self, step):
        self._add(step, step.op)

    def relu(self, step):
        """Fused into the step before it, but where it stands apart."""
        if self.scheme.relu == "apart":
            self._add(step, "relu")

    def identity(self, step):
        self.same[step.name] = self.same.get(step.inputs[0], step.inputs[0])

    def max_pool2d(self, step):
        self._add(step, step.op, kernel=step.kernel)

    def _layer(self, step):
        inputs, fields = step.inputs, {}
        if step.kernel:
            fields = {"stride": step.stride, "pad": step.pad}
            if self.scheme.tensorflow and not _is_same(step, self.shapes[step.inputs[0]]):
                inputs, fields = (self._padded(step),), {"stride": step.stride}
        if self.scheme.gate == "relu6" and self._only_reader(step, "hard_sigmoid"):
            fields |= {"act": "relu6"}
        op = "fully_connected" if self.scheme.tensorflow and is_linear(step) else step.op
        self.layers[self._add(step, op, inputs, **fields)] = step

    conv2d = depthwise_conv2d = pointwise_conv2d = linear = _layer

    def _padded(self, step):
        """The step that pads before a layer."""
        source = step.inputs[0]
        top, bottom, left, right = step.pad
        channels, height, width = self.shapes[source]
        shape = channels, height + top + bottom, width + left + right
        name = f"{step.name}.pad"
        self.steps.append(IntegerStep(name, "pad2d", (self.same.get(source, source),), shape, pad=step.pad))
        return name

    def hard_sigmoid(self, step):
        if self.scheme.gate == "relu6":
            self._add(step, "scale")
        else:
            self._gate(step, step.name, step.slope)

    def hard_swish(self, step):
        if self.scheme.hard_swish == "whole":
            self._add(step, "hard_swish")
            return
        gate = self._gate(step, step.name + OWN_GATE, 1 / 6)
        self._add(step, "mul", (*step.inputs, gate))

    def _gate(self, step, name, slope):
        """A hard-sigmoid, whole or in its parts; its name."""
        if self.scheme.gate != "parts":
            return self._add(step, "hard_sigmoid", name=name, slope=slope, offset=0.5)
        three = self._add(step, "fill", (), name=f"{name}.three")
        relu6 = self._add(step, "add", (*step.inputs, three), name=f"{name}.relu6")
        return self._add(step, "scale", (relu6,), name=name)


def _is_same(step, shape):
    """Whether a layer's padding is what TensorFlow's "same" gives for this input."""
    return step.pad == sum(same_padding(shape[1:], (step.kernel,) * 2, step.stride), ())
