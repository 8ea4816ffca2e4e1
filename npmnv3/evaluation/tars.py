"""WebDataset tar shards: listed by their headers, each picture then read from its place in the shard."""

import glob
import json
import os
import tarfile

from ..errors import UsageError
from .labelfiles import DevkitTruth
from .files import Picture, counted, is_picture, parent

MAX_LABEL = 1 << 16  # bytes of a .cls or .json beside a picture


def find_shards(data):
    """The tar shards that `data` stands for, sorted: a shard, a pattern, or a folder with shards directly in it."""
    if os.path.isdir(data):
        return sorted(entry.path for entry in os.scandir(data) if entry.name.endswith(".tar") and entry.is_file())
    if os.path.isfile(data):
        return [data]
    return sorted(glob.glob(data))


def list_shards(shards, truth=None):
    """The pictures of shards.

    A picture's class is what the labels file says or, without one, the content of the file `KEY.cls` beside it, the
    entry "label" of `KEY.json`, or the name of its folder; KEY is its own path up to the first dot of its name.

    Parameters
    ----------
    shards : list of paths
    truth : labels file, or None

    Returns
    -------
    (root, list of Picture, list of notes)

    Raises
    ------
    UsageError
        A shard is damaged, compressed or no tar at all.
    """
    root = os.path.dirname(os.path.abspath(shards[0]))
    pictures, others = [], 0
    for shard in shards:
        found, left = _list_shard(root, shard, truth)
        pictures += found
        others += left
    if isinstance(truth, DevkitTruth):
        synsets = truth.synsets_of([picture.file for picture in pictures])
        pictures = [picture._replace(label=synset) for picture, synset in zip(pictures, synsets)]
    notes = [f"left out: {counted(others, 'member')}, no picture by name"] if others else []
    return root, pictures, notes


def _list_shard(root, shard, truth):
    """(pictures, number of other members) of a shard."""
    where = os.path.relpath(os.path.abspath(shard), root).replace(os.sep, "/")
    found, labels, others = [], {}, 0
    try:
        with tarfile.open(shard, "r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # it would keep a record of every member
                name = member.name.removeprefix("./")
                key, extension = _split(name)
                if member.isfile() and is_picture(name):
                    found.append((name, (where, member.offset_data, member.size)))
                elif member.isfile() and extension in ("cls", "json") and member.size <= MAX_LABEL:
                    labels.setdefault(key, _label(extension, tar.extractfile(member).read()))
                else:
                    others += not member.isdir()
    except (tarfile.TarError, EOFError) as error:
        raise UsageError(f"{shard}: not a plain tar, or damaged ({error}); shards must not be compressed") from error
    except OSError as error:
        raise UsageError(f"{shard}: cannot be read: {error.strerror or error}") from error
    if truth is None or isinstance(truth, DevkitTruth):
        stated = [labels.get(_split(name)[0]) or parent(name) for name, _ in found]
    else:
        stated = [truth.label_of(name) for name, _ in found]
    return [Picture(f"{where}/{name}", label, place) for (name, place), label in zip(found, stated)], others


def _split(name):
    """(key, extension): a sample's files share the path up to the first dot of the last part."""
    folder, slash, last = name.rpartition("/")
    stem, _, extension = last.partition(".")
    return folder + slash + stem, extension.lower()


def _label(extension, data):
    """The class that a .cls or .json states, or None."""
    try:
        text = data.decode("utf-8").strip()
        if extension == "cls":
            return text
        content = json.loads(text)
    except ValueError:
        return None
    label = content.get("label") if isinstance(content, dict) else None
    return str(label).encode("utf-8", "replace").decode("utf-8") if isinstance(label, (int, str)) else None
