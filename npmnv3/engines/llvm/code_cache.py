"""Machine code kept in the user's cache, so that only the first process on a processor compiles.

What is loaded from there runs. So it is loaded only from a regular file that this user or root owns, in folders, up to
the root, where nobody else can put one; everything else is as if it were not there. Damage is found by a digest before
the linker sees the code; the digest is no protection from people, the owner is.
"""

import contextlib
import errno
import functools
import importlib.util
import os
import stat
import struct
import sys

#: The first bytes of an entry; another layout gets another number.
MAGIC = b"npmnv3 kernels 4\n"
#: Behind it: bytes of the description, of the head and of the machine code, and the digest of all three.
SIZES = struct.Struct("<IIQ8s")
MOST_BYTES = 1 << 24  # of an entry; a processor's kernels are a few hundred kilobytes

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_READ = os.O_RDONLY | _NO_LINK | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
#: Folders on the way need not be readable.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | _NO_LINK | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)

#: Where files have owners and can be opened relative to a folder; elsewhere the user's own profile is private.
_OWNERS = hasattr(os, "geteuid") and os.open in os.supports_dir_fd


#: 8 bytes that tell byte strings apart. It is the hash by which Python knows its own compiled code, and is there already:
#: importing `hashlib`, and with it OpenSSL, takes as long as everything else here. Each version of Python has its own, and so
#: its own entries.
digest = importlib.util.source_hash


class NotTrustedError(OSError):
    """Somebody else could have written it."""


def cache_folder():
    """Path of where compiled kernels are kept: `kernels` in NPMNV3_CACHE, or in the place that the system has for caches."""
    from pathlib import Path  # slow to import, and a process that finds its kernels does without

    return Path(_folder_path())


def _folder_path():
    if folder := os.environ.get("NPMNV3_CACHE"):
        return os.path.join(os.path.expanduser(folder), "kernels")
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return os.path.join(os.path.expanduser(base), "npmnv3", "kernels")


def read_code(key, about):
    """What is kept under a key.

    Parameters
    ----------
    key : str, a hash of what the code depends on
    about : str, the processor and the compiler's version, which the entry has to name as well

    Returns
    -------
    (code, problem) : code is (head, machine code), bytes, see `compiler.Library`, or None; problem is why the cache
        cannot be used, "" where it can, also if there is no such entry yet or it is damaged
    """
    try:
        with _open_folder(_folder_path(), make=False) as folder:
            return _unpack(_read_file(folder, f"{key}.bin"), about), ""
    except FileNotFoundError:
        return None, ""
    except NotTrustedError as error:
        problem = f"{error}; kernels are compiled in memory, and that cache is not used"
        _say_once(problem)
        return None, problem
    except OSError as error:
        return None, f"{cache_folder()} cannot be read: {error.strerror or error}"


def write_code(key, about, head, machine_code):
    """Keep code under a key, readable by everybody.

    Returns
    -------
    str, "" or why it is not kept: then the next process compiles again, nothing else is lost
    """
    try:
        with _open_folder(_folder_path(), make=True) as folder:
            _write_file(folder, f"{key}.bin", _pack(about, head, machine_code))
    except NotTrustedError as error:
        return str(error)
    except OSError as error:
        return f"{cache_folder()} cannot be written: {error.strerror or error}"
    return ""


@functools.cache
def _say_once(message):
    import logging

    logging.getLogger("npmnv3").warning("%s", message)


# An entry's bytes


def _pack(about, head, machine_code):
    parts = about.encode(), head, machine_code
    return MAGIC + SIZES.pack(*map(len, parts), digest(b"".join(parts))) + b"".join(parts)


def _unpack(data, about):
    """(head, machine code) of an entry for this processor and compiler, or None."""
    start = len(MAGIC) + SIZES.size
    if data[: len(MAGIC)] != MAGIC or len(data) < start:
        return None
    *sizes, found = SIZES.unpack_from(data, len(MAGIC))
    body = data[start:]
    if sum(sizes) != len(body) or digest(body) != found:
        return None
    start = sizes[0] + sizes[1]
    return (body[sizes[0] : start], body[start:]) if body[: sizes[0]] == about.encode() else None


# Folders and files that nobody else can have written


@contextlib.contextmanager
def _open_folder(path, make):
    """What files in a folder are opened relative to: a descriptor of it, or its path where there are no owners."""
    if path.startswith("~"):
        raise OSError(errno.EINVAL, "no such user has a home here")
    path = os.path.realpath(path)
    if not _OWNERS:
        if make:
            os.makedirs(path, exist_ok=True)
        yield path
        return
    handle, way = os.open(os.sep, _FOLDER), [name for name in path.split(os.sep) if name]
    try:
        _check_folder(handle, path, last=not way)
        while way:
            handle = _enter(handle, way.pop(0), make)
            _check_folder(handle, path, last=not way)
        yield handle
    finally:
        os.close(handle)


def _enter(parent, name, make):
    """A descriptor of a folder's folder instead of its own; links, which `realpath` has resolved, are none any more."""
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=parent)
    child = os.open(name, _FOLDER, dir_fd=parent)
    os.close(parent)
    return child


def _check_folder(handle, path, last):
    """Nobody else may put or rename files in it: neither in the cache nor, but for the owner, on the way to it."""
    found = os.fstat(handle)
    others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if others and not last and found.st_mode & stat.S_ISVTX:  # as /tmp: what is in it belongs to its owner
        others = 0
    if others or found.st_uid not in (0, os.geteuid()):
        raise NotTrustedError(
            f"{path} is not trusted: it, or a folder above it, {_blame(found, others)}; only folders that you or root "
            "own, and nobody else can write, hold code that is run"
        )


def _blame(found, others):
    return f"can be written by others (mode {stat.S_IMODE(found.st_mode):o})" if others else f"is user {found.st_uid}'s"


def _in_folder(folder, name):
    """(path, dir_fd) of a file in what `_open_folder` gives."""
    return (name, folder) if _OWNERS else (os.path.join(folder, name), None)


def _read_file(folder, name):
    path, relative = _in_folder(folder, name)
    try:
        handle = os.open(path, _READ, dir_fd=relative)
    except OSError as error:
        if error.errno == errno.ELOOP:  # what _NO_LINK makes of one
            raise NotTrustedError(f"{os.path.join(_folder_path(), name)} is not trusted: it is a link") from error
        raise
    try:
        _check_file(os.fstat(handle), os.path.join(_folder_path(), name))
        with os.fdopen(os.dup(handle), "rb") as file:
            return file.read(MOST_BYTES)
    finally:
        os.close(handle)


def _check_file(found, path):
    if not stat.S_ISREG(found.st_mode):
        raise NotTrustedError(f"{path} is not trusted: it is no regular file")
    others = _OWNERS and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if others or (_OWNERS and found.st_uid not in (0, os.geteuid())):
        raise NotTrustedError(f"{path} is not trusted: it {_blame(found, others)}")


def _write_file(folder, name, data):
    """Written whole beside its place, then renamed."""
    temporary, relative = _in_folder(folder, f".{os.urandom(8).hex()}.tmp")
    handle = os.open(temporary, _NEW, 0o600, dir_fd=relative)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if hasattr(os, "fchmod"):
                os.fchmod(handle, 0o644)
        os.replace(temporary, _in_folder(folder, name)[0], src_dir_fd=relative, dst_dir_fd=relative)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=relative)
        raise
