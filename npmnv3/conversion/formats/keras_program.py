"""Keras's configuration of a model as a program: what each of its layers computes, and of what, in paddle's words."""

import itertools
import json
import re

from ...network.padding import output_sides, same_padding
from .record import Operation, known_sides

MODELS = ("Functional", "Model", "Sequential")
_PARAMETERS = {  # and the setting without which a layer has not got one of them
    "Conv2D": {"kernel": "", "bias": "use_bias"},
    "DepthwiseConv2D": {"kernel": "", "bias": "use_bias"},
    "Dense": {"kernel": "", "bias": "use_bias"},
    "BatchNormalization": {"gamma": "scale", "beta": "center", "moving_mean": "", "moving_variance": ""},
}
# Layers that do nothing when a network predicts, as augmentations (Random...) do, but for RandomCrop, which crops then too.
_IDLE = tuple(
    "InputLayer Dropout SpatialDropout2D GaussianNoise GaussianDropout Identity ActivityRegularization".split()
)
_NAMES = {  # of layers, TensorFlow's operations, functions and activations, in small letters and digits alone
    "conv2d": "conv2d",
    "depthwise_conv2d": "depthwiseconv2d",
    "matmul": "dense",
    "batch_norm": "batchnormalization",
    "pool2d": "globalaveragepooling2d",
    "add": "add addv2 operatorsadd mathadd",
    "multiply": "multiply mul mathmultiply operatorsmul",
    "relu": "relu nnrelu",
    "relu6": "relu6 nnrelu6",
    "hardswish": "hardswish hardsilu",
    "hardsigmoid": "hardsigmoid",
    "sigmoid": "sigmoid",
    "softmax": "softmax",
    "log_softmax": "logsoftmax",
    "assign": "linear flatten reshape",
}
_KINDS = {name: kind for kind, names in _NAMES.items() for name in names.split()}
_ENDS = ("softmax", "log_softmax", "sigmoid", "relu", "hardsigmoid")  # which `keras_config` puts into notes
# Of Keras 3's and Keras 2's hard-sigmoid, by what they call a setting of an input.
_SLOPES = {"batch_shape": 1 / 6, "batch_input_shape": 0.2}


def program_of(config, counted):
    """(the operations of a configuration, (height, width) of its pictures), as `Checkpoint` has them as program and
    sides; its parameters have the names of `plain_layer`.

    counted : bool, the file has no layers' own names: dense layers, whose names are no network's, are called by their count

    What stands before the first layer with weights, and the activation behind the last, are left out: `keras_config` reports
    of these. KeyError, TypeError and their like where the configuration is of another form than Keras's.
    """
    follower = _Follower(config, counted)
    weighted = [i for i, made in enumerate(follower.made) if any("/" in name for name in made.inputs)]
    for i, made in enumerate(follower.made):
        before = i < weighted[0] and made.kind != "data"
        if before or i > weighted[-1] and made.kind in _ENDS:
            follower.made[i] = Operation("assign", made.inputs, made.outputs, {})
    fetches = (Operation("fetch", (name,), (), {}) for name in follower.outputs)
    return (*follower.made, *fetches), follower.sides.get("0")


def plain_layer(name):
    """Keras 2's `expanded_conv_1/expand/BatchNorm` as Keras 3 spells it: `expanded_conv_1_expand_bn`."""
    return name.replace("BatchNorm", "bn").replace("/", "_").lower()


def is_idle(kind):
    """Whether a layer of this class does nothing when a network predicts."""
    return kind in _IDLE or (kind.startswith("Random") and kind != "RandomCrop")


def activation_name(activation):
    """An activation's name: a text, or Keras 3's serialised function or layer."""
    while isinstance(activation, dict):
        config = activation.get("config")
        activation = config if isinstance(config, str) else activation.get("class_name")
    return activation if activation is None else str(activation).lower()[:50]


