"""Quantised TensorFlow Lite graphs by hand: what is before the network, on bytes, and what is behind its logits."""

from dataclasses import replace

import goldens
import numpy as np
import pytest
from flatbuffer_files import Graph

import npmnv3
from npmnv3.conversion.quantized import read_quantized_model
from npmnv3.conversion.quantized.names import name_tensors
from npmnv3.conversion.quantized.preparation import preparation
from npmnv3.errors import WeightsError
from npmnv3.network.integer_plan import IntegerPlan, IntegerStep
from npmnv3.ops.grids import Grid

INT8 = goldens.CUT / "int8"
BYTES = np.arange(256, dtype=np.float32).reshape(1, 1, 16, 16)
ADD, MUL, CONV, MEAN, DEQUANTIZE, QUANTIZE, TRANSPOSE = 0, 18, 3, 40, 6, 114, 39


def graph(kind="i1", again=None, bytes_to=1.0, end=None):
    """A .tflite of one layer behind Keras's Rescaling, whose grids are those that TensorFlow's converter gave it.

    kind : of its input and output; again : (scale, zero point) of the output's QUANTIZE; end : an operation
    behind the logits
    """
    made, shape, small = Graph(), (1, 16, 16, 1), {"kind": "i1"}
    bytes_as = {"scale": [bytes_to * 0.9999998807907104], "zero": [-128]}
    outer = {"u1": bytes_as | {"zero": [0], "kind": "u1"}, "i1": bytes_as | small, "f4": {}}[kind]
    x = made.tensor("input", shape, **outer)
    if kind != "i1":
        x = made.operator(QUANTIZE, [x], shape, **bytes_as, **small)
    factor = made.constant("factor", np.array(127, np.int8), scale=[3.075740460189991e-05], zero=[-128])
    x = made.operator(MUL, [x, factor], shape, {}, scale=[0.011764700524508953], zero=[-43], **small)
    less = made.constant("less", np.array(-128, np.int8), scale=[0.003921568859368563], zero=[127])
    x = made.operator(ADD, [x, less], shape, {}, scale=[0.007843131199479103], zero=[-1], **small)
    weight = made.constant("w", np.full((1, 1, 1, 1), 64, np.int8), scale=[0.01])
    options = {0: ("b", 0), 1: ("i", 1), 2: ("i", 1), 3: ("b", 0)}
    x = made.operator(CONV, [x, weight], shape, options, "y", scale=[0.0078125], zero=[5], **small)
    if end:
        x = made.operator(end, [x], shape, scale=[1 / 256], zero=[-128], **small)
        x = made.operator(DEQUANTIZE, [x], shape)
    if again or (kind == "u1" and not end):
        scale, zero = again or (0.0078125, 133)
        made.operator(QUANTIZE, [x], shape, scale=[scale], zero=[zero], kind="u1")
    return made.bytes()


@pytest.mark.parametrize("kernels", ["tflite-reference", "tflite-optimized", "xnnpack"])
@pytest.mark.parametrize("kind", ["i1", "u1", "f4"])
def test_a_preparation_in_integers(kind, kernels, tmp_path):
    """Every byte's integer as TensorFlow Lite 2.21 gave it: its kernels round the halves of the sum down, XNNPACK up."""
    (tmp_path / "m.tflite").write_bytes(graph(kind))
    done = npmnv3.convert(tmp_path / "m.tflite", tmp_path / "q.npz")
    ours = npmnv3.load(tmp_path / "q.npz", kernels=kernels).trace(BYTES, integers=True)
    byte = np.arange(256)
    down = byte % 3 == 2
    if kernels != "xnnpack":
        down |= (byte % 3 == 0) & (byte > 0)
    assert np.array_equal(list(ours.values())[3].ravel(), byte - 128 - down)
    told = [note for note in done.notes if "the file's input is uint8; the dump has it as int8, 128 lower" in note]
    assert len(told) == (kind == "u1")
    assert any("3 steps of it prepare the picture, about x * 0.00784314 -1;" in note for note in done.notes)


