"""The cache of compiled kernels: written once, never needed, and never run where anybody else could have written it."""

import functools
import logging
import multiprocessing
import os
import stat
import subprocess
import sys

import goldens
import numpy as np
import pytest

pytest.importorskip("llvmlite")

from npmnv3.engines.llvm import cache_folder, code_cache, compiler, warm_up
from npmnv3.engines.llvm.compiler import _library
from npmnv3.errors import UsageError

COMPILED = functools.cache(compiler.compile_kernels)


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch):
    """What the compiler makes is the same each time, and the cache is what is asked about here."""
    monkeypatch.setattr(compiler, "compile_kernels", COMPILED)


def compile_or_load(width):
    """What a new process does."""
    return _library.__wrapped__(width, False)


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
    assert not library.cached and works(library) and "cannot be" in library.problem


def test_the_home_of_nobody_is_no_folder_here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NPMNV3_CACHE", "~nobody-of-that-name/cache")
    library = compile_or_load("4")
    assert not library.cached and works(library) and "no such user has a home here" in library.problem
    assert not list(tmp_path.iterdir())


# What nobody but this user and root can have written


@pytest.fixture
def entry(folder):
    """A good entry, before somebody does something to it."""
    compile_or_load("4")
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644 and stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert compile_or_load("4").cached
    code_cache._say_once.cache_clear()
    return path


def in_place_of(path, make):
    """Move a good entry away, and put something else that leads to it or holds it in its place."""
    good = path.rename(path.parent.parent / "elsewhere")
    make(path, good)


POISONS = {
    "a link": lambda path: in_place_of(path, lambda path, good: path.symlink_to(good)),
    "a pipe": lambda path: in_place_of(path, lambda path, _: os.mkfifo(path)),
    "a folder": lambda path: in_place_of(path, lambda path, _: path.mkdir()),
    "a file that others can write": lambda path: path.chmod(0o666),
    "a file that the group can write": lambda path: path.chmod(0o664),
    "a folder that others can write": lambda path: path.parent.chmod(0o777),
    "a sticky folder that others can write": lambda path: path.parent.chmod(0o1777),
    "a folder above that others can write": lambda path: path.parent.parent.chmod(0o777),
}
ROOTS_POISONS = {
    "a file of another user's": lambda path: os.chown(path, 12345, -1),
    "a folder of another user's": lambda path: os.chown(path.parent, 12345, -1),
    "a folder above of another user's": lambda path: os.chown(path.parent.parent, 12345, -1),
}
needs_owners = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have no owners here")


def assert_not_run(caplog):
    """Kernels are compiled in memory, and it is said, once."""
    libraries = []
    with caplog.at_level(logging.WARNING, "npmnv3"):
        for _ in range(2):
            libraries.append(compile_or_load("4"))
    assert not any(library.cached for library in libraries) and all(map(works, libraries))
    return libraries[0].problem


@needs_owners
@pytest.mark.parametrize("poison", POISONS)
def test_what_others_could_have_written_is_not_run(poison, entry, caplog):
    POISONS[poison](entry)
    problem = assert_not_run(caplog)
    assert "is not trusted" in problem and [record.message for record in caplog.records] == [problem]


@needs_owners
@pytest.mark.parametrize("poison", ROOTS_POISONS)
def test_what_another_user_owns_is_not_run(poison, entry, caplog):
    if os.geteuid():
        pytest.skip("needs root, to give files away")
    ROOTS_POISONS[poison](entry)
    assert "user 12345's" in assert_not_run(caplog)


@needs_owners
def test_below_a_sticky_folder_of_roots_it_is_trusted(entry):
    entry.parent.parent.parent.chmod(0o1777)  # as /tmp is
    assert compile_or_load("4").cached


def test_a_digest_of_somebody_elses_code_is_not_enough(entry):
    """An entry for another processor, whole and with a right digest, under this one's name."""
    names, code = code_cache._unpack(entry.read_bytes(), _about(entry))
    entry.write_bytes(code_cache._pack("another processor", names, code))
    assert not compile_or_load("4").cached


def _about(path):
    data = path.read_bytes()
    size, *_ = code_cache.SIZES.unpack_from(data, len(code_cache.MAGIC))
    return data[len(code_cache.MAGIC) + code_cache.SIZES.size :][:size].decode()


def test_no_damage_reaches_the_linker(entry):
    """One byte changed anywhere, or any part missing."""
    data, about = entry.read_bytes(), _about(entry)
    assert code_cache._unpack(data, about)
    rng = np.random.default_rng(0)
    for at in [*range(len(code_cache.MAGIC) + code_cache.SIZES.size + 9), *rng.integers(len(data), size=1000)]:
        damaged = bytearray(data)
        damaged[at] ^= 1 << rng.integers(8)
        assert code_cache._unpack(bytes(damaged), about) is None, at
        assert code_cache._unpack(data[:at], about) is None, at


@needs_owners
def test_a_poisoned_entry_is_named_by_info_and_warmup(entry):
    entry.parent.chmod(0o777)
    command = [sys.executable, "-m", "npmnv3"]
    warmed = subprocess.run([*command, "warmup", "--engine", "llvm"], capture_output=True, text=True, cwd=goldens.ROOT)
    assert warmed.returncode == 1 and f"{entry.parent} is not trusted" in warmed.stderr
    shown = subprocess.run([*command, "info", "ppocr/text_direction"], capture_output=True, text=True, cwd=goldens.ROOT)
    assert f"kernels: {entry.parent} is not trusted" in shown.stdout


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_an_image_warmed_by_root_serves_other_users(entry):
    if not hasattr(os, "geteuid") or os.geteuid():
        pytest.skip("needs root, to become another user")
    for folder in entry.parents:
        if not folder.stat().st_mode & stat.S_IXOTH:
            folder.chmod(0o711)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.setresuid(12345, 12345, 12345)
        os.write(write, b"cached" if code_cache.read_code(entry.stem, _about(entry))[0] else b"compiled")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"cached"


@pytest.mark.parametrize("place", ("", None))
def test_an_empty_variable_is_none(place, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("NPMNV3_CACHE", "") if place == "" else monkeypatch.delenv("NPMNV3_CACHE", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_folder() == tmp_path / "npmnv3" / "kernels"


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
    assert path == cache_folder() == folder and not library.problem


def test_warmup_command(folder, monkeypatch):
    monkeypatch.delenv("NPMNV3_CACHE")
    command = [sys.executable, "-m", "npmnv3", "warmup", "--engine", "llvm", "--cache"]
    said = [
        subprocess.run([*command, folder.parent], capture_output=True, text=True, cwd=goldens.ROOT).stdout
        for _ in range(2)
    ]
    assert said[0].endswith("compiled\n") and said[1].endswith("were there already\n") and str(folder) in said[0]
    failed = subprocess.run([*command, os.devnull], capture_output=True, text=True, cwd=goldens.ROOT)
    assert failed.returncode == 1 and "cannot be" in failed.stderr


def test_the_place_is_the_systems(monkeypatch):
    monkeypatch.delenv("NPMNV3_CACHE", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder().as_posix() == "/somewhere/npmnv3/kernels"


def test_unknown_width():
    with pytest.raises(UsageError, match="expected 4, 8 or 16"):
        compile_or_load("7")
