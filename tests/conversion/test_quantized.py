"""Quantised models of real engines: every tensor equal, integer for integer; and what is refused, damaged or hostile."""

import shutil
from dataclasses import replace

import goldens
import numpy as np
import pytest
from command_line import run
from damages import damaged
from flatbuffer_files import Graph

import npmnv3
from npmnv3.conversion.quantized import is_quantized_model, read_quantized_model
from npmnv3.conversion.quantized.names import name_tensors
from npmnv3.conversion.quantized.preparation import preparation
from npmnv3.dumps.quantized import read_quantized
from npmnv3.errors import Npmnv3Error, UsageError, WeightsError
from npmnv3.network.integer_plan import LAYERS, IntegerPlan, IntegerStep
from npmnv3.ops.grids import Grid

INT8 = goldens.CUT / "int8"
SETS = {"ref": "tflite-reference", "opt": "tflite-optimized", "xnn": "xnnpack", "micro": "tflite-micro"}

# file: the network, whether it is whole
# fmt: off
MODELS = {
    "keras--MobileNetV3Small-to-blocks.4.int8.tflite":               ("keras/MobileNetV3Small", False),
    "keras--MobileNetV3Small-to-blocks.4.int8_per_tensor.tflite":    ("keras/MobileNetV3Small", False),
    "ppocr--text_direction.int8.tflite":                             ("ppocr/text_direction", True),
    "ppocr--text_direction.qdq_u8s8_per_channel_reduce_range.onnx":  ("ppocr/text_direction", True),
    "timm--mobilenetv3_small_050.int8.tflite":                       ("timm/mobilenetv3_small_050", True),
    "timm--mobilenetv3_small_050.int8_per_tensor.tflite":            ("timm/mobilenetv3_small_050", True),
    "timm--mobilenetv3_small_050.qdq_u8s8_per_channel.onnx":         ("timm/mobilenetv3_small_050", True),
    "timm--mobilenetv3_small_050.qoperator_u8u8_per_tensor.onnx":    ("timm/mobilenetv3_small_050", True),
}
# fmt: on
TFLITE = [name for name in MODELS if name.endswith(".tflite")]
ONNX = [name for name in MODELS if name.endswith(".onnx")]


@pytest.fixture(scope="module")
def dumps(tmp_path_factory):
    """{file: its quantised dump}, converted on the command line when it is first asked for."""
    folder, made = tmp_path_factory.mktemp("quantized"), {}

    def dump(name):
        if name not in made:
            made[name] = str(folder / f"{name}.npz")
            npmnv3.convert(INT8 / name, made[name])
        return made[name]

    return dump


def golden(name):
    return np.load(INT8 / f"{name.rsplit('.', 1)[0]}.npz")


