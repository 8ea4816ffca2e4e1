"""A quantised port against the float network: are they the same weights, and what did quantising cost."""

import re
from dataclasses import replace

import numpy as np
import pytest
import quantized_goldens as golden
from command_line import run

import npmnv3
from npmnv3.dumps.quantized import Quantized, write_quantized
from npmnv3.engines.integer_engine import IntegerEngine
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant
from npmnv3.ops.kernel_sets import KERNEL_SETS
from npmnv3.testing import random_params
from npmnv3.verification.quantized.cost import MADE_UP, Cost
from npmnv3.verification.quantized.report import QuantizedReport, TensorRow

SIDE = 48, 48
#: A name, and how it is lowered: "relu" is a file of ONNX Runtime's with ActivationSymmetric, whose relus stand apart.
NETWORKS = [
    ("timm/mobilenetv3_small_050", "tflite"),
    ("torchvision/mobilenet_v3_small", "onnx"),
    ("timm/mobilenetv3_small_050", "relu"),
    ("ppocr/text_direction", "tflite"),
]


def network(name):
    """(Model of random weights, pictures)."""
    variant = get_variant(name)
    side = variant.side if name.startswith("ppocr") else SIDE
    params = random_params(make_plan(variant, 5, side), np.random.default_rng(3))
    x = np.random.default_rng(4).standard_normal((3, 3, *side)).astype(np.float32).clip(-2, 2)
    return npmnv3.load(name, params, 5, engine="numpy"), x


@pytest.fixture(scope="module", params=NETWORKS, ids=" ".join)
def case(request):
    name, lowered = request.param
    model, x = network(name)
    return model, x, golden.quantized(model, x, lowered), "onnx" if lowered == "relu" else lowered


def write(path, case, **arrays):
    """A quantised dump of a case, with other arrays {"layer.role": array}."""
    model, _, plan, scheme = case
    plan = replace(plan, arrays={**plan.arrays, **arrays})
    write_quantized(path, Quantized(plan, model.variant, 5, scheme))
    return path


def test_the_same_weights_and_what_they_cost(case, tmp_path):
    model, x, plan, scheme = case
    port = write(tmp_path / "q.npz", case)
    kernels = "onnxruntime" if scheme == "onnx" else "tflite-reference"
    given = IntegerEngine(plan, KERNEL_SETS[kernels]).trace(x, integers=True)
    report = npmnv3.verify(model, port, x, tensors=given)
    assert report.fine and kernels in report.kernels, report.text()
    assert len(report.layers) == sum(f"{step.name}.weight" in plan.arrays for step in plan.steps)
    assert all(layer.snr_db > 35 and not layer.wrong and layer.farthest < 0.51 for layer in report.layers)
    cost = report.cost
    real = plan.grids["logits"].dequantize(given["logits"])
    expected = 10 * np.log10(np.square(model(x) - model(x).mean()).sum() / np.square(model(x) - real).sum())
    assert abs(cost.logits_db - expected) < 0.05 and cost.by == "the port" and cost.pictures == 3
    assert cost.flips == tuple(np.flatnonzero(real.argmax(1) != model(x).argmax(1)))
    assert {"stem.conv", "blocks.0.se.pool", "logits"} <= cost.snr_db.keys()
    assert cost.snr_db["stem.conv"] > 30


def test_without_tensors_the_kernel_sets_integers_tell_the_cost(case, tmp_path, capsys):
    model, _, _, scheme = case
    port, weights = write(tmp_path / "q.npz", case), tmp_path / "w.npz"
    npmnv3.write_dump(weights, model.params, model=model.variant.full_name)
    code, out, _ = run(capsys, "verify", model.variant.full_name, port, "--weights", weights, "--kernels", "xnnpack")
    assert code == 0 and "layers; quantising costs: logits" in out and "integers of xnnpack, on made-up numbers" in out


