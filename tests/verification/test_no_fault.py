"""verify: maps stored otherwise, tensors of an engine's own, coarser arithmetic and another picture are no fault."""

from dataclasses import replace

import faulty_ports
import numpy as np
import pytest
from faulty_layers import layer_faults

import npmnv3
from npmnv3.network.walk import apply
from npmnv3.ops import definitions
from npmnv3.verification import noise
from npmnv3.verification.comparison import Comparison
from npmnv3.verification.diagnosis import diagnose
from npmnv3.verification.inputs import Input
from npmnv3.verification.port import load_port
from npmnv3.verification.run import verify
from npmnv3.verification.tensors import WORST, PortTensor
from npmnv3.verification.verdict import decide


@pytest.mark.parametrize("wrong", (lambda tensor: tensor * np.float32(1.1), np.negative))
def test_a_tensor_under_a_wrong_name_is_said_though_the_port_is_right(maker, model, wrong):
    tensors = model.trace(maker.x)
    report = verify(model, tensors | {"blocks.4.depthwise": wrong(tensors["blocks.4.depthwise"])}, maker.x)
    assert report.fine and "; but what it calls blocks.4.depthwise is not that step's tensor" in report.sentence
    assert "but what it calls" not in verify(model, tensors, maker.x).sentence


def test_what_passes_for_the_sake_of_the_logits_is_said(maker, model):
    """A layer deep in the network that rounds a little more coarsely than float32."""
    tensors, rng = {"input": maker.x}, np.random.default_rng(3)
    for step in maker.plan:
        inputs = [tensors[name] for name in step.inputs]
        made = apply(step, inputs, {name: np.float32(a) for name, a in maker.arrays.items()}, definitions)
        noise = 1 + 4e-6 * rng.standard_normal(made.shape) * (step.name == "blocks.10.project.conv")
        tensors[step.name] = np.float32(made * noise)
    report = verify(model, tensors, maker.x)
    assert report.fine and "; 1 of 165 tensors is beyond 10 x by itself" in report.sentence, report.text()
    assert "beyond" not in verify(model, maker.clean(np.float32), maker.x).sentence


def columns_first(tensors):
    """Any tensors of a port that stores its maps so, without names."""
    turned = (t.swapaxes(2, 3) if t.ndim == 4 else t for t in tensors)
    return {f"t{i}": tensor for i, tensor in enumerate(turned)}


@pytest.mark.parametrize("rounding", (np.float32, faulty_ports.half))
def test_maps_stored_with_their_columns_first_are_no_fault(model, maker, rounding):
    """They look like those of a picture on its side and of kernels on theirs."""
    report = verify(model, columns_first(maker.clean(rounding).values()), maker.x)
    assert report.fine and "columns first" in report.text(), report.text()
    assert {row.layout for row in report.tensors if len(row.shape) == 4} == {"ncwh"}


def test_oblong_maps_stored_with_their_columns_first_are_read_so(model):
    """As they are they have no step's shape: nothing of them would be checked."""
    x = np.random.default_rng(2).normal(size=(1, 3, 64, 96)).astype(np.float32)
    report = verify(model, columns_first(model.trace(x).values()), x)
    assert report.fine and "columns first" in report.text(), report.text()
    assert sum(len(row.shape) == 4 for row in report.tensors) > 50


def test_columns_first_and_kernels_on_their_side_are_alike_where_only_the_port_has_the_picture(maker, model):
    """The two are the same mathematics: neither is certain."""
    port = columns_first(tensor for name, tensor in maker.clean(np.float32).items() if name.count(".") < 2)
    given = Input(port["t0"], is_own=True)
    report = decide(Comparison(model, given, load_port(port, given.x), None, "auto", 10.0), "port")
    (found,) = report.explained_by
    assert found["fault"] == "weight_layout" and "cannot be told from columns_first" in found["certainty"], found


@pytest.mark.parametrize("fault", ("weight_layout", "bias_missing"))
def test_a_fault_is_named_in_maps_that_are_stored_with_their_columns_first(model, maker, fault):
    report = verify(model, columns_first(layer_faults(maker)[fault](np.float32).values()), maker.x)
    assert [row["fault"] for row in report.explained_by] == [fault], report.text()
    assert report.explained_by[0]["certainty"] == "certain"


