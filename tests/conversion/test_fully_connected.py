"""TensorFlow Lite's FULLY_CONNECTED, which its kernels round otherwise than a convolution: beside ties, integer for integer."""

import runpy

import goldens
import numpy as np
import pytest
from command_line import run
from flatbuffer_files import Graph
from vector_kits import check, needs_compiler

from npmnv3.conversion.quantized import read_quantized_model
from npmnv3.dumps.quantized import Quantized, write_quantized
from npmnv3.export.vectors import make_integer_kit, write_kit
from npmnv3.freezing import freeze
from npmnv3.model.quantized import QuantizedModel
from npmnv3.network.lowering import lower
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant
from npmnv3.pictures.recipes import Preprocess

GOLDEN = goldens.CUT / "int8" / "fully_connected.npz"
CASES = [f"{kind}.{number}" for kind in ("one_scale", "channels") for number in range(3)]
KERNELS = ["tflite-reference", "tflite-optimized", "xnnpack"]
FULLY_CONNECTED, RESHAPE = 9, 22


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    """({name: array} of a golden layer, what is read of the .tflite that has it)."""
    with np.load(GOLDEN) as stored:
        data = {
            key[len(request.param) + 1 :]: stored[key] for key in stored.files if key.startswith(f"{request.param}.")
        }
    graph, weight_scale, row = Graph(), data["weight_scale"], data["x"].shape
    scale = {"scale": data["input_scale"], "kind": "i1"}
    x = graph.operator(RESHAPE, [graph.tensor("x", (1, 1, *row), **scale)], row, **scale)
    weight = graph.constant("weight", data["weight"], scale=weight_scale, zero=[0] * len(weight_scale))
    bias = graph.constant("bias", data["bias"])
    out = {"scale": data["output_scale"], "zero": data["output_zero_point"], "kind": "i1"}
    graph.operator(FULLY_CONNECTED, [x, weight, bias], (1, len(data["bias"])), {0: ("b", 0)}, "y", **out)
    (tmp_path / "layer.tflite").write_bytes(graph.bytes())
    return data, read_quantized_model(tmp_path / "layer.tflite")[0]


def model_of(plan, kernels, engine="numpy", recipe=None):
    return QuantizedModel(Quantized(plan, None, plan.steps[-1].shape[0], preprocess=recipe), kernels, engine)


def real_input(data, plan):
    """What is quantised to the golden input: (1, C, 1, 1) float32."""
    return plan.grids["input"].dequantize(data["x"])[:, :, None, None]


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_the_integers_are_the_kernels(case, engine):
    data, plan = case
    if engine == "numba":
        pytest.importorskip("numba")
    found = {}
    for kernels in KERNELS:
        found[kernels] = model_of(plan, kernels, engine).trace(real_input(data, plan), integers=True)[
            plan.steps[-1].name
        ]
        np.testing.assert_array_equal(found[kernels], data[kernels], kernels)
    assert len({rows.tobytes() for rows in found.values()}) == 3  # these numbers do tell the three apart


@pytest.mark.parametrize("kernels", KERNELS)
def test_frozen_they_are_the_same(case, kernels, tmp_path):
    data, plan = case
    model = model_of(plan, kernels, recipe=Preprocess("own", fit="squash", side=(1, 1)))
    freeze(model, tmp_path / "layer.py")
    frozen = runpy.run_path(str(tmp_path / "layer.py"))
    x = real_input(data, plan)
    np.testing.assert_array_equal(frozen["network"](x), model(x))


@needs_compiler
@pytest.mark.parametrize("case", ["one_scale.0", "channels.0"], indirect=True)
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


def test_verify_names_the_rule(case, tmp_path, capsys):
    """A port by the optimised kernels, held against the reference's, and one that goes by the reference's."""
    data, plan = case
    write_quantized(tmp_path / "layer.npz", Quantized(plan, None, plan.steps[-1].shape[0]))
    for kernels, code, text in (
        ("tflite-reference", 0, "exactly tflite-reference's"),
        (
            "tflite-optimized",
            1,
            "double rounding with halves up both times (as TFLite's optimised kernels) in all fully connected layers, exactly",
        ),
    ):
        np.savez(tmp_path / "port.npz", input=data["x"][:, :, None, None], y=data[kernels])
        files = tmp_path / "layer.npz", tmp_path / "port.npz"
        found, out, _ = run(capsys, "verify", *files, "--kernels", "tflite-reference")
        assert found == code and text in out
