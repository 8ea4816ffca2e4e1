"""When helping threads are called, on which core they wake, and when they are left alone."""

import os
import threading
import time

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from shared_engines import shared_engine

from npmnv3.engines.llvm import engine as engine_module
from npmnv3.engines.llvm import programs, threads
from npmnv3.engines.llvm.programs import Bound
from npmnv3.engines.llvm.threads import TEAM, Team


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
