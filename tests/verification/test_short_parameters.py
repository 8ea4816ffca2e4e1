"""verify: ports that compute in float32 and store their parameters in 16 bits are told exactly, and so are faults beside."""

import faulty_ports
import numpy as np
import pytest

from npmnv3.verification import coarser, noise
from npmnv3.verification.certainty import bits_nearer
from npmnv3.verification.coarser import as_short
from npmnv3.verification.comparison import Comparison
from npmnv3.verification.inputs import Input
from npmnv3.verification.run import verify
from npmnv3.verification.tensors import PortTensor

MODEL = "ppcls/MobileNetV3_small_x0_35"
ENDS = [*(f"blocks.{i}" for i in range(11)), "logits"]


@pytest.fixture(scope="module")
def maker():
    return faulty_ports.Maker(MODEL, np.random.default_rng(9).integers(0, 256, (256, 256, 3), np.uint8), side=48)


def cut(array, kept):
    """float32 numbers of so many bits."""
    return (np.float32(array).view(np.uint32) >> np.uint32(32 - kept) << np.uint32(32 - kept)).view(np.float32)


def short(maker, precision, arrays=None):
    """{step: tensor} of a port all of whose parameters are in 16 bits."""
    stored = noise.rounded_arrays(maker.arrays | (arrays or {}), precision)
    return faulty_ports.run(maker.plan, stored, maker.x, np.float32)


def cut_to_float16(array):
    return np.where(np.abs(array) < 2.0**-14, np.fix(array * 2.0**24) / 2.0**24, cut(array, 19))


def tensors_of(maker, store, folded=False):
    """{step: tensor} of a port whose weights went through `store`, after norms were folded in or before."""
    norms = {step.inputs[0]: step for step in maker.plan if step.op == "batch_norm"}
    arrays = dict(maker.arrays)
    for step in maker.plan:
        if weight := step.param("weight"):
            factor = np.ones(len(arrays[weight.name]))
            if folded and (norm := norms.get(step.name)):
                gamma, variance = (maker.arrays[norm.param(role).name] for role in ("gamma", "variance"))
                factor = gamma / np.sqrt(variance + norm.eps)
            factor = factor.reshape(-1, *(1,) * (arrays[weight.name].ndim - 1))
            arrays[weight.name] = store(np.float32(arrays[weight.name] * factor)) / factor
    return faulty_ports.run(maker.plan, arrays, maker.x, np.float32)


CASES = (  # what stores it, norms folded in, what is given, what is said
    (faulty_ports.half, False, ENDS, "float16:"),
    (cut_to_float16, True, ["logits"], "float16, cut off where they should be rounded, norms folded in:"),
    (lambda array: cut(array, 16), False, ["logits"], "bfloat16, cut off where they should be rounded:"),
)


@pytest.mark.parametrize("store, folded, names, said", CASES)
def test_weights_stored_in_16_bits_are_no_fault(maker, model, store, folded, names, said):
    made = tensors_of(maker, store, folded)
    report = verify(model, {name: made[name] for name in names}, maker.x, explain=False)
    assert report.fine and report.precision == "float32" and f"its weights are in {said}" in report.sentence, (
        report.text()
    )


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_all_parameters_stored_in_16_bits_are_no_fault(maker, model, precision):
    made = short(maker, precision)
    report = verify(model, {"out": made["logits"]}, maker.x, explain=False)
    assert report.fine and f"its parameters are in {precision}:" in report.sentence, report.text()
    strict = verify(model, {"out": made["logits"]}, maker.x, explain=False, precision="float32")
    assert not strict.fine, strict.text()


def test_a_fault_beside_parameters_in_16_bits_is_all_that_is_off(maker, model):
    """A beta is left out; all else agrees to float32's rounding with the parameters that the port has."""
    beta = maker.plan[1].param("beta").name
    made = short(maker, "bfloat16", {beta: 0 * maker.arrays[beta]})
    report = verify(model, {name: made[name] for name in ENDS}, maker.x, explain=False)
    assert not report.fine and "its parameters are in bfloat16:" in report.sentence, report.text()
    assert [row.step for row in report.tensors if not row.passes] == ["blocks.0"], report.text()


def test_an_error_of_16_bits_size_is_not_taken_for_parameters_in_16_bits(maker, model):
    made = tensors_of(maker, faulty_ports.half)
    logits = made["logits"] + np.float32(1e-3 * np.random.default_rng(6).standard_normal(made["logits"].shape))
    assert "weights are in" not in verify(model, {"out": logits}, maker.x, explain=False).sentence


def test_two_logits_are_too_few_to_tell_how_parameters_are_stored(monkeypatch, maker, model):
    """Of several ways to round one is near two numbers by chance."""
    made = short(maker, "float16")
    ported = [PortTensor("out", made["logits"])]
    comparison = Comparison(model, Input(maker.x), ported, None, "auto", 10.0)
    assert as_short(comparison)[1].text == "parameters are in float16"
    monkeypatch.setattr(coarser, "bits_nearer", lambda size, before, after: bits_nearer(2, before, after))
    assert as_short(comparison) is None


def test_a_layer_that_kept_float32_is_no_fault(maker, model):
    stem = next(step.param("weight").name for step in maker.plan if step.param("weight"))
    arrays = {name: array if name == stem else faulty_ports.half(array) for name, array in maker.arrays.items()}
    port = faulty_ports.run(maker.plan, arrays, maker.x, np.float32)
    report = verify(model, port, maker.x, explain=False)
    assert report.fine and "if it computes in float16" in report.sentence, report.text()
    (note,) = (note for note in report.notes if "parameters of 16 bits" in note)
    assert "first at stem.conv" in note, note
