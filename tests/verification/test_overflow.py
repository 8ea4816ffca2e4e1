"""verify: an overflow is told where it begins, though what overflowed is like no step's tensor and has no name."""

import faulty_ports
import numpy as np
import pytest

import npmnv3
from npmnv3.network.walk import apply
from npmnv3.ops import definitions
from npmnv3.verification.run import verify

BLOCKS = [f"blocks.{i}" for i in range(11)]
EARLY = "blocks.4.expand"


def run(maker, after=lambda step, made: made, arrays=None, rounding=np.float32):
    """{step: tensor}, each what `after` makes of it."""
    arrays = {name: np.float32(a) for name, a in (maker.arrays | (arrays or {})).items()}
    tensors = {"input": np.float32(maker.x)}
    for step in maker.plan:
        made = apply(step, [tensors[name] for name in step.inputs], arrays, definitions)
        tensors[step.name] = np.float32(rounding(after(step, made)))
    return tensors


def nameless(tensors, names):
    return {f"t{i}": tensors[name] for i, name in enumerate(names)}


@pytest.fixture(scope="module")
def lost(maker):
    """A channel of one tensor is NaN."""

    def after(step, made):
        return np.where(np.arange(made.shape[1])[:, None, None] == 5, np.nan, made) if step.name == EARLY else made

    return run(maker, after)


@pytest.mark.parametrize("last", [["logits"], []], ids=["logits", "no logits"])
def test_the_first_tensor_that_is_not_finite_is_found_by_its_place(model, maker, lost, last):
    report = verify(model, nameless(lost, [*BLOCKS, *last]), maker.x)
    assert report.explained_by[0]["fault"] == "overflow" and report.first_divergence == "blocks.4", report.text()
    assert "(t4, by its place in the port's order)" in report.sentence


def test_tensors_before_it_that_no_place_tells_are_said(model, maker, lost):
    report = verify(model, nameless(lost, ["blocks.1", "blocks.5", "blocks.6", "head", "logits"]), maker.x)
    assert report.explained_by[0]["fault"] == "overflow", report.text()
    assert report.first_divergence == "blocks.5" or "overflowed too" in report.sentence, report.text()


def test_the_first_tensor_that_ends_at_float16s_limit_is_found(maker):
    gamma = next(s for s in maker.plan if s.name == f"{EARLY}.norm").param("gamma").name
    state = maker.state | {gamma: maker.state[gamma] * np.float32(1e5)}
    large = npmnv3.load("ppcls/MobileNetV3_small_x0_35", state, engine="numpy")
    made = run(maker, arrays={gamma: state[gamma]}, rounding=lambda x: faulty_ports.half(np.clip(x, -65504, 65504)))
    names = [name for name in made if not name.endswith((".conv", ".norm", ".fc"))]
    report = verify(large, nameless(made, names), maker.x)
    assert report.first_divergence == EARLY and "stand at 65504" in report.sentence, report.text()


def test_an_engines_inner_infinities_are_no_overflow(model, maker):
    tensors = run(maker)
    masked = np.where(tensors[EARLY] > 0, tensors[EARLY], -np.inf)
    assert verify(model, tensors | {"masked": np.float32(masked)}, maker.x).fine
