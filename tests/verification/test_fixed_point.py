"""verify: ports in fixed point, or in integers of more than 8 bits, are judged by their own rounding, their faults named."""

from dataclasses import replace

import faulty_ports
import numpy as np
import pytest

import npmnv3
from npmnv3.network.walk import apply
from npmnv3.ops import definitions
from npmnv3.verification.fixed_point import FINER, bits_of_scale, fraction_bits
from npmnv3.verification.noise import rounded
from npmnv3.verification.report import Report
from npmnv3.verification.run import verify
from npmnv3.verification.steps_of_ports import in_fixed_point, in_integers


def port(maker, bits, limit=np.inf, cut=False, change=lambda step, inputs: None, weight_bits=None):
    """{step: tensor} whose numbers have so many bits behind the point, and whose norms are folded into their layers."""
    weights = {step.param("weight").name for step in maker.plan if step.param("weight") and weight_bits}
    arrays = maker.arrays | {n: np.round(maker.arrays[n] * 2.0**weight_bits) / 2.0**weight_bits for n in weights}
    steps = 2.0**bits

    def fixed(x):
        levels = np.floor(x * steps + (0 if cut else 0.5)) / steps
        return np.clip(levels, -limit, limit - 1 / steps)

    tensors = {"input": fixed(np.float64(maker.x))}
    before_norms = {step.inputs[0] for step in maker.plan if step.op == "batch_norm"}
    for step in maker.plan:
        inputs = [tensors[name] for name in step.inputs]
        other = change(step, inputs)
        made = apply(step, inputs, arrays, definitions) if other is None else other
        tensors[step.name] = made if step.name in before_norms else fixed(made)
    return {name: np.float32(t) for name, t in tensors.items() if name not in before_norms}


@pytest.mark.parametrize("bits", [4, 8, 12, 16])
def test_small_numbers_tell_fixed_point_from_floats(bits):
    x = 4 * np.random.default_rng(3).standard_normal(4096).astype(np.float32)
    assert fraction_bits(np.round(x * 2**bits) / 2**bits) == bits
    for floats in (x, rounded(x, "float16"), rounded(x, "bfloat16"), np.round(x), 2 + rounded(x, "bfloat16") % 1):
        assert fraction_bits(floats) is None


@pytest.mark.parametrize("bits, cut", [(8, True), (12, False)])
def test_a_port_in_fixed_point_is_said_to_be_one(maker, model, bits, cut):
    report = verify(model, port(maker, bits, cut=cut), maker.x)
    told = f"a fixed-point port ({bits} fraction bits{', cut off where they should be rounded' if cut else ''})"
    assert report.fine and report.sentence.startswith(told) and report.precision == f"fixed{bits}", report.text()


def test_its_logits_alone_are_told_too(maker, model):
    report = verify(model, {"logits": port(maker, 8)["logits"]}, maker.x)
    assert report.fine and "(8 fraction bits)" in report.sentence, report.text()


def test_what_is_more_than_its_rounding_is_named(maker, model):
    def linear(step, inputs):
        return inputs[0] if step.op == "add" else None

    report = verify(model, port(maker, 8, change=linear), maker.x)
    assert [row["fault"] for row in report.explained_by] == ["residual"], report.text()
    assert "the port is in fixed point: 8 fraction bits" in report.notes, report.text()


@pytest.fixture(scope="module")
def timm():
    """(ports' Maker, model)"""
    picture = np.random.default_rng(9).integers(0, 256, (256, 256, 3), np.uint8)
    maker = faulty_ports.Maker("timm/mobilenetv3_small_050", picture, side=64)
    return maker, npmnv3.load("timm/mobilenetv3_small_050", maker.state, engine="numpy")


def test_of_the_logits_alone_a_fault_does_not_pass_for_its_rounding(timm):
    def steeper(step, inputs):
        return np.clip(inputs[0] / 5 + 0.5, 0, 1) if step.op == "hard_sigmoid" else None

    maker, model = timm
    clean, faulty = ({"logits": port(maker, 8, change=change)["logits"]} for change in (lambda *_: None, steeper))
    assert verify(model, clean, maker.x).fine
    assert not verify(model, faulty, maker.x, explain=False).fine


def test_of_few_bits_and_the_logits_alone_a_fault_is_named(timm):
    """Weights that are finer than the tensors add no error: what a wrong slope of all gates does is more than the rest."""

    def steeper(step, inputs):
        return np.clip(inputs[0] / 5 + 0.5, 0, 1) if step.op == "hard_sigmoid" else None

    maker, model = timm
    (found,) = verify(model, {"logits": port(maker, 8, change=steeper)["logits"]}, maker.x).explained_by
    assert found["fault"] == "hard_sigmoid_slope", found


def test_weights_of_as_many_bits_as_the_tensors_are_no_fault(maker, model):
    tensors = port(maker, 8, weight_bits=8)
    few = {name: tensors[name] for name in ("stem", "blocks.3", "blocks.7", "blocks.10", "logits")}
    report = verify(model, few, maker.x)
    assert report.fine and report.precision == "fixed8", report.text()


