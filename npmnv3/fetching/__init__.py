"""Published weights: fetched, checked, and made a dump in the cache.

    name -> registry -> download -> hashes -> conversion -> dump

Needs the extra `fetch`, except for what is in the cache already.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import re
import tempfile
import urllib.parse

from ..conversion import convert_state
from ..conversion.formats import read_checkpoint
from ..dumps.dumps import write_dump
from ..dumps.folders import file_hash
from ..dumps.registry import find_published, shipped_dump
from ..errors import MissingWeightsError, UsageError, WeightsError, WriteError, check_arguments, require
from ..network.variants import get_variant
from ..progress import above_bars, progress_bar
from .cache import cache_folder, find_dump, make_cache_folder, read_record, record_path, write_record
from .download import Downloader

__all__ = ["cache_folder", "cached_dump", "fetch"]


def cached_dump(name: str, cache: str | os.PathLike[str] | None = None) -> pathlib.Path | None:
    """The dump of a published checkpoint, if it is here: shipped with npmnv3 or fetched before.

    Parameters
    ----------
    name : str, `source/variant` or `source/variant@tag`
    cache : folder; default the environment variable NPMNV3_CACHE, else the user's cache folder

    Returns
    -------
    pathlib.Path, or None; a dump whose hash is not as recorded does not count

    Raises
    ------
    UnknownModelError, UsageError
    """
    if cache != "":  # which is as if it were not given
        check_arguments("a path", optional=True, cache=cache)
    entry = find_published(name)
    return shipped_dump(entry) or find_dump(entry, cache)


def fetch(
    name: str, *, base_url: str | None = None, cache: str | os.PathLike[str] | None = None, progress: bool | None = None
) -> pathlib.Path:
    """Get a published checkpoint as a dump, from the cache or from its publisher.

    Parameters
    ----------
    name : str, `source/variant` or `source/variant@tag`; `npmnv3 fetch --list` prints them
    base_url : str, http or https: fetch base_url/FILE instead, from a mirror; default the environment variable
        NPMNV3_BASE_URL, else the publisher
    cache : folder; default the environment variable NPMNV3_CACHE, else the user's cache folder
    progress : bool, show a bar; default whether standard error is a terminal, and without one a line every 10 seconds;
        or callable (bytes so far, bytes in all or None) that is told instead

    Returns
    -------
    pathlib.Path of the dump, for `npmnv3.load`

    Raises
    ------
    MissingWeightsError
        The file cannot be fetched; the message says what to do.
    WeightsError
        What was fetched is not the published file. Nothing of it is kept.
    UnknownModelError, UsageError, MissingExtraError

    Examples
    --------
    >>> npmnv3.fetch("ppocr/text_direction").name  # which ships
    'ppocr--text_direction.h5'
    """
    check_arguments("a text", optional=True, base_url=base_url)
    if not callable(progress):
        check_arguments("True or False", optional=True, progress=progress)
    here = cached_dump(name, cache)
    if here is not None:
        return here
    entry = find_published(name)
    if not entry.url:
        raise MissingWeightsError(
            f"{name} ships with npmnv3 as weights/{entry.dump_name}, which is not there; install npmnv3 again"
        )
    url = download_url(entry, base_url)
    require("pooch", "fetch", "fetching weights")
    folder = make_cache_folder(cache)
    try:
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as workplace:
            file = _download(entry, url, folder, workplace, progress)
            hashes = _check(entry, url, folder, file)
            return _keep(entry, url, folder, file, hashes)
    except OSError as error:
        raise WriteError(f"the cache folder {folder} cannot be written: {error.strerror or error}") from error


def download_url(entry, base_url=None):
    """Where a checkpoint is fetched from."""
    base_url = os.environ.get("NPMNV3_BASE_URL") if base_url is None else base_url
    if not base_url:
        return entry.url
    with contextlib.suppress(ValueError):  # such as for a bracket that does not end
        if re.fullmatch(r"https?://[!-~]+", base_url) and urllib.parse.urlsplit(base_url).hostname:
            return f"{base_url.rstrip('/')}/{entry.file}"
    raise UsageError(f"base URL is {base_url!r}, expected http://... or https://..., without spaces")


def _download(entry, url, folder, workplace, progress):
    """The path of the downloaded file, in the folder `workplace`."""
    import pooch

    bar = progress_bar(
        title=entry.file, unit="B", shown=False if callable(progress) else progress, lines=True, unit_scale=True
    )
    try:
        with bar as tell, _quiet(pooch.get_logger()):
            downloader = Downloader(
                folder, progress if callable(progress) else lambda done, total: tell(done, total=total)
            )
            return pooch.retrieve(url, None, fname=entry.file, path=workplace, downloader=downloader)
    except MissingWeightsError as error:
        raise MissingWeightsError(
            f"{error}. Check the network (a proxy is named in the environment variable HTTPS_PROXY), name a mirror "
            f"with NPMNV3_BASE_URL or `npmnv3 fetch --base-url`, or get {entry.file} some other way and make a dump of it: "
            f"npmnv3 convert {entry.file} --model {entry.model} -o {entry.dump_name}"
        ) from error


@contextlib.contextmanager
def _quiet(logger):
    """Keep a library from commenting on ordinary work."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check(entry, url, folder, file):
    """{file name: sha256} of the downloaded file, if it is the published one as far as is known."""
    sha256 = file_hash(file)
    recorded = read_record(folder, entry).get(entry.file)
    if not sha256.startswith(entry.sha256):
        expected = f"{entry.sha256}, with which its file name says it begins"
        raise WeightsError(_wrong(url, "sha256", sha256, expected))
    if entry.md5 and (md5 := file_hash(file, "md5")) != entry.md5:
        raise WeightsError(_wrong(url, "MD5", md5, f"{entry.md5}, which its publisher states"))
    if recorded not in (None, sha256):
        raise WeightsError(
            _wrong(url, "sha256", sha256, f"{recorded}, that of the first download")
            + f" (if the publisher has replaced the file and you trust it, remove {record_path(folder, entry)})"
        )
    return {entry.file: sha256}


def _wrong(url, kind, found, expected):
    problem = f"{url} gave wrong bytes: the {kind} is {found}, expected {expected}"
    return f"{problem}. Nothing was kept; try again, or another mirror"


def _keep(entry, url, folder, file, hashes):
    """Make the downloaded file a dump in the cache; returns the dump's path."""
    finished, dump = folder / entry.dump_name, os.path.join(os.path.dirname(file), "dump.h5")
    try:
        arrays = convert_state(read_checkpoint(file), get_variant(entry.model))
        origin = f"{entry.url} (sha256 {hashes[entry.file]})"
        write_dump(dump, arrays, model=entry.model, preprocess=entry.preprocess, origin=origin, licence=entry.licence)
    except WeightsError as error:
        raise WeightsError(f"{url} gave no usable checkpoint, nothing was kept: {error}") from error
    first = not read_record(folder, entry)
    write_record(folder, entry, hashes | {entry.dump_name: file_hash(dump)})
    os.replace(dump, finished)
    if first and not (entry.sha256 or entry.md5):
        with above_bars():
            logging.getLogger("npmnv3").warning(
                "%s: its publisher states no hash; that of this first download is recorded in %s and checked from now on",
                entry.name,
                record_path(folder, entry),
            )
    return finished
