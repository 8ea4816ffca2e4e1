"""The helping threads: failures, interrupts, and what is left after them."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from random_networks import plan_maker, random_params

from npmnv3.engines.llvm import LlvmEngine, programs, threads
from npmnv3.engines.llvm import engine as engine_module
from npmnv3.engines.llvm.programs import Bound
from npmnv3.engines.llvm.threads import TEAM, Team
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant


def shared_engine(threads=2):
    """(an engine that shares even a small picture, a picture, its logits by one thread)."""
    variant = get_variant("torchvision/mobilenet_v3_small")
    params = random_params(make_plan(variant), np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((1, 3, 64, 64)).astype(np.float32)
    return (
        LlvmEngine(plan_maker(variant), params, threads=threads),
        x,
        LlvmEngine(plan_maker(variant), params, threads=1).run(x),
    )


@pytest.fixture
def shares_all(monkeypatch):
    """Every picture is shared, whatever else uses the machine's cores."""
    monkeypatch.setattr(engine_module, "SHARED_MACS", 0)
    monkeypatch.setattr(Team, "is_resting", False)


def test_what_helpers_of_an_interrupted_batch_write_reaches_no_other(monkeypatch):
    """The helper goes on while the same engine is called again: it keeps the memory that it works in."""
    engine, x, expected = shared_engine()
    batch = np.repeat(x, 9, 0)
    engine.run(batch)
    entered, leave, ended, run = threading.Event(), threading.Event(), threading.Event(), Bound.run

    def slow(self):
        if threading.current_thread() is not threading.main_thread():
            entered.set()
            assert leave.wait(30)
            run(self)
            ended.set()
        elif entered.wait(30):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Bound, "run", slow)
        with pytest.raises(KeyboardInterrupt):
            engine.run(batch + 1)
    logits = engine.run(batch)
    leave.set()
    assert ended.wait(30)
    np.testing.assert_array_equal(logits, np.repeat(expected, 9, 0))
    np.testing.assert_array_equal(engine.run(batch), np.repeat(expected, 9, 0))


