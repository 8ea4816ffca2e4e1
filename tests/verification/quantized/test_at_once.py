"""Causes of all that is off at once: another picture, one rule throughout; found from the logits alone."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import quantized_goldens as golden
from integer_ports import IntegerPort, cut, once

import npmnv3
from npmnv3.conversion.quantized import read_quantized_model
from npmnv3.conversion.quantized.names import name_tensors

pytestmark = pytest.mark.skipif(not golden.FOLDER.is_dir(), reason="the golden quantised models are not here")
NAME = f"{golden.SMALL}.int8"


@functools.cache
def plan():
    return name_tensors(read_quantized_model(golden.path(NAME))[0], golden.model_of(NAME)).plan


@functools.cache
def picture():
    """The input's integers, channels first."""
    return np.ascontiguousarray(golden.tensors(NAME)["input"].transpose(0, 3, 1, 2))


def verified(q, keep=("logits",), **fault):
    """The report of a port that was given q in place of the picture that is named, of these of its tensors."""
    found = IntegerPort(plan(), **fault).run(q)
    x = plan().grids["input"].dequantize(picture())
    given = {name: array for name, array in found.items() if keep is None or name in keep}
    return npmnv3.verify(golden.model_of(NAME), golden.path(NAME), tensors=given, input=x)


PICTURES = {
    "its colours in reverse (BGR)": lambda q: q[:, ::-1],
    "its channels last, read as if": lambda q: q.transpose(0, 2, 3, 1).reshape(q.shape),
    "its integers 128 off": lambda q: (q.astype(np.int16) + 128).astype(np.int8),
    "rows and columns exchanged": lambda q: q.swapaxes(2, 3),
}


@pytest.mark.parametrize("said", PICTURES)
def test_another_picture(said):
    report = verified(np.ascontiguousarray(PICTURES[said](picture())))
    assert not report.fine and len(report.causes) == 1, report.text()
    (rule,) = report.causes[0].rules
    assert f"the input with {said}" in rule.text and rule.agrees == rule.of == 1
    assert "too few" not in report.text()


@pytest.mark.parametrize(
    "rule, said",
    [
        (once, "single rounding (once, halves up) in all layers"),
        (cut, "truncated rounding (a shift that does not round) in all layers"),
    ],
)
def test_one_rule_throughout(rule, said):
    report = verified(picture(), layer_rule=rule)
    assert not report.fine and said in [rule.text for rule in report.causes[0].rules], report.text()


def test_what_is_no_rule_throughout_is_not_named():
    biases = {name: plan().arrays[f"{name}.bias"] + 500 for name in ("blocks.3.project", "blocks.5.project")}
    report, whole = verified(picture(), biases=biases), verified(picture(), keep=None, biases=biases)
    assert not report.fine and not report.causes[0].rules, report.text()
    unseen = (
        "a fault of one layer, of a multiplier's or an accumulator's width is found only where inner tensors are given"
    )
    assert unseen in report.sentence and unseen not in whole.sentence and whole.causes[0].tensor in biases


@pytest.mark.parametrize("role, said", [("weight_scale", "scale"), ("bias", "bias")])
def test_the_channel_beside(role, said):
    """Its scale is of the channel before; every tensor is there."""
    name = "blocks.2.expand"
    rolled = {f"{name}.{role}": np.roll(plan().arrays[f"{name}.{role}"], 1)}
    found = IntegerPort(replace(plan(), arrays={**plan().arrays, **rolled})).run(picture())
    report = npmnv3.verify(golden.model_of(NAME), golden.path(NAME), tensors=found)
    assert report.first_divergence == name
    assert f"{said} of the channel before for each channel" in report.causes[0].rules[0].text, report.text()


def test_a_cube_has_the_layout_of_the_others():
    """16 x 16 x 16 may be read in two ways; where the picture is another, likeness to a run says nothing."""
    shapes = {step.name: step.shape for step in plan().steps}
    cubes = [name for name, shape in shapes.items() if len(shape) == 3 and len(set(shape)) == 1]
    assert cubes
    report = verified(np.ascontiguousarray(picture()[:, :, ::-1] ^ np.int8(-128)), keep=None)
    assert {row.layout for row in report.tensors if row.step in cubes} == {"nchw"}
