"""What the configuration in a .keras file says: how pictures are prepared, how the model ends, what its classes and policies are."""

import dataclasses
import io
import json
import zipfile

import checkpoint_files as files
import numpy as np
import pytest

from npmnv3.conversion.formats import read_checkpoint
from npmnv3.errors import WeightsError
from npmnv3.pictures.pixels import normalise
from npmnv3.pictures.recipes import find_recipe

WEIGHTS = {"layers/conv2d": ("conv", [np.ones((1, 1, 2, 2), np.float32)])}


def layer(kind, **settings):
    return {"class_name": kind, "config": settings}


def archived(config):
    """What is read of a .keras file with this configuration."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as entries:
        entries.writestr("config.json", json.dumps(config))
        entries.writestr("model.weights.h5", files.keras_weights(WEIGHTS))
    return read_checkpoint(stream.getvalue())


def archive(*layers):
    """What is read of a .keras file whose model has these layers."""
    return archived(layer("Sequential", layers=layers))


USUAL = layer("Rescaling", scale=1 / 127.5, offset=-1.0)
LINEAR = layer("Dense", units=3, activation="linear")


def conv(filters):
    window = {"kernel_size": [1, 1], "strides": [1, 1], "padding": "same", "dilation_rate": [1, 1]}
    return layer("Conv2D", filters=filters, activation="linear", **window)


def network(*before):
    return layer("Sequential", layers=[layer("InputLayer"), *before, conv(16)])


def test_the_usual_rescaling_is_the_usual_recipe():
    for layers in ((network(USUAL), LINEAR), (USUAL, layer("RandomFlip"), network(), LINEAR)):
        found = archive(*layers)
        assert (found.card, found.notes, found.warnings) == ({}, (), ())


PIXELS = np.arange(0, 256, 5, dtype=np.uint8)[None, :, None].repeat(3, 2)


@pytest.mark.parametrize(
    "layers, scale, offset",
    [
        ((layer("Rescaling", scale=1 / 255, offset=0.0), network()), 1 / 255, 0),
        ((USUAL, network(USUAL)), 1 / 127.5**2, -1 / 127.5 - 1),
        ((layer("Rescaling", scale=[0.5, 1, 2], offset=[1, 0, -3]), network()), [0.5, 1, 2], [1, 0, -3]),
        (
            (layer("Rescaling", scale={"class_name": "__numpy__", "config": {"value": 0.01}}, offset=2), network()),
            0.01,
            2,
        ),
    ],
)
def test_another_rescaling_becomes_the_recipe(layers, scale, offset):
    found = archive(*layers, LINEAR)
    assert found.warnings == () and "not as Keras's own: the dump says so" in found.notes[0]
    recipe = found.card["preprocess"]
    assert find_recipe(recipe) is recipe
    got = normalise(PIXELS, dataclasses.replace(recipe, side=PIXELS.shape[:2]))
    assert np.allclose(got, (PIXELS * np.array(scale) + offset).transpose(2, 0, 1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "layers, told",
    [
        ((network(),), "has no Rescaling: nothing in it says"),
        ((layer("Resizing", height=224), network(USUAL)), "has a Resizing before its first layer"),
        ((layer("Rescaling", scale=-1, offset=0), network()), "which no recipe can express"),
        ((layer("Rescaling", scale=[1, 2], offset=0), network()), "which no recipe can express"),
    ],
)
def test_a_preparation_that_cannot_be_told_is_said_to_be_so(layers, told):
    found = archive(*layers, LINEAR)
    assert found.card == {} and told in found.warnings[0] and "predict prepares pictures as" in found.warnings[0]


@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize("activation", ["softmax", "log_softmax", "sigmoid", "relu"])
@pytest.mark.parametrize("own_layer", [True, False])
def test_how_a_configuration_ends(activation, classes, own_layer):
    if own_layer:
        end = (conv(classes), layer("Flatten"), layer("Activation", activation=activation))
    else:
        function = {"class_name": "function", "config": activation}
        end = layer("Dense", units=classes, activation=function), layer("Dropout")
    found = archive(network(USUAL), *end)
    told = found.notes if "softmax" in activation or (activation, classes) == ("sigmoid", 1) else found.warnings
    assert len(found.notes + found.warnings) == len(told) == 1 and f"ends in {activation}" in told[0]
    assert ("4 classes, each by itself" in told[0]) == ((activation, classes) == ("sigmoid", 4))


def test_another_programs_configuration_is_warned_of():
    (warning,) = archived([{"class_name": "Sequential"}, 1]).warnings
    assert warning.startswith("its configuration is not followed")


def policy(kind, **config):
    return layer("Dense", units=4, dtype={"class_name": kind, "config": config})


def test_policies_that_quantise_or_round():
    with pytest.raises(WeightsError, match="quantised by Keras's model.quantize .config.json has Dense in 'float8'"):
        archive(network(USUAL), policy("QuantizedFloat8DTypePolicy", mode="float8", source_name="float32"))
    for dtype in ("mixed_float16", "bfloat16"):
        (note,) = archive(network(USUAL), policy("DTypePolicy", name=dtype)).notes
        assert note.startswith(f"its configuration has the policy {dtype}: Keras rounds")
        (note,) = archive(network(USUAL), layer("Dense", units=4, dtype=dtype)).notes
        assert note.startswith(f"its configuration has the policy {dtype}: Keras rounds")
    assert archive(network(USUAL), policy("DTypePolicy", name="float32")).notes == ()


def test_a_subclass_that_lists_its_layers_is_those_with_a_warning():
    found = archived(layer("Mine", layers=[layer("Rescaling", scale=1 / 255, offset=0.0), network(), LINEAR]))
    assert found.card["preprocess"].std == (1.0, 1.0, 1.0) and found.program
    (warning,) = found.warnings
    assert warning.startswith("its model is of a class of its own, Mine, whose code is not in the file")


def test_a_subclass_whose_call_alone_knows_its_layers_is_refused():
    with pytest.raises(
        WeightsError, match=r"class of its own, Mine, whose call\(\) is code .*keras.Model\(x, model.call\(x\)\)"
    ):
        archived(layer("Mine", trainable=True))
