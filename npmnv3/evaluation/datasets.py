"""Where labelled pictures come from: class folders, a flat folder with a labels file, WebDataset tar shards."""

from __future__ import annotations

import collections
import hashlib
import os
from dataclasses import dataclass, replace

from ..errors import UsageError
from ..network.variants import list_models
from ..pictures.files import SUFFIXES, is_picture
from .files import OTHERS, Picture, asides, counted, is_aside, parent, some, spread
from .labelfiles import read_label_file
from .tars import find_shards, list_shards
from .truths import ClassList, DevkitTruth, Table


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

    def some(self, count):
        """The Dataset of so many of the pictures, evenly spread over all of them."""
        return replace(self, pictures=tuple(self.pictures[i] for i in spread(len(self.pictures), count)))

    def fingerprint(self):
        """Eight hexadecimal digits of the pictures' names, labels, sizes and order."""
        digest = hashlib.sha256()
        for picture in self.pictures:
            size = picture.place[2] if picture.place else _size(os.path.join(self.root, picture.file))
            digest.update(f"{picture.file}\0{picture.label}\0{size}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:8]


TABLES = (".csv", ".json", ".jsonl", ".tsv", ".txt")  # endings of what may be a labels file
PATHS = {"data": "a folder of pictures or a tar shard", "labels": "a file with the pictures' classes"}


def open_dataset(
    data: str | os.PathLike[str],
    labels: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    *,
    labelled: bool = True,
) -> Dataset:
    """List the pictures of a dataset, without decoding any.

    Parameters
    ----------
    data : path; a folder of class folders (n01440764/*.JPEG), a flat folder (needs `labels`), a tar shard, or a
        folder of them; a pattern (`val-*.tar`) stands for the shards that match
    labels : path, optional; a CSV with the columns `file` (a picture or a folder below `data`) and `label` (a class
        index, synset or name), or the same as a text of lines `file label`; the ground-truth text of the ILSVRC2012
        devkit; or a text with a class folder a line in the order of the classes
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
    for name, value in (("data", data), ("labels", labels)):
        if not isinstance(value, (str, os.PathLike)) and not (name == "labels" and value is None):
            raise UsageError(f"{name} is a {type(value).__name__}, expected the path of {PATHS[name]}")
    data = os.fspath(data)
    if limit is not None and limit < 1:
        raise UsageError(f"`limit={limit}`, expected a whole number from 1")
    truth = None if labels is None else read_label_file(labels)
    shards = find_shards(data)
    if shards:
        root, pictures, notes = list_shards(shards, truth)
        beside = len(os.listdir(data)) - len(shards) if os.path.isdir(data) else 0
        notes += [f"left out: what is beside the shards ({beside:,} files or folders)"] if beside else []
        kind = counted(len(shards), "tar shard")
    elif os.path.isdir(data):
        root = data
        kind, pictures, notes = _list_folder(data, truth, labelled)
    else:
        swapped = "; it is a model's name, and the data come last" if data in list_models("*") else ""
        raise UsageError(f"{data}: no such folder or tar shard{swapped}")
    if not pictures:
        if os.path.isdir(data) and any(name.endswith(".parquet") for _, _, names in os.walk(data) for name in names):
            notes = (*notes, OTHERS[b"PAR1"])
        raise UsageError("; ".join([f"{data}: no pictures ({', '.join(SUFFIXES)}) in it", *notes]))
    if labelled and not any(picture.label for picture in pictures):
        raise UsageError(
            f"{data}: nothing beside the pictures says their classes; say them with a labels file (--labels)"
        )
    if limit is not None and limit < len(pictures):
        notes = (*notes, f"limited to {limit:,} of {counted(len(pictures), 'picture')}, evenly spread")
        pictures = [pictures[i] for i in spread(len(pictures), limit)]
    return Dataset(os.path.abspath(root), kind, tuple(pictures), tuple(notes))


def _list_folder(folder, truth, labelled):
    """(kind, pictures, notes) of a folder."""
    if isinstance(truth, Table):
        return "named in the labels file", *_list_table(folder, truth)
    found, others, aside = _walk(folder)
    notes = [f"left out: {counted(len(others), 'file')}, no picture by name: {some(others)}"] if others else []
    notes += asides(aside)
    if isinstance(truth, DevkitTruth):
        synsets = truth.synsets_of(found)
        return "flat folder with the devkit's ground truth", [Picture(*pair) for pair in zip(found, synsets)], notes
    if not labelled:
        return "folder", [Picture(file, "") for file in found], notes
    if found and not any("/" in file for file in found):
        given = f"{truth.path} names classes, not pictures: " if truth else ""
        tables = [file for file in others if file.lower().endswith(TABLES)]
        such = f"; {some(tables)} is there" if tables else ", such as a CSV with the columns file and label"
        raise UsageError(
            f"{folder}: pictures without class folders; {given}say their classes with a labels file (--labels){such}"
        )
    return "class folders", _by_folder(found, truth or ClassList("", {})), notes


def _by_folder(files, names):
    """Pictures whose classes are their folders."""
    if names.indices and not any(names.index_of(parent(file)) for file in files):
        raise UsageError(
            f"{names.path}: taken as a list of class folders, none of which is there (there are "
            f"{some(sorted(set(map(parent, files))))}); other labels files are a CSV with the columns file and label, or "
            f"the devkit's ground truth"
        )
    return [Picture(file, names.label_of(file)) for file in files]


def _list_table(folder, table):
    """(pictures, notes) of a folder by a table of pictures, or of whole folders."""
    pictures, (there, _, aside) = [], _walk(folder)
    for name, label in table.resolved(folder, there).items():
        if os.path.isdir(os.path.join(folder, name)):
            pictures += [Picture(f"{name}/{file}", label) for file in _walk(os.path.join(folder, name))[0]]
        else:
            pictures.append(Picture(name, label))
    named = {picture.file for picture in pictures}
    if len(named) < len(pictures):
        twice = next(file for file, count in collections.Counter(p.file for p in pictures).items() if count > 1)
        raise UsageError(f"{table.path}: {twice} is named twice, by itself and by its folder")
    left = [file for file in there if file not in named]
    if there and len(left) == len(there):
        raise UsageError(
            f"{table.path}: none of its names is that of a picture below {folder}: it has {some(list(table.labels)) or 'none'}; the "
            f"folder has {some(there)}; write them as it does"
        )
    notes = [f"left out: {counted(len(left), 'picture')} that {table.path} does not name: {some(left)}"] if left else []
    return pictures, notes + asides(aside)


def _walk(folder):
    """(pictures below a folder, names of what else is there, and of folders that are passed over, see `is_aside`), all
    sorted, as paths from it.

    A folder that cannot be listed stands among the pictures as "folder/", the whole one as "", for nobody to overlook it.
    Links to folders are followed in the topmost one alone, and there only if they do not lead back to where they are.
    """
    found, others, aside, tops = [], [], [], [folder]
    here = os.path.join(os.path.realpath(folder), "")

    def below(path):
        return "" if path == folder else os.path.relpath(path, folder).replace(os.sep, "/") + "/"

    def unlisted(error):
        found.append(below(error.filename))

    for top in tops:
        for inner, folders, names in os.walk(top, onerror=unlisted):
            prefix = below(inner)
            aside += [f"{prefix}{name}/" for name in folders if is_aside(name)]
            folders[:] = [name for name in folders if not is_aside(name)]
            found += [prefix + name for name in names if is_picture(name)]
            others += [prefix + name for name in names if not is_picture(name)]
            for link in filter(os.path.islink, (os.path.join(inner, name) for name in folders)):
                if inner != folder or here.startswith(os.path.join(os.path.realpath(link), "")):
                    others.append(below(link))
                else:
                    tops.append(link)
    return sorted(found), sorted(others), sorted(aside)


def _size(path):
    try:
        return os.stat(path).st_size
    except OSError:
        return -1  # it will be reported when it is read
