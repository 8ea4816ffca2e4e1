"""How many threads: what is asked for, the affinity, the quota of the container."""

import os

import pytest

from npmnv3.engines import cores
from npmnv3.engines.cores import MOST_THREADS, available_cores, quota_threads, thread_count
from npmnv3.errors import UsageError


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.delenv("NPMNV3_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


def system(root, groups, files):
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


V1 = "sys/fs/cgroup/cpu,cpuacct"

QUOTAS = {
    "none": (8, "0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}),
    "half a core": (1, "0::/\n", {"sys/fs/cgroup/cpu.max": "50000 100000\n"}),
    "2.4 cores": (2, "0::/\n", {"sys/fs/cgroup/cpu.max": "240000 100000\n"}),
    "2.5 cores": (3, "0::/\n", {"sys/fs/cgroup/cpu.max": "250000 100000\n"}),
    "more than there are": (8, "0::/\n", {"sys/fs/cgroup/cpu.max": "6400000 100000\n"}),
    "of a group above": (
        3,
        "0::/a.slice/b.scope\n",
        {"sys/fs/cgroup/a.slice/cpu.max": "300000 100000\n", "sys/fs/cgroup/a.slice/b.scope/cpu.max": "max 100000\n"},
    ),
    "least of several": (
        2,
        "0::/a/b\n",
        {"sys/fs/cgroup/a/cpu.max": "400000 100000\n", "sys/fs/cgroup/a/b/cpu.max": "200000 100000\n"},
    ),
    "the host's path in a container": (2, "0::/docker/0123\n", {"sys/fs/cgroup/cpu.max": "200000 100000\n"}),
    "version 1": (
        4,
        "5:cpu,cpuacct:/x\n4:memory:/x\n",
        {f"{V1}/x/cpu.cfs_quota_us": "200000\n", f"{V1}/x/cpu.cfs_period_us": "50000\n"},
    ),
    "version 1, none": (
        8,
        "5:cpu,cpuacct:/\n",
        {f"{V1}/cpu.cfs_quota_us": "-1\n", f"{V1}/cpu.cfs_period_us": "100000\n"},
    ),
    "of other controllers": (8, "5:cpuacct:/\n", {"sys/fs/cgroup/cpuacct/cpu.cfs_quota_us": "1\n"}),
    "unreadable": (8, "0::/\nnonsense\n", {"sys/fs/cgroup/cpu.max": "many\n"}),
    "a path without a slash": (8, "0::group\n", {"sys/fs/cgroup/cpu.max": "100000 100000\n"}),
    "many slashes": (2, "0:://a///b\n", {"sys/fs/cgroup/a/cpu.max": "200000 100000\n"}),
    "a period of 0": (8, "0::/\n", {"sys/fs/cgroup/cpu.max": "100000 0\n"}),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_quotas(tmp_path, eight_cores, name):
    expected, groups, files = QUOTAS[name]
    root = system(tmp_path, groups, files)
    assert available_cores(root) == expected
    assert quota_threads(root) == expected or (expected == 8 and quota_threads(root) in (64, MOST_THREADS))


def test_a_system_without_control_groups(tmp_path, eight_cores, monkeypatch):
    assert available_cores(tmp_path) == 8
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores(tmp_path) == 1


def test_what_is_asked_for_comes_before_what_there_is(eight_cores, monkeypatch):
    monkeypatch.setattr(cores, "available_cores", lambda: 3)
    assert thread_count() == 3 and thread_count(5) == 5
    monkeypatch.setenv("NPMNV3_THREADS", "6")
    assert thread_count() == 6 and thread_count(2) == 2


@pytest.mark.parametrize("value", (0, -1, 1025, "two", 2.0, True))
def test_counts_that_are_none(value):
    with pytest.raises(UsageError, match="expected a whole number from 1 to 1024"):
        thread_count(value)