class _Follower:
    """The operations of a model and of those within it, in the order in which it lists its layers.

    made : list of Operation, each of which gives the value that is called as its place
    outputs : names of what the model gives
    sides : {name of a value: (height, width)}, where they are known
    """

    def __init__(self, config, counted):
        self.made, self.pads, self.sides, self.slope = [], {}, {}, 1 / 6
        self.denses = itertools.count() if counted else None
        self.outputs = self._model(config["class_name"], config["config"], [])

    def _model(self, kind, config, tensors):
        """Names of a model's outputs for inputs of these names."""
        if kind == "Sequential":
            for layer in config if isinstance(config, list) else config["layers"]:  # a list: Keras before 2.2.3
                tensors = self._layer(layer["class_name"], layer["config"], tensors, [])
            return tensors
        values = dict(zip(_names(config["input_layers"]), tensors))
        for layer in config["layers"]:
            name, calls = layer["name"], layer["inbound_nodes"]
            if len(calls) > 1:
                raise ValueError(f"{name} is called {len(calls)} times")
            if name not in values:
                inputs = [values[each] for each in _names(calls)]
                values[name], *_ = self._layer(layer["class_name"], layer["config"], inputs, _numbers(calls))
        return [values[name] for name in _names(config["output_layers"])]

    def _layer(self, kind, settings, inputs, numbers):
        if kind == "InputLayer" and inputs:
            return inputs
        if not inputs:
            return self._input(kind, settings, numbers)
        if kind in MODELS:
            return self._model(kind, settings, inputs)
        if kind == "ZeroPadding2D":
            made = self._make("pad", inputs)
            self.pads[made[0]] = inputs, tuple(n for pair in settings["padding"] for n in pair)
            return made
        if kind == "TensorFlowOpLayer":  # of TensorFlow 2.1 to 2.3
            node = settings["node_def"]
            kind = (json.loads(node) if isinstance(node, str) else node)["op"]
            numbers = [float(number) for number in settings["constants"].values()]
        kind = settings["function"] if kind == "TFOpLambda" else kind
        if kind in ("Activation", "ReLU"):
            return self._activation(_relu(settings) if kind == "ReLU" else settings["activation"], inputs)
        return self._computed(kind, settings, inputs, numbers)

    def _input(self, kind, settings, numbers):
        """What the first layer makes of the pictures, whose size it may state; a model within states it by itself."""
        if kind in MODELS:
            return self._model(kind, settings, [])
        shape = next((settings[key] for key in _SLOPES if key in settings), ())
        self.slope = next((slope for key, slope in _SLOPES.items() if key in settings), self.slope)
        made = self._make("data", [])
        if len(shape) == 4 and all(isinstance(n, int) for n in shape[1:3]) and (sides := known_sides(shape[1:3])):
            self.sides[made[0]] = sides
        return made if kind == "InputLayer" else self._layer(kind, settings, made, numbers)

    def _computed(self, kind, settings, inputs, numbers):
        roles, owner = _PARAMETERS.get(kind, {}), plain_layer(str(settings.get("name")))
        if kind == "Dense" and self.denses:
            owner = f"dense_{next(self.denses)}".removesuffix("_0")
        params = [f"{owner}/{role}" for role, unless in roles.items() if settings.get(unless, True)]
        op, attributes, after = _kind(kind), {}, None
        if len(numbers) == 1 and op in ("add", "multiply"):
            op, attributes = "scale", {"scale": 1.0, "bias": numbers[0]} if op == "add" else {"scale": numbers[0]}
        elif "strides" in settings:
            inputs, attributes, after = self._window(settings, inputs)
        elif op == "batch_norm":
            attributes = {"epsilon": float(settings["epsilon"]), "is_test": True}
        elif op == "pool2d":
            attributes = {"pooling_type": "avg", "global_pooling": True}
        made = self._make("assign" if is_idle(kind) else op, [*inputs, *params], attributes)
        if after:
            self.sides[made[0]] = after
        return self._activation(settings.get("activation"), made) if roles else made

    def _window(self, settings, inputs):
        """(inputs, attributes, (height, width) that come out) of a convolution, and of the padding before."""
        size, strides = (tuple(settings[key]) for key in ("kernel_size", "strides"))
        attributes = {"strides": strides, "dilations": tuple(settings["dilation_rate"])}
        pads = (0, 0, 0, 0)
        if settings["padding"] == "valid":
            inputs, pads = self.pads.get(inputs[0], (inputs, pads))
        sides = self.sides.get(inputs[0])
        if settings["padding"] != "valid":
            if not sides:
                return inputs, attributes | {"padding_algorithm": "SAME"}, None
            pads = tuple(n for pair in same_padding(sides, size, strides) for n in pair)
        after = sides and output_sides(sides, size, strides, pads)
        return inputs, attributes | {"paddings": pads}, after

    def _activation(self, activation, inputs):
        kind = _kind(activation_name(activation) or "linear")
        attributes = {"slope": self.slope, "offset": 0.5} if kind == "hardsigmoid" else {}
        return self._make(kind, inputs, attributes) if kind != "assign" else inputs

    def _make(self, kind, inputs, attributes=None):
        name = str(len(self.made))
        self.made.append(Operation(kind, tuple(inputs), (name,), attributes or {}))
        if inputs and inputs[0] in self.sides:
            self.sides[name] = self.sides[inputs[0]]
        return [name]


def _kind(name):
    return _KINDS.get(re.sub("[^a-z0-9]", "", name.lower()), name[:50])


def _relu(settings):
    """What a layer ReLU computes."""
    if settings.get("negative_slope") or settings.get("threshold"):
        return "leaky relu"
    most = settings.get("max_value")
    return "relu" if most is None else "relu6" if most == 6 else "hardtanh"


def _names(call):
    return [item for item in _arguments(call) if isinstance(item, str)]


def _numbers(call):
    return [float(item) for item in _arguments(call) if isinstance(item, (int, float))]


def _arguments(call):
    """Names of layers, and numbers, that a layer is called with, as Keras 3 and Keras 2 write them."""
    if isinstance(call, dict):
        if call.get("class_name") == "__keras_tensor__":
            yield call["config"]["keras_history"][0]
            return
        call = list(call.values())
    if isinstance(call, (list, tuple)):
        if len(call) >= 3 and isinstance(call[0], str) and isinstance(call[1], int):
            yield call[0]
            call = call[3:]
        for item in call:
            yield from _arguments(item)
    elif isinstance(call, (int, float)) and not isinstance(call, bool):
        yield call