def wanted(data, kind):
    """{operation: tensor} of a kernel set in a .npz of a .tflite: what the engine gave, as the file's README says."""
    if kind in ("ref", "micro"):
        return {key[4:]: data[key] for key in data.files if key.startswith("ref/")}
    partial = sum(key.startswith("opt-ref/") for key in data.files) < 30  # only the means and the last tensor were kept
    names = [str(name) for name in data["ops"]]
    if partial:
        names = [name for name in names if f"{kind}-ref/{name}" in data.files]
    return {
        name: (data[f"ref/{name}"].astype(np.int16) + data[key]).astype(np.int8) if (key := f"{kind}-ref/{name}") in data.files
        else data[f"ref/{name}"]
        for name in names
    }  # fmt: skip


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("name", TFLITE)
def test_tensorflow_lites_tensors(dumps, name, kind, engine):
    if engine == "numba":
        pytest.importorskip("numba")
    data = golden(name)
    model = npmnv3.load(dumps(name), kernels=SETS[kind], engine=engine)
    tensors = model.trace(np.ascontiguousarray(data["float_input"].transpose(0, 3, 1, 2)), integers=True)
    assert np.array_equal(tensors["input"].transpose(0, 2, 3, 1), data["input"])
    ours, theirs = list(tensors.values())[1:], wanted(data, kind)
    order = [str(op) for op in data["ops"] if f"ref/{op}" in data.files]
    assert len(ours) == len(order) and len(theirs) >= 8
    for op, tensor in zip(order, ours):
        if op in theirs:
            got = tensor.transpose(0, 2, 3, 1) if tensor.ndim == 4 else tensor.reshape(theirs[op].shape)
            off = int((got != theirs[op]).sum())
            assert off == 0, f"{op}: {off} of {got.size} integers differ"


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("name", ONNX)
def test_onnx_runtimes_tensors(dumps, name, engine):
    if engine == "numba":
        pytest.importorskip("numba")
    data = golden(name)
    kernels = "onnxruntime-avx2" if "u8s8_per_channel.onnx" in name else "onnxruntime"
    model = npmnv3.load(dumps(name), kernels=kernels, engine=engine)
    ours = {tensor.tobytes() for tensor in model.trace(data["float_input"], integers=True).values()}
    theirs = [key for key in data.files if key.startswith("tensor/")]
    assert len(theirs) > 120
    off = [key for key in theirs if data[key].tobytes() not in ours]
    assert not off, f"{len(off)} of {len(theirs)} differ, {off[:3]}"
    assert np.array_equal(model(data["float_input"]), data["logits"].reshape(1, -1))


def test_saturation_is_what_sets_the_two_sets_apart(dumps):
    name = "timm--mobilenetv3_small_050.qdq_u8s8_per_channel.onnx"
    x = golden(name)["float_input"]
    plain, avx2 = (
        npmnv3.load(dumps(name), kernels=k).trace(x, integers=True) for k in ("onnxruntime", "onnxruntime-avx2")
    )
    assert any((plain[key] != avx2[key]).any() for key in plain)


@pytest.mark.parametrize("name", MODELS)
def test_networks_and_names(name):
    named = name_tensors(read_quantized_model(INT8 / name)[0])
    assert (named.variant.full_name, named.whole) == MODELS[name]
    names = [step.name for step in named.plan.steps]
    assert {"stem.conv", "stem", "blocks.0.depthwise", "blocks.0.se.pool", "blocks.0.gate", "blocks.0.se"} <= set(names)
    last = next(step.name for step in reversed(named.plan.steps) if step.op != "identity")
    assert last == ("logits" if named.whole else "blocks.4")


def test_the_command_says_what_it_found(tmp_path, capsys):
    out = tmp_path / "q.npz"
    argv = ["convert", INT8 / "keras--MobileNetV3Small-to-blocks.4.int8.tflite", "-o", out, "--kernels", "xnnpack"]
    code, printed, warned = run(capsys, *argv)
    assert code == 0
    assert f"{out}: keras/MobileNetV3Small, 40 classes" in printed
    assert "fits timm/tf_mobilenetv3_small_100 as well" in warned
    assert "ends at blocks.4: it is the beginning of keras/MobileNetV3Small" in warned
    assert read_quantized(out).kernels == npmnv3.load(out).kernels == "xnnpack"


def test_a_float_dump_of_what_the_weights_stand_for(tmp_path):
    done = npmnv3.convert(INT8 / "timm--mobilenetv3_small_050.int8.tflite", tmp_path / "f.h5")
    assert done.model == "timm/mobilenetv3_small_050" and any("quantised" in note for note in done.notes)
    assert npmnv3.load(tmp_path / "f.h5").dtype == np.float32


