"""Where the time goes: milliseconds, multiply-adds and share of the processor's peak for each group of layers."""

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


def peak_command(library, rounds=20_000):
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