def test_wrong_layers_are_named(case, tmp_path):
    model, _, plan, _ = case
    names = [step.name for step in plan.steps if step.op == "depthwise_conv2d"]
    weight = plan.arrays[f"{names[3]}.weight"]
    one = weight.copy()
    one[2, 1, 1] += 5 if one[2, 1, 1] < 100 else -5
    faults = {
        "has its kernel transposed": np.ascontiguousarray(weight.swapaxes(1, 2)),
        "has its kernel turned by 180 degrees": np.ascontiguousarray(weight[:, ::-1, ::-1]),
        "weights that are not these, first by size [2, 1, 1]": one,
        "has other weights": np.random.default_rng(1).integers(-100, 100, weight.shape).astype(np.int8),
    }
    for words, changed in faults.items():
        report = npmnv3.verify(model, write(tmp_path / "q.npz", case, **{f"{names[3]}.weight": changed}))
        wrong = [layer for layer in report.layers if layer.wrong]
        assert [layer.name for layer in wrong] == [names[3]] and words in wrong[0].wrong, report.text()
        assert not report.fine and names[3] in report.sentence
    bias = f"{names[3]}.bias"
    report = npmnv3.verify(model, write(tmp_path / "q.npz", case, **{bias: np.zeros_like(plan.arrays[bias])}))
    assert [layer.wrong for layer in report.layers if layer.wrong] == ["has no bias"], report.text()
    swapped = plan.arrays[bias].copy()
    low, high = int(swapped.argmin()), int(swapped.argmax())
    swapped[[low, high]] = swapped[[high, low]]
    report = npmnv3.verify(model, write(tmp_path / "q.npz", case, **{bias: swapped}))
    found = [layer.wrong for layer in report.layers if layer.wrong]
    assert len(found) == 1 and re.match(
        f"has 2 of .* biases that are not these, most in channel ({low}|{high})|has another", found[0]
    )


def test_another_layers_weights(tmp_path):
    model, x = network(NETWORKS[0][0])
    case = model, x, golden.quantized(model, x), "tflite"
    arrays = case[2].arrays
    first, second = "blocks.4.project", "blocks.5.project"
    assert arrays[f"{first}.weight"].shape == arrays[f"{second}.weight"].shape
    parts = {f"{first}.{role}": arrays[f"{second}.{role}"] for role in ("weight", "weight_scale")}
    report = npmnv3.verify(model, write(tmp_path / "q.npz", case, **parts))
    assert [layer.wrong for layer in report.layers if layer.wrong] == [f"has the weights of {second}"], report.text()


def test_another_checkpoint(case, tmp_path):
    """Weights that were said diverge; published ones that nobody asked for are told of beside exact integers."""
    model, x, plan, scheme = case
    port = write(tmp_path / "q.npz", case)
    params = random_params(make_plan(model.variant, 5), np.random.default_rng(9))
    report = npmnv3.verify(npmnv3.load(model.variant.full_name, params, 5), port)
    assert not report.fine and all(layer.wrong for layer in report.layers) and report.cost is None
    if model.variant.full_name == "ppocr/text_direction":
        given = IntegerEngine(plan, KERNEL_SETS["xnnpack"]).trace(x, integers=True)
        report = npmnv3.verify("ppocr/text_direction", port, tensors=given)
        assert report.fine and "but its weights have nothing to do with the published ones" in report.sentence
        report = npmnv3.verify("ppocr/text_direction", port)
        assert not report.fine and report.sentence.endswith("name their checkpoint (--weights)")


# fmt: off
COSTS = (
    ("the input given", -9.0, (0,), "FINE as integers, but quantising cost: logits -9.0 dB, 1 of 1 first answers flip"),
    ("the input given",  2.2, (),   "FINE as integers, but quantising cost: logits 2.2 dB, 0 of 1 first answers flip"),
    ("the input given",  9.0, (0,), "FINE as integers, but quantising cost: logits 9.0 dB, 1 of 1 first answers flip"),
    ("the input given",  9.0, (),   "FINE: all 2 tensors are exactly x's"),
    (MADE_UP,            9.0, (0,), "FINE: all 2 tensors are exactly x's"),
    (MADE_UP,           -9.0, (),   "FINE as integers, but quantising cost: logits -9.0 dB"),
)
# fmt: on


@pytest.mark.parametrize("on, level, flips, words", COSTS)
def test_fine_does_not_stand_alone_before_what_cost_much(on, level, flips, words):
    rows = [TensorRow("stem", "stem", "its name", "NCHW", True)]
    cost = Cost("the port", on, {"logits": level}, level, flips, 1)
    report = QuantizedReport("m", "p", "fine", "all 2 tensors are exactly x's", tensors=rows, cost=cost)
    line = report.text().splitlines()[1]
    assert line.startswith(words) and line.endswith("all 2 tensors are exactly x's") and report.fine
    assert report.as_json()["headline"].lower() == line.lower() and report.as_json()["verdict"] == "fine"
    assert report.word in report._repr_html_()
    report.verdict = "diverges"
    assert report.text().splitlines()[1] == "DIVERGES: all 2 tensors are exactly x's"


def test_without_tensors_it_is_the_file_that_is_fine():
    cost = Cost("x", "the input given", {}, -9.0, (0,), 1)
    report = QuantizedReport("m", "p", "fine", "its weights are m's", cost=cost)
    assert report.text().splitlines()[1].startswith("FINE as a file, but quantising cost: logits -9.0 dB")
