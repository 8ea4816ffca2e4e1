"""A kernel's memory for a test: random numbers between guards, and the kernel run beside its plain NumPy twin."""

from types import SimpleNamespace

import numpy as np

from npmnv3.engines.llvm.memory import Regions, aligned


class Memory:
    """A few buffers filled with random floats, guard zones of NaN on both sides."""

    def __init__(self, seed):
        self.rng, self.buffers, self.zones = np.random.default_rng(seed), [], []

    def floats(self, count, name):
        raw = aligned(4 * (count + 128))
        raw.view(np.float32)[:] = np.nan
        buffer = raw[256 : 256 + 4 * count]
        buffer.view(np.float32)[:] = self.rng.standard_normal(count)
        self.buffers.append((name, buffer))
        self.zones += [raw[:256], raw[256 + 4 * count :]]
        return buffer.ctypes.data

    def weights(self, count, float16):
        """As `floats`; of 16 bits each there are twice as many in the same memory, half of them for nothing."""
        address = self.floats(count, "weight")
        if float16:
            buffer = self.buffers[-1][1]
            buffer.view(np.float16)[:] = self.rng.standard_normal(2 * count)
        return address

    def ints(self, values, name):
        buffer = aligned(8 * len(values))
        buffer.view(np.int64)[:] = values
        self.buffers.append((name, buffer))
        return buffer.ctypes.data

    def regions(self):
        return Regions(self.buffers)


def views(kernel, args, regions, label=""):
    """What a command touches, as arrays.

    Parameters as of `memory.check`.

    Returns
    -------
    (arguments by name, {operand's name: array, or list of arrays for one that a table leads to})
    """
    a, arrays = SimpleNamespace(**dict(zip(kernel.args, map(int, args)))), {}
    for name, operand in kernel.operands(a).items():
        if 0 in operand.shape:
            continue
        dtype, what = (np.int64 if name == "table" else operand.dtype), f"{label} {kernel.name} {name}"
        offsets = arrays[operand.table] if operand.table else [0]
        found = [regions.view(operand.address + int(o), operand.shape, operand.strides, dtype, what) for o in offsets]
        arrays[name] = found if operand.table else found[0]
    return a, arrays


def run(library, name, args, memory):
    """Run a kernel and its twin from the same memory; {operand: (kernel's, twin's)}."""
    kernel = library.kernels[name]
    command = np.zeros(24, np.int64)
    command[0] = library.addresses[name]
    command[1 : 1 + len(kernel.args)] = [args[arg] for arg in kernel.args]
    a, arrays = views(kernel, command[1:], memory.regions())
    before = {key: arrays[key].copy() for key in kernel.writes if key in arrays}
    library.execute(command.ctypes.data, 1)
    made = {key: arrays[key].copy() for key in before}
    for key, value in before.items():
        arrays[key][...] = value
    kernel.plain(a, arrays)
    for zone in memory.zones:
        assert np.isnan(zone.view(np.float32)).all(), f"{name} wrote outside of its buffers"
    return {key: (made[key], arrays[key].copy()) for key in before}


def assert_close(pairs, scale, what):
    for key, (made, plain) in pairs.items():
        error = np.abs(made - plain)
        worst = np.unravel_index(np.argmax(error), error.shape)
        assert error[worst] <= scale, (
            f"{what}: {key} is off by {error[worst]:.3g} at {worst}, expected at most {scale:.3g}"
        )
