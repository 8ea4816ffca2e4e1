"""TensorFlow Lite models: a whole network written by hand as the converter writes it, and damaged ones."""

import random

import numpy as np
import pytest
from flatbuffer_files import Graph, Numbers, encode
from states import random_state
from tflite_files import CONV, NONE, RELU_0_TO_1, SAME, write

import npmnv3
from npmnv3.conversion import convert, identify_file
from npmnv3.conversion.formats import read_checkpoint
from npmnv3.errors import WeightsError


@pytest.fixture(scope="module")
def keras():
    return npmnv3.load(
        "keras/MobileNetV3Small", random_state("keras/MobileNetV3Small", 3), engine="numpy", dtype="float64"
    )


@pytest.mark.parametrize("weights, worst", [("f4", 1e-4), ("f2", 1e-2), ("i1", 0.2)])
def test_a_network(weights, worst, keras, tmp_path):
    (tmp_path / "a.tflite").write_bytes(write(keras, weights))
    done = convert(tmp_path / "a.tflite", tmp_path / "a.npz")
    assert (done.model, done.num_classes, done.folded) == ("keras/MobileNetV3Small", 3, True)
    assert any("quantised, but its weights alone" in note for note in done.notes) == (weights == "i1")
    assert any("its constants are float16" in note for note in done.notes) == (weights == "f2")
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224))
    found, expected = npmnv3.load(done.path, engine="numpy", dtype="float64")(x), keras(x)
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert error < worst, error


def test_a_gate_that_is_cut_at_1_is_a_hard_sigmoid(keras, tmp_path):
    (tmp_path / "a.tflite").write_bytes(write(keras, gate=RELU_0_TO_1))
    assert [layer.op for layer in read_checkpoint(tmp_path / "a.tflite").layers].count("Clip") == 9
    _, found = identify_file(tmp_path / "a.tflite")
    assert found.fits and found.model == "keras/MobileNetV3Small"


def test_of_two_names_for_one_function_it_is_kerass(tmp_path):
    name = "timm/tf_mobilenetv3_small_100"
    (tmp_path / "a.tflite").write_bytes(write(npmnv3.load(name, random_state(name, 3), engine="numpy")))
    _, found = identify_file(tmp_path / "a.tflite")
    assert found.fits and found.model == "keras/MobileNetV3Small"


def small(**changes):
    graph = Graph()
    x = graph.tensor("x", (1, 8, 8, 3))
    weight = changes.get("weight", np.ones((4, 3, 3, 3), np.float32))
    w = graph.constant(changes.get("name", "w"), weight, **changes.get("how", {}))
    b = graph.constant("b", changes.get("bias", np.ones(4, np.float32)))
    options = changes.get("options", {0: ("b", SAME), 1: ("i", 2), 2: ("i", 2), 3: ("b", NONE)})
    graph.operator(CONV, changes.get("inputs", [x, w, b]), (1, 4, 4, 4), options, "y")
    return graph.bytes(changes.get("behind", False))


def test_a_softmax_at_the_end():
    graph = Graph()
    x, w = graph.tensor("x", (1, 3)), graph.constant("w", np.ones((4, 3), np.float32))
    y = graph.operator(9, [x, w], (1, 4), {0: ("b", NONE)})
    assert read_checkpoint(graph.bytes()).notes == ()
    graph.operator(25, [y], (1, 4))
    assert read_checkpoint(graph.bytes()).notes[0].startswith("the graph ends in softmax: its output are probabilities")


def test_layers_as_they_are():
    found = read_checkpoint(small())
    (layer,) = found.layers
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    (same,), (behind,) = (read_checkpoint(small(weight=weight, behind=there)).layers for there in (False, True))
    assert all(np.array_equal(same.params[name], behind.params[name]) for name in ("weight", "bias"))
    with pytest.raises(WeightsError, match="damaged or cut off"):
        read_checkpoint(small(behind=True)[:-8])
    assert layer.op == "Conv" and layer.params["weight"].shape == (4, 3, 3, 3)
    assert layer.attributes == {"strides": (2, 2), "group": 1, "pads": (0, 0, 1, 1)}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"bias": np.ones(5, np.float32)}, r"a bias float32 \(5,\), expected \(4,\)|expected 4 floats"),
        ({"weight": np.ones((4, 3), np.float32)}, "weights that are no constants"),
        ({"inputs": [0, 9, 1]}, "the tensor 9, of which there are"),
        ({"inputs": [0]}, "weights that are no constants"),
        ({"options": {3: ("b", 7), 0: ("b", 1)}}, "the activation 7"),
        ({"options": {4: ("i", 2), 5: ("i", 2)}}, "dilation"),
        (
            {"weight": np.ones((4, 3, 3, 3), np.int8), "how": {"scale": [1.0, 2.0, 3.0]}},
            "quantised by what does not fit",
        ),
    ],
)
def test_what_is_refused(changes, message):
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(small(**changes))


def test_weights_of_4_bits_are_refused_with_advice():
    graph = Graph()
    x, w = graph.tensor("x", (1, 1, 1, 4)), graph.constant("w", np.zeros((2, 1, 1, 4), np.int8), scale=[1.0])
    graph.tensors[w][1] = "b", 17
    graph.operator(CONV, [x, w], (1, 1, 1, 2), {0: ("b", SAME), 1: ("i", 1), 2: ("i", 1)})
    with pytest.raises(
        WeightsError, match="elements of type 17 .17: int4., .*; give the model in floats that it was made"
    ):
        read_checkpoint(graph.bytes())


def test_weights_beyond_floats_are_read_and_not_warned_of():
    found = read_checkpoint(small(weight=np.full((4, 3, 3, 3), 127, np.int8), how={"scale": [3e38]}))
    assert np.isinf(found.layers[0].params["weight"]).all()


def test_graphs_without_weights_or_several():
    for root, message in (({2: []}, "0 graphs"), ({2: [{}]}, "no layer has weights"), ({2: [{}, {}]}, "2 graphs")):
        with pytest.raises(WeightsError, match=message):
            read_checkpoint(encode(root))


def test_one_buffer_for_all_does_not_multiply():
    graph = Graph()
    x, w = graph.tensor("x", (1, 8, 8, 3)), graph.constant("w", np.ones((64, 3, 3, 64), np.float32))
    for _ in range(200):
        graph.tensors.append(dict(graph.tensors[w]))
        graph.operator(CONV, [x, len(graph.tensors) - 1], (1, 8, 8, 64), {0: ("b", SAME), 1: ("i", 1), 2: ("i", 1)})
    with pytest.raises(WeightsError, match="more than 16 times the file's size"):
        read_checkpoint(graph.bytes())


def test_damage_is_our_error():
    good, rng, errors = small(), random.Random(0), 0
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(8, len(data))] = rng.randrange(256)
        try:
            read_checkpoint(bytes(data[: rng.randrange(8, len(data) + 1)] if rng.random() < 0.3 else data))
        except WeightsError:
            errors += 1
    assert errors > 400


def test_numbers_beyond_the_data():
    data = bytearray(encode({3: Numbers("B", 1, 2)}))
    data[0:4] = (1 << 31).to_bytes(4, "little")
    with pytest.raises(WeightsError, match="damaged or cut off"):
        read_checkpoint(bytes(data))


def test_names_that_the_converter_joined_are_cut():
    first, _ = read_checkpoint(small(name=";".join(["functional/model/re_lu/Relu"] * 40))).arrays
    assert first.startswith("functional/model/re_lu/Relu;") and len(first) < 420
