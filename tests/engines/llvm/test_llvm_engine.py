"""The llvm engine against the reference engine: all networks, all sizes, batches, threads, widths of vectors."""

import multiprocessing
import threading

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import layer_bounds
from random_networks import plan_maker, random_case, random_params

from npmnv3.engines.llvm import LlvmEngine
from npmnv3.engines.llvm import engine as engine_module
from npmnv3.engines.llvm import schedule as schedule_module
from npmnv3.engines.llvm.compiler import library
from npmnv3.engines.plan_engine import PlanEngine
from npmnv3.errors import Npmnv3Error, UsageError
from npmnv3.network.counts import step_macs
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant, list_models

SMALL = "torchvision/mobilenet_v3_small"


@pytest.fixture(params=["", *(str(width) for width in (4, 8, 16) if width != library().machine.width)])
def width(request, monkeypatch):
    """Every vector width; "" is the processor's own, whose number gives the same code once more."""
    monkeypatch.setenv("NPMNV3_VECTOR", request.param)
    yield request.param


@pytest.fixture
def debug(monkeypatch):
    monkeypatch.setenv("NPMNV3_DEBUG", "1")


def engines(variant, classes=None, seed=0, threads=1):
    """(llvm engine, float32 reference) with the same random weights."""
    plan = make_plan(variant, classes)
    params = random_params(plan, np.random.default_rng(seed))
    fast = LlvmEngine(plan_maker(variant, classes), params, threads=threads)
    return fast, PlanEngine(plan_maker(variant, classes), params, np.float32)


def picture(side, batch=1, seed=1):
    return np.random.default_rng(seed).standard_normal((batch, 3, *side)).astype(np.float32)


def hold(variant, classes, x, what, *, seed=0, folded=False):
    """Every layer within the bound derived for it, and the whole the function that the plan is; `layer_bounds` says how."""
    plan = make_plan(variant, classes, x.shape[2:], folded=folded)
    params = random_params(plan, np.random.default_rng(seed))
    layer_bounds.hold(plan, plan_maker(variant, classes, folded), params, x, what)


ONE_OF_EACH_KIND = (
    SMALL,
    "ppcls/MobileNetV3_large_x0_5",
    "showlo/mobilenetv3_small",
    "sqlai/mobilenetv3_small",
    "keras/MobileNetV3Small",
    "timm/mobilenetv3_rw",
    "ppocr/text_direction",
)


@pytest.mark.parametrize("name", list_models())
def test_every_network(name, debug):
    variant = get_variant(name)
    odd = (max(45, variant.min_side[0]), max(71, variant.min_side[1]))
    for side in (odd, variant.side) if name in ONE_OF_EACH_KIND else (odd,):
        hold(variant, None, picture(side), f"{name} {side}")


@pytest.mark.parametrize("name", ONE_OF_EACH_KIND)
def test_every_vector_width(name, width, debug):
    variant = get_variant(name)
    side = (max(65, variant.min_side[0]), max(98, variant.min_side[1]))
    hold(variant, 7, picture(side), f"{name} {side} width {width or 'own'}")


@pytest.mark.parametrize("seed", range(16))
def test_random_networks(seed, debug):
    variant, side, classes, batch, what = random_case(np.random.default_rng(seed), list_models(), most=3)
    hold(variant, classes, picture(side, batch), what, seed=seed)


@pytest.mark.parametrize(("told", "checked"), [("1", True), ("0", False), ("no", False), ("", False)])
def test_commands_are_checked_where_the_environment_says_1(told, checked, monkeypatch):
    monkeypatch.setenv("NPMNV3_DEBUG", told)
    made, bound = [], engine_module.Bound
    monkeypatch.setattr(engine_module, "Bound", lambda *given, **by: made.append(by["debug"]) or bound(*given, **by))
    engines(get_variant("ppocr/text_direction"))[0].run(picture((48, 64)))
    assert set(made) == {checked}


