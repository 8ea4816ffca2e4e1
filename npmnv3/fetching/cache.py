"""The folder of fetched dumps, and the hashes that are recorded beside them.

For the published checkpoint `source/variant` it holds

    source--variant.h5        the dump
    source--variant.sha256    as sha256sum writes it: the hash of the published file, and that of the dump

and .part files of interrupted downloads. The published file itself is not kept: the dump has every bit of its weights.
"""

import importlib.util
import logging
import os
import pathlib

from ..dumps.folders import file_hash, read_hashes, write_hashes
from ..errors import WriteError, require


def cache_folder(cache=None):
    """The cache's path: `cache`, else the environment variable NPMNV3_CACHE, else the user's cache folder."""
    named = cache or os.environ.get("NPMNV3_CACHE")
    if not named:
        named = require("platformdirs", "fetch", "the cache of fetched weights").user_cache_dir(
            "npmnv3", appauthor=False
        )
    return pathlib.Path(named).expanduser()


def make_cache_folder(cache=None):
    """The same, made if it is not there."""
    folder = cache_folder(cache)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(
            f"the cache folder {folder} cannot be made: {error.strerror or error}; "
            "name another with --cache or NPMNV3_CACHE"
        ) from error
    return folder


def find_dump(entry, cache=None):
    """The dump of a published checkpoint in the cache, its hash as recorded; else None."""
    if not (cache or os.environ.get("NPMNV3_CACHE")) and importlib.util.find_spec("platformdirs") is None:
        return None  # nothing can have been fetched
    folder = cache_folder(cache)
    path = folder / entry.dump_name
    if not path.is_file():
        return None
    if read_record(folder, entry).get(entry.dump_name) != file_hash(path):
        logging.getLogger("npmnv3").warning("%s is not what was fetched (its hash is another) and is not used", path)
        return None
    return path


def record_path(folder, entry):
    return pathlib.Path(folder, entry.dump_name).with_suffix(".sha256")


def read_record(folder, entry):
    """{file name: sha256} as recorded when the checkpoint was first fetched; empty if it never was."""
    return read_hashes(record_path(folder, entry))


def write_record(folder, entry, hashes):
    """Record {file name: sha256}."""
    write_hashes(record_path(folder, entry), hashes)
