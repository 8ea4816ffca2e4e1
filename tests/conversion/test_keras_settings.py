"""Keras's configurations: what its layers are set to is held against the network."""

import io
import json

import checkpoint_files as files
import h5py
import pytest
from states import random_state

from npmnv3.conversion import convert
from npmnv3.conversion.formats.keras_config import read_config
from npmnv3.errors import WeightsError
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant

MODEL = "keras/MobileNetV3Small"


def layers_of(model):
    """[(class, settings, names of the layers that it takes, number)] as Keras builds the network from its plan."""
    found, values = [("InputLayer", {"name": "x", "batch_shape": [None, 224, 224, 3]}, [], None)], {"input": "x"}

    def layer(kind, name, inputs, number=None, **settings):
        found.append((kind, {"name": name, **settings}, [values.get(each, each) for each in inputs], number))
        return name

    values["input"] = layer("Rescaling", "rescaling", ["x"], scale=1 / 127.5, offset=-1.0)
    for step in make_plan(get_variant(model), 3):
        name, inputs = step.params[0].name.rpartition("/")[0] if step.params else step.name, step.inputs
        if step.param("weight"):
            inputs, by_size = list(inputs), step.pad[0] != step.pad[1]
            if by_size and step.op == "depthwise_conv2d":
                inputs = [layer("ZeroPadding2D", f"{name}_pad", inputs, padding=[step.pad[:2], step.pad[2:]])]
            values[step.name] = layer(
                "DepthwiseConv2D" if step.op == "depthwise_conv2d" else "Conv2D",
                name,
                inputs,
                kernel_size=[step.kernel or 1] * 2,
                strides=step.stride,
                padding="valid" if by_size and step.op == "depthwise_conv2d" else "same",
                dilation_rate=[1, 1],
                use_bias=step.param("bias") is not None,
                activation="linear",
            )
        elif step.op == "batch_norm":
            values[step.name] = layer("BatchNormalization", name, inputs, epsilon=step.eps)
        elif step.op == "hard_swish":
            values[step.name] = layer("Activation", name, inputs, activation="hard_silu")
        elif step.op == "relu":
            values[step.name] = layer("ReLU", name, inputs, max_value=None, negative_slope=0.0, threshold=0.0)
        elif step.op == "hard_sigmoid":  # in parts
            inner = layer("ReLU", f"{name}_6", [layer("Add", f"{name}_3", inputs, 3.0)], max_value=6.0)
            values[step.name] = layer("Multiply", name, [inner], 1 / 6)
        else:
            kinds = {"global_avg_pool": "GlobalAveragePooling2D", "mul": "Multiply", "add": "Add"}
            kind = kinds.get(step.op, "Dropout")
            values[step.name] = layer(kind, name, inputs)
    return found


