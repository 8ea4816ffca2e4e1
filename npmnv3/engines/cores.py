"""How many threads are worth starting: as many as this process has cores, by its affinity and its container's quota."""

import contextlib
import math
import operator
import os

from ..errors import UsageError

#: More than any machine has cores; a larger number is a slip.
MOST_THREADS = 1024


def thread_count(wanted=None):
    """How many threads to use: as asked for, else NPMNV3_THREADS, else `available_cores`.

    Parameters
    ----------
    wanted : int, a string of one, or None

    Raises
    ------
    UsageError
        It is no whole number from 1 to MOST_THREADS.
    """
    found, value = f"`threads={wanted!r:.40}`", wanted
    if wanted is None:
        value = os.environ.get("NPMNV3_THREADS")
        if not value:
            return available_cores()
        found = f"the environment variable NPMNV3_THREADS is {value!r:.40}"
    try:
        count = int(value) if isinstance(value, str) else operator.index(value)
    except (TypeError, ValueError):
        count = 0
    if not 1 <= count <= MOST_THREADS or isinstance(value, bool):
        raise UsageError(f"{found}, expected a whole number from 1 to {MOST_THREADS}")
    return count


def available_cores(root="/"):
    """Cores that this process may use at once, at least 1.

    These are the cores of its affinity (`taskset`, a batch system), but no more than the quota of its control groups
    (`docker --cpus`, a limit in Kubernetes), rounded: more threads would use up the quota of a period, a tenth of a second,
    before its end, and then all stand still.

    Parameters
    ----------
    root : str, where the system's files are
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, quota_threads(root))


def quota_threads(root="/"):
    """How many threads the quotas of the control groups keep busy, at least 1; MOST_THREADS where there is none."""
    return max(1, math.floor(min([MOST_THREADS, *_quotas(root)]) + 0.5))


def _quotas(root):
    """Cores that each control group above this process allows, of those that have a limit; version 2 and version 1."""
    try:
        lines = _text(root, "proc/self/cgroup").splitlines()
    except (OSError, UnicodeDecodeError):  # not Linux, or hidden
        return
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if not path.startswith("/") or (controllers and "cpu" not in controllers.split(",")):
            continue
        # In a container the path may be the host's, while the container's own group is mounted as the root: then only the
        # last of these folders exists, and it is the right one.
        names = [name for name in path.split("/") if name not in ("", ".")]
        for depth in range(len(names), -1, -1):
            with contextlib.suppress(
                OSError, ValueError, ZeroDivisionError
            ):  # no limit there, or none that can be read
                yield _quota(os.path.join(root, "sys/fs/cgroup", controllers, *names[:depth]), bool(controllers))


def _text(*parts):
    with open(os.path.join(*parts), encoding="utf-8") as file:
        return file.read()


def _quota(folder, first_version):
    """Cores that one control group allows; ValueError where it does not limit them."""
    if first_version:
        quota, period = (_text(folder, f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    else:
        quota, period = _text(folder, "cpu.max").split()  # "max 100000" where there is none
    cores = int(quota) / int(period)
    if cores <= 0:  # version 1 says -1 where there is none
        raise ValueError(quota)
    return cores
