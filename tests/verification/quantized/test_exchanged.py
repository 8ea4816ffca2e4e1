"""Integer ports whose channels stand in one another's place, with an odd weight, narrow accumulators or coarse multipliers."""

import numpy as np
import pytest
import quantized_goldens as golden
from integer_ports import twice_rounded
from judged_ports import plan_of, port, said

pytestmark = pytest.mark.skipif(not golden.FOLDER.is_dir(), reason="the golden quantised models are not here")

PER_TENSOR, PER_CHANNEL = f"{golden.KERAS}.int8_per_tensor", f"{golden.SMALL}.int8"
PAIR, RING = [0, 4, 2, 3, 1], [5, 0, 1, 2, 3, 4]  # whose place the first channels take


def moved(name, step, role, order):
    array = plan_of(name).arrays[f"{step}.{role}"]
    return {step: np.concatenate([array[order], array[len(order) :]])}


@pytest.mark.parametrize(
    "name, step, order, with_biases, words",
    [
        (PER_TENSOR, "blocks.2.project", PAIR, False, "the weights of channels 1 and 4 exchanged"),
        (PER_TENSOR, "blocks.2.depthwise", RING, False, "the weights of channels in one another's place: 0 has 5's"),
        (PER_TENSOR, "stem.conv", PAIR, True, "channels 1 and 4 exchanged"),
        (PER_CHANNEL, "stem.conv", PAIR, True, "the weights and biases, not the scales, of channels 1 and 4 exchanged"),
    ],
)
def test_exchanged_channels_are_named(name, step, order, with_biases, words):
    biases = moved(name, step, "bias", order) if with_biases else {}
    report, first = port(name, weights=moved(name, step, "weight", order), biases=biases)
    assert report.first_divergence == first == step
    assert said(report)[0].startswith(words), report.text()


@pytest.mark.parametrize("by", [37, -29])
def test_how_far_a_weight_is_off_is_solved_for(by):
    weight = plan_of(PER_TENSOR).arrays["stem.conv.weight"].astype(int)
    weight[8, 1, 1, 1] += by
    report, first = port(PER_TENSOR, weights={"stem.conv": weight})
    assert report.first_divergence == first == "stem.conv"
    expected = f"another weight: [8, 1, 1, 1] is {weight[8, 1, 1, 1]}, not {weight[8, 1, 1, 1] - by}"
    assert said(report) == [expected], report.text()


def wrapped(acc, real):
    return twice_rounded((acc + 4096) % 8192 - 4096, real)


def cut_off(acc, real):
    return twice_rounded(np.clip(acc, -8192, 8191), real)


def in_fixed_point(acc, real):
    return (acc * round(real * (1 << 15)) + (1 << 14)) >> 15


@pytest.mark.parametrize(
    "rule, words",
    [
        (wrapped, "accumulators of 13 bits, wrapping round"),
        (cut_off, "accumulators of 14 bits, saturating"),
        (in_fixed_point, "a multiplier in fixed point, of 15 fraction bits, rounded once"),
    ],
)
def test_narrow_arithmetic_is_named_everywhere(rule, words):
    report, first = port(PER_TENSOR, layer_rule=rule)
    assert report.first_divergence == first and words in said(report), report.text()
    best = report.causes[0].rules[0]
    assert best.agrees == best.of and best.kind == "layers", report.text()
