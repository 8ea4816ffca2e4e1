"""Operations that TensorFlow Lite's kernels round by rules of their own: its own integers, most of them beside ties."""

import runpy

import goldens
import numpy as np
import pytest
from command_line import run
from flatbuffer_files import Graph
from vector_kits import check, needs_compiler

from npmnv3.conversion.quantized import PartlyInFloats, read_quantized_model
from npmnv3.dumps.quantized import Quantized, write_quantized
from npmnv3.errors import WeightsError
from npmnv3.export.vectors import make_integer_kit, write_kit
from npmnv3.freezing import freeze
from npmnv3.model.quantized import QuantizedModel
from npmnv3.network.lowering import lower
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant
from npmnv3.pictures.recipes import Preprocess

KERNELS = ["tflite-reference", "tflite-optimized", "xnnpack", "tflite-micro"]
DENSE = [f"fully_connected:{kind}.{number}." for kind in ("one_scale", "channels") for number in range(3)]
CONV, DEPTHWISE, FULLY_CONNECTED, RESHAPE, MEAN, HARD_SWISH = 3, 4, 9, 22, 40, 117
DEQUANTIZE, QUANTIZE, RELU_0_TO_1 = 6, 114, 152
PLAIN = {0: ("b", 0), 1: ("i", 1), 2: ("i", 1), 3: ("i", 1), 4: ("b", 0)}  # "same" padding, no stride, nothing fused


def golden(case):
    """{name: array} of a case, "file:beginning of names"."""
    file, _, beginning = case.partition(":")
    with np.load(goldens.CUT / "int8" / f"{file}.npz") as stored:
        return {key[len(beginning) :]: stored[key] for key in stored.files if key.startswith(beginning)}


def fully_connected(data, made):
    row, scale = data["x"].shape, {"scale": data["input_scale"], "kind": "i1"}
    x = made.operator(RESHAPE, [made.tensor("x", (1, 1, *row), **scale)], row, **scale)
    weight = made.constant("w", data["weight"], scale=data["weight_scale"], zero=[0] * len(data["weight_scale"]))
    out = {"scale": data["output_scale"], "zero": data["output_zero_point"], "kind": "i1"}
    made.operator(
        FULLY_CONNECTED, [x, weight, made.constant("b", data["bias"])], (1, len(data["bias"])), {}, "y", **out
    )


def on_uint8(data, made):
    x, shape = of_x(data, made, "u1"), data["x"].shape
    h, d = ({"scale": [scale], "zero": [zero], "kind": "u1"} for scale, zero in zip(data["scale"], data["zero_point"]))
    made.operator(HARD_SWISH, [x], shape, None, "h", **h)
    weight = made.constant("w", data["weight"], scale=data["weight_scale"], zero=data["weight_zero_point"])
    made.operator(DEPTHWISE, [x, weight, made.constant("b", data["bias"])], shape, PLAIN, "d", **d)


def depthwise(data, made):
    x, out = of_x(data, made, "i1"), {"scale": data["output_scale"], "zero": data["output_zero_point"], "kind": "i1"}
    weight = made.constant(
        "w", data["weight"], scale=data["weight_scale"], zero=[0] * len(data["weight_scale"]), axis=3
    )
    made.operator(DEPTHWISE, [x, weight, made.constant("b", data["bias"])], data["x"].shape, PLAIN, "y", **out)


def mean_to_vector(data, made):
    """The mean, and a layer without which no file is quantised."""
    x, channels = of_x(data, made, "i1"), data["x"].shape[-1]
    axes = made.constant("axes", np.array([1, 2], np.int32))
    out = {"scale": data["output_scale"], "zero": data["output_zero_point"], "kind": "i1"}
    y = made.operator(MEAN, [x, axes], (1, channels), {0: ("b", 0)}, "y", **out)
    weight = made.constant("w", np.ones((1, channels), np.int8), scale=[1.0])
    made.operator(FULLY_CONNECTED, [y, weight], (1, 1), {}, "z", scale=[1.0], kind="i1")


def of_x(data, made, kind):
    return made.tensor("x", data["x"].shape, scale=data["input_scale"], zero=data["input_zero_point"], kind=kind)


MADE = {
    "fully_connected": fully_connected,
    "uint8_operations": on_uint8,
    "depthwise": depthwise,
    "mean_to_vector": mean_to_vector,
}
OTHERS = [name for name in MADE if name != "fully_connected"]


@pytest.fixture(params=[*DENSE, *OTHERS])
def case(request, tmp_path):
    """({name: array} of golden data, what is read of the .tflite that they are of, written anew)."""
    data, made = golden(request.param), Graph()
    MADE[request.param.partition(":")[0]](data, made)
    (tmp_path / "m.tflite").write_bytes(made.bytes())
    plan = read_quantized_model(tmp_path / "m.tflite")[0]
    assert not plan.warnings
    return data, plan


def model_of(plan, kernels, engine="numpy", recipe=None):
    return QuantizedModel(Quantized(plan, None, plan.steps[-1].shape[0], preprocess=recipe), kernels, engine)


def real_input(data, plan):
    """What is quantised to the golden input, (1, C, H, W) float32."""
    x = data["x"]
    return plan.grids["input"].dequantize(x.transpose(0, 3, 1, 2) if x.ndim == 4 else x[:, :, None, None])


