"""How every file is written: beside its place, then renamed; or not at all, with an error that names it.

What only reads imports this too, so what writing alone needs is imported there.
"""

import contextlib
import os
import stat

from ..errors import WriteError

PREFIX = ".npmnv3-"  # of files that are not finished


@contextlib.contextmanager
def writing(path):
    """Turn the system's errors, while a file is written, into our own."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror or error}{_advice(path, error)}") from error


def _advice(path, error):
    """In words, the folder that has to be made first, or that what is where one is wanted is none."""
    if isinstance(error, FileExistsError):
        return ": it is not a folder, expected a folder; name another"
    folder = os.path.dirname(os.fspath(path).rstrip("/" + os.sep))
    lacks = isinstance(error, FileNotFoundError) and folder and not os.path.lexists(folder)
    return f"; there is no folder {folder}: make it first" if lacks else ""


def check_folder(path):
    """WriteError where a folder is not there, or takes no new file, in which a file or a folder is to be written.

    Whether it does is tried out: permissions alone do not decide it.
    """
    place = path.rstrip("/" + os.sep)
    with writing(path), contextlib.ExitStack() as stack:
        os.stat(os.path.join(os.path.dirname(place) or os.curdir, ""))
        if not os.path.isdir(place) and _is_special(place):
            return
        trial = _new_name(os.path.dirname(os.path.realpath(place)))
        stack.callback(_remove, trial)
        _make_private(trial)


@contextlib.contextmanager
def replacing(path):
    """A temporary file's path, which becomes `path` if all went well and vanishes if not.

    It lies in the same folder. What is no regular file, such as a pipe or /dev/stdout, cannot be replaced: it gets the bytes
    at the end.

    Raises
    ------
    WriteError
        The system cannot write it: no space, no such folder, no permission, ...
    """
    import shutil
    import tempfile

    path = os.fspath(path)
    with writing(path), contextlib.ExitStack() as stack:
        target = os.path.realpath(path)  # of a link, what it leads to
        special = _is_special(path)
        temporary = _new_name(tempfile.gettempdir() if special else os.path.dirname(target))
        stack.callback(_remove, temporary)
        _make_private(temporary)
        yield temporary
        if special:
            with open(temporary, "rb") as source, open(path, "wb", buffering=0) as out:
                shutil.copyfileobj(source, out)
            return
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # it was made private
        os.replace(temporary, target)


def _new_name(folder):
    """A name, known before there is such a file: an interrupt at any moment finds what to remove."""
    return os.path.join(folder, PREFIX + os.urandom(8).hex())


def _make_private(path):
    """A new file that is empty."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _is_special(path):
    try:
        mode = os.stat(path).st_mode
    except OSError:  # the usual case: nothing is there
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(0, "it is a folder")
    return not stat.S_ISREG(mode)


def _remove(path):
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)


@contextlib.contextmanager
def replacing_folder(path):
    """The same of a folder, which must be new or empty."""
    import shutil

    with writing(path):
        path = os.path.abspath(path)
        temporary = _new_name(os.path.dirname(path))
        try:
            os.mkdir(temporary, 0o700)
            yield temporary
            os.chmod(temporary, 0o755)
            if os.path.isdir(path):
                os.rmdir(path)
            os.replace(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_text(path, text):
    """Write a file of text in UTF-8, with the same bytes on every system."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def archive_member(name):
    """The head of a zip's member, the same on every system and at every hour."""
    import zipfile

    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16  # Unix, also where Windows writes it
    return info
