"""verify: faults that it does not know are located, and those of ports that round more coarsely are told from rounding."""

import functools
from dataclasses import replace

import faulty_ports
import numpy as np
import pytest

import npmnv3
from npmnv3.network.steps import Step
from npmnv3.network.walk import apply
from npmnv3.ops import definitions
from npmnv3.verification import noise
from npmnv3.verification.comparison import Comparison
from npmnv3.verification.inputs import Input
from npmnv3.verification.run import verify
from npmnv3.verification.tensors import PortTensor

BLOCKS = [f"blocks.{i}" for i in range(11)]


def run(maker, change=lambda step, inputs: None, arrays=None, x=None, rounding=np.float32):
    """{step: tensor} of the plan in which `change` gives what some steps' results are instead; None leaves them."""
    arrays = {name: rounding(a) for name, a in (maker.arrays | (arrays or {})).items()}
    tensors = {"input": np.float32(maker.x if x is None else x)}
    for step in maker.plan:
        inputs = [tensors[name] for name in step.inputs]
        other = change(step, inputs)
        tensors[step.name] = np.float32(apply(step, inputs, arrays, definitions) if other is None else other)
    return tensors


def products(maker, x, rounding):
    """{step: tensor} of an engine that multiplies rounded numbers, and keeps what it stores in float32."""

    def change(step, inputs):
        return apply(step, [rounding(one) for one in inputs], arrays, definitions) if step.params else None

    arrays = {name: rounding(a) for name, a in maker.arrays.items()}
    return run(maker, change, x=x)


def nameless(tensors, names, order=None):
    """The tensors of some steps under names that say nothing, in the network's order or another."""
    return {f"t{i:03}": tensors[name] for i, name in enumerate(names if order is None else np.array(names)[order])}


@pytest.mark.usefixtures("short_search")
@pytest.mark.parametrize("shuffled", [False, True])
def test_an_unknown_fault_of_a_block_is_located_by_the_blocks_ends_alone(maker, model, shuffled):
    def rooted(step, inputs):
        return inputs[0] * np.sqrt(inputs[1])[..., None, None] if step.name == "blocks.5.se" else None

    names = [*BLOCKS, "pool", "logits"]
    order = np.random.default_rng(4).permutation(len(names)) if shuffled else None
    report = verify(model, nameless(run(maker, rooted), names, order), maker.x)
    assert not report.fine and not report.explained_by, report.text()
    assert report.first_divergence == "blocks.5", report.text()


@pytest.mark.usefixtures("short_search")
def test_a_tensor_that_fits_no_step_locates_a_fault_by_its_place_in_the_ports_order(maker, model):
    norms = [s for s in maker.plan if s.op == "batch_norm" and s.name.startswith("blocks.4")]
    fresh = {
        s.param(role).name: np.full(s.shape[0], value) for s in norms for role, value in (("mean", 0), ("variance", 1))
    }
    tensors = run(maker, arrays=fresh)
    fused = [name for name in tensors if not name.endswith((".conv", ".norm", ".fc", ".gain"))]
    report = verify(model, nameless(tensors, fused), maker.x)
    assert report.first_divergence == "blocks.4.expand" and "by its place in the port's order" in report.sentence, (
        report.text()
    )


@pytest.mark.usefixtures("short_search")
def test_what_lies_between_the_last_right_tensor_and_the_first_wrong_one_is_said(maker, model):
    def gained(step, inputs):
        return inputs[0] * np.float32(0.7) + np.float32(0.1) if step.name == "blocks.3.project" else None

    report = verify(model, nameless(run(maker, gained), ["blocks.0", "blocks.2", "logits"]), maker.x)
    assert "in one of blocks.3 ... logits" in report.sentence, report.text()


def test_the_last_rows_of_a_1x1_layer_are_no_matter_of_padding(maker, model):
    def turned(step, inputs):
        if step.name != "blocks.1.project":
            return None
        made = np.float32(apply(step, inputs, maker.arrays, definitions))
        made[:, :, -1] *= -1
        return made

    tensors = {n: t for n, t in run(maker, turned).items() if not n.endswith((".conv", ".norm"))}
    report = verify(model, tensors, maker.x, explain=False)
    assert "no cause was looked for, first at blocks.1" in report.sentence and "row 11" in report.sentence, (
        report.sentence
    )
    assert "padding" not in report.sentence, report.sentence


