"""Integer ports with a scale or a multiplier of another size, which is solved for from the numbers that are off."""

from dataclasses import replace

import numpy as np
import pytest
import quantized_goldens as golden
from judged_ports import NAMES, plan_of, port, said

from npmnv3.network.integer_plan import IntegerStep
from npmnv3.ops.grids import Grid
from npmnv3.ops.kernel_sets import get_kernel_set
from npmnv3.verification.quantized.forced import Case, Parts
from npmnv3.verification.quantized.solved import scales_solved

pytestmark = pytest.mark.skipif(not golden.FOLDER.is_dir(), reason="the golden quantised models are not here")


def stretched(name, step, ratio):
    """The plan with a tensor's scale so many times what it is."""
    plan = plan_of(name)
    grid = plan.grids[step]
    return replace(plan, grids={**plan.grids, step: replace(grid, scale=float(np.float32(grid.scale * ratio)))})


@pytest.mark.parametrize("ratio", [1.01, 0.97, 1.3])
@pytest.mark.parametrize("name", NAMES)
def test_a_scale_of_another_size_is_solved_for(name, ratio):
    """As its step writes it and as its readers read it; neither its weights nor its biases are blamed first."""
    step = next(step.name for step in plan_of(name).steps if step.name.endswith(".project"))
    report, first = port(name, stretched(name, step, ratio))
    assert report.first_divergence == first == step
    assert f"the scale of {step} about {ratio:.6g} times what it is" in said(report)[0], report.text()
    assert all(cause.rules and step in cause.rules[0].text for cause in report.causes), report.text()


@pytest.mark.parametrize("op", ["add", "global_avg_pool", "scale", "hard_swish"])
def test_a_scale_that_no_layer_writes_is_solved_for(op):
    name = next(name for name in NAMES if any(step.op == op for step in plan_of(name).steps))
    step = [step.name for step in plan_of(name).steps if step.op == op][-1]
    report, first = port(name, stretched(name, step, 1.05))
    assert report.first_divergence == first == step
    text = next(text for text in said(report) if text.startswith(f"the scale of {step} about "))
    assert float(text.split(" about ")[1].split()[0]) == pytest.approx(1.05, rel=0.01), report.text()


@pytest.mark.parametrize(
    "ratio, words", [(2, "one too few"), (0.25, "2 too many"), (1.125, "about 1.12 times what it is")]
)
def test_the_multiplier_of_one_channel_is_solved_for(ratio, words):
    name = NAMES[0]
    plan = plan_of(name)
    step = next(step.name for step in plan.steps if step.name.endswith(".expand") and "conv" in step.op)
    key = f"{step}.weight_scale"
    scales_of = plan.arrays[key].copy()
    scales_of[3] *= np.float32(ratio)
    report, first = port(name, replace(plan, arrays={**plan.arrays, key: scales_of}))
    assert report.first_divergence == first == step
    text = said(report)[0]
    assert text.startswith("the multiplier of channel 3 ") and words in text, report.text()


def test_numbers_too_few_solve_no_scale():
    """Of three numbers that are off, whatever they are, no factor is solved."""
    grids = {"x": Grid(0.1, 0, "int8"), "gate": Grid(0.1, 0, "int8"), "y": Grid(0.1, 0, "int8")}
    for count, expected in ((3, []), (4, ["y 0.5", "x 2", "gate 2"])):
        step = IntegerStep("y", "mul", ("x", "gate"), (count,))
        x = np.array([[50, 60, 41, -20][:count]], np.int8)
        given = [x, np.full_like(x, 10)]
        case = Case(Parts(grids, {}), step, given, (2 * x).astype(np.int8), get_kernel_set("tflite-reference"))
        assert sorted(claim.setting for claim in scales_solved(case)) == sorted(expected)
