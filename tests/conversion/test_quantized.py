"""Quantised models of real engines: every tensor equal, integer for integer; and what is refused, damaged or hostile."""

import shutil

import goldens
import numpy as np
import pytest
from command_line import run
from damages import damaged

import npmnv3
from npmnv3.conversion.quantized import is_quantized_model, read_quantized_model
from npmnv3.conversion.quantized.names import name_tensors
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
    plan, *_ = read_quantized_model(INT8 / "ppocr--text_direction.dead_se.tflite")
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


def test_a_fill_of_another_shape_is_refused():
    steps = IntegerStep("one", "fill", (), (1 << 20, 1 << 20)), IntegerStep("y", "identity", ("one",), (1 << 40,))
    with pytest.raises(WeightsError, match="expected the shape of a tensor before it"):
        IntegerPlan(steps, dict.fromkeys(("input", "one", "y"), Grid(1.0, 0)), {"one.constant": np.array(1)}, (1, 2, 2))
