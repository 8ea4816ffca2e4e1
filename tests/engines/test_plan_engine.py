"""The plan engine with either set of operations, and which engine "auto" and a trace take."""

import logging

import goldens
import numpy as np
import pytest
from memory_owner import owner
from random_networks import plan_maker, random_params

import npmnv3
from npmnv3.engines import make_engine, tracing_engine
from npmnv3.engines.plan_engine import PlanEngine
from npmnv3.network.plan import make_plan
from npmnv3.network.steps import INPUT
from npmnv3.network.variants import get_variant
from npmnv3.network.walk import last_uses, walk
from npmnv3.ops import compiled, pages

pytest.importorskip("numba")

NAMES = ("timm/mobilenetv3_small_050", "sqlai/mobilenetv3_small", "showlo/mobilenetv3_small", "ppocr/text_direction")
DTYPES = ("float32", "float64")


def engines(name, dtype):
    """(NumPy's, Numba's) with the same random weights."""
    variant = get_variant(name)
    params = random_params(make_plan(variant, 7), np.random.default_rng(0))
    return [PlanEngine(plan_maker(variant, 7), params, dtype, name=engine) for engine in ("numpy", "numba")]


def pictures(name, n, seed=1):
    side = tuple(max(48, least) for least in get_variant(name).min_side)
    return np.random.default_rng(seed).standard_normal((n, 3, *side))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_both_give_the_same_tensors(name, dtype):
    numpys, numbas = engines(name, dtype)
    x = pictures(name, 2).astype(dtype)
    expected, found = numpys.trace(x), numbas.trace(x)
    assert list(found) == list(expected) and found[INPUT] is not x
    bound = 2e-4 if dtype == "float32" else 1e-11
    for step, tensor in expected.items():
        assert found[step].shape == tensor.shape and found[step].dtype == dtype, step
        error = np.abs(found[step] - tensor).max() / max(np.abs(tensor).max(), 1)
        assert error <= bound, f"{step}: off by {error:.2g} of its largest value"
    for function in ("run", "features"):
        np.testing.assert_allclose(
            getattr(numbas, function)(x), getattr(numpys, function)(x), rtol=0, atol=bound * np.abs(x).max() * 10
        )


