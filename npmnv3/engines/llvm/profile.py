"""Where the time goes: milliseconds, multiply-adds and share of the processor's peak for each group of layers."""

import time
from typing import NamedTuple

import numpy as np

from ...network.counts import step_macs
from .kernels.control import PEAK_SUMS
from .kernels.kernel import LINE, RECORD
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


def time_commands(library, commands, labels, rounds):
    """Time each command by itself.

    Parameters
    ----------
    library : compiler.Library
    commands : int64 (commands, RECORD)
    labels : for each what it is counted under
    rounds : int, in each of which all are measured, and the peak rate too

    Returns
    -------
    ({label: seconds}, multiply-adds a second that the core reaches with nothing else to do): the least, and the most, of
    the rounds
    """
    peak, work = _peak_command(library)
    starts, call = [command.ctypes.data for command in (*commands, peak)], np.inf
    least = np.full(len(starts), np.inf)
    for _ in range(rounds):
        for index, start in enumerate(starts):
            call = min(call, _time_of(library.execute, start, 0))  # what a call costs
            least[index] = min(least[index], _time_of(library.execute, start, 1))
    *spent, at_peak = least
    seconds = {}
    for label, nanoseconds in zip(labels, spent):
        seconds[label] = seconds.get(label, 0.0) + max(nanoseconds - call, 0) * 1e-9
    return seconds, work / max(at_peak - call, 1) * 1e9  # a coarse clock may see no time pass


def _time_of(execute, commands, count):
    """Nanoseconds."""
    before = time.perf_counter_ns()
    execute(commands, count)
    return time.perf_counter_ns() - before


def _peak_command(library, rounds=20_000):
    """(a command, int64 array; its multiply-adds). It does nothing else, in registers: no kernel can beat its rate."""
    command = aligned(LINE + 8 * RECORD).view(np.int64)[LINE // 8 :]
    memory = command.ctypes.data - LINE  # in the same array, so that it lives as long
    command[:3] = library.addresses["peak"], memory, rounds
    return command, rounds * PEAK_SUMS * library.machine.width


def layer_times(seconds, peak, layers, plan):
    """The table.

    Parameters
    ----------
    seconds : {names of layers joined by "+": seconds}
    peak : multiply-adds a second, measured in the same run
    layers : tuple of Layer
    plan : tuple of Step that they come from

    Returns
    -------
    list of LayerTime, in order of execution
    """
    ops = {layer.name: layer.op for layer in layers}
    macs = {step.name: step_macs(step) for step in plan}
    rows = []
    for label, spent in seconds.items():
        names = label.split("+")
        work = sum(macs[name] for name in names)
        share = work / spent / peak if spent else 0.0
        rows.append(LayerTime(label, "+".join(ops[name] for name in names), 1e3 * spent, work, share))
    return rows
