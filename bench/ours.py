"""npmnv3's own engines beside each other: processor time in one thread, in turn."""

import importlib.util
import time

import numpy as np

from npmnv3.engines import make_engine
from npmnv3.engines.blas import one_thread

ROUNDS = 15
ATOL = {"float32": 1e-4, "float64": 1e-10}  # of the largest logit: an engine is timed only after it matched


def engines(network, dtype):
    """{name: engine} of those that are installed and compute in this dtype, NumPy's first."""
    packages = {"numpy": "numpy", "numba": "numba"} | ({"llvm": "llvmlite"} if dtype == "float32" else {})
    names = [name for name, package in packages.items() if importlib.util.find_spec(package)]
    return {name: make_engine(name, network.plan_for, network.params, dtype, threads=1) for name in names}


def print_engines(network):
    """Milliseconds of processor time for one picture, the least and the median of several, and parts of NumPy's."""
    print(f"\n{network.name}: npmnv3's engines, ms of processor time, least (median)")
    for dtype in ("float32", "float64"):
        x = network.pictures(1).astype(dtype)
        found = engines(network, dtype)
        _check(found, x, dtype)
        for what in ("run", "trace"):
            runs = {name: getattr(engine, what) for name, engine in found.items() if hasattr(engine, what)}
            with one_thread():
                times = _take_turns(runs, x)
            base = np.array(times["numpy"])
            cells = [
                f"{name} {min(t):6.1f} ({np.median(t):6.1f}) {np.median(np.array(t) / base):4.2f} x numpy"
                for name, t in times.items()
            ]
            print(f"  {dtype} {what:5}  " + "   ".join(cells))


def _check(found, x, dtype):
    expected = found["numpy"].run(x)
    for name, engine in found.items():
        error = np.abs(engine.run(x) - expected).max() / np.abs(expected).max()
        if not error <= ATOL[dtype]:
            raise RuntimeError(f"{name} is off by {error:.2g} of the largest logit in {dtype}: nothing to time")


def _take_turns(runs, x):
    times = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            run(x)  # its memory into the caches
            before = time.process_time()
            run(x)
            times[name].append(1e3 * (time.process_time() - before))
    return times
