"""Published weights into a folder of one's own, with their hashes beside them: see `npmnv3.dumps.folders`."""

import errno
import os
import pathlib
import shutil
import tempfile

from ..dumps.folders import SUMS, file_hash, read_hashes, write_hashes
from ..dumps.registry import find_published
from ..dumps.writing import PREFIX, replacing, writing
from ..errors import WriteError


def whole_in(folder, name):
    """The path of a checkpoint's dump in the folder, if it is there and its hash is as SHA256SUMS has it; else None."""
    path = pathlib.Path(folder, find_published(name).dump_name)
    expected = read_hashes(path.with_name(SUMS)).get(path.name)
    return path if expected is not None and path.is_file() and file_hash(path) == expected else None


def prepare(folder, names):
    """Make the folder, and see that it takes what is still to come, before anything is fetched.

    Parameters
    ----------
    folder : path
    names : of the checkpoints

    Returns
    -------
    {name: pathlib.Path} of the dumps that are there already, whole

    Raises
    ------
    WriteError
        It cannot be made or written, or has no room.
    WeightsError
        Its SHA256SUMS is damaged.
    """
    with writing(folder):
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(prefix=PREFIX, dir=folder):
            free = shutil.disk_usage(folder).free
    here = {name: path for name in names if (path := whole_in(folder, name)) is not None}
    needed = sum(find_published(name).about_bytes for name in names if name not in here)
    if needed > free:
        raise WriteError(
            f"{folder}: cannot be written: {free / 1e6:,.0f} MB are free there, and the dumps take about {needed / 1e6:,.0f} MB"
        )
    return here


def put_into(folder, name, dump, *, keep):
    """Put a checked dump into the folder, and its hash beside it.

    Each is whole or not there. The hash comes first, so that an interrupt leaves the dump where it was, or in its place.

    Parameters
    ----------
    folder : path, as `prepare` left it
    name : str, `source/variant` or `source/variant@tag`
    dump : path, what `fetch` gave
    keep : bool, the dump stays where it was too; else it is moved

    Returns
    -------
    pathlib.Path of the dump in the folder

    Raises
    ------
    WriteError
    """
    path, dump = pathlib.Path(folder, find_published(name).dump_name), pathlib.Path(dump)
    sums = path.with_name(SUMS)
    write_hashes(sums, dict(sorted({**read_hashes(sums), path.name: file_hash(dump)}.items())))
    if path.is_file() and os.path.samefile(path, dump):
        return path
    if not keep and _move(dump, path):
        return path
    with replacing(path) as temporary:
        shutil.copyfile(dump, temporary)
    if not keep:
        dump.unlink()
    return path


def _move(file, path):
    """Whether a file could be moved: to another disk, or to another mount of the same, it cannot."""
    with writing(path):
        try:
            os.replace(file, path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return False
    return True