def test_a_float_dump_of_integer_operators(tmp_path):
    """QLinearConv and the others: the same numbers as the integers of the quantised dump stand for, and near the logits."""
    name = "timm--mobilenetv3_small_050.qoperator_u8u8_per_tensor"
    done = npmnv3.convert(INT8 / f"{name}.onnx", tmp_path / "f.h5")
    assert done.model == "timm/mobilenetv3_small_050" and any("quantised, 265 scales" in note for note in done.notes)
    npmnv3.convert(INT8 / f"{name}.onnx", tmp_path / "q.npz")
    model, plan = npmnv3.load(tmp_path / "f.h5"), read_quantized(tmp_path / "q.npz").plan
    floats = model.arrays(folded=True)
    layers = {step.name: step for step in model.plan_for(folded=True) if step.param("weight")}
    for step in plan.steps:
        layer = layers.get(step.name) or layers.get(f"{step.name}.conv") or layers.get(f"{step.name}.fc")
        if step.op in LAYERS:
            weight, bias, scale, zero = plan.params(step)
            real = (weight.astype(np.float64) - zero.reshape(-1, *(1,) * (weight.ndim - 1))) * scale[0]
            np.testing.assert_allclose(floats[layer.param("weight").name], real, rtol=1e-6, atol=1e-9)
            expected = bias * (np.float64(plan.grids[step.inputs[0]].scale) * scale)
            np.testing.assert_allclose(floats[layer.param("bias").name], expected, rtol=1e-6, atol=1e-9)
    data = golden(f"{name}.onnx")
    error = model(data["float_input"]) - data["float_logits"]
    assert np.linalg.norm(error) < 0.5 * np.linalg.norm(data["float_logits"])


def test_real_values_and_batches(dumps):
    name = "timm--mobilenetv3_small_050.int8.tflite"
    data = golden(name)
    model = npmnv3.load(dumps(name), kernels="tflite-reference")
    x = np.ascontiguousarray(data["float_input"].transpose(0, 3, 1, 2))
    x = np.concatenate([x, -x, x])
    real, integers = model.trace(x), model.trace(x, integers=True)
    for key, tensor in real.items():
        assert tensor.dtype == np.float32 and np.array_equal(tensor, model.plan.grids[key].dequantize(integers[key]))
    assert np.array_equal(model.features(x), real["head"])
    assert np.array_equal(model(x), real["logits"]) and np.array_equal(model(x)[0], model(x[2:])[0])
    # The engine's logits are near the float network's, and where they part is what quantising cost.
    error = np.linalg.norm(model(x)[0] - data["float_logits"]) / np.linalg.norm(data["float_logits"])
    assert error < 0.5, error


def test_another_network_is_refused(tmp_path):
    path = INT8 / "timm--mobilenetv3_small_050.int8.tflite"
    with pytest.raises(
        WeightsError, match="is not timm/mobilenetv3_small_075: .*stem|is not timm/mobilenetv3_small_075"
    ):
        npmnv3.convert(path, tmp_path / "q.npz", model="timm/mobilenetv3_small_075")
    with pytest.raises(UsageError, match="dtype='float16'` is not for a quantised model"):
        npmnv3.convert(path, tmp_path / "q.npz", dtype="float16")
    with pytest.raises(UsageError, match="kernels is 'xnn', expected one of"):
        npmnv3.convert(path, tmp_path / "q.npz", kernels="xnn")
    with pytest.raises(UsageError, match="is for quantised models"):
        npmnv3.convert(path, tmp_path / "q.h5", kernels="xnnpack")
    assert not list(tmp_path.iterdir())


def test_a_dead_squeeze_is_read(tmp_path):
    """Its scale is 7.8e-9, and the gate behind it a constant."""
    plan, _ = read_quantized_model(INT8 / "ppocr--text_direction.dead_se.tflite")
    scales = [plan.grids[step.name].scale for step in plan.steps if step.op in LAYERS]
    assert min(scales) < 1e-7


def test_what_is_not_quantised(tmp_path):
    assert not is_quantized_model(tmp_path / "none.tflite")
    (tmp_path / "some.tflite").write_bytes(b"no model at all")
    assert not is_quantized_model(tmp_path / "some.tflite")
    with pytest.raises(WeightsError, match="some.tflite: no quantised"):
        read_quantized_model(tmp_path / "some.tflite")