def expected(data, step, kernels):
    """What the kernels gave, if it is known; channels last."""
    name = step.name.rpartition(":")[2]
    return data[kernels] if name == "y" else data.get(name)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_the_integers_are_the_kernels(case, engine, kernels):
    data, plan = case
    if engine == "numba":
        pytest.importorskip("numba")
    found, known = model_of(plan, kernels, engine).trace(real_input(data, plan), integers=True), 0
    for step in plan.steps:
        wanted = expected(data, step, kernels)
        if wanted is not None:
            np.testing.assert_array_equal(np.moveaxis(found[step.name], 1, -1), wanted, step.op)
            known += 1
    assert known


@pytest.mark.parametrize(
    ("file", "different"), [*((case, 4) for case in DENSE), ("depthwise", 3), ("mean_to_vector", 2)]
)
def test_the_data_tell_the_kernels_apart(file, different):
    data = golden(file)
    assert len({data[kernels].tobytes() for kernels in KERNELS}) == different


@pytest.mark.parametrize("case", [*DENSE[::3], "depthwise"], indirect=True)
@pytest.mark.parametrize("kernels", KERNELS)
def test_frozen_they_are_the_same(case, kernels, tmp_path):
    data, plan = case
    planes, *side = plan.input_shape
    recipe = Preprocess("own", fit="squash", side=tuple(side), channels="R" * planes)
    model, x = model_of(plan, kernels, recipe=recipe), real_input(data, plan)
    freeze(model, tmp_path / "frozen.py")
    np.testing.assert_array_equal(runpy.run_path(str(tmp_path / "frozen.py"))["network"](x), model(x))


@needs_compiler
@pytest.mark.parametrize("case", [*DENSE[::3], *OTHERS], indirect=True)
@pytest.mark.parametrize("kernels", KERNELS)
def test_the_c_checker_rounds_alike(case, kernels, tmp_path):
    data, plan = case
    write_kit(make_integer_kit(model_of(plan, kernels), real_input(data, plan)), tmp_path / "kit", "c")
    code, lines = check(tmp_path / "kit")
    assert code == 0, lines


def test_what_is_linear_in_a_network_is_so_in_its_tflite():
    """A convolution of one pixel stays one in TensorFlow Lite, and is so in Keras's networks throughout."""
    for name, layers in (("torchvision/mobilenet_v3_small", ["head", "logits"]), ("keras/MobileNetV3Small", [])):
        variant = get_variant(name)
        steps, _ = lower(make_plan(variant, folded=True), "tflite", (3, *variant.side))
        assert [step.name.partition(".")[0] for step in steps if step.op == "fully_connected"] == layers


EXACT = "exactly tflite-reference's"
RULES = [
    *((case, "tflite-reference", EXACT) for case in DENSE[::3]),
    *((case, "tflite-optimized", "double rounding with halves up both times") for case in DENSE[::3]),
    *((case, "xnnpack", "fp32 requantisation") for case in DENSE[::3]),
    ("depthwise", "tflite-optimized", "halves up, of channels beyond a multiple of 8 away from zero"),
    ("mean_to_vector", "tflite-optimized", EXACT),
    ("mean_to_vector", "xnnpack", "MEAN in float32 with an offset (as XNNPACK)"),
]


@pytest.mark.parametrize(("case", "kernels", "text"), RULES, indirect=["case"])
def test_verify_names_the_rule_of_a_port(case, kernels, text, tmp_path, capsys):
    """Held against the reference's kernels."""
    data, plan = case
    write_quantized(tmp_path / "m.npz", Quantized(plan, None, plan.steps[-1].shape[0]))
    np.savez(tmp_path / "port.npz", input=plan.grids["input"].quantize(real_input(data, plan)), y=data[kernels])
    files = tmp_path / "m.npz", tmp_path / "port.npz"
    code, out, _ = run(capsys, "verify", *files, "--kernels", "tflite-reference")
    assert code == (text != EXACT) and text in out, out


def test_a_map_as_one_row_is_refused(tmp_path):
    """Keras's Flatten of a map: its numbers stand pixel after pixel, those of a plan channel after channel."""
    made, scale = Graph(), {"scale": [1.0], "kind": "i1"}
    row = made.operator(RESHAPE, [made.tensor("x", (1, 2, 2, 3), **scale)], (1, 12), **scale)
    weight = made.constant("w", np.ones((2, 12), np.int8), scale=[1.0])
    made.operator(FULLY_CONNECTED, [row, weight], (1, 2), {}, "y", **scale)
    (tmp_path / "m.tflite").write_bytes(made.bytes())
    with pytest.raises(WeightsError, match="a map of 2 x 2 pixels as one row of numbers.*GlobalAveragePooling2D"):
        read_quantized_model(tmp_path / "m.tflite")


def test_an_operation_in_floats_is_refused(tmp_path):
    """As AI Edge Quantizer leaves what TensorFlow Lite has no integer kernel for: between DEQUANTIZE and QUANTIZE."""
    made, scale = Graph(), {"scale": [1.0], "kind": "i1"}
    weight = made.constant("w", np.ones((3, 1, 1, 3), np.int8), scale=[1.0])
    window = {1: ("i", 1), 2: ("i", 1)}
    conv = made.operator(CONV, [made.tensor("x", (1, 2, 2, 3), **scale), weight], (1, 2, 2, 3), window, **scale)
    real = made.operator(RELU_0_TO_1, [made.operator(DEQUANTIZE, [conv], (1, 2, 2, 3))], (1, 2, 2, 3))
    made.operator(QUANTIZE, [real], (1, 2, 2, 3), **scale)
    (tmp_path / "m.tflite").write_bytes(made.bytes())
    with pytest.raises(
        PartlyInFloats, match="operator 152. is computed in floats: not quantised throughout.*-o NAME.h5"
    ):
        read_quantized_model(tmp_path / "m.tflite")