def test_features_are_what_the_classifier_gets():
    for name in ("ppcls/MobileNetV3_small_x0_35", "ppocr/text_direction"):
        variant = get_variant(name)
        fast, reference = engines(variant)
        x = picture((64, 64), 3)
        made, expected = fast.features(x), reference.features(x)
        np.testing.assert_allclose(made, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_folded_plans_give_the_same():
    hold(get_variant(SMALL), None, picture((64, 64)), "folded", folded=True)


def test_same_bits_in_any_batch_with_any_threads(monkeypatch):
    monkeypatch.setattr(engine_module, "SHARED_MACS", 0)
    variant, x = get_variant(SMALL), picture((70, 101), 9)
    alone, _ = engines(variant, threads=1)
    expected = np.concatenate([alone.run(x[i : i + 1]) for i in range(len(x))])
    for threads in (1, 2, 4):
        several, _ = engines(variant, threads=threads)
        for batch in (1, 2, 9):
            for start in range(0, len(x), batch):
                part = slice(start, start + batch)
                np.testing.assert_array_equal(several.run(x[part]), expected[part], f"{threads} threads, batch {batch}")


@pytest.mark.parametrize("name", ONE_OF_EACH_KIND)
def test_pictures_that_go_together_in_debug_mode(name, width, debug, monkeypatch):
    monkeypatch.setattr(schedule_module, "HEAVY_BYTES", 1)  # all squeeze-and-excitation, not only that of wide layers
    variant = get_variant(name)
    side = (max(64, variant.min_side[0]), max(48, variant.min_side[1]))
    fast, _ = engines(variant, classes=7)
    x = picture(side, engine_module.TOGETHER + 1)
    together = fast.run(x)
    assert any(key[0] == fast._schedules.body and key[-1] == engine_module.TOGETHER for key in fast._programs._entries)
    np.testing.assert_array_equal(together, np.concatenate([fast.run(x[i : i + 1]) for i in range(len(x))]))


def test_more_pictures_than_go_through_the_head_together(monkeypatch):
    monkeypatch.setattr(engine_module, "HEAD_PICTURES", 2)
    fast, _ = engines(get_variant(SMALL), threads=2)
    x = picture((32, 32), 7)
    np.testing.assert_array_equal(fast.run(x), np.concatenate([fast.run(x[i : i + 1]) for i in range(7)]))
    assert fast.run(x[:0]).shape == (0, 1000)


@pytest.mark.parametrize("value", (np.nan, np.inf, -np.inf))
def test_nan_and_infinity_pass_through(value, width):
    fast, reference = engines(get_variant("torchvision/mobilenet_v3_small"), classes=5)
    x = picture((48, 48))
    x[0, 1, 20, 30] = value
    with np.errstate(invalid="ignore", over="ignore"):
        expected = reference.run(x)
    np.testing.assert_array_equal(np.isnan(fast.run(x)), np.isnan(expected))


def test_inputs_stay_as_they_are():
    fast, _ = engines(get_variant(SMALL))
    x = picture((40, 40), 2)
    before = x.copy()
    fast.run(x)
    np.testing.assert_array_equal(x, before)


def test_any_memory_order_is_taken():
    fast, _ = engines(get_variant(SMALL))
    x = picture((40, 40), 2)
    channels_last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(fast.run(channels_last), fast.run(x))
    with pytest.raises(UsageError, match="expected \\(N, 3, H, W\\)"):
        fast.run(x[0])


def test_results_are_not_overwritten_by_later_calls():
    fast, _ = engines(get_variant(SMALL))
    first = fast.run(picture((40, 40), seed=1))
    kept = first.copy()
    fast.run(picture((40, 40), seed=2))
    np.testing.assert_array_equal(first, kept)


def test_one_engine_in_many_threads():
    fast, _ = engines(get_variant(SMALL), threads=2)
    xs = [
        picture(side, batch, seed=i)
        for i, (side, batch) in enumerate([((64, 64), 1), ((40, 56), 3), ((96, 96), 2)] * 2)
    ]
    expected, wrong = [fast.run(x) for x in xs], []

    def call(i):
        for _ in range(20):
            if not np.array_equal(fast.run(xs[i]), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(len(xs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, f"callers {sorted(set(wrong))} got other bits than a caller alone"


def _in_child(fast, x, queue):
    queue.put(fast.run(x))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
def test_a_fork_is_survived():
    fast, _ = engines(get_variant(SMALL), threads=2)
    x = picture((64, 64), 4)
    expected = fast.run(x)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(fast, x, queue))
    child.start()
    np.testing.assert_array_equal(queue.get(timeout=60), expected)
    child.join()
    np.testing.assert_array_equal(fast.run(x), expected)


def test_memory_is_reused():
    fast, _ = engines(get_variant(SMALL))
    x = picture((64, 64))
    fast.run(x)
    entries = {key: [bound.output.ctypes.data for bound in free] for key, (_, free) in fast._programs._entries.items()}
    for _ in range(5):
        fast.run(x)
    after = {key: [bound.output.ctypes.data for bound in free] for key, (_, free) in fast._programs._entries.items()}
    assert after == entries


def test_old_programs_make_room():
    fast, _ = engines(get_variant(SMALL), classes=3)
    xs = [picture((32, 32 + i)) for i in range(40)]
    expected = [fast.run(x) for x in xs]
    assert len(fast._programs._entries) == 32
    for x, logits in zip(xs, expected):
        np.testing.assert_array_equal(fast.run(x), logits)


def test_debug_mode_sees_a_command_out_of_bounds(debug):
    fast, _ = engines(get_variant(SMALL))
    x = picture((64, 64))
    fast.run(x)
    [(_, (bound,))] = fast._programs._entries.values()
    planes = fast._library.kernels["mean"].args.index("planes") + 1
    means = bound.commands[0][:, 0] == fast._library.addresses["mean"]
    bound.commands[0][means, planes] += 100
    with pytest.raises(Npmnv3Error, match="beyond the buffer"):
        fast.run(x)


def test_debug_mode_sees_a_stray_write(debug):
    fast, _ = engines(get_variant(SMALL))
    x = picture((64, 64))
    fast.run(x)
    [(_, (bound,))] = fast._programs._entries.values()
    next(gap for _, gap in bound._guard._gaps() if gap.size)[0] = 0
    with pytest.raises(Npmnv3Error, match=r"wrote between its buffers, behind \w+"):
        fast.run(x)


def test_profile_names_every_layer_with_work():
    variant = get_variant(SMALL)
    fast, _ = engines(variant)
    x = picture((64, 64))
    fast.run(x)
    rows = fast.profile(x, rounds=2)
    plan = make_plan(variant, side=(64, 64))
    weighted = {step.name for step in plan if step.param("weight")}
    assert weighted <= {name for row in rows for name in row.name.split("+")}
    assert sum(row.macs for row in rows) == sum(map(step_macs, plan))
    assert sum(row.milliseconds for row in rows) > 0  # not of each: a clock may be too coarse for the smallest
    assert (
        0 < 3 * fast.workspace_bytes((64, 64))[0] < fast.workspace_bytes((64, 64))[1] and fast.weight_bytes > 2_000_000
    )


@pytest.mark.parametrize("threads", (0, -1, "two", 1.5, True, 1025, 10**9))
def test_threads_must_be_a_count(threads):
    with pytest.raises(UsageError, match="`threads="):
        engines(get_variant(SMALL), threads=threads)


def test_threads_from_the_environment(monkeypatch):
    monkeypatch.setenv("NPMNV3_THREADS", "3")
    assert engines(get_variant(SMALL), threads=None)[0].threads == 3
    monkeypatch.setenv("NPMNV3_THREADS", "")
    assert engines(get_variant(SMALL), threads=None)[0].threads >= 1
    monkeypatch.setenv("NPMNV3_THREADS", "1000000")
    with pytest.raises(UsageError, match="NPMNV3_THREADS is '1000000', expected a whole number from 1 to 1024"):
        engines(get_variant(SMALL), threads=None)
    monkeypatch.setenv("NPMNV3_THREADS", "many")
    with pytest.raises(UsageError, match="NPMNV3_THREADS is 'many'"):
        engines(get_variant(SMALL), threads=None)


def test_vector_width_from_the_environment(monkeypatch):
    monkeypatch.setenv("NPMNV3_VECTOR", "5")
    with pytest.raises(UsageError, match="NPMNV3_VECTOR is '5', expected 4, 8 or 16"):
        library()