def test_uint8_at_the_ends_is_the_same_numbers(tmp_path):
    values = []
    for kind in ("i1", "u1"):
        (tmp_path / "m.tflite").write_bytes(graph(kind))
        npmnv3.convert(tmp_path / "m.tflite", tmp_path / "q.npz")
        values.append(npmnv3.load(tmp_path / "q.npz", kernels="tflite-reference").trace(BYTES))
    assert all(np.array_equal(a, b) for a, b in zip(*(value.values() for value in values), strict=True))


@pytest.mark.parametrize("end, told", [(14, "sigmoid"), (25, "softmax"), (50, "log_softmax")])
def test_what_is_behind_the_logits_is_left_out(end, told, tmp_path):
    (tmp_path / "m.tflite").write_bytes(graph("u1", end=end))
    plan, *_ = read_quantized_model(tmp_path / "m.tflite")
    assert plan.steps[-1].name.endswith(":y")
    assert f"the {told} at its end is left out: the last tensor is the logits'" in plan.notes and plan.warnings == ()


@pytest.mark.parametrize("scale", [0.1, 0.01])
def test_products_that_kernels_wrap_are_warned_of(scale, tmp_path):
    made, grid = Graph(), {"scale": [0.1], "zero": [-128], "kind": "i1"}
    x = made.tensor("x", (1, 2, 2, 3), **grid)
    y = made.operator(MUL, [x, x], (1, 2, 2, 3), {0: ("b", 0)}, "y", scale=[scale], kind="i1")
    weight = made.constant("w", np.ones((1, 1, 1, 3), np.int8), scale=[1.0])
    made.operator(CONV, [y, weight], (1, 2, 2, 1), {0: ("b", 0), 1: ("i", 1), 2: ("i", 1)}, "z", scale=[1.0], kind="i1")
    (tmp_path / "m.tflite").write_bytes(made.bytes())
    warnings = read_quantized_model(tmp_path / "m.tflite")[0].warnings
    assert [warning for warning in warnings if "'1:y' can be more than 32,767 steps" in warning] == list(warnings)
    assert len(warnings) == (scale == 0.01)


def turned(order, axes=(0, 2, 3, 1)):
    """A layer of three channels behind an input (1, 3, 4, 5), as litert-torch converts PyTorch's networks.

    order : what turns and rounds the picture before the layer
    """
    made, grid, sides = Graph(), {"scale": [0.5], "zero": [3], "kind": "i1"}, (1, 3, 4, 5)
    x = made.tensor("input", sides, **({} if QUANTIZE in order else grid))
    rounded = QUANTIZE not in order
    for code in order:
        rounded |= code == QUANTIZE
        sides = (1, 4, 5, 3) if code == TRANSPOSE else sides
        operands = [x, made.constant("axes", np.array(axes, np.int32))] if code == TRANSPOSE else [x]
        x = made.operator(code, operands, sides, **(grid if rounded else {}))
    weight = made.constant("w", np.arange(6, dtype=np.int8).reshape(2, 1, 1, 3), scale=[0.5])
    options = {0: ("b", 0), 1: ("i", 1), 2: ("i", 1), 3: ("b", 0)}
    made.operator(CONV, [x, weight], (1, 4, 5, 2), options, scale=[0.5], kind="i1")
    return made.bytes()


@pytest.mark.parametrize("order", [(TRANSPOSE,), (QUANTIZE, TRANSPOSE), (TRANSPOSE, QUANTIZE)])
def test_an_input_whose_channels_are_first(order, tmp_path):
    (tmp_path / "m.tflite").write_bytes(turned(order))
    npmnv3.convert(tmp_path / "m.tflite", tmp_path / "q.npz")
    x = np.random.default_rng(3).integers(-9, 9, (1, 3, 4, 5)).astype(np.float32)
    given = npmnv3.load(tmp_path / "q.npz", kernels="tflite-reference")(x)
    weight = np.arange(6).reshape(2, 3) * 0.5
    assert np.array_equal(given, np.clip(np.einsum("oc,nchw->nohw", weight, x), -64, 63.5))