def test_tensors_that_the_plan_does_not_have_are_no_fault(maker, model):
    """Convolutions without their bias, inner products of hard-swish, a gate plus three, the logits without their bias."""
    tensors = maker.clean(np.float32)
    extras = {}
    for name in ("stem", "blocks.6.expand", "blocks.6.depthwise"):
        norm = tensors[f"{name}.norm"]
        extras[f"{name}/hard"] = np.clip(norm / 6 + 0.5, 0, 1)
        extras[f"{name}/bare"] = norm - norm[:, :, :1, :1]
    for name in ("blocks.3.se.excite", "blocks.8.se.excite"):
        extras[f"{name}/add"] = tensors[name] + 3
    bias = maker.arrays[maker.plan[-1].param("bias").name].astype(np.float32)
    extras["logits/bare"] = tensors["logits"] - bias
    port = {f"t{i}": t for i, t in enumerate((*tensors.values(), *extras.values()))}
    report = verify(model, port, maker.x)
    assert report.fine, report.text()
    by_port = {row.port: row for row in report.tensors}
    for i, name in enumerate(tensors):
        if f"t{i}" in by_port:
            assert np.array_equal(tensors[by_port[f"t{i}"].step], tensors[name]), name


def test_no_fault_stands_in_for_a_tensor_that_is_right(maker, model):
    """The port has the logits, and the logits before their bias: it does not lack the bias."""
    tensors = maker.clean(np.float32)
    bare = tensors["logits"] - maker.arrays[maker.plan[-1].param("bias").name].astype(np.float32)
    port = {
        "output": tensors["logits"],
        **{f"t{i}": t for i, t in enumerate(tensors.values()) if i % 7 == 0},
        "z": bare,
    }
    report = verify(model, port, maker.x)
    assert report.fine, report.text()
    comparison = Comparison(model, Input(maker.x), load_port(port, maker.x), None, "auto", 10.0)
    assert diagnose(comparison).cleared is None


def test_a_name_that_all_else_refutes_is_no_fault(maker, model):
    tensors = maker.clean(np.float32)
    port = {name: tensors[name] for name in ("stem", "blocks.3", "blocks.8", "logits")}
    port["blocks.7"] = 2 * tensors["blocks.8"] + 1  # not what it says it is, but no step's result was needed for it
    assert verify(model, port, maker.x).fine
    port["blocks.7"] = np.zeros_like(tensors["blocks.7"])  # never written
    assert verify(model, port, maker.x, explain=False).first_divergence == "blocks.7"


def test_what_overflows_explains_nothing():
    view = PortTensor("t", np.ones((1, 4), np.float32)).views((4,), 1)[0]
    assert view.error(np.full((1, 4), 7e33, np.float32)) == WORST
    assert view.error(np.full((1, 4), np.inf, np.float32)) == WORST
    assert view.error(np.array([[1, 1, np.nan, 1]], np.float32)) == 0  # one unknown logit


@pytest.mark.parametrize("count", [10, 4000])
def test_floats_on_a_grid_are_int8(count):
    rng = np.random.default_rng(5)
    grid = (rng.integers(-128, 128, count) * np.float32(0.0371) + np.float32(0.4)).astype(np.float32)
    free = rng.standard_normal(count).astype(np.float32)
    assert noise.precision_of([PortTensor("t", grid)]) == "int8"
    assert noise.precision_of([PortTensor("t", free)]) == "float32"


def test_an_int8_port_is_said_to_be_one(maker, model):
    tensors = {n: t for n, t in maker.clean(np.float32).items() if n in ("input", "stem", "blocks.4", "logits")}
    port = {}
    for name, tensor in tensors.items():
        scale = np.abs(tensor).max() / 127
        port[name] = tensor if name == "input" else np.round(tensor / scale) * scale
    report = verify(model, port, maker.x)
    assert report.precision == "int8" and report.fine and report.sentence.startswith("an int8 port"), report.text()


