"""verify: what engines make of a network's tensors, which is no fault; and a fault of theirs that it names."""

from dataclasses import replace

import faulty_ports
import numpy as np
import pytest

import npmnv3
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant
from npmnv3.network.walk import apply
from npmnv3.ops import definitions
from npmnv3.testing import random_params
from npmnv3.verification.changes.rows import shape_evidence
from npmnv3.verification.changes.spatial import mirror, padded
from npmnv3.verification.measure import measure
from npmnv3.verification.net import Net
from npmnv3.verification.noise import PRECISIONS, rounded
from npmnv3.verification.run import verify
from npmnv3.verification.tensors import PortTensor

MODEL, CLASSES, SIDE = "ppcls/MobileNetV3_small_x0_35", 10, (64, 64)  # squeeze layers and logits of odd widths
BLOCK = 16  # channels


@pytest.fixture(scope="module")
def plan():
    return make_plan(get_variant(MODEL), CLASSES, SIDE)


@pytest.fixture(scope="module")
def model(plan):
    return npmnv3.load(MODEL, random_params(plan, np.random.default_rng(3)), CLASSES, engine="numpy")


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(4).standard_normal((1, 3, *SIDE)).astype(np.float32)


@pytest.fixture(scope="module")
def clean(model, plan, x):
    return faulty_ports.run(plan, model.arrays(), x, np.asarray)