def test_another_turn_of_the_input_is_refused(tmp_path):
    (tmp_path / "m.tflite").write_bytes(turned((TRANSPOSE,), (0, 3, 2, 1)))
    with pytest.raises(WeightsError, match=r"turns the picture's axes by \[0, 3, 2, 1\], expected \[0, 2, 3, 1\]"):
        read_quantized_model(tmp_path / "m.tflite")


def test_integers_on_another_scale_are_refused(tmp_path):
    for again in ((0.0079, 133), (0.0078125, 132)):
        (tmp_path / "m.tflite").write_bytes(graph(again=again))
        with pytest.raises(
            WeightsError, match="is quantised anew, from the scale 0.0078125 and the zero point 5 of int8"
        ):
            read_quantized_model(tmp_path / "m.tflite")


def test_an_input_that_is_no_bytes_is_said_to_be_so(tmp_path):
    (tmp_path / "m.tflite").write_bytes(graph(bytes_to=1 / 255))
    warnings = npmnv3.convert(tmp_path / "m.tflite", tmp_path / "q.npz").warnings
    assert any("stand for 0 to 1, which are no bytes: nothing says" in warning for warning in warnings)


def test_a_network_behind_its_preparation(tmp_path):
    """The same network, whose stem reads what the input becomes; its pictures are bytes as they are."""
    plan, scheme, _ = read_quantized_model(INT8 / "timm--mobilenetv3_small_050.int8.tflite")
    first = (
        IntegerStep("half", "scale", ("input",), plan.input_shape),
        IntegerStep("one", "fill", (), plan.input_shape),
        IntegerStep("sum", "add", ("half", "one"), plan.input_shape),
    )
    steps = (*first, *(replace(s, inputs=tuple("sum" if n == "input" else n for n in s.inputs)) for s in plan.steps))
    arrays = {"half.constant": np.array(2, np.int8), "half.weight_scale": np.full(1, 0.5, np.float32)}
    arrays |= {"half.weight_zero_point": np.zeros(1, np.int32), "one.constant": np.array(-4, np.int8)}
    grids = {"input": Grid(1.0, -128), "half": Grid(1.0, -128), "one": Grid(0.25, 0), "sum": plan.grids["input"]}
    named = name_tensors(IntegerPlan(steps, {**plan.grids, **grids}, arrays | plan.arrays, plan.input_shape))
    assert named.variant.full_name == "timm/mobilenetv3_small_050" and named.whole
    assert [step.name for step in named.plan.steps[:3]] == ["prepare.0.scale", "prepare.1.fill", "prepare.2.add"]
    found = preparation(named.plan)
    assert (found.last, found.scale, found.offset) == ("prepare.2.add", 1.0, -1.0) and found.description()[0]
    recipe = found.recipe(named.variant, (96, 160))
    assert (recipe.mean, recipe.std, recipe.side) == ((0.0,) * 3, (1 / 255,) * 3, (96, 160))


def test_a_classifier_alone_on_an_input_of_bytes():
    """Without the hidden layer it is still the network; an input of 0 to 255 is bytes, whatever the usual recipe is."""
    named = name_tensors(read_quantized_model(INT8 / "timm--mobilenetv3_small_050.int8.tflite")[0]).plan
    kept = [step for step in named.steps if not step.name.startswith(("head", "logits"))]
    logits = IntegerStep("logits", "linear", ("pool",), (5,))
    width = named.arrays["head.fc.weight"].shape[1]
    arrays = {"weight": np.ones((5, width), np.int8), "bias": np.ones(5, np.int32)}
    arrays |= {"weight_scale": np.ones(1, np.float32), "weight_zero_point": np.zeros(1, np.int32)}
    arrays = {**named.arrays, **{f"logits.{role}": array for role, array in arrays.items()}}
    grids = {**named.grids, **dict.fromkeys(("input", "stem.conv.pad"), Grid(1.0, -128))}
    found = name_tensors(IntegerPlan((*kept, logits), grids, arrays, named.input_shape))
    assert (found.variant.full_name, found.whole, found.num_classes) == ("timm/mobilenetv3_small_050", True, 5)
    of_bytes, remark = preparation(found.plan).description()
    assert of_bytes and remark.startswith("its input's integers stand for 0 to 255: taken for the bytes")
    assert preparation(named).description() == (False, "")
