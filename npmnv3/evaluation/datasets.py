"""Where labelled pictures come from: class folders, a flat folder with a labels file, WebDataset tar shards."""

import collections
import hashlib
import os
from dataclasses import dataclass

from ..errors import UsageError
from .labelfiles import ClassList, DevkitTruth, Table, read_label_file
from .files import SUFFIXES, Picture, counted, is_picture
from .tars import find_shards, list_shards


@dataclass(frozen=True)
class Dataset:
    """Labelled pictures in the order in which they are evaluated.

    root : folder that the pictures' names start from
    kind : str, what it is, for people
    pictures : tuple of Picture
    notes : tuple of str, for people: what was left out, and why
    """

    root: str
    kind: str
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...] = ()

    def summary(self):
        """Pictures and class balance, one line."""
        counts = collections.Counter(picture.label for picture in self.pictures)
        text = f"{counted(len(self.pictures), 'picture')}, {self.kind}"
        if set(counts) == {""}:
            return text
        low, high = min(counts.values()), max(counts.values())
        each = counted(low, "picture") if low == high else f"{low:,} to {counted(high, 'picture')}"
        return f"{text}; {len(counts):,} {'class' if len(counts) == 1 else 'classes'}, {each} each"

    def fingerprint(self):
        """Eight hexadecimal digits of the pictures' names, labels, sizes and order."""
        digest = hashlib.sha256()
        for picture in self.pictures:
            size = picture.place[2] if picture.place else _size(os.path.join(self.root, picture.file))
            digest.update(repr((picture.file, picture.label, size)).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:8]


def open_dataset(data, labels=None, limit=None, *, labelled=True):
    """List the pictures of a dataset, without decoding any.

    Parameters
    ----------
    data : path; a folder of class folders (n01440764/*.JPEG), a flat folder (needs `labels`), a tar shard, or a
        folder of them; a pattern (`val-*.tar`) stands for the shards that match
    labels : path, optional; a CSV with the columns `file` (a picture or a folder below `data`) and `label` (a class
        index, synset or name), the ground-truth text of the ILSVRC2012 devkit, or a text with a class folder a line in
        the order of the classes
    limit : int, optional; only so many pictures, evenly spread over all of them
    labelled : bool; False takes any folder of pictures, labels being of no use

    Returns
    -------
    Dataset

    Raises
    ------
    UsageError
        No such data, no pictures in it, nothing that says their classes, or a labels file that cannot be used.
    """
    data = os.fspath(data)
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}, expected a whole number from 1")
    truth = None if labels is None else read_label_file(labels)
    shards = find_shards(data)
    if shards:
        root, pictures, notes = list_shards(shards, truth)
        kind = counted(len(shards), "tar shard")
    elif os.path.isdir(data):
        root = data
        kind, pictures, notes = _list_folder(data, truth, labelled)
    else:
        raise UsageError(f"{data}: no such folder or tar shard")
    if not pictures:
        raise UsageError(f"{data}: no pictures ({', '.join(SUFFIXES)}) in it")
    if limit is not None and limit < len(pictures):
        notes = (*notes, f"limited to {limit:,} of {counted(len(pictures), 'picture')}, evenly spread")
        pictures = [pictures[i * len(pictures) // limit] for i in range(limit)]
    return Dataset(os.path.abspath(root), kind, tuple(pictures), tuple(notes))


def _list_folder(folder, truth, labelled):
    """(kind, pictures, notes) of a folder."""
    if isinstance(truth, Table):
        return "named in the labels file", *_list_table(folder, truth)
    found, others = _walk(folder)
    notes = [f"left out: {counted(others, 'file')}, no picture by name"] if others else []
    if isinstance(truth, DevkitTruth):
        synsets = truth.synsets_of(found)
        return "flat folder with the devkit's ground truth", [Picture(*pair) for pair in zip(found, synsets)], notes
    if labelled and found and not any("/" in file for file in found):
        raise UsageError(f"{folder}: pictures without class folders; say their classes with a labels file (--labels)")
    if not labelled:
        return "folder", [Picture(file, "") for file in found], notes
    names = truth or ClassList({})
    return "class folders", [Picture(file, names.label_of(file)) for file in found], notes


def _list_table(folder, table):
    """(pictures, notes) of a folder by a table of pictures, or of whole folders."""
    pictures = []
    for name, label in table.labels.items():
        if os.path.isdir(os.path.join(folder, name)):
            prefix = name.rstrip("/")
            pictures += [Picture(f"{prefix}/{file}", label) for file in _walk(os.path.join(folder, name))[0]]
        else:
            pictures.append(Picture(name, label))
    named = {picture.file for picture in pictures}
    if len(named) < len(pictures):
        twice = next(file for file, count in collections.Counter(p.file for p in pictures).items() if count > 1)
        raise UsageError(f"{table.path}: {twice} is named twice, by itself and by its folder")
    left = [file for file in _walk(folder)[0] if file not in named]
    notes = (
        [f"left out: {counted(len(left), 'picture')} that {table.path} does not name: {_some(left)}"] if left else []
    )
    return pictures, notes


def _walk(folder):
    """(pictures below a folder, sorted by path; number of other files). Class folders may be links, deeper ones not."""
    found, others = [], 0
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be listed: {error.strerror or error}") from error
    for entry in entries:
        if not entry.is_dir():
            others += not is_picture(entry.name)
            found += [entry.name] * is_picture(entry.name)
            continue
        for inner, _, names in os.walk(entry.path):
            prefix = os.path.relpath(inner, folder).replace(os.sep, "/")
            pictures = [f"{prefix}/{name}" for name in names if is_picture(name)]
            others += len(names) - len(pictures)
            found += pictures
    return sorted(found), others


def _size(path):
    try:
        return os.stat(path).st_size
    except OSError:
        return -1  # it will be reported when it is read


def _some(names, count=3):
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