def filled_up(tensor):
    """(1, C, H, W) numbers in memory as (1, C/b, H, W, b), C filled up by zeros, declared as (1, C, H, W)."""
    c, *plane = (*tensor.shape[1:], 1, 1)[:3]
    blocks = -(-c // BLOCK)
    whole = np.zeros((blocks * BLOCK, *plane), np.float32)
    whole[:c] = tensor.reshape(c, *plane)
    return whole.reshape(blocks, BLOCK, *plane).transpose(0, 2, 3, 1).reshape(1, blocks * BLOCK, *plane)


def anonymous(tensors):
    return {f"t{index}": tensor for index, tensor in enumerate(tensors)}


@pytest.mark.parametrize("logits", [True, False])
def test_blocks_of_channels_declared_as_nchw_are_read(model, plan, x, clean, logits):
    names = [s.name for s in plan if s.op not in ("identity", "batch_norm") and (logits or s.name != "logits")]
    report = verify(model, anonymous(filled_up(clean[name]) for name in names), x, explain=logits)
    assert report.fine, report.text()
    assert not report.unmatched


def aligned(tensor, layout, many):
    """(1, C, H, W) or (1, C) with its channels, and of maps the pixels of its rows, filled up to a multiple of `many`."""
    sides = [(0, -n % many if axis in (1, 3) else 0) for axis, n in enumerate(tensor.shape)]
    whole = np.pad(tensor, sides)
    return whole.transpose(0, 2, 3, 1) if layout == "nhwc" and whole.ndim == 4 else whole


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("many", [8, 16])
def test_channels_and_rows_filled_up_for_alignment_are_read(model, plan, x, clean, layout, many):
    names = [s.name for s in plan if s.op not in ("identity", "batch_norm")]
    report = verify(model, anonymous([aligned(clean[name], layout, many) for name in names]), x, explain=False)
    assert report.fine and not report.unmatched, report.text()


def test_rows_filled_up_with_anything_are_no_other_stride(model, plan):
    """(1, H, W, C) whose height is some step's channels."""
    rows = PortTensor("rows", np.ones((1, 24, 32, 16), np.float32))
    assert any(step.shape[0] == 24 for step in plan)
    assert not shape_evidence(Net(plan, (3, *SIDE)), model.variant, [rows], {})


def test_a_padding_that_reads_the_same_pixels_is_no_fault(plan):
    """Of even sides at stride 2 the last row and column of zeros are never read."""
    rule, tf = padded(mirror), make_plan(get_variant("timm/tf_mobilenetv3_small_075"), CLASSES, SIDE)
    assert rule(Net(plan, (3, *SIDE)), lambda name: True) is None
    assert rule(Net(tf, (3, *SIDE)), lambda name: True) is not None


def test_a_hard_swish_written_out_is_no_fault_where_nothing_behind_it_was_given(model, x, clean):
    names = ("blocks.9", "blocks.10", "last", "pool")
    inner = np.clip(clean["head.fc"] / 6 + np.float32(0.5), 0, 1)
    report = verify(model, anonymous([*(clean[name] for name in names), inner]), x)
    assert report.fine, report.text()


def products_in_bfloat16(model, plan, x):
    """What convolutions and linear layers get is rounded; their sums, and all else, are float32."""
    arrays = {name: array.astype(np.float32) for name, array in model.arrays().items()}
    tensors = {"input": x}
    for step in plan:
        inputs, own = [tensors[name] for name in step.inputs], arrays
        if weight := step.param("weight"):
            inputs = [rounded(one, "bfloat16") for one in inputs]
            own = arrays | {weight.name: rounded(arrays[weight.name], "bfloat16")}
        tensors[step.name] = apply(step, inputs, own, definitions)
    return tensors


def test_float32_tensors_of_bfloat16_products_are_inferred(model, plan, x):
    report = verify(model, products_in_bfloat16(model, plan, x), x)
    assert report.fine and report.precision == "bfloat16", report.text()
    assert "if it computes in bfloat16: its numbers are float32" in report.sentence
    assert "--precision float32" in report.sentence


def test_linear_layers_alone_in_float16_are_inferred(model, plan, x):
    arrays = model.arrays()
    weights = {s.param("weight").name for s in plan if s.op == "linear"}
    port = faulty_ports.run(
        plan, {n: rounded(a, "float16") if n in weights else a for n, a in arrays.items()}, x, np.asarray
    )
    names = [s.name for s in plan if s.op not in ("identity", "batch_norm")]
    report = verify(model, {name: port[name] for name in names}, x)
    assert report.fine and report.precision == "float16", report.text()
    assert "if it computes in float16: its numbers are float32" in report.sentence


def in_levels(values, axes, least, levels):
    """The nearest of so many levels, the range of numbers taken over `axes`; `least`: as low as the highest, or as they
    are."""
    low, high = np.minimum(values.min(axes, keepdims=True), 0), np.maximum(values.max(axes, keepdims=True), 0)
    if least:
        low, high = np.minimum(low, -high), np.maximum(high, -low)
    step = np.maximum((high - low) / np.float32(levels), np.float32(1e-12))
    return (np.round(values / step) * step).astype(np.float32)


def test_weights_and_inputs_in_int8_with_ranges_of_the_picture_are_named(model, plan, x):
    arrays, port = model.arrays(np.float32), {"input": x}
    for step in plan:
        inputs = [port[name] for name in step.inputs]
        weight = step.param("weight")
        if weight and arrays[weight.name].size >= 1024:
            w = arrays[weight.name]
            own = {**arrays, weight.name: in_levels(w, tuple(range(1, w.ndim)), True, 254)}
            port[step.name] = apply(step, [in_levels(inputs[0], None, False, 255)], own, definitions)
        else:
            port[step.name] = apply(step, inputs, arrays, definitions)
    report = verify(model, {s.name: port[s.name] for s in plan if s.op != "identity"}, x)
    first = report.explained_by[0]
    assert (first["fault"], first["certainty"]) == ("quantized_layer", "certain"), report.text()
    assert "dynamic range" in report.sentence


def test_one_wrong_tensor_of_a_few_is_not_taken_for_rounding(model, x, clean):
    port = {name: clean[name] for name in ("blocks.3", "blocks.7")} | {"logits": clean["logits"] * np.float32(1.001)}
    report = verify(model, port, x)
    assert not report.fine and report.first_divergence == "logits", report.text()


def test_one_layer_as_coarse_as_bfloat16_is_a_fault(model, plan, x, clean):
    weight = next(s for s in plan if s.name == "blocks.4.expand.conv").param("weight").name
    arrays = model.arrays()
    port = faulty_ports.run(plan, {**arrays, weight: rounded(arrays[weight], "bfloat16")}, x, np.asarray)
    report = verify(model, port, x, explain=False)
    assert report.verdict == "diverges" and report.first_divergence == "blocks.4.expand.conv", report.text()


def test_the_maximum_in_place_of_the_mean_is_named(model, plan, x, clean):
    steps = {s.name: s for s in plan}
    source, pool = steps["pool"].inputs[0], replace(steps["pool"], op="identity")
    port = {}
    for step in plan:
        inputs = [clean[name] if name == "input" else port[name] for name in step.inputs]
        port[step.name] = (
            port[source].max(axis=(2, 3))
            if step.name == pool.name
            else apply(step, inputs, {n: a.astype(np.float32) for n, a in model.arrays().items()}, definitions)
        )
    report = verify(model, port, x)
    first = report.explained_by[0]
    assert (first["fault"], first["steps"], first["certainty"]) == ("pooling", ["pool"], "certain"), report.text()


def test_a_last_place_in_a_channel_of_large_numbers_is_rounding():
    expected = np.random.default_rng(5).uniform(1, 2, (1, 400, 5, 5)).astype(np.float32).astype(np.float64)
    expected[:, 7] *= 512  # a power of two: still float32
    floor = float(np.square(expected).mean()) * (PRECISIONS["float32"] / 2) ** 2
    found = expected * (1 + 2.0**-24 * np.sign(np.sin(np.arange(expected.size))).reshape(expected.shape))
    assert measure(found, expected, np.zeros(400), floor).ratio < 5
    found = expected.copy()
    found[:, 7] *= 1 + 2.0**-20
    assert measure(found, expected, np.zeros(400), floor).ratio > 10


def test_a_depthwise_kernel_as_a_tensor_is_no_stride(model, plan):
    """TensorFlow Lite dequantises float16 weights in its graph."""
    step = next(s for s in plan if s.op == "depthwise_conv2d" and s.kernel == 5)
    kernel = PortTensor("t", np.ones((1, 5, 5, step.shape[0]), np.float32))
    assert shape_evidence(Net(plan, (3, 64, 64)), model.variant, [kernel], {}) == []


def test_a_border_as_a_tensor_is_no_stride(model, plan):
    net = Net(plan, (3, *SIDE))
    step = next(s for s in plan if s.op == "depthwise_conv2d" and s.stride == (2, 2))
    c, h, w = net.steps[step.inputs[0]].shape
    top, bottom, left, right = step.pad
    border = PortTensor("pad", np.zeros((1, h + top + bottom, w + left + right, c), np.float32))
    assert shape_evidence(net, model.variant, [border], {}) == []
    doubled = PortTensor("twice", np.zeros((1, 2 * h, 2 * w, c), np.float32))
    assert [row["fault"] for row in shape_evidence(net, model.variant, [doubled], {})] == ["stride"]


@pytest.mark.parametrize("right", [True, False])
def test_a_little_more_than_one_steps_rounding_is_none_if_the_whole_is_right(model, x, clean, right):
    port = {name: clean[name].copy() for name in ("blocks.5.expand", "blocks.5.se", "blocks.5", "logits")}
    report = verify(model, port, x, explain=False)
    row = next(row for row in report.tensors if row.step == "blocks.5.se")
    noise = 10 ** (-row.local.noise_db / 20) * port["blocks.5.se"].std()
    signs = np.sign(np.random.default_rng(6).standard_normal(port["blocks.5.se"].shape))
    port["blocks.5.se"] = (port["blocks.5.se"] + 15 * noise * signs).astype(np.float32)
    if not right:
        port["logits"] = port["logits"] * np.float32(1.1)
    report = verify(model, port, x, explain=False)
    off = {row.step for row in report.tensors if not row.passes}
    assert off == (set() if right else {"blocks.5.se", "logits"}), report.text()


@pytest.mark.parametrize("wrong", [False, True])
def test_a_dump_with_the_weights_in_it(model, plan, x, clean, wrong):
    """As an interpreter's tensors are: weights with the outputs first or last, norms folded in, some rounded to int8."""
    weights, port = model.arrays("float32", folded=True), {}
    for index, (name, array) in enumerate(weights.items()):
        other = np.moveaxis(array, 0, -1) if array.ndim > 1 and index % 2 else array
        port[f"constant {name}"] = in_levels(other, None, True, 254) if index % 3 == 0 else other
    port |= {step.name: clean[step.name] for step in plan if step.op in ("relu", "hard_swish", "add")}
    port["logits"] = clean["logits"] * np.float32(1.5 if wrong else 1)
    report = verify(model, port, x, explain=False)
    assert report.fine is not wrong and (not wrong or report.first_divergence == "logits"), report.text()
    assert f"left out: tensors that equal weights of the network ({len(weights)}, such as constant " in report.text()
