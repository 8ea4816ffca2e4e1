"""Published weights into a folder of one's own, with their hashes beside them: see `npmnv3.dumps.folders`."""

import os
import pathlib
import shutil

from ..dumps.folders import SUMS, file_hash, read_hashes, write_hashes
from ..dumps.registry import find_published
from ..dumps.writing import replacing, writing


def whole_in(folder, name):
    """The path of a checkpoint's dump in the folder, if it is there and its hash is as SHA256SUMS has it; else None."""
    path = pathlib.Path(folder, find_published(name).dump_name)
    said = read_hashes(path.with_name(SUMS)).get(path.name)
    return path if said is not None and path.is_file() and file_hash(path) == said else None


def put_into(folder, name, dump):
    """Copy a checked dump into the folder and write its hash beside it.

    Each is whole or not there; a dump whose hash is not there yet counts for nothing, and is copied again.

    Parameters
    ----------
    folder : path; made if it is not there
    name : str, `source/variant` or `source/variant@tag`
    dump : path, what `fetch` gave

    Returns
    -------
    pathlib.Path of the copy

    Raises
    ------
    WriteError
    """
    path = pathlib.Path(folder, find_published(name).dump_name)
    with writing(folder):
        path.parent.mkdir(parents=True, exist_ok=True)
    if not (path.is_file() and os.path.samefile(path, dump)):
        with replacing(path) as temporary:
            shutil.copyfile(dump, temporary)
    sums = path.with_name(SUMS)
    write_hashes(sums, dict(sorted({**read_hashes(sums), path.name: file_hash(path)}.items())))
    return path
