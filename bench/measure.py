"""Timing that means something on a machine that others use too: the engines take turns, and what counts are ratios."""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

from .engines import ENGINES

#: Seconds for which the process looks whether its threads rest, and after which it no longer waits for them. Those of
#: some engines go on spinning when their work is done: ONNX Runtime's for 60 ms on one machine, and whoever came next had
#: one core less.
LOOK, LONGEST_LOOK = 0.02, 1.0

#: Seconds that an engine runs untimed at the start of its turn.
WARM_UP = 0.03


class Times:
    """What one engine took, a number for each of its turns.

    Attributes
    ----------
    turns : float array, milliseconds a picture
    median, low, high : of these: the median, and the middle half
    """

    def __init__(self, turns):
        self.turns = np.array(turns)
        self.low, self.median, self.high = np.percentile(self.turns, (25, 50, 75))

    def against(self, other):
        """Times whose turns are this engine's, as parts of the other's turns beside them."""
        return Times(self.turns / other.turns)


def take_turns(runs, x, seconds=4.0, calls=4):
    """Time some functions in turn, a few calls each.

    Parameters
    ----------
    runs : {name: callable (x)}
    x : the pictures
    seconds : float, for all of them together
    calls : int, the median of which is what a turn took

    Returns
    -------
    {name: Times}
    """
    turns = {name: [] for name in runs}
    for run in runs.values():
        run(x)
        run(x)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, turns.values())) < 5:
        for name, run in runs.items():
            _let_rest()
            _warm_up(run, x)
            turns[name].append(1e3 * np.median([_seconds(run, x) for _ in range(calls)]) / len(x))
    return {name: Times(values) for name, values in turns.items()}


def _let_rest():
    """Sleep until no thread of this process computes any more."""
    end = time.perf_counter() + LONGEST_LOOK
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(LOOK)
        if time.process_time() - before < LOOK / 10:
            return


def _warm_up(run, x):
    """Bring the engine's memory into the caches, and the processor out of its rest."""
    end = time.perf_counter() + WARM_UP
    while time.perf_counter() < end:
        run(x)


def _seconds(run, x):
    before = time.perf_counter()
    run(x)
    return time.perf_counter() - before


def disagreement(runs, x, oracle):
    """{name: largest error of a logit, as a part of the largest one}, against the float64 oracle, of some pictures, one
    by one.

    One picture alone tells little: how far a deep network carries a rounding error on is a matter of luck.
    """
    exact = oracle(x.astype(np.float64))
    return {
        name: max(float(np.abs(run(x[i : i + 1]) - exact[i]).max() / np.abs(exact[i]).max()) for i in range(len(x)))
        for name, run in runs.items()
    }


_COLD = """
import pathlib, sys
from bench.engines import ENGINES
from bench.networks import Network
network = Network(sys.argv[2], folder=pathlib.Path(sys.argv[3]))
ENGINES[sys.argv[1]][0](network, 1, 1)(network.pictures(1))
status = pathlib.Path("/proc/self/status")
if status.exists():
    print(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")))
"""


def cold_start(engine, network, extra_environment=(), rounds=5):
    """A new process that reads weights from a file and answers once.

    Returns
    -------
    (milliseconds from the process's start to its end, its peak memory in MB or NaN), medians
    """
    environment, results = {**os.environ, **dict(extra_environment)}, []
    with tempfile.TemporaryDirectory() as folder:
        network.save(pathlib.Path(folder))
        for _ in range(rounds):
            before = time.perf_counter()
            command = [sys.executable, "-c", _COLD, engine, network.name, folder]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            spent = 1e3 * (time.perf_counter() - before)
            if done.returncode:
                raise RuntimeError(f"{engine} failed on {network.name}: {done.stderr.strip().splitlines()[-1:]}")
            results.append((spent, float(done.stdout or "nan") / 1024))
    return tuple(np.median(results, axis=0))


def build(names, network, batch, threads):
    """{engine's name: callable}; an engine that cannot take the network is left out, with a line that says why."""
    runs = {}
    for name in names:
        try:
            runs[name] = ENGINES[name][0](network, batch, threads)
        except Exception as error:  # other people's packages raise what they like
            print(f"{name} does not take {network.name}: {type(error).__name__}: {error}", file=sys.stderr)
    return runs