def test_integers_without_a_scale_are_the_gate_if_that_cuts_a_few_numbers_off(maker, model):
    """Up to a scale a gate is nearly what it was made of, and where it cuts nothing off the very same."""
    halved = {s.param("weight").name for s in maker.plan if s.name.endswith(".se.excite")}
    state = {name: a * np.float32(0.5) if name in halved else a for name, a in maker.state.items()}
    other = npmnv3.load(model.name, state, engine="numpy")
    made, inner = other.trace(maker.x), (".conv", ".norm", ".fc", ".excite")
    tensors = [tensor for name, tensor in made.items() if not name.endswith(inner)]
    raw = [np.round((t - t.min()) / np.ptp(t) * 255 - 128).astype(np.int8) for t in tensors]
    report = verify(other, {f"t{i}": q for i, q in enumerate(raw)}, maker.x)
    assert report.fine and "integers without a scale" in report.text(), report.text()
    excites = [row.step for row in report.tensors if row.step.endswith(".excite")]
    assert excites == ["blocks.3.se.excite"] and made["blocks.3.gate"].min() > 0 and made["blocks.3.gate"].max() < 1


def test_an_inner_fault_of_an_int8_port_is_no_rounding_though_its_logits_may_be(maker, model):
    def at_slope(slope):
        plan = [replace(s, slope=slope) if s.op == "hard_sigmoid" else s for s in maker.plan]
        tensors = faulty_ports.run(plan, maker.arrays, maker.x, np.float32)
        return {n: np.round(t / (np.abs(t).max() / 127)) * (np.abs(t).max() / 127) for n, t in tensors.items()}

    own = next(s.slope for s in maker.plan if s.op == "hard_sigmoid")
    right, wrong = at_slope(own), at_slope(0.2 * own)
    assert verify(model, right, maker.x).fine
    report = verify(model, wrong | {"logits": right["logits"]}, maker.x)
    assert not report.fine and "which it does not explain: blocks.0.se, blocks.3.gate" in report.sentence, report.text()


def test_another_picture_is_said_first_and_judged_by_itself(maker, model):
    x = np.random.default_rng(21).standard_normal(maker.x.shape).astype(np.float32)
    report = verify(model, {"input": x, "logits": model(x)}, maker.x)
    assert report.fine and report.sentence.startswith("it saw another picture than the one given"), report.text()
    assert report.text().splitlines()[1].startswith("FINE BY ITS OWN INPUT ALONE: "), report.text()
    report = verify(model, {"input": x, "logits": 0.8 * model(x)}, maker.x)
    assert not report.fine and "another picture" in report.sentence and "0.8" in report.sentence, report.text()


def half_products(maker):
    """{step: tensor} of an engine that multiplies numbers of float16, and keeps what it stores in float32."""
    arrays, tensors = {name: faulty_ports.half(array) for name, array in maker.arrays.items()}, {"input": maker.x}
    for step in maker.plan:
        inputs = [faulty_ports.half(tensors[name]) if step.params else tensors[name] for name in step.inputs]
        tensors[step.name] = np.float32(apply(step, inputs, arrays, definitions))
    return tensors


def test_float16_that_is_only_inferred_is_said_to_be(maker, model):
    logits = half_products(maker)["logits"]
    report = verify(model, {"y": logits}, maker.x)
    assert report.fine and "if it computes in float16" in report.sentence
    assert not verify(model, {"y": logits}, maker.x, precision="float32", explain=False).fine


def test_rounding_is_inferred_of_few_steps_with_many_inner_tensors_each(maker, model):
    """The parts of one hard-swish; that the logits are nearly right says that no fault moved them away from all steps."""
    tensors = half_products(maker)
    x = tensors["stem.norm"]
    inner = (x + 3, np.clip(x + 3, 0, 6), np.clip(x + 3, 0, 6) / 6, x * np.clip(x + 3, 0, 6))
    port = {f"t{i}": tensor for i, tensor in enumerate((*inner, tensors["stem"]))} | {"y": tensors["logits"]}
    report = verify(model, port, maker.x, explain=False)
    assert report.fine and report.precision == "float16", report.text()
