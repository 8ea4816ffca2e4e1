"""WebDataset tar shards: listed by their headers, each picture then read from its place in the shard."""

import glob
import json
import os
import tarfile

from ..dumps.reader import Reader
from ..errors import UsageError, WeightsError, once_each
from ..pictures.files import is_picture
from .files import Picture, counted, is_aside, kind_of_data, parent, shown, some
from .labeljson import as_label, label_in
from .truths import DevkitTruth

STATING = (
    "cls",
    "cls.txt",
    "label",
    "label.txt",
    "class",
    "target",
    "json",
    "txt",
    "text",
)  # extensions of what can state a picture's class beside it, the first one counts
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

    A picture's class is what the labels file says or, without one, the first that there is of: the content of the file
    `KEY.cls` (or .label, .class, .target) beside it, the entry "label" (or another of LABEL_COLUMNS) of `KEY.json`, the
    content of `KEY.txt`, the name of its folder. KEY is the picture's own path up to the first dot of its name.

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
        # The reader gives no more bytes than there are, whatever a header claims that `tarfile` then asks for.
        with Reader(shard) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                _check_place(shard, member, file.size)
                tar.members.clear()  # it would keep a record of every member
                name = member.name.removeprefix("./")
                key, extension = _split(name)
                aside = any(map(is_aside, name.split("/")[:-1]))
                if member.isfile() and is_picture(name) and not aside:
                    found.append((name, (where, member.offset_data, member.size)))
                elif member.isfile() and not aside and extension in STATING and member.size <= MAX_LABEL:
                    labels[extension][key] = _label(extension, tar.extractfile(member).read())
                elif not member.isdir():
                    others.append(name)
    except WeightsError as error:  # the reader's: it cannot be opened
        raise UsageError(str(error)) from error
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, LookupError) as error:
        # `tarfile` lets through what seeking to an absurd place, or making sense of a damaged header, raises.
        if isinstance(error, UsageError):
            raise
        found = _kind(shard) or f"not a plain tar, or damaged ({error})"
        raise UsageError(f"{shard}: {found}; shards are plain tars, not compressed") from error

    def label_of(name):
        if truth and not isinstance(truth, DevkitTruth):  # which goes by the order of all shards
            return truth.label_of(name)
        key, _ = _split(name)
        return next((of[key] for of in labels.values() if of.get(key)), None) or parent(name)

    return [Picture(f"{where}/{name}", label_of(name), place) for name, place in found], others


def _kind(path):
    """What a file that is no tar is by its name or first bytes, and what to do with it; "" where they do not tell."""
    with open(path, "rb") as file:
        begin = file.read(8)
    if is_picture(path):
        return "a picture; give the folder that it is in"
    return kind_of_data(begin)


def _check_place(shard, member, size):
    """Refuse a member that lies anywhere but in one piece in the archive."""
    if member.issparse():
        raise UsageError(
            f"{shard}: damaged, or made otherwise than shards are: {shown(member.name[:100])} is a sparse file"
        )
    if member.size < 0 or member.offset_data + (member.size if member.isfile() else 0) > size:
        raise UsageError(
            f"{shard}: damaged: {shown(member.name[:100])} claims {member.size:,} bytes from {member.offset_data:,}, but the "
            f"archive has {size:,}"
        )


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
        content = json.loads(text, object_pairs_hook=once_each)
    except (ValueError, RecursionError, WeightsError):
        return None
    label = label_in(content) if isinstance(content, dict) else as_label(content)
    return None if label is None else label.encode("utf-8", "replace").decode("utf-8")
