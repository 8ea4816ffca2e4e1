"""Integer ports with a rule changed, by code of the tests' own: the first tensor is named, and the rule."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import quantized_goldens as golden
from integer_ports import cut, half_up_in_floats, in_floats, once, twice_rounded, twice_up
from judged_ports import NAMES, plan_of, port, right, said

import npmnv3
from npmnv3.network.integer_plan import LAYERS, IntegerStep
from npmnv3.ops.grids import Grid
from npmnv3.ops.kernel_sets import get_kernel_set
from npmnv3.verification.quantized import explain
from npmnv3.verification.quantized.accumulators import cuts
from npmnv3.verification.quantized.forced import Case, Parts
from npmnv3.verification.quantized.grids import _integers
from npmnv3.verification.quantized.roundings import multipliers
from npmnv3.verification.quantized.scales import scales

pytestmark = pytest.mark.skipif(not golden.FOLDER.is_dir(), reason="the golden quantised models are not here")


def test_the_port_without_a_fault_is_the_engines():
    for name in NAMES:
        expected = golden.tensors(name)
        for (step, found), (operation, array) in zip(right(name).items(), expected.items()):
            array = array.transpose(0, 3, 1, 2) if array.ndim == 4 else array
            assert np.array_equal(found.ravel(), array.ravel()), (name, step, operation)


def exchanged(port, step, *inputs):
    """Integers of two grids as the other grid has them but for its scale: about the other's zero point."""
    zeros = [port.zero(name) for name in step.inputs]
    return [q.astype(np.int64) - zero + other for q, zero, other in zip(inputs, zeros, zeros[::-1])]


#: What is changed: options of `IntegerPort`, and what the rule must say.
EVERYWHERE = {
    "single": ({"layer_rule": once}, "single rounding"),
    "up": ({"layer_rule": twice_up}, "halves up both times"),
    "truncated": ({"layer_rule": cut}, "truncated rounding"),
    "half up in floats": ({"layer_rule": half_up_in_floats}, "fp32 half up"),
    "fp32": ({"layer_rule": in_floats}, "fp32 requantisation"),
    "products of 16 bits": (
        {"mul_rule": lambda acc, real: twice_rounded(acc.astype(np.int16).astype(np.int64), real)},
        "products of 16 bits, wrapping round",
    ),
    "grids of sums": (
        {"sum_of": lambda port, step, x, y: (replace(step, inputs=step.inputs[::-1]), x, y)},
        "the grids of its inputs exchanged",
    ),
    "scales of sums": (
        {"sum_of": lambda port, step, x, y: (replace(step, inputs=step.inputs[::-1]), *exchanged(port, step, x, y))},
        "the scales of its inputs exchanged",
    ),
    "sums without a skip path": (
        {"sum_of": lambda port, step, x, y: (step, x, np.full_like(y, port.zero(step.inputs[1])))},
        "left out of the sum",
    ),
    "old MEAN": ({"mean_twice": True}, "old MEAN"),
    "saturation": ({"saturates": True}, "AVX2 saturation"),
    "padding": ({"pad_with": 0}, "padding with 0 instead of the zero point"),
    "no zero points read": ({"bare": "input"}, "the zero point of its input left out"),
    "no zero points written": ({"bare": "output"}, "the zero point of its output left out"),
    "float16 scales": ({"scale_of": np.float16}, "the scales of activations rounded to float16"),
    "powers of two": (
        {"scale_of": lambda scale: 2.0 ** round(np.log2(scale))},
        "the scales of activations rounded to a power of two",
    ),
    "hard-swish": ({"table": lambda x: x * np.clip(x + 3, 0, 6) / 6}, "hard-swish by floats"),
}


@pytest.mark.parametrize("name, fault", [(NAMES[i % len(NAMES)], fault) for i, fault in enumerate(EVERYWHERE)])
def test_a_rule_changed_everywhere(name, fault):
    options, words = EVERYWHERE[fault]
    report, first = port(name, **options)
    assert not report.fine and report.first_divergence == first == report.causes[0].tensor
    assert any(words in text for text in said(report)), report.text()
    assert not [cause for cause in report.causes if not cause.rules], report.text()


@pytest.mark.parametrize("name", NAMES[:2])
def test_one_multiplier_for_all_channels(name):
    report, first = port(name, per_tensor=True)
    assert report.first_divergence == first and "a per-tensor multiplier (of the largest" in said(report)[0]


@pytest.mark.parametrize("name", NAMES)
def test_transposed_kernels(name):
    plan = plan_of(name)
    layers = [step.name for step in plan.steps if step.op == "depthwise_conv2d"]
    report, first = port(name, weights={n: plan.arrays[f"{n}.weight"].swapaxes(-1, -2) for n in layers})
    assert report.first_divergence == first and said(report) == ["the kernel's rows and columns transposed"]
    best = report.causes[0].rules[0]
    assert best.agrees == best.of == len(layers) and best.kind == "depthwise convolutions"


def changed(array, place, by):
    other = array.astype(np.int64)
    other[place] += by
    return other