def test_one_activation_a_little_off_is_not_taken_for_float16(maker, model):
    def short(step, inputs):
        return inputs[0] * np.clip(np.float32(0.1667) * (inputs[0] + 3), 0, 1) if step.op == "hard_swish" else None

    tensors = run(maker, short)
    report = verify(model, {n: t for n, t in tensors.items() if not n.endswith((".conv", ".norm"))}, maker.x)
    assert not report.fine and report.first_divergence == "stem", report.text()


def test_gates_of_eight_bits_are_not_taken_for_bfloat16(maker, model):
    """Only what has gates is off, while the large linear layers behind are exact: no engine rounds like that."""

    def short(step, inputs):
        gate = step.name.endswith(".gate")
        return np.floor(np.clip(step.slope * inputs[0] + 0.5, 0, 1) * 255) / 255 if gate else None

    report = verify(model, nameless(run(maker, short), [*BLOCKS, "last", "pool", "head", "logits"]), maker.x)
    assert not report.fine and report.first_divergence == "blocks.0", report.text()


def test_training_mode_of_a_few_blocks_is_named_where_their_ends_are_given(maker, model):
    def live(step, inputs):
        if step.op != "batch_norm" or not step.name.startswith(("blocks.8", "blocks.9", "blocks.10")):
            return None
        x = inputs[0]
        gamma, beta = (maker.arrays[step.param(role).name][:, None, None] for role in ("gamma", "beta"))
        return (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + step.eps) * gamma + beta

    report = verify(model, nameless(run(maker, live), [*BLOCKS, "pool", "logits"]), maker.x)
    (found,) = report.explained_by
    assert found["fault"] == "train_mode" and found["certainty"] == "certain", report.text()
    assert {name.split(".")[1] for name in found["steps"]} == {"8", "9", "10"}


@pytest.mark.parametrize("names", [["logits"], [*BLOCKS, "logits"]], ids=["logits", "blocks"])
def test_a_fault_of_a_port_with_products_of_float16_is_named(maker, model, names):
    tensors = products(maker, maker.x[:, ::-1], faulty_ports.half)
    report = verify(model, nameless(tensors, names), maker.x)
    assert report.explained_by[0]["fault"] == "channel_order", report.text()
    assert report.explained_by[0]["certainty"] == "likely" and "if it computes in float16" in report.sentence
    assert report.precision == "float16" and "something else" not in report.sentence


@pytest.mark.parametrize("names", [["logits"], [*BLOCKS, "logits"]], ids=["logits", "blocks"])
def test_weights_in_int8_by_channel_are_named(maker, model, names):
    def rounded(w):
        w = np.asarray(w, np.float32)
        scale = np.abs(w).max(axis=tuple(range(1, w.ndim)), keepdims=True) / np.float32(127)
        return np.round(w / scale) * scale

    weights = {s.param("weight").name for s in maker.plan if s.param("weight")}
    tensors = run(maker, arrays={name: rounded(maker.arrays[name]) for name in weights})
    (found,) = verify(model, nameless(tensors, names), maker.x).explained_by
    assert (found["fault"], found["certainty"]) == ("quantized_layer", "certain"), found
    assert "a scale a channel" in found["text"]


def test_an_engines_own_tensor_does_not_stand_against_the_fault_that_sets_all_else_right(maker, model):
    """A port of another padding, which dumps an excite layer before its bias is added: near to that layer, and not it."""
    tensors = maker.faults()["padding", "the other"](np.float32)
    excite = next(s for s in maker.plan if s.name == "blocks.4.se.excite")
    bias = np.float32(maker.arrays[excite.param("bias").name])
    tensors[excite.name] = tensors[excite.name] - bias * 0.02 * tensors[excite.name].std() / bias.std()
    names = [*BLOCKS, "blocks.4.se.pool", "blocks.4.se.squeeze.fc", excite.name, "blocks.4.gate", "logits"]
    report = verify(model, nameless(tensors, names), maker.x)
    (found,) = report.explained_by
    assert (found["fault"], found["certainty"]) == ("padding", "certain"), report.text()
    assert "something else" not in report.sentence


@pytest.mark.usefixtures("short_search")
def test_an_error_of_bfloat16s_size_is_said_to_be_one(maker, model):
    """Of logits alone in float32 nobody can tell bfloat16 products from a fault."""
    logits = products(maker, maker.x, functools.partial(noise.rounded, precision="bfloat16"))["logits"]
    report = verify(model, {"y": logits}, maker.x)
    assert not report.fine and "--precision bfloat16" in report.sentence, report.text()


