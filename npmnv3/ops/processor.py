"""Which processor this is, without asking a compiler: code that is kept is kept for one."""

import platform

_FEW = 1 << 14  # bytes of the system's list: its first processor
_NAMES = ("vendor_id", "cpu", "cpu family", "model", "stepping", "model name", "flags", "Features", "CPU implementer",
          "CPU variant", "CPU part", "isa", "uarch")  # fmt: skip


def described():
    """What the system says of its first processor, its features among it: list of lines; None where it says nothing.

    Speeds, which change from one moment to the next, and numbers of cores are left out.
    """
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = file.read(_FEW).split("\n\n")[0].splitlines()
    except OSError:
        return None
    return [line for line in lines if line.partition(":")[0].strip() in _NAMES] or None


def named():
    """What there is to say of the processor: as `described`, else its and this machine's names."""
    return described() or [platform.processor(), platform.node()]
