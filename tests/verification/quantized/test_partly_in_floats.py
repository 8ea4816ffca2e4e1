"""An .onnx of integers with parts in floats, as NNCF and `op_types_to_quantize` leave them: run, and judged as floats."""

import re

import numpy as np
import pytest
import quantized_goldens as golden
from command_line import run

import npmnv3
from npmnv3.conversion.quantized import PartlyInFloats, read_quantized_model
from npmnv3.errors import WeightsError
from npmnv3.verification.quantized.file_weights import check_file, grid_steps

onnx = pytest.importorskip("onnx")
FILE = golden.FOLDER / "ppocr--text_direction.qdq_u8s8_per_channel_reduce_range.onnx"


def without_pairs(graph, op):
    """Take the QuantizeLinear and the DequantizeLinear behind each node of this kind out of a graph."""
    made = {node.output[0] for node in graph.node if node.op_type == op}
    gone = [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] in made]
    source = {node.output[0]: node.input[0] for node in gone}
    pairs = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in source]
    floats = {node.output[0]: source[node.input[0]] for node in pairs}
    for node in (*gone, *pairs):
        graph.node.remove(node)
    for node in graph.node:
        node.input[:] = [floats.get(name, name) for name in node.input]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """(the float network that the file's weights stand for, its input, the file with its gates in floats)."""
    weights = tmp_path_factory.mktemp("weights") / "w.npz"
    model = onnx.load(FILE)
    without_pairs(model.graph, "HardSigmoid")
    onnx.save(model, weights.with_suffix(".onnx"))
    npmnv3.convert(weights.with_suffix(".onnx"), weights.with_suffix(".h5"))
    with np.load(FILE.with_suffix(".npz")) as file:
        x = file["float_input"]
    np.save(weights.with_suffix(".npy"), x)
    return weights.with_suffix(".h5"), weights.with_suffix(".npy"), model


def test_gates_in_floats(case, tmp_path, capsys):
    weights, x, model = case
    port = tmp_path / "port.onnx"
    onnx.save(model, port)
    with pytest.raises(PartlyInFloats, match=r"in floats: not quantised throughout.*`npmnv3 verify` runs it as it is"):
        read_quantized_model(port)
    code, out, _ = run(capsys, "verify", weights, port, "--input", x)
    assert code == 0 and "FINE: an int8 port" in out and "judged as floats, not integer for integer" in out, out[:400]


def test_a_fault_of_it(case, tmp_path, capsys):
    weights, x, model = case
    port, broken = tmp_path / "port.onnx", onnx.ModelProto()
    broken.CopyFrom(model)
    layer = [node for node in broken.graph.node if node.op_type == "Conv"][5]
    dequantized = next(node for node in broken.graph.node if node.output[0] == layer.input[2])
    bias = next(i for i in broken.graph.initializer if i.name == dequantized.input[0])
    bias.CopyFrom(onnx.numpy_helper.from_array(np.zeros_like(onnx.numpy_helper.to_array(bias)), bias.name))
    onnx.save(broken, port)
    code, out, _ = run(capsys, "verify", weights, port, "--input", x)
    assert code == 1 and "DIVERGES" in out, out[:400]


def changed(model, *changes):
    """The file with parts of its layers changed: (operation, which of these, "weight", "scale" or "bias", change)."""
    broken = onnx.ModelProto()
    broken.CopyFrom(model)
    held = {i.name: i for i in broken.graph.initializer}
    made = {node.output[0]: node.input for node in broken.graph.node if node.op_type == "DequantizeLinear"}
    for kind, index, place, change in changes:
        layer = [node for node in broken.graph.node if node.op_type == kind][index]
        of, part = {"weight": (1, 0), "scale": (1, 1), "bias": (2, 0)}[place]
        tensor = held[made[layer.input[of]][part]]
        value = onnx.numpy_helper.to_array(tensor).copy()
        change(value)
        tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    return broken


def exchange(value):
    value[[0, 1]] = value[[1, 0]]


def turn_one(value):
    value.flat[7] = -60 if value.flat[7] > 0 else 60


def set_zero(value):
    value[...] = 0


def zero_channel(value):
    value[2] = 0


def scale_channel(value):
    value[2] *= 1.5


def scale_all(value):
    value *= 1.1


def shift(value):
    value[...] = np.roll(value, 1, 0)


def transpose(value):
    value[...] = value.swapaxes(-1, -2).copy()


def equalise(value):
    value *= np.linspace(0.5, 2, len(value)).astype(value.dtype)


