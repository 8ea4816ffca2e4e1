"""The helping threads: failures, interrupts, and what is left after them."""

import threading
import time
import weakref

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from random_networks import plan_maker, random_params

from npmnv3.engines.llvm import LlvmEngine
from npmnv3.engines.llvm import engine as engine_module
from npmnv3.engines.llvm.programs import Bound
from npmnv3.engines.llvm.threads import Team
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant


def test_every_thread_gets_its_number():
    team, seen = Team(), []
    for _ in range(5):
        assert team.run(seen.append, seen.clear, 3)
    assert sorted(seen) == [0] * 5 + [1] * 5 + [2] * 5


@pytest.mark.parametrize("number", (0, 1))
def test_what_a_job_raises_reaches_the_caller(number):
    team = Team()

    def job(i):
        if i == number:
            raise ValueError(f"in thread {i}")

    with pytest.raises(ValueError, match=f"in thread {number}"):
        team.run(job, lambda: None, 2)
    assert team.run(lambda i: None, lambda: None, 2)


def test_a_team_at_work_says_so():
    team, entered, leave = Team(), threading.Event(), threading.Event()

    def job(i):
        entered.set()
        leave.wait(30)

    caller = threading.Thread(target=team.run, args=(job, leave.set, 2))
    caller.start()
    assert entered.wait(30)
    assert team.run(job, leave.set, 2) is False
    leave.set()
    caller.join()


def test_after_an_interrupt_no_helper_is_left_at_work():
    team, stop, working = Team(), threading.Event(), []

    def job(i):
        if i == 0:
            raise KeyboardInterrupt
        working.append(i)
        while not stop.is_set():
            time.sleep(0.001)
        working.remove(i)

    with pytest.raises(KeyboardInterrupt):
        team.run(job, stop.set, 2)
    assert not working
    assert team.run(lambda i: None, lambda: None, 2)


def test_an_interrupted_picture_does_not_spoil_the_next(monkeypatch):
    monkeypatch.setattr(engine_module, "SHARED_MACS", 0)
    variant = get_variant("torchvision/mobilenet_v3_small")
    params = random_params(make_plan(variant), np.random.default_rng(0))
    engine = LlvmEngine(plan_maker(variant), params, threads=2)
    x = np.random.default_rng(1).standard_normal((1, 3, 64, 64)).astype(np.float32)
    expected, run = engine.run(x), Bound.run

    def interrupted(self, thread=0):
        if thread == 0 and self.threads > 1:
            raise KeyboardInterrupt  # the other thread waits at its first barrier meanwhile
        run(self, thread)

    with monkeypatch.context() as patch:
        patch.setattr(Bound, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.run(x)
    for _ in range(3):
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


def test_a_system_without_more_threads(monkeypatch):
    team, called = Team(), []

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert team.run(called.append, called.clear, 3) is False and not called
    monkeypatch.undo()
    assert team.run(called.append, called.clear, 3) and sorted(called) == [0, 1, 2]


def test_a_waiting_helper_holds_nothing():
    team = Team()

    def job(number):
        assert number >= 0

    gone = weakref.ref(job)
    assert team.run(job, lambda: None, 3)
    del job
    deadline = time.monotonic() + 30
    while gone() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert gone() is None