def _tensor(name):
    return {"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}}


def config_of(layers, tensorflow=None):
    """Keras 3's configuration of these layers, or that of a TensorFlow with Keras 2."""

    told = []
    for kind, settings, inputs, number in layers:
        calls = [
            {"args": [_tensor(name) for name in inputs] + [number] * (number is not None), "kwargs": {"mask": None}}
        ]
        if tensorflow:
            calls = [[[name, 0, 0, {}] for name in inputs]]
            settings = {"batch_input_shape" if key == "batch_shape" else key: value for key, value in settings.items()}
        if number is not None and tensorflow == "2.3":
            settings |= {"node_def": {"op": {"Add": "AddV2", "Multiply": "Mul"}[kind]}, "constants": {"1": number}}
            kind = "TensorFlowOpLayer"
        elif number is not None and tensorflow:
            calls = [[name, 0, 0, {"y": number, "name": None}] for name in inputs]
            settings["function"] = {"Add": "__operators__.add", "Multiply": "math.multiply"}[kind]
            kind = "TFOpLambda"
        told.append(
            {"class_name": kind, "name": settings["name"], "config": settings, "inbound_nodes": calls if inputs else []}
        )
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [[layers[-1][1]["name"], 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "m", "layers": told, **ends}}


def written(path, config, around=""):
    """A file of it; `around` stands before the classifier's name, as that of a model which holds it."""
    state = {around * name.startswith("Logits") + name: array for name, array in random_state(MODEL, 3).items()}
    stream = io.BytesIO(files.keras_legacy({"all": state}))
    with h5py.File(stream, "r+") as file:
        file.attrs["model_config"] = json.dumps(config)
    path.write_bytes(stream.getvalue())
    return path


def test_a_classifier_in_a_model_within_is_called_after_both(tmp_path):
    done = convert(written(tmp_path / "a.h5", config_of(layers_of(MODEL)), "sequential_7/"), tmp_path / "a.npz")
    assert (done.model, done.warnings) == (MODEL, ())


def without(layers, name):
    """The layers but one, which gives what it takes first."""
    (before,) = (inputs[0] for _, settings, inputs, _ in layers if settings["name"] == name)
    return [
        (kind, settings, [before if each == name else each for each in inputs], number)
        for kind, settings, inputs, number in layers
        if settings["name"] != name
    ]


@pytest.mark.parametrize("tensorflow", [None, "2.3", "2.15"])
def test_a_configuration_of_the_network_itself_fits(tensorflow, tmp_path):
    done = convert(written(tmp_path / "a.h5", config_of(layers_of(MODEL), tensorflow)), tmp_path / "a.npz")
    assert (done.model, done.notes, done.warnings) == (MODEL, (), ())


@pytest.mark.parametrize(
    "kind, number, change, told",
    [
        ("BatchNormalization", 3, {"epsilon": 1e-5}, "epsilon is 1e-05, expected 0.001, at blocks.1.expand.norm"),
        ("DepthwiseConv2D", 2, {"strides": [2, 2]}, r"strides \(2, 2\), expected \(1, 1\), at blocks.2.depthwise.conv"),
        ("DepthwiseConv2D", 2, {"padding": "valid"}, r"pads \(0, 0, 0, 0\) .*expected \(1, 1, 1, 1\)"),
        ("DepthwiseConv2D", 5, {"dilation_rate": [2, 2]}, "dilations"),
        ("ZeroPadding2D", 0, {"padding": [[1, 1], [1, 1]]}, r"pads \(1, 1, 1, 1\) .*expected \(0, 1, 0, 1\)"),
        ("Activation", 2, {"activation": "silu"}, "silu for hard_swish, at blocks.3.depthwise"),
        ("Activation", 0, {"activation": "relu"}, "relu for hard_swish, at stem"),
        ("ReLU", 0, {"negative_slope": 0.1}, "leaky relu for relu, at blocks.0.depthwise"),
        ("ReLU", 2, {"max_value": 5.0}, "hardtanh"),
        ("Conv2D", 4, {"activation": "gelu"}, "gelu besides"),
    ],
)
def test_a_layer_that_is_set_otherwise_is_refused(kind, number, change, told, tmp_path):
    layers = layers_of(MODEL)
    [settings for name, settings, *_ in layers if name == kind][number].update(change)
    with pytest.raises(WeightsError, match=told):
        convert(written(tmp_path / "b.h5", config_of(layers)), tmp_path / "b.npz")


@pytest.mark.parametrize(
    "name, told",
    [
        ("blocks.3.expand", "no hard_swish, at blocks.3.expand"),
        ("blocks.1.expand", "no relu, at blocks.1.expand"),
        ("blocks.2", "at blocks.2"),  # the shortcut
        ("blocks.3.se", "at blocks.3.se"),
        ("blocks.3.gate", "relu6 for hard_sigmoid, at blocks.3.gate"),
    ],
)
def test_a_layer_that_is_missing_is_refused(name, told, tmp_path):
    with pytest.raises(WeightsError, match=told):
        convert(written(tmp_path / "b.h5", config_of(without(layers_of(MODEL), name))), tmp_path / "b.npz")


@pytest.mark.parametrize(
    "kind, other, told",
    [
        ("GlobalAveragePooling2D", "GlobalMaxPooling2D", "GlobalMaxPooling2D for global_avg_pool, at blocks.0.se.pool"),
        ("Dropout", "UnitNormalization", "UnitNormalization besides, at blocks.0.project"),
        ("Dropout", "Rescaling", "Rescaling besides, at blocks.0.project"),
    ],
)
def test_a_layer_of_another_class_is_refused(kind, other, told, tmp_path):
    layers = layers_of(MODEL)
    place = next(i for i, (name, *_) in enumerate(layers) if name == kind)
    settings = layers[place][1] | {"scale": 2.0, "offset": 0.0}
    layers[place] = (other, settings, *layers[place][2:])
    with pytest.raises(WeightsError, match=told):
        convert(written(tmp_path / "b.h5", config_of(layers)), tmp_path / "b.npz")


def test_the_hard_sigmoid_of_keras_2_is_another(tmp_path):
    layers = layers_of(MODEL)
    (place,) = (i for i, (_, settings, *_) in enumerate(layers) if settings["name"] == "blocks.0.gate")
    excite = layers[place - 2][2]
    layers[place] = ("Activation", {"name": "blocks.0.gate", "activation": "hard_sigmoid"}, excite, None)
    assert convert(written(tmp_path / "a.h5", config_of(layers)), tmp_path / "a.npz").model == MODEL
    with pytest.raises(WeightsError, match="slope is 0.2 and their offset 0.5, expected 0.1667"):
        convert(written(tmp_path / "b.h5", config_of(layers, "2.15")), tmp_path / "b.npz")


def test_a_configuration_that_is_not_followed_is_warned_of(tmp_path):
    config = config_of(layers_of(MODEL))
    config["config"]["layers"][5]["inbound_nodes"] *= 2  # called twice
    done = convert(written(tmp_path / "a.h5", config), tmp_path / "a.npz")
    assert "a layer or model is used more than once): what its layers compute is not compared" in done.warnings[-1]
    for text in ("[" * 5000, "[]", "{"):
        assert "is not compared" in read_config(text, "config.json")["warnings"][0]
    assert read_config("", "model_config") == {}