@pytest.mark.parametrize("name", [TFLITE[0], TFLITE[2], ONNX[0], ONNX[2]])
def test_damaged_files(name, tmp_path):
    """Read, or refused by an error of our own; what is read can be run."""
    data, path, rng = (INT8 / name).read_bytes(), tmp_path / name, np.random.default_rng(7)
    refused = 0
    for _ in range(60):
        path.write_bytes(damaged(data, rng))
        try:
            name_tensors(read_quantized_model(path)[0])
        except Npmnv3Error:
            refused += 1
    assert 5 < refused < 60


def test_damaged_scales(tmp_path):
    """Numbers in place of the scales: zero, NaN, far too large."""
    name = "ppocr--text_direction.int8.tflite"
    data = (INT8 / name).read_bytes()
    scale = golden(name)["scale"][1].tobytes()
    assert data.count(scale) >= 1
    for number, message in (
        (0, "a scale of 0.0"),
        (np.nan, "a scale of nan"),
        (-1, "a scale of -1.0"),
        (np.inf, "inf"),
    ):
        (tmp_path / name).write_bytes(data.replace(scale, np.float32(number).tobytes()))
        with pytest.raises(WeightsError, match=f"the tensor '.*{message}"):
            read_quantized_model(tmp_path / name)
    shutil.copy(INT8 / name, tmp_path / "whole.tflite")
    read_quantized_model(tmp_path / "whole.tflite")


BYTES = np.arange(256, dtype=np.float32).reshape(1, 1, 16, 16)
ADD, MUL, CONV, DEPTHWISE, MEAN, DEQUANTIZE, QUANTIZE, TRANSPOSE = 0, 18, 3, 4, 40, 6, 114, 39


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
    plan, _ = read_quantized_model(tmp_path / "m.tflite")
    assert plan.steps[-1].name.endswith(":y")
    assert f"the {told} at its end is left out: the last tensor is the logits'" in plan.notes and plan.warnings == ()


@pytest.mark.parametrize("channels", [8, 9])
def test_depthwise_channels_left_over_are_warned_of(channels, tmp_path):
    made = Graph()
    x = made.tensor("x", (1, 4, 4, channels), scale=[1.0], kind="i1")
    for name in ("one", "two"):
        weight = made.constant(f"{name}.w", np.full((1, 1, 1, channels), 64, np.int8), scale=[0.01])
        options = {0: ("b", 0), 1: ("i", 1), 2: ("i", 1), 3: ("i", 1), 4: ("b", 0)}
        x = made.operator(DEPTHWISE, [x, weight], (1, 4, 4, channels), options, name, scale=[1.0], kind="i1")
    (tmp_path / "m.tflite").write_bytes(made.bytes())
    warnings = read_quantized_model(tmp_path / "m.tflite")[0].warnings
    assert sum("no multiple of 8" in warning for warning in warnings) == (channels == 9)


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
    plan, scheme = read_quantized_model(INT8 / "timm--mobilenetv3_small_050.int8.tflite")
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
    assert (found.last, found.scale, found.offset) == ("prepare.2.add", 1.0, -1.0) and found.told()[0]
    recipe = found.recipe(named.variant, (96, 160))
    assert (recipe.mean, recipe.std, recipe.side) == ((0.0,) * 3, (1 / 255,) * 3, (96, 160))


def test_a_fill_of_another_shape_is_refused():
    steps = IntegerStep("one", "fill", (), (1 << 20, 1 << 20)), IntegerStep("y", "identity", ("one",), (1 << 40,))
    with pytest.raises(WeightsError, match="expected the shape of a tensor before it"):
        IntegerPlan(steps, dict.fromkeys(("input", "one", "y"), Grid(1.0, 0)), {"one.constant": np.array(1)}, (1, 2, 2))


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
    of_bytes, told = preparation(found.plan).told()
    assert of_bytes and told.startswith("its input's integers stand for 0 to 255: taken for the bytes")
    assert preparation(named).told() == (False, "")
