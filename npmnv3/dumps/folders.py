"""Folders of dumps by the networks' names, with their hashes beside them: a clone's weights/, or a stick.

    source--variant.h5    a dump; .npz is as good
    SHA256SUMS            as sha256sum writes it and `sha256sum -c SHA256SUMS` checks it; may be missing

`npmnv3 fetch --into` makes such a folder. `npmnv3.load(name, weights=FOLDER)` takes a network's dump from it, and from
the one that the environment variable NPMNV3_WEIGHTS names by itself.
"""

import os
import re

from ..errors import UsageError, WeightsError
from .reader import Reader
from .writing import write_text

SUMS = "SHA256SUMS"
VARIABLE = "NPMNV3_WEIGHTS"
SUFFIXES = (".h5", ".npz")
MOST_SUMS = 1 << 20  # bytes of SHA256SUMS


def dump_stem(name):
    """The file name, without its ending, of the dump of `source/variant` or `source/variant@tag`."""
    return name.replace("/", "--")


def named_folder():
    """The folder that the environment variable NPMNV3_WEIGHTS names, or None.

    Raises
    ------
    UsageError
        There is no such folder.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    from pathlib import Path  # slow to import, here and below

    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise UsageError(
            f"the environment variable {VARIABLE} is {named!r}, expected a folder of dumps, as `npmnv3 fetch --into` makes it"
        )
    return folder


def dump_in_folder(folder, name):
    """The dump of this name in a folder.

    Parameters
    ----------
    folder : path
    name : str, `source/variant` or `source/variant@tag`

    Returns
    -------
    pathlib.Path, or None if there is none

    Raises
    ------
    WeightsError
        Its hash is another than in SHA256SUMS.
    """
    from pathlib import Path

    for suffix in SUFFIXES:
        path = Path(folder, dump_stem(name) + suffix)
        if os.path.lexists(path) and not path.is_file():
            raise WeightsError(f"{path}: is no regular file, or a link to nowhere; expected the dump of {name}")
        if path.is_file():
            expected = read_hashes(path.with_name(SUMS)).get(path.name)
            if expected is not None and (actual := file_hash(path)) != expected:
                raise WeightsError(
                    f"{path}: is not the file that {SUMS} beside it is of: its sha256 is {actual}, expected {expected}; "
                    f"copy it again, or run `npmnv3 fetch {name} --into {folder}`"
                )
            return path
    return None


def read_hashes(path):
    """{file name: sha256} of a file as sha256sum writes it; empty if it is not there."""
    if not os.path.lexists(path):
        return {}
    with Reader(os.fspath(path)) as file:
        if file.size > MOST_SUMS:
            raise WeightsError(
                f"{path}: has {file.size:,} bytes, more than any list of hashes; remove it, and fetch again"
            )
        text = file.read().decode("utf-8", "replace")
    hashes = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](?:\./)*(.+)", line)
        if match:
            hashes[match[2]] = match[1].lower()
        elif line.strip():
            raise WeightsError(
                f"{path}: damaged: line {number} is no sha256 and file name, as sha256sum writes them; remove the file, "
                "and fetch again"
            )
    return hashes


def write_hashes(path, hashes):
    """Write {file name: sha256} as sha256sum does."""
    write_text(path, "".join(f"{value}  {name}\n" for name, value in hashes.items()))


def file_hash(path, algorithm="sha256"):
    """The hash of a file's bytes, in hexadecimal."""
    import hashlib  # slow to import: it brings OpenSSL

    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