def test_a_trace_in_blocks_has_the_same_tensors(monkeypatch):
    numbas = engines(NAMES[0], "float32")[1]
    x = pictures(NAMES[0], 1).astype("float32")
    monkeypatch.setattr(pages, "SMALL", 1 << 62)
    expected = numbas.trace(x)
    monkeypatch.setattr(pages, "SMALL", 1)
    numbas.trace(x + 2)  # its blocks are used again
    found, again = numbas.trace(x), numbas.trace(x + 1)
    for step, tensor in expected.items():
        np.testing.assert_array_equal(found[step], tensor, strict=True, err_msg=step)
    assert not any(np.may_share_memory(found[step], again[step]) for step in found)
    assert pages.BLOCK in {owner(tensor).nbytes for tensor in found.values()}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_a_picture_has_the_same_bits_in_any_batch(name, dtype):
    x = pictures(name, 3).astype(dtype)
    for engine in engines(name, dtype):
        alone = [engine.trace(x[i : i + 1]) for i in range(3)]
        for step, tensor in engine.trace(x).items():
            assert np.array_equal(tensor, np.concatenate([one[step] for one in alone])), (engine.name, step)
        assert np.array_equal(engine.run(x), np.concatenate([engine.run(x[i : i + 1]) for i in range(3)]))
        assert engine.run(x[:0]).shape == (0, 7) and engine.trace(x[:0])["logits"].shape == (0, 7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_nan_and_infinity_are_where_numpy_has_them(name, dtype):
    x = pictures(name, 1).astype(dtype)
    x[0, 0, 7, 5], x[0, 1, 20, 30], x[0, 2, 40, 11] = np.nan, np.inf, -np.inf
    numpys, numbas = engines(name, dtype)
    expected, found = numpys.trace(x), numbas.trace(x)
    assert any(np.isnan(tensor).any() for tensor in expected.values())
    for step, tensor in expected.items():
        assert np.array_equal(np.isnan(found[step]), np.isnan(tensor)), step
        for infinity in (np.inf, -np.inf):
            assert np.array_equal(found[step] == infinity, tensor == infinity), step


def test_a_trace_holds_each_tensor_once():
    import tracemalloc

    numpys, numbas = engines("timm/mobilenetv3_small_050", "float32")
    x = pictures("timm/mobilenetv3_small_050", 1).astype("float32")
    for engine in (numpys, numbas):
        engine.trace(x)
        tracemalloc.start()
        trace = engine.trace(x)
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        size = sum(tensor.nbytes for tensor in trace.values())
        assert held <= 1.02 * size + 100_000, f"{engine.name}: {held:,} bytes for tensors of {size:,}"


def test_last_uses_are_the_last():
    plan = make_plan(get_variant("sqlai/mobilenetv3_small"))
    done = last_uses(plan)
    for index, (step, names) in enumerate(zip(plan, done)):
        assert set(names) <= set(step.inputs)
        assert not any(set(names) & set(later.inputs) for later in plan[index + 1 :]), step.name
    assert sorted(name for names in done for name in names) == sorted({n for step in plan for n in step.inputs})


def test_a_walk_goes_on_with_what_is_put_in_its_way():
    plan = make_plan(get_variant("timm/mobilenetv3_small_050"))
    values = {INPUT: 0}
    seen = {}
    for step in walk(plan, values, lambda step, inputs: max(inputs) + 1, keep={"stem"}):
        if step.name == "last":
            values["last"] = 1000
        seen[step.name] = values[step.name]
    assert seen["pool"] == 1001 and set(values) == {"stem", "logits"}


def test_auto_never_compiles_as_a_surprise(monkeypatch):
    variant = get_variant("ppocr/text_direction")
    params = random_params(make_plan(variant), np.random.default_rng(0))
    for known, name in ((False, "numpy"), (True, "numba")):
        monkeypatch.setattr(compiled, "compiled", lambda dtype, known=known: known)
        assert tracing_engine("float32") == name
        assert make_engine("auto", plan_maker(variant), params, "float64").name == name
    assert make_engine("auto", plan_maker(variant), params, "float32").name == "llvm"


def test_a_trace_of_the_llvm_engine_is_the_plan_engines(monkeypatch):
    model = npmnv3.load("ppocr/text_direction", engine="llvm")
    x = np.random.default_rng(0).standard_normal((1, 3, 48, 192)).astype(np.float32)
    traces = {}
    for known, name in ((False, "numpy"), (True, "numba")):
        monkeypatch.setattr(compiled, "compiled", lambda dtype, known=known: known)
        model.__dict__.pop("_tracer", None)
        traces[name] = model.trace(x)
        expected = npmnv3.load("ppocr/text_direction", engine=name).trace(x)
        assert all(np.array_equal(traces[name][step], tensor) for step, tensor in expected.items()), name
    np.testing.assert_allclose(traces["numba"]["logits"], traces["numpy"]["logits"], rtol=0, atol=1e-4)


def test_without_llvmlite_it_is_said_once(monkeypatch, caplog):
    import importlib.util

    from npmnv3 import engines as room

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "llvmlite" else find(name))
    room._llvm_is_here.cache_clear()
    with caplog.at_level(logging.WARNING, "npmnv3"):
        for _ in range(2):
            assert npmnv3.load("ppocr/text_direction").engine == "numpy"
    room._llvm_is_here.cache_clear()
    (said,) = (record.getMessage() for record in caplog.records)
    assert "pip install numba llvmlite" in said
    page = (goldens.ROOT / "README.md").read_text("utf-8")
    assert f"    {said}\n    npmnv3 predict: " in page, "it is what a first run prints"