FAULTS = (
    (("Conv", 0, "weight", turn_one), r"has 1 of 216 weights that are not these, first by size \[0, 0, 2, 1\]"),
    (("Conv", 1, "scale", scale_channel), r"has the weights of 1 of 8 output channels \(2\) times 1\.5"),
    (("Conv", 2, "weight", exchange), r"has in 2 of 8 output channels \(0, 1\) the weights of other channels \(1, 0\)"),
    (("Conv", 5, "weight", zero_channel), r"has no weights in 1 of 8 output channels \(2\)"),
    (("Conv", 6, "scale", scale_all), r"has its weights times 1\.1"),
    (("Conv", 7, "weight", transpose), "has its kernel transposed"),
    (("Conv", 8, "bias", set_zero), "has no bias"),
    (("Conv", 9, "weight", shift), r"output channels .* the weights of other channels \(\d+, 0, 1, 2, \.\.\.\)"),
    (("Gemm", 0, "weight", set_zero), "has weights that are all zero"),
)


def test_its_weights_layer_by_layer(case, tmp_path):
    weights, x, model = case
    network, port = npmnv3.load(weights, engine="numpy"), tmp_path / "port.onnx"
    onnx.save(model, port)
    wrong, notes = check_file(network, port, np.load(x))
    assert not wrong and re.search("layer by layer, in all [0-9]+", notes[0]), (wrong, notes)
    onnx.save(changed(model, *(change for change, _ in FAULTS), ("Conv", 10, "scale", equalise)), port)
    wrong, notes = check_file(network, port, np.load(x))
    for (name, text), (change, told) in zip(wrong, FAULTS, strict=True):
        assert re.search(told, text), (name, text, change)
    assert [name for name, _ in wrong][:3] == ["stem.conv", "blocks.0.expand.conv", "blocks.0.depthwise.conv"], wrong
    # As a tool that moves weights between layers leaves them.
    assert re.search(r"in 1 of \d+ layers \(blocks.2.depthwise.conv\) most of the file's weights are not", notes[0]), (
        notes
    )


@pytest.mark.parametrize(
    "change, step, told",
    [
        (("Conv", 2, "weight", turn_one), "blocks.0.depthwise.conv", r"has 1 of 72 weights .*; by its numbers alone fine: an int8 port"),
        # The logits equal the bias then, and are no weight for all that.
        (("Gemm", 0, "weight", set_zero), "logits", "has weights that are all zero; by its numbers alone diverges: an int8 port"),
    ],
)  # fmt: skip
def test_the_verdict_on_its_weights(case, tmp_path, change, step, told):
    weights, x, model = case
    onnx.save(changed(model, change), tmp_path / "port.onnx")
    report = npmnv3.verify(weights, tmp_path / "port.onnx", np.load(x), explain=False)
    assert report.verdict == "diverges" and report.first_divergence == step, report.sentence
    assert re.match(f"{step} of the file {told}", report.sentence) and report.tensors[-1].step == "logits", (
        report.sentence
    )


@pytest.mark.parametrize("reach", [127, 64, 7])
def test_the_grid_of_a_channel(reach):
    """All of int8, half of it as for old processors, and 4 bits; 9 numbers or many."""
    rng = np.random.default_rng(0)
    for count in (9, 100):
        levels = rng.integers(-reach, reach + 1, (20, count))
        levels[:, :2] = reach, reach - 1
        steps = rng.uniform(0.01, 2, (20, 1)).astype(np.float32)
        assert np.allclose(grid_steps(steps * levels.astype(np.float32)), steps, rtol=1e-5)
    floats = rng.standard_normal((20, 50))
    assert np.allclose(grid_steps(floats), np.abs(floats).max(1, keepdims=True) / 127)
    levels[5] = 0
    assert grid_steps(levels.astype(float))[5] == 1


def test_integers_of_it_are_refused_with_what_to_do(case, tmp_path):
    weights, x, model = case
    port = tmp_path / "port.onnx"
    onnx.save(model, port)
    with pytest.raises(WeightsError, match="not quantised throughout"):
        npmnv3.verify(weights, port, x, tensors={"logits": np.zeros((1, 2), np.uint8)})


def test_a_layer_with_weights_in_floats(case, tmp_path):
    """As `nodes_to_exclude` leaves it."""
    model = onnx.ModelProto()
    model.CopyFrom(case[2])
    layer = next(node for node in model.graph.node if node.op_type == "Conv")
    layer.input[1] = "floats"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "floats"))
    onnx.save(model, tmp_path / "port.onnx")
    with pytest.raises(PartlyInFloats, match="has weights in floats"):
        read_quantized_model(tmp_path / "port.onnx")
