"""The helping threads by themselves: who is asked, who waits for whom, and what an error leaves."""

import queue
import threading
import time
import weakref

import pytest

pytest.importorskip("llvmlite")


from npmnv3.engines.llvm.threads import Tasks, Team


def test_every_helper_gets_its_number():
    team, seen = Team(), queue.SimpleQueue()
    for _ in range(5):
        team.invite(seen.put, 2)
        assert sorted(seen.get(timeout=30) for _ in range(2)) == [1, 2]


def test_an_invitation_that_was_not_heard_gives_way_to_the_next():
    team, leave, seen = Team(), threading.Event(), queue.SimpleQueue()
    entered = threading.Event()

    def first(_):
        entered.set()
        leave.wait(30)

    team.invite(first, 1)
    assert entered.wait(30)
    for name in "abc":
        team.invite(lambda _, name=name: seen.put(name), 1)
    leave.set()
    assert seen.get(timeout=30) == "c"


@pytest.mark.parametrize("threads", (1, 2, 5))
def test_every_task_is_done_once(threads):
    done = []
    tasks = Tasks(done.append, 100)
    Team().invite(tasks.help, threads - 1)
    tasks.finish()
    assert sorted(done) == list(range(100))


def test_the_caller_does_not_wait_for_a_helper_that_did_not_come():
    team, leave, entered, done = Team(), threading.Event(), threading.Event(), []
    team.invite(lambda _: (entered.set(), leave.wait(30)), 1)
    assert entered.wait(30)
    tasks = Tasks(done.append, 3)
    team.invite(tasks.help, 1)
    tasks.finish()
    assert done == [0, 1, 2] and not leave.is_set()
    leave.set()


def test_the_caller_waits_for_a_task_that_a_helper_has_begun():
    begun, done = threading.Event(), []

    def task(number):
        if threading.current_thread() is threading.main_thread():
            assert begun.wait(30)
        else:
            begun.set()
            time.sleep(0.05)
        done.append(number)

    tasks = Tasks(task, 2)
    Team().invite(tasks.help, 1)
    tasks.finish()
    assert sorted(done) == [0, 1]


@pytest.mark.parametrize("helper_fails", (False, True))
def test_what_a_task_raises_reaches_the_caller(helper_fails):
    failed = threading.Event()

    def task(number):
        if (threading.current_thread() is not threading.main_thread()) == helper_fails:
            failed.set()
            raise ValueError("in a task")
        assert failed.wait(30)

    tasks = Tasks(task, 1000)
    Team().invite(tasks.help, 1)
    with pytest.raises(ValueError, match="in a task"):
        tasks.finish()


def test_after_an_interrupt_no_task_is_begun():
    begun, done = threading.Event(), []

    def task(number):
        if threading.current_thread() is threading.main_thread():
            assert begun.wait(30)
            raise KeyboardInterrupt
        begun.set()
        time.sleep(0.05)
        done.append(number)

    tasks = Tasks(task, 1000)
    Team().invite(tasks.help, 1)
    with pytest.raises(KeyboardInterrupt):
        tasks.finish()
    time.sleep(0.2)
    assert len(done) <= 1


def test_a_waiting_helper_holds_nothing():
    team = Team()

    def job(number):
        assert number >= 0

    gone = weakref.ref(job)
    team.invite(job, 2)
    del job
    deadline = time.monotonic() + 30
    while gone() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert gone() is None