@pytest.mark.parametrize("op", ["depthwise_conv2d", "pointwise_conv2d", "conv2d"])
@pytest.mark.parametrize("name", NAMES)
def test_one_weight_off_by_one(name, op):
    """The heaviest input decides whether the change is seen at all: the first layer where it is."""
    plan = plan_of(name)
    for step in (step for step in plan.steps if step.op == op):
        weight = plan.arrays[f"{step.name}.weight"].astype(int)
        for channel in range(len(weight)):
            place = (channel, *(n // 2 for n in weight.shape[1:]))
            try:
                report, first = port(name, weights={step.name: changed(weight, place, 1)})
            except StopIteration:
                continue  # nothing differs
            assert report.first_divergence == first == step.name
            where = ", ".join(map(str, place))
            assert any(
                f"a weight off by one: [{where}] is {weight[place] + 1}, not {weight[place]}" in rule.text
                or f"a weight off by one: [{channel}, " in rule.text
                and "other taps" in rule.text
                for rule in report.causes[0].rules
            ), report.text()
            return
    pytest.fail("no such weight is seen")


@pytest.mark.parametrize("name", NAMES)
def test_one_bias_off_by_one(name):
    plan = plan_of(name)
    for step in (step for step in plan.steps if step.op == "pointwise_conv2d"):
        bias = plan.arrays[f"{step.name}.bias"]
        for channel in range(0, len(bias), 3):
            try:
                report, first = port(name, biases={step.name: changed(bias, channel, 1)})
            except StopIteration:
                continue
            assert report.first_divergence == first == step.name
            assert said(report)[0] == f"a bias off by one of channel {channel} (+1)", report.text()
            return
    pytest.fail("no such bias is seen")


@pytest.mark.parametrize("name", NAMES)
def test_missing_biases(name):
    plan = plan_of(name)
    layers = [step.name for step in plan.steps if step.op in LAYERS]
    report, first = port(name, biases={n: np.zeros_like(plan.arrays[f"{n}.bias"]) for n in layers})
    assert report.first_divergence == first == "stem.conv" and "the bias missing" in said(report)[0]
    report, first = port(name, biases={layers[4]: np.zeros_like(plan.arrays[f"{layers[4]}.bias"])})
    assert report.first_divergence == first == layers[4] and "the bias missing" in said(report)[0]


@pytest.mark.parametrize("name", NAMES)
def test_another_zero_point(name):
    """As its step writes it and as its readers read it."""
    plan = plan_of(name)
    step = next(step.name for step in plan.steps if step.name.endswith(".project"))
    own = plan.grids[step].zero_point
    report, first = port(name, zero_points={step: own + 3})
    assert report.first_divergence == first == step
    assert said(report)[0] == f"another zero point of {step}: {own + 3}, not {own}", report.text()
    assert not [cause for cause in report.causes if not cause.rules], report.text()


def test_a_products_factor_in_float64():
    """TensorFlow Lite Micro casts scales before it multiplies them, TensorFlow Lite does not: here it gives 15."""
    grids = {
        "x": Grid(0.005317875649780035, -58, "int8"),
        "gate": Grid(0.002612263662740588, -128, "int8"),
        "y": Grid(0.002969010965898633, -58, "int8"),
    }
    step, given = IntegerStep("y", "mul", ("x", "gate"), (1,)), [np.array([[q]], np.int8) for q in (26, 59)]
    case = Case(Parts(grids, {}), step, given, np.array([[16]], np.int8), get_kernel_set("tflite-reference"))
    assert not case.equals(case.run())
    assert "scales multiplied in float64" in next(c.text for c in multipliers(case) if c.explains(case))


@pytest.mark.parametrize("factor, words", [(0.5, "one too many"), (2, "one too few")])
def test_a_shift_off_by_one_is_said_before_scales_that_give_the_same(factor, words):
    grids = {"x": Grid(0.5, 3, "int8"), "gate": Grid(0.01, -128, "int8"), "y": Grid(0.4, -5, "int8")}
    step, given = (
        IntegerStep("y", "mul", ("x", "gate"), (4,)),
        [np.array([q], np.int8) for q in ((26, -9, 40, -80), (99, 59, 7, 31))],
    )
    product = (given[0].astype(np.int64) - 3) * (given[1].astype(np.int64) + 128)
    found = np.clip(twice_rounded(product, 0.0125 * factor) - 5, -128, 127).astype(np.int8)
    case = Case(Parts(grids, {}), step, given, found, get_kernel_set("tflite-reference"))
    told = [claim.text for claim in scales(case) if claim.explains(case)]
    assert len(told) > 1 and f"(a shift to the right by {words})" in told[0]


def test_a_cut_at_the_integer_0_keeps_its_ends_among_all_claims():
    """They are asked for one by one of the first tensor, and all at once of those that it is checked on."""
    grids = {"x": Grid(0.1, 0, "int8"), "gate": Grid(0.1, 0, "int8"), "y": Grid(0.1, -20, "int8")}
    step = IntegerStep("y", "mul", ("x", "gate"), (2,), act="relu")
    given = [np.array([row], np.int8) for row in ((-50, 60), (10, 10))]
    case = Case(Parts(grids, {}), step, given, np.array([[0, 40]], np.int8), get_kernel_set("tflite-reference"))
    assert [claim.setting for claim in list(cuts(case)) if claim.explains(case)] == ["at 0"]


def test_zero_points_that_are_tried():
    """All of 8 bits; of 16, of which each would take as long, those near the file's and the usual ones."""
    assert list(_integers(Grid(1.0, 5, "uint8"))) == list(range(256))
    assert {-32768, 0, 1000, 1128} < (tried := set(_integers(Grid(1.0, 1000, "int16")))) and len(tried) < 300


def test_a_cause_that_a_number_or_two_rest_on_is_no_certain_one():
    plan = plan_of(NAMES[0])
    bias = plan.arrays["logits.bias"]
    for channel in range(len(bias)):
        for by in (1, 300):
            try:
                report, _ = port(NAMES[0], biases={"logits": changed(bias, channel, by)})
            except StopIteration:
                continue
            if report.causes[0].rules:
                row = next(row for row in report.tensors if row.step == "logits")
                assert report.causes[0].rules[0].numbers == row.off == 1, report.text()
                assert "exactly, though 1 number alone says so: too few to be sure;" in report.sentence
                return
    pytest.fail("no such bias is seen")


def test_numbers_enough_are_said_without_a_doubt():
    report, _ = port(NAMES[0], layer_rule=once)
    assert report.causes[0].rules[0].numbers > 100 and "too few" not in report.text()


def test_a_wrong_entry_of_a_table():
    """Where the hard-swish reads its commonest number it gives one step more."""
    step = next(step for step in plan_of(NAMES[0]).steps if step.op == "hard_swish")
    given = {key: array for key, array in right(NAMES[0]).items() if key in ("input", step.inputs[0], step.name)}
    q = int(np.median(given[step.inputs[0]]))
    own = given[step.name]
    there = given[step.inputs[0]] == q
    given[step.name] = np.where(there, own + 1, own).astype(own.dtype)
    report = npmnv3.verify(golden.model_of(NAMES[0]), golden.path(NAMES[0]), tensors=given)
    assert (
        f"a table that gives {own[there][0] + 1} for {q}, not {own[there][0]}, exactly; there alone" in report.sentence
    )


def test_one_number_throughout_has_no_cause():
    """A clamp of any kind may make it."""
    given = {key: array for key, array in right(NAMES[0]).items() if key == "input"}
    zero = plan_of(NAMES[0]).grids["logits"].zero_point
    given["logits"] = np.full_like(right(NAMES[0])["logits"], zero)
    report = npmnv3.verify(golden.model_of(NAMES[0]), golden.path(NAMES[0]), tensors=given)
    assert not report.fine and report.causes[0].rules == (), report.text()


def test_of_a_single_number_causes_are_looked_for(monkeypatch):
    """That it is the same all over says nothing: such are the logits of a network of one class."""
    asked = []
    monkeypatch.setattr(explain, "changes_of", lambda case: asked.append(case) or ())
    cases = [SimpleNamespace(found=np.full(size, 3)) for size in (1, 2)]
    assert [explain._rules(None, None, case, []) for case in cases] == [(), ()] and asked == cases[:1]


def test_two_faults_are_two_causes():
    report, _ = port(NAMES[0], mean_twice=True, pad_with=0)
    texts = [cause.rules[0].text for cause in report.causes]
    assert len(texts) == 2 and "padding with 0" in texts[0] and "old MEAN" in texts[1], report.text()


def test_saturation_of_an_onnx_port():
    """By the kernel set that does not saturate, what does is saturation, and nothing else."""
    name = f"{golden.SMALL}.qdq_u8s8_per_channel"
    report = npmnv3.verify(
        golden.model_of(name), golden.path(name), tensors=golden.tensors(name), kernels="onnxruntime"
    )
    assert not report.fine and len(report.causes) == 1
    assert said(report) == ["AVX2 saturation (pairs of products cut at 16 bits, vpmaddubsw)"]
    report = npmnv3.verify(
        golden.model_of(name), golden.path(name), tensors=golden.tensors(name), kernels="tflite-reference"
    )
    assert report.first_divergence == "stem.conv" and not report.fine


def test_what_nothing_explains_is_said_so():
    """Noise is no rule: nothing is named, of a tensor with places enough to tell."""
    name = NAMES[2]
    given = golden.tensors(name)
    key = next(key for key in given if "DEPTHWISE" in key)
    noise = np.random.default_rng(0).integers(-3, 4, given[key].shape)
    given[key] = np.clip(given[key] + noise, -128, 127).astype(np.int8)
    report = npmnv3.verify(golden.model_of(name), golden.path(name), tensors=given)
    assert report.causes[0].rules == () and "no rule change that was tried explains it exactly" in report.sentence
    assert report.first_divergence == "blocks.0.depthwise"
