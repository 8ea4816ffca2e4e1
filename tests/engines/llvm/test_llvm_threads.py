"""The helping threads: failures, interrupts, and what is left after them."""

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
from shared_engines import shared_engine

from npmnv3.engines.llvm import LlvmEngine
from npmnv3.engines.llvm import engine as engine_module
from npmnv3.engines.llvm.programs import Bound
from npmnv3.engines.llvm.threads import TEAM, Team
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant


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