@pytest.mark.parametrize("names", [("logits",), ("stem", "blocks.3", "blocks.7", "blocks.10", "logits")])
def test_weights_of_fewer_bits_than_the_tensors_are_named(maker, model, names):
    tensors = port(maker, 12, weight_bits=8)
    (found,) = verify(model, {name: tensors[name] for name in names}, maker.x).explained_by
    assert found["text"] == "weights of 8 fraction bits" and found["certainty"] == "certain", found


def test_a_largest_number_next_to_a_power_of_two_is_no_limit(timm):
    def sigmoid(step, inputs):
        return 1 / (1 + np.exp(-inputs[0])) if step.op == "hard_sigmoid" else None

    maker, model = timm
    report = verify(model, port(maker, 8, change=sigmoid), maker.x, explain=False)
    assert not report.fine and "overflow" not in [row["fault"] for row in report.explained_by], report.text()


def test_numbers_that_end_at_a_words_limit_are_told(maker, model):
    report = verify(model, port(maker, 12, limit=4), maker.x)
    assert report.explained_by[0]["fault"] == "overflow" and "stand at 3.99976" in report.sentence, report.text()


def test_sums_of_two_float16_numbers_are_not_in_fixed_point():
    """Where these nearly undo one another a multiple of the larger one's step is left: as logits before their bias and it."""
    values = np.random.default_rng(1).normal(size=(2, 1000))
    a, b = values.astype(np.float16)
    assert fraction_bits(a + b) is None
    assert fraction_bits(np.round(values[0] * 2.0**12) / 2.0**12) == 12


def as_integers(tensors, scale=None, known=True):
    """A port that hands over integers: a scale for all or, by default, int16's own of each; beside them, or not."""
    scales = {name: np.float32(scale or np.abs(t).max() / 32767) for name, t in tensors.items()}
    integers = {name: np.round(t / scales[name]).astype(np.int32) for name, t in tensors.items()}
    return integers | ({f"{name}.scale": scale for name, scale in scales.items()} if known else {})


@pytest.fixture(scope="module")
def some(timm):
    """{"clean" or "eps": some tensors of a port}"""
    maker, _ = timm

    def other_eps(step, inputs):
        return apply(replace(step, eps=1e-3), inputs, maker.arrays, definitions) if step.op == "batch_norm" else None

    names = ("input", "stem", "blocks.2", "blocks.8", "logits")
    made = {"clean": port(maker, 20), "eps": port(maker, 20, change=other_eps)}
    return {what: {name: tensors[name] for name in names} for what, tensors in made.items()}


@pytest.mark.parametrize("scale, precision", [(2.0**-12, "fixed12"), (None, "int16")])
def test_integers_of_many_bits_are_not_taken_for_int8(timm, some, scale, precision):
    """Behind int8's rounding a wrong epsilon would pass."""
    maker, model = timm
    report = verify(model, as_integers(some["clean"], scale), maker.x)
    assert report.fine and report.precision == precision, report.text()
    assert not verify(model, as_integers(some["eps"], scale), maker.x, explain=False)


def test_a_fault_of_less_than_int8s_rounding_is_named_in_integers_of_many_bits(timm, some):
    maker, model = timm
    (found,) = verify(model, as_integers(some["eps"]), maker.x).explained_by
    assert found["fault"] == "norm_eps" and found["certainty"] == "certain", found


def test_of_integers_without_their_scales_it_is_said_what_int8_hides(timm, some):
    maker, model = timm
    report = verify(model, as_integers(some["eps"], known=False), maker.x, explain=False)
    assert report.fine and report.sentence.startswith("a port in integers that are finer than int8's, within")
    assert "by the steps of its own integers it diverges" in report.notes[-1], report.text()


def test_a_scale_tells_the_bits_behind_the_point():
    assert [bits_of_scale(scale) for scale in (0.5, 2.0**-12, 2.0**-20)] == [1, 12, 20]
    assert [bits_of_scale(scale) for scale in (0.0, 1.0, 2.0, 0.3, 2.0**-21, np.inf, np.nan)] == [None] * 7


@pytest.mark.parametrize(
    "judge, fault, certainty",
    [
        (
            in_fixed_point,
            "norm_eps",
            "cannot be told from quantized_layer (weights of 15 fraction bits) by these tensors",
        ),
        (in_fixed_point, "quantized_layer", "certain"),
        (in_integers, "quantized_layer", "certain"),
    ],
)
def test_what_may_be_the_rounding_of_weights_is_judged_so(judge, fault, certainty):
    class Comparison:
        precision, asked_factor, views = "fixed15", 10.0, {}

        def in_precision(self, precision, factor):
            other = Comparison()
            other.precision = precision
            return other

    def decided(comparison):
        off = {"text": "", "fault": fault, "certainty": certainty}
        finer = comparison.precision.endswith(FINER) or judge is in_integers and comparison.precision != "int8"
        causes = [off] if finer else []
        return Report("", "", "diverges" if finer else "fine", "", comparison.precision, 10.0, causes)

    assert judge(Comparison(), decided).fine
