"""Where the time goes: milliseconds, multiply-adds and share of the processor's peak for each group of layers."""

import time
from typing import NamedTuple

import numpy as np

from ...counts import step_macs
from .control import PEAK_SUMS
from .kernels.record import RECORD
from .memory import aligned


class LayerTime(NamedTuple):
    """One line of the table.

    name : of the layers done together, joined by "+"
    op : their operations, likewise
    milliseconds : for one picture, in one thread
    macs : multiply-adds
    share : of the peak rate measured in the same run, 0 to 1
    """

    name: str
    op: str
    milliseconds: float
    macs: int
    share: float


def peak_rate(library, rounds=100_000):
    """Multiply-adds a second that one core reaches with nothing else to do: the best of several tries."""
    out, command = aligned(64), np.zeros(RECORD, np.int64)
    command[:3] = library.addresses["peak"], out.ctypes.data, rounds
    best = np.inf
    for _ in range(20):
        before = time.perf_counter()
        library.execute(command.ctypes.data, 1)
        best = min(best, time.perf_counter() - before)
    return rounds * PEAK_SUMS * library.machine.width / best


def layer_times(seconds, layers, plan, library):
    """The table.

    Parameters
    ----------
    seconds : {names of layers joined by "+": seconds}
    layers : tuple of Layer
    plan : tuple of Step that they come from
    library : jit.Library

    Returns
    -------
    list of LayerTime, in order of execution
    """
    ops = {layer.name: layer.op for layer in layers}
    macs = {step.name: step_macs(step) for step in plan}
    peak = peak_rate(library)
    rows = []
    for label, spent in seconds.items():
        names = label.split("+")
        work = sum(macs[name] for name in names)
        rows.append(
            LayerTime(label, "+".join(ops[name] for name in names), 1e3 * spent, work, work / max(spent, 1e-9) / peak)
        )
    return rows