@pytest.mark.usefixtures("short_search")
def test_what_is_far_below_float16s_rounding_is_not_taken_for_it(maker, model):
    """Of the logits alone: a channel that is off by a percent."""

    def change(step, inputs):
        if step.name != "blocks.4.expand":
            return None
        made = apply(step, inputs, maker.arrays, definitions)
        return made * np.where(np.arange(made.shape[1]) == 5, 1.0005, 1)[:, None, None]

    report = verify(model, {"y": run(maker, change)["logits"]}, maker.x)
    assert not report.fine and "float16" not in report.sentence, report.text()


def test_rounding_is_not_inferred_from_the_few_tensors_that_still_fit_a_step(maker, model):
    tensors = products(maker, maker.x, faulty_ports.half)
    few = nameless(tensors, ["pool", "head", "logits"])
    assert verify(model, few, maker.x, explain=False).fine
    lost = {f"u{name}": tensors[name][:, :, ::-1] ** 2 for name in BLOCKS}
    report = verify(model, lost | few, maker.x, explain=False)
    assert not report.fine, report.text()


def test_rounding_is_inferred_beside_an_engines_many_inner_tensors(maker, model):
    """Of a hard-swish in its parts: x + 3, cut at 0 and 6, and their product."""
    tensors = products(maker, maker.x, faulty_ports.half)
    inner = {name: np.clip(array + 3, 0, 6) for name, array in tensors.items()}
    inner = {f"{name}.relu6": x for name, x in inner.items()} | {f"{n}.mul": x * tensors[n] for n, x in inner.items()}
    report = verify(model, tensors | inner, maker.x, explain=False)
    assert report.fine and report.precision == "float16", report.text()


def test_an_input_that_the_first_layer_does_not_get_stands_for_no_step(maker, model):
    """A port may dump its picture before it was normalized; a fault may put a step of the picture's shape before the stem."""
    tensors = {"picture": maker.x * np.float32(0.3) + np.float32(0.4), "stem": run(maker)["stem"]}
    ported = [PortTensor(name, array) for name, array in tensors.items()]
    comparison = Comparison(model, Input(maker.x), ported, None, "float32", 10.0)
    assert set(comparison.views) == {"input", "stem"} and not comparison.port_run.forces_input
    stem = comparison.net.steps["stem.conv"]
    early = Step("early", "relu", ("input",), ())
    faulty = comparison.net.edit({"stem.conv": [early, replace(stem, inputs=("early",))]})
    errors, _ = comparison.port_run.errors(faulty)
    assert errors["stem"] > comparison.port_run.base["stem"]


def test_what_sets_right_only_tensors_that_pass_explains_nothing(maker, model):
    """A norm's epsilon that is forgotten, which by this limit is rounding; and behind it something unknown."""

    def change(step, inputs):
        if step.op == "batch_norm":
            return apply(replace(step, eps=0.0), inputs, maker.arrays, definitions)
        return np.tanh(inputs[0]) if step.name == "last" else None

    report = verify(model, run(maker, change), maker.x, factor=3000)
    assert not report.fine and not report.explained_by and report.first_divergence == "last", report.text()


def test_what_float16_would_round_too_little_for_is_a_fault_that_sets_all_right():
    """Epsilon outside of the root in all norms, of the blocks' ends: an error of float16's size, eight times."""
    picture = np.random.default_rng(9).integers(0, 256, (256, 256, 3), np.uint8)
    maker = faulty_ports.Maker("keras/MobileNetV3Small_minimalistic", picture, side=96)

    def outside(step, inputs):
        if step.op != "batch_norm":
            return None
        variance = step.param("variance").name
        root = np.sqrt(maker.arrays[variance]) + step.eps
        return apply(replace(step, eps=0.0), inputs, maker.arrays | {variance: np.square(root)}, definitions)

    tensors = run(maker, outside)
    ends = [name if name in tensors else f"{name}.project" for name in BLOCKS]
    port = {name: tensors[name] for name in (*ends, "logits") if name in tensors}
    model = npmnv3.load("keras/MobileNetV3Small_minimalistic", maker.state, engine="numpy")
    (found,) = verify(model, port, maker.x).explained_by
    assert "root of the variance, plus epsilon" in found["text"] and found["certainty"] == "certain", found
