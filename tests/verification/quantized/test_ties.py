"""Layers that ONNX Runtime left in floats: a number on a tie is no fault, and nothing else is taken for one."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import quantized_goldens as golden

import npmnv3
from npmnv3.engines.integer_engine import IntegerEngine
from npmnv3.network.integer_plan import LAYERS
from npmnv3.network.variants import get_variant
from npmnv3.ops.integers import act_range
from npmnv3.ops.kernel_sets import get_kernel_set
from npmnv3.ops.requantize import integer_factor
from npmnv3.verification.quantized import run as verification
from npmnv3.verification.quantized.forced import Fit, Forced
from npmnv3.verification.quantized.port import read_port
from npmnv3.verification.quantized.ties import numbers_on_ties

pytestmark = pytest.mark.skipif(not golden.FOLDER.is_dir(), reason="the golden quantised models are not here")

NAME = f"{golden.SMALL}.qoperator_u8u8_per_tensor"


@pytest.fixture(scope="module")
def port():
    return read_port(golden.path(NAME), get_variant(golden.model_of(NAME)))


def inputs_of(port, step):
    return port.plan.arrays[f"{step.name}.weight"].shape[1]


@pytest.fixture(scope="module")
def run(port):
    """(integers of every step, the layer's step, how far each of its numbers is from the nearest tie, and on which side)."""
    kernels = get_kernel_set("onnxruntime")
    x = np.random.default_rng(17).normal(size=(32, *port.plan.input_shape)).astype(np.float32)
    values = IntegerEngine(port.plan, kernels).trace(x, integers=True)
    forced = Forced(port.plan, values)
    wide = [step.name for step in port.plan.steps if step.op == "pointwise_conv2d" and inputs_of(port, step) >= 64]
    name = wide[0]
    case = forced.case(name, forced.fit(kernels))
    real = case.accumulated * integer_factor(*case.factors, case.out.scale) + case.out.zero_point
    inside = (case.rows > case.out.low) & (case.rows < case.out.high)
    side = np.sign(real - case.rows)
    return values, name, np.where(inside, np.abs(np.abs(real - case.rows) - 0.5), np.nan), side


def with_steps(run, steps):
    """The integers with the layer's (places, channels) off by these steps."""
    values, name, *_ = run
    tensor = values[name]
    first = np.moveaxis(tensor, 1, -1)
    upto = list(values)[: list(values).index(name)]  # what comes after it would have to be made of it
    changed = np.moveaxis(first + steps.reshape(first.shape).astype(tensor.dtype), -1, 1)
    return {**{key: values[key] for key in upto}, name: changed}


def changed(run, away, by=1):
    """The integers with one number of the layer, so far from a tie, the other one beside it, or off by more."""
    _, _, distances, side = run
    place = np.unravel_index(np.nanargmin(np.abs(distances - away)), distances.shape)
    steps = np.zeros(side.shape)
    steps[place] = by * side[place]
    return with_steps(run, steps)


def found(port, values):
    forced = Forced(port.plan, values)
    return numbers_on_ties(forced, forced.fit(get_kernel_set("onnxruntime")))


def test_the_other_integer_beside_a_tie(port, run):
    assert found(port, changed(run, 0.0)) == {run[1]: 1}
    assert found(port, changed(run, 0.0, by=2)) == {}
    assert found(port, changed(run, 0.3)) == {}
    forced = Forced(port.plan, changed(run, 0.0))
    assert numbers_on_ties(forced, forced.fit(get_kernel_set("tflite-reference"))) == {}


def test_too_many_are_no_chance(port, run):
    _, _, distances, side = run
    assert found(port, with_steps(run, side * (distances < np.nanquantile(distances, 0.01)))) == {}


@pytest.mark.parametrize("bits", [8, 12])
def test_a_multiplier_that_lost_its_low_bits_is_no_tie(bits, port):
    """Few numbers are off, each by one and near a tie, but further from it than float32's rounding."""
    kernels = get_kernel_set("onnxruntime")
    x = np.random.default_rng(5).normal(size=(1, *port.plan.input_shape)).astype(np.float32)
    values = IntegerEngine(port.plan, kernels).trace(x, integers=True)
    forced, excused, off = Forced(port.plan, values), [], 0
    fit = forced.fit(kernels)
    for step in port.plan.steps:
        if step.op not in LAYERS:
            continue
        case = forced.case(step.name, fit)
        fraction, power = np.frexp(integer_factor(*case.factors, case.out.scale))
        factor = np.ldexp(np.floor(np.ldexp(fraction, bits)), power - bits)
        cut = np.rint(case.accumulated * factor).astype(np.int64) + case.out.zero_point
        cut = np.clip(cut, *act_range(step.act, case.out)).astype(case.out.dtype)
        rows = np.moveaxis(case.found, 1, -1)
        given = np.moveaxis(cut.reshape(rows.shape), -1, 1)
        off += not np.array_equal(given, case.found)
        excused += found(port, {**{name: values[name] for name in step.inputs}, step.name: given})
    assert off > 20 and not excused


def test_a_port_with_a_number_on_a_tie_is_fine(port, run):
    model = golden.model_of(NAME)
    report = npmnv3.verify(model, golden.path(NAME), tensors=changed(run, 0.0), kernels="onnxruntime")
    assert report.fine and "1 step is as if it were computed in floats, where 1 number lies on a tie" in report.sentence
    assert report.first_divergence is None and not report.causes and [row.step for row in report.tensors if row.tied]
    wrong = npmnv3.verify(model, golden.path(NAME), tensors=changed(run, 0.3), kernels="onnxruntime")
    assert not wrong.fine and wrong.first_divergence == run[1]


@pytest.mark.parametrize("on_ties", [("a", "b"), ("a",)])
def test_the_usual_kernels_are_the_nearest_where_ties_are_all_that_they_leave(on_ties, monkeypatch):
    """Though by others fewer kinds of steps are off."""
    usual = Fit(get_kernel_set("onnxruntime"), {"a": False, "b": False}, {})
    other = Fit(get_kernel_set("single-rounding"), {"a": True, "b": False}, {})
    ties = {id(usual): dict.fromkeys(on_ties, 1), id(other): {}}
    monkeypatch.setattr(verification, "numbers_on_ties", lambda forced, fit: ties[id(fit)])
    forced = SimpleNamespace(steps={"a": SimpleNamespace(op="conv2d"), "b": SimpleNamespace(op="mul")})
    judge = object.__new__(verification._Verification)
    judge.port, judge.notes = SimpleNamespace(scheme="onnx", kernels="onnxruntime"), []
    judge.sets = [usual.kernels, other.kernels]
    best, found = judge._nearest(forced, [usual, other])
    assert (best is usual) == (len(on_ties) == 2) and found == ties[id(best)]


def test_the_twin_that_saturates_is_taken_where_ties_are_all_that_it_leaves(monkeypatch):
    """Of a file with some tensors of 16 bits on AVX2: the usual kernels would be off in all that saturates."""
    usual = Fit(get_kernel_set("onnxruntime"), {"a": False, "b": False}, {})
    twin = Fit(get_kernel_set("onnxruntime-avx2"), {"a": False, "b": True}, {})
    monkeypatch.setattr(verification, "numbers_on_ties", lambda forced, fit: {"a": 1})
    judge = object.__new__(verification._Verification)
    judge.port, judge.notes = SimpleNamespace(scheme="onnx", kernels="onnxruntime"), []
    judge.sets = [usual.kernels, twin.kernels]
    assert judge._nearest(None, [usual, twin]) == (twin, {"a": 1})


def test_a_bias_in_floats(port, run):
    """What float32 makes of the file's own bias is no fault, in however many numbers; what another bias gives is one."""
    values, name, *_ = run
    case = (forced := Forced(port.plan, values)).case(name, forced.fit(get_kernel_set("onnxruntime")))
    rest = np.linspace(-0.5, 0.5, len(case.bias))
    real = (case.accumulated + rest) * integer_factor(*case.factors, case.out.scale) + case.out.zero_point
    steps = np.clip(np.rint(real), case.out.low, case.out.high) - case.rows
    many = np.count_nonzero(steps)
    assert many > 1e-3 * steps.size
    told, other = (replace(port, plan=replace(port.plan, bias_rests={name: kept})) for kept in (rest, -rest))
    assert found(told, with_steps(run, steps)) == {name: many}
    one = changed(run, 0.0)
    assert found(told, one) == found(other, one) == {name: 1}, "the bias is rounded, the layer in floats"
    assert found(other, with_steps(run, steps)) == found(port, with_steps(run, steps)) == {}
    assert found(told, with_steps(run, steps + (np.arange(steps.size).reshape(steps.shape) == 9))) == {}


def test_many_numbers_of_16_bits_lie_on_ties(port, run):
    """On a fine grid float32's error is no small part of a step; what is off by more than that is a fault there too."""
    values, name, *_ = run
    grid = port.plan.grids[name]
    fine = replace(grid, scale=grid.scale / 256, zero_point=grid.zero_point * 256, dtype="uint16")
    plan = replace(port.plan, grids={**port.plan.grids, name: fine})
    upto = {key: values[key] for key in list(values)[: list(values).index(name)]}
    step, kernels = next(step for step in plan.steps if step.name == name), get_kernel_set("onnxruntime")
    x, (weight, bias, scale, zero) = plan.grids[step.inputs[0]], plan.params(step)
    real = np.einsum(
        "nchw,oc->nohw",
        x.dequantize(upto[step.inputs[0]]),
        (weight - zero.astype(np.float32)) * scale[0],
        dtype=np.float32,
    )
    given = fine.quantize(real + (bias * (np.float32(x.scale) * scale)).reshape(-1, 1, 1))
    forced = Forced(plan, {**upto, name: given})
    many = forced.different(name, forced.fit(kernels))
    assert many > 4 and found(replace(port, plan=plan), {**upto, name: given}) == {name: many}
    given.flat[np.argmax(given < fine.high)] += 1
    assert found(replace(port, plan=plan), {**upto, name: given}) == {}


def test_a_sum_in_floats(port):
    """Halves are rounded to even before the zero point is added, or behind it: the one is float32's, the other the
    kernel's."""
    step = next(step for step in port.plan.steps if step.op == "add")
    scales = {**dict.fromkeys(step.inputs, 1 / 16), step.name: 1 / 8}
    grids = {name: replace(port.plan.grids[name], scale=scale, zero_point=127) for name, scale in scales.items()}
    plan = replace(port.plan, grids={**port.plan.grids, **grids})
    x = np.random.default_rng(5).normal(size=(1, *plan.input_shape)).astype(np.float32)
    values = IntegerEngine(plan, get_kernel_set("onnxruntime")).trace(x, integers=True)
    values = {name: values[name] for name in (*step.inputs, step.name)}
    own = values[step.name]
    values[step.name] = grids[step.name].quantize(sum(grids[name].dequantize(values[name]) for name in step.inputs))
    many = np.count_nonzero(values[step.name] != own)
    assert many and found(replace(port, plan=plan), values) == {step.name: many}
    values[step.name].flat[0] += 1
    assert found(replace(port, plan=plan), values) == {}


def test_means_with_their_inputs_scale_lie_on_ties(port):
    """Rounded here up, there down, they are as if computed in floats; all of them up are another rule."""
    plan, kernels = port.plan, get_kernel_set("onnxruntime")
    step = [step for step in plan.steps if step.op == "global_avg_pool"][-2]
    plan = replace(plan, grids={**plan.grids, step.name: plan.grids[step.inputs[0]]})
    x = np.random.default_rng(5).normal(size=(8, *plan.input_shape)).astype(np.float32)
    values = IntegerEngine(plan, kernels).trace(x, integers=True)
    real = values[step.inputs[0]].mean((2, 3), dtype=np.float64)
    ties = np.flatnonzero(real - np.floor(real) == 0.5)
    assert len(ties) >= 8
    values = {key: values[key] for key in list(values)[: list(values).index(step.name) + 1]}
    means = values.pop(step.name)

    def found(places, by=None):
        other = means.copy()
        other.flat[places] = (2 * real - means).flat[places] if by is None else means.flat[places] + by
        forced = Forced(plan, {**values, step.name: other})
        return numbers_on_ties(forced, forced.fit(kernels))

    assert found(ties[::3]) == {step.name: len(ties[::3])}
    assert found([place for place in ties if means.flat[place] < real.flat[place]]) == {}
    assert found(np.flatnonzero(real - np.floor(real) != 0.5)[:1], by=1) == {}