INTERRUPTS = """
import signal, sys, time
import numpy as np, npmnv3
model, one = (npmnv3.load("ppocr/text_direction", engine="llvm", threads=n) for n in (3, 1))
first, second = np.random.default_rng(0).standard_normal((2, 9, 3, 48, 192)).astype(np.float32)
expected, caught = one(second), 0
model(first), one(first)
def interrupt(_, frame):
    while frame.f_code is interrupt.__code__:
        frame = frame.f_back
    if armed and frame.f_back:  # inside of a call: these lines here have to be able to catch it
        raise KeyboardInterrupt
armed = False
signal.signal(signal.SIGALRM, interrupt)
until = time.monotonic() + float(sys.argv[1])
rng = np.random.default_rng(1)
while time.monotonic() < until:
    after = rng.random() * 5e-3 + 1e-6
    try:
        armed = True
        signal.setitimer(signal.ITIMER_REAL, after, 2e-5)
        model(first)
    except KeyboardInterrupt:
        armed = False
        caught += 1
    armed = False
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert (model(second) == expected).all(), "wrong bits"
print(caught)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers that interrupt")
def test_interrupts_without_number_spoil_nothing():
    done = subprocess.run([sys.executable, "-c", INTERRUPTS, "3"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and int(done.stdout) > 10, done.stderr


@pytest.mark.parametrize("comes", ("never", "before the caller", "after the caller", "in the middle"))
def test_a_picture_is_the_same_whenever_its_helper_comes(shares_all, monkeypatch, comes):
    engine, x, expected = shared_engine()
    waiting = []

    def invite(share, count):
        assert count == 1
        if comes == "before the caller":
            share(1)
        if comes == "after the caller":
            waiting.append(share)
        if comes == "in the middle":
            waiting.append(threading.Thread(target=share, args=(1,)))
            waiting[-1].start()

    monkeypatch.setattr(TEAM, "invite", invite)
    for _ in range(10):
        np.testing.assert_array_equal(engine.run(x), expected)
    for late in waiting:
        late.join() if comes == "in the middle" else late(1)
    np.testing.assert_array_equal(engine.run(x), expected)


def test_many_helpers_that_come_and_go(shares_all, monkeypatch):
    engine, x, expected = shared_engine(threads=5)
    shares, over = queue.SimpleQueue(), threading.Event()

    def helper(number):
        rng = np.random.default_rng(number)
        share = lambda _: None  # noqa: E731
        while not over.is_set():
            try:
                share = shares.get_nowait()
            except queue.Empty:
                time.sleep(rng.random() * 1e-3)
            share(number)  # an old one as well

    helpers = [threading.Thread(target=helper, args=(number,)) for number in range(1, 5)]
    monkeypatch.setattr(TEAM, "invite", lambda share, count: [shares.put(share) for _ in range(count)])
    for thread in helpers:
        thread.start()
    try:
        for _ in range(100):
            np.testing.assert_array_equal(engine.run(x), expected)
    finally:
        over.set()
        for thread in helpers:
            thread.join()


@pytest.mark.parametrize("quota, called", [(1, 0), (2, 1)])
def test_a_picture_is_shared_by_no_more_threads_than_the_quota_keeps_busy(shares_all, monkeypatch, quota, called):
    monkeypatch.setattr(engine_module, "quota_threads", lambda: quota)
    calls = []
    monkeypatch.setattr(Bound, "call_helpers", lambda bound, team: calls.append(bound.parts))
    engine, x, expected = shared_engine()
    np.testing.assert_array_equal(engine.run(x), expected)
    assert engine.threads == 2 and len(calls) == called


def test_helpers_that_stall_are_left_alone_and_twice_as_long_each_time(monkeypatch):
    team, now = Team(), [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def rest_after_a_stall():
        team.learn(came=True, stalled=True)
        start = now[0]
        while team.is_resting:
            now[0] += 0.001
        return now[0] - start

    doubled = [0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0]
    assert [rest_after_a_stall() for _ in doubled] == pytest.approx(doubled, abs=0.002)
    for _ in range(3):  # each success halves it
        team.learn(came=True, stalled=False)
    assert not team.is_resting and rest_after_a_stall() == pytest.approx(0.125, abs=0.002)
    for _ in range(9):
        team.learn(came=True, stalled=False)
    assert rest_after_a_stall() == pytest.approx(0.005, abs=0.002)
    assert not team.is_calm
    now[0] += 1
    assert team.is_calm


def test_helpers_that_do_not_come_are_left_alone(monkeypatch):
    team, now = Team(), [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    missed = [False] * (threads.MISSES - 1)

    def learn(*runs):
        for came in runs:
            team.learn(came, stalled=False)

    learn(*missed, True, *missed)
    assert not team.is_resting
    learn(False)
    assert team.is_resting and not team.is_resting_long
    for _ in range(2):
        now[0] += 1
        learn(*missed)
        assert not team.is_resting
        learn(False)
    assert team.is_resting_long
    now[0] += 1
    assert not team.is_resting_long


@pytest.mark.parametrize(
    "current_core, moves", [(lambda: 1, [{0, 2}, {0, 1, 2}]), (lambda: 7, [{0, 1, 2}] * 2), (None, [set()] * 2)]
)
def test_a_helper_is_woken_on_another_core_than_its_callers(monkeypatch, current_core, moves):
    found, done = [], threading.Event()
    monkeypatch.setattr(threads, "_move", lambda thread, cores: found.append(cores))
    monkeypatch.setattr(threads, "_current_core", current_core)
    monkeypatch.setattr(os, "sched_getaffinity", lambda thread: {0, 1, 2}, raising=False)
    Team().invite(lambda number: done.set(), 1)
    assert done.wait(30)
    assert found == moves


def test_where_threads_are_parts_of_their_starter_as_those_of_gevent_that_is_not_moved(monkeypatch):
    found, done = [], threading.Event()
    monkeypatch.setattr(threads, "_move", lambda thread, cores: found.append(cores))
    monkeypatch.setattr(threads, "_own_cores", lambda: ({0, 1}, {1}))
    monkeypatch.setattr(threading.Thread, "native_id", property(lambda thread: threading.get_native_id()))
    Team().invite(lambda number: done.set(), 1)
    assert done.wait(30)
    assert found == [set()] * 2


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="this system does not tell which cores a thread may use"
)
def test_a_helper_may_use_all_cores_of_its_caller():
    cores, done = [], threading.Event()

    def job(number):
        cores.append(os.sched_getaffinity(0))
        done.set()

    Team().invite(job, 1)
    assert done.wait(30)
    assert cores == [os.sched_getaffinity(0)]


def test_while_helpers_rest_long_a_picture_is_not_cut_into_parts(shares_all, monkeypatch):
    engine, x, expected = shared_engine()
    parts, run = [], Bound.run
    monkeypatch.setattr(Bound, "run", lambda bound: (parts.append(bound.parts), run(bound)))
    for long in (False, True, False):
        monkeypatch.setattr(Team, "is_resting_long", long)
        np.testing.assert_array_equal(engine.run(x), expected)
    assert parts == [2, 1, 2]


def test_the_caller_tells_whether_helpers_came(shares_all, monkeypatch):
    told = []
    monkeypatch.setattr(Team, "learn", lambda team, came, stalled: told.append(came))
    monkeypatch.setattr(Team, "invite", lambda team, job, count: None)
    engine, x, expected = shared_engine()
    np.testing.assert_array_equal(engine.run(x), expected)
    monkeypatch.setattr(Bound, "at_hand", 1)
    np.testing.assert_array_equal(engine.run(x), expected)
    assert told == [False, True]


def test_an_interrupted_picture_does_not_spoil_the_next(shares_all, monkeypatch):
    engine, x, expected = shared_engine()
    np.testing.assert_array_equal(engine.run(x), expected)
    late = []

    def interrupted(self):
        raise KeyboardInterrupt  # before the run is opened; a helper is waiting for it, or comes later

    with monkeypatch.context() as patch:
        patch.setattr(TEAM, "invite", lambda share, count: late.append(share))
        patch.setattr(Bound, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.run(x)
    np.testing.assert_array_equal(engine.run(x + 1), engine.run(x + 1))
    for share in late:  # if it was not at hand: it finds nothing to do
        share(1)
    np.testing.assert_array_equal(engine.run(x), expected)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_helper_at_hand_is_not_called_again(shares_all, monkeypatch):
    engine, x, expected = shared_engine()
    for name in ("LINGER", "BRIEFLY"):
        monkeypatch.setattr(programs, name, 1 << 29)  # some tenths of a second, in which many runs have time
    helpers = []

    def invite(share, count):
        helpers.append(threading.Thread(target=share, args=(1,), daemon=True))
        helpers[-1].start()
        time.sleep(0.05)  # until it is there

    monkeypatch.setattr(TEAM, "invite", invite)
    for _ in range(5):
        np.testing.assert_array_equal(engine.run(x), expected)
    assert len(helpers) == 1
    if hasattr(os, "fork"):
        child = os.fork()  # where the helper is not
        if not child:
            monkeypatch.setattr(TEAM, "invite", lambda share, count: helpers.append(share))
            os._exit(int(not (np.array_equal(engine.run(x), expected) and len(helpers) == 2)))
        assert os.waitpid(child, 0)[1] == 0
    helpers[0].join()
    np.testing.assert_array_equal(engine.run(x), expected)
    assert len(helpers) == 2


def test_an_interrupt_while_commands_are_pointed_at_a_picture(monkeypatch):
    variant = get_variant("torchvision/mobilenet_v3_small")
    engine = LlvmEngine(plan_maker(variant), random_params(make_plan(variant), np.random.default_rng(0)), threads=1)
    first, second = np.random.default_rng(1).standard_normal((2, 1, 3, 64, 64)).astype(np.float32)
    expected, point = engine.run(first), engine._library.point

    def interrupted(*args):
        point(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(engine._library, "point", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.run(second)
    np.testing.assert_array_equal(engine.run(first), expected)


def test_a_system_without_more_threads(shares_all, monkeypatch):
    engine, x, expected = shared_engine()

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(engine_module, "TEAM", team := Team())
    monkeypatch.setattr(threading.Thread, "start", refuse)
    np.testing.assert_array_equal(engine.run(x), expected)
    np.testing.assert_array_equal(engine.run(np.repeat(x, 9, 0)), np.repeat(expected, 9, 0))
    monkeypatch.undo()
    seen = queue.SimpleQueue()
    team.invite(seen.put, 2)
    assert sorted(seen.get(timeout=30) for _ in range(2)) == [1, 2]
