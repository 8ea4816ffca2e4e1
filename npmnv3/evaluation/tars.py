"""WebDataset tar shards: listed by their headers, each picture then read from its place in the shard."""

import glob
import json
import os
import tarfile

from ..errors import UsageError
from ..pictures.decode import is_picture
from .files import Picture, counted, parent, some
from .labelfiles import DevkitTruth, label_in

STATING = ("cls", "json", "txt")  # extensions of what can state a picture's class beside it, the first one counts
MAX_LABEL = 1 << 16  # bytes of such a member


def find_shards(data):
    """The tar shards that `data` stands for, sorted: a shard, a pattern, or a folder with shards directly in it."""
    if os.path.isdir(data):
        try:
            names = sorted(name for name in os.listdir(data) if name.endswith(".tar"))
        except OSError as error:
            raise UsageError(f"{data}: cannot be listed: {error.strerror or error}") from error
        return [path for path in (os.path.join(data, name) for name in names) if os.path.isfile(path)]
    if os.path.isfile(data):
        return [data]
    return sorted(glob.glob(data))


def list_shards(shards, truth=None):
    """The pictures of shards.

    A picture's class is what the labels file says or, without one, the content of the file `KEY.cls` beside it, the
    entry "label" (or another of LABEL_COLUMNS) of `KEY.json`, the content of `KEY.txt`, or the name of its folder; KEY is its own path up to the first
    dot of its name.

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
    pictures, others = [], []
    for shard in shards:
        found, left = _list_shard(root, shard, truth)
        pictures += found
        others += [f"{os.path.basename(shard)}/{name}" for name in left]
    if isinstance(truth, DevkitTruth):
        synsets = truth.synsets_of([picture.file for picture in pictures])
        pictures = [picture._replace(label=synset) for picture, synset in zip(pictures, synsets)]
    notes = [f"left out: {counted(len(others), 'member')}, no picture by name: {some(others)}"] if others else []
    return root, pictures, notes


def _list_shard(root, shard, truth):
    """(pictures, names of other members) of a shard."""
    where = os.path.relpath(os.path.abspath(shard), root).replace(os.sep, "/")
    found, labels, others = [], {extension: {} for extension in STATING}, []
    try:
        with tarfile.open(shard, "r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # it would keep a record of every member
                name = member.name.removeprefix("./")
                key, extension = _split(name)
                if member.isfile() and is_picture(name):
                    found.append((name, (where, member.offset_data, member.size)))
                elif member.isfile() and extension in STATING and member.size <= MAX_LABEL:
                    labels[extension][key] = _label(extension, tar.extractfile(member).read())
                elif not member.isdir():
                    others.append(name)
    except (tarfile.TarError, EOFError) as error:
        raise UsageError(f"{shard}: not a plain tar, or damaged ({error}); shards must not be compressed") from error
    except OSError as error:
        raise UsageError(f"{shard}: cannot be read: {error.strerror or error}") from error

    def label_of(name):
        if truth and not isinstance(truth, DevkitTruth):  # which goes by the order of all shards
            return truth.label_of(name)
        key, _ = _split(name)
        return next((of[key] for of in labels.values() if of.get(key)), None) or parent(name)

    return [Picture(f"{where}/{name}", label_of(name), place) for name, place in found], others


def _split(name):
    """(key, extension): a sample's files share the path up to the first dot of the last part."""
    folder, slash, last = name.rpartition("/")
    stem, _, extension = last.partition(".")
    return folder + slash + stem, extension.lower()


def _label(extension, data):
    """The class that a .cls, .json or .txt states, or None."""
    try:
        text = data.decode("utf-8").strip()
        if extension != "json":
            return text
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    label = label_in(content) if isinstance(content, dict) else None
    return None if label is None else label.encode("utf-8", "replace").decode("utf-8")
