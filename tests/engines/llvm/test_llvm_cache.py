"""The cache of compiled kernels: written once, never trusted when damaged, never needed."""

import multiprocessing
import os
import subprocess
import sys

import goldens
import pytest

pytest.importorskip("llvmlite")

from npmnv3.engines.llvm.compiler import _library, cache_folder, warm_up
from npmnv3.errors import UsageError

compile_or_load = _library.__wrapped__  # what a new process does


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NPMNV3_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kernels"


def works(library):
    return library.addresses.keys() >= library.kernels.keys()


def test_the_second_time_it_is_loaded(folder):
    first = compile_or_load("4")
    assert not first.cached and works(first)
    assert len(list(folder.iterdir())) == 1
    second = compile_or_load("4")
    assert second.cached and works(second)


def test_every_width_has_its_own_entry(folder):
    compile_or_load("4")
    assert not compile_or_load("8").cached
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize(
    "damage", (lambda data: data[:-1], lambda data: b"", lambda data: data[:40] + b"x" + data[41:])
)
def test_a_damaged_entry_is_replaced(folder, damage):
    compile_or_load("4")
    (path,) = folder.iterdir()
    good = path.read_bytes()
    path.write_bytes(damage(good))
    again = compile_or_load("4")
    assert not again.cached and works(again)
    assert len(path.read_bytes()) == len(good)


def test_where_it_cannot_be_written_nothing_is_said(monkeypatch):
    monkeypatch.setenv("NPMNV3_CACHE", os.path.join(os.devnull, "cache"))
    library = compile_or_load("4")
    assert not library.cached and works(library)


def _compile(folder, queue):
    os.environ["NPMNV3_CACHE"] = folder
    queue.put(works(compile_or_load("4")))


def test_many_processes_at_once(folder):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=_compile, args=(str(folder.parent), queue)) for _ in range(4)]
    for process in processes:
        process.start()
    assert all(queue.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
    assert len(list(folder.iterdir())) == 1  # no temporary file is left
    assert compile_or_load("4").cached


def test_warm_up_tells_where(folder):
    path, library = warm_up()
    assert path == cache_folder() == folder and library.kept


def test_warmup_command(folder, monkeypatch):
    monkeypatch.delenv("NPMNV3_CACHE")
    command = [sys.executable, "-m", "npmnv3", "warmup", "--cache"]
    said = [
        subprocess.run([*command, folder.parent], capture_output=True, text=True, cwd=goldens.ROOT).stdout
        for _ in range(2)
    ]
    assert said[0].endswith("compiled\n") and said[1].endswith("were there already\n") and str(folder) in said[0]
    failed = subprocess.run([*command, os.devnull], capture_output=True, text=True, cwd=goldens.ROOT)
    assert failed.returncode == 1 and "cannot be written" in failed.stderr


def test_the_place_is_the_systems(monkeypatch):
    monkeypatch.delenv("NPMNV3_CACHE", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder().as_posix() == "/somewhere/npmnv3/kernels"


def test_unknown_width():
    with pytest.raises(UsageError, match="expected 4, 8 or 16"):
        compile_or_load("7")
