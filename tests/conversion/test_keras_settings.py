"""Keras's configurations: what its layers are set to is held against the network."""

import io
import json

import checkpoint_files as files
import h5py
import pytest
from states import random_state

from npmnv3.conversion import convert
from npmnv3.errors import WeightsError
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant

MODEL = "keras/MobileNetV3Small"


def layers_of(model):
    """[(class, settings)] as Keras 2 has them, hard-swish as the one layer that it is in Keras 3."""
    found = [("InputLayer", {}), ("Rescaling", {"scale": 1 / 127.5, "offset": -1.0})]
    for step in make_plan(get_variant(model), 3):
        name = step.params[0].name.rpartition("/")[0] if step.params else step.name
        if step.param("weight"):
            kind = "DepthwiseConv2D" if step.op == "depthwise_conv2d" else "Conv2D"
            more = {"strides": list(step.stride), "dilation_rate": [1, 1], "activation": "linear"}
            found.append((kind, {"name": name, **more}))
        elif step.op == "batch_norm":
            found.append(("BatchNormalization", {"name": name, "epsilon": step.eps}))
        elif step.op == "hard_swish":
            found.append(("Activation", {"name": name, "activation": "hard_silu"}))
        elif step.op in ("relu", "hard_sigmoid"):
            most = 6.0 if step.op == "hard_sigmoid" else None
            found.append(("ReLU", {"name": name, "max_value": most, "negative_slope": 0.0, "threshold": 0.0}))
    return found


def written(path, layers):
    stream = io.BytesIO(files.keras_legacy({"all": random_state(MODEL, 3)}))
    with h5py.File(stream, "r+") as file:
        config = {"layers": [{"class_name": kind, "config": settings} for kind, settings in layers]}
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config})
    path.write_bytes(stream.getvalue())
    return path


@pytest.mark.parametrize(
    "kind, number, change, told",
    [
        ("BatchNormalization", 3, {"epsilon": 1e-5}, "epsilon differs: expanded_conv_1_expand_bn has 1e-05"),
        ("DepthwiseConv2D", 0, {"strides": [1, 1]}, r"stride differs: expanded_conv_depthwise has \(1, 1\)"),
        ("DepthwiseConv2D", 5, {"dilation_rate": [2, 2]}, "dilation differs"),
        ("Activation", 2, {"activation": "silu"}, "1 of silu, expected 0"),
        ("Activation", 0, {"activation": "relu"}, "of relu, expected"),
        ("ReLU", 0, {"negative_slope": 0.1}, "1 of leaky_relu, expected 0"),
        ("ReLU", 2, {"max_value": 5.0}, "1 of hardtanh, expected 0"),
        ("Conv2D", 4, {"activation": "gelu"}, "1 of gelu, expected 0"),
    ],
)
def test_a_layer_that_is_set_otherwise_is_refused(kind, number, change, told, tmp_path):
    layers = layers_of(MODEL)
    assert convert(written(tmp_path / "a.h5", layers), tmp_path / "a.npz").notes == ()
    [settings for name, settings in layers if name == kind][number].update(change)
    with pytest.raises(WeightsError, match=told):
        convert(written(tmp_path / "b.h5", layers), tmp_path / "b.npz")
