"""What a file of labels says: the class of each picture, of each folder, or ILSVRC2012's ground truth by number."""

import csv
import importlib.resources
import os
import posixpath
import re
import unicodedata
from dataclasses import dataclass
from functools import cache, cached_property

from ..errors import UsageError
from ..pictures.files import is_picture
from .files import parent

#: A synset that no number follows: lines that number the classes in another way than their order does are no list of them.
_SYNSET_ALONE = re.compile(r"n\d{8}(?!\S|\s+\d+(\s|$))")
_VALIDATION_NAME = re.compile(r"_(\d{8})\.[^./]+$")  # ILSVRC2012_val_00000001.JPEG


@dataclass(frozen=True)
class Table:
    """The label of each picture, or folder of pictures."""

    path: str
    labels: dict[str, str]

    def label_of(self, file):
        """The label of a file by its path, its name, with or without its ending, or its folder, or ""."""
        folder, _, name = file.rpartition("/")
        names = (file, name, without_ending(file), without_ending(name), folder)
        return next((self.labels[name] for name in names if name in self.labels), "")

    def resolved(self, folder, files):
        """{file: label} with names as the folder has them.

        In the table they may lack their ending, begin above the folder or below it, and be written as Windows or macOS
        writes names.

        Parameters
        ----------
        folder : path
        files : list of str, the folder's pictures

        Raises
        ------
        UsageError
            A name fits two pictures, or two names with different labels fit one.
        """
        there = set(files)
        if all(name in there for name in self.labels):
            return self.labels
        labels, find = {}, _finder(folder, files)
        for name, label in self.labels.items():
            fitting = [name] if name in there else find(name)
            if len(fitting) > 1:
                raise UsageError(
                    f"{self.path}: {name} may be {' or '.join(fitting[:3])}: write its ending, and its path below {folder}"
                )
            file = fitting[0]
            if labels.setdefault(file, label) != label:
                raise UsageError(f"{self.path}: two names fit {file}, one of label {label!r}, one of {labels[file]!r}")
        return labels


def _finder(folder, files):
    """A function from a name in a table to the files that it fits.

    It fits best as a path from the folder, else as the end of a file's whole path: `val/a.jpg` of a folder val, `a.jpg`
    of x/a.jpg. Of what is not there, or is a folder, the name itself is given back.
    """
    root, by_name = os.path.abspath(folder), {}
    for file in files:
        for written in dict.fromkeys((file, without_ending(file))):
            path = _on_any_system(f"{root}/{written}")
            by_name.setdefault(path.rpartition("/")[2], []).append((path, file))

    def find(name):
        plain = _on_any_system(name)
        alike = by_name.get(plain.rpartition("/")[2], ())
        below = [file for path, file in alike if path == _on_any_system(f"{root}/{name}")]
        if below or os.path.isdir(os.path.join(folder, name)):
            return below or [name]
        return [file for path, file in alike if f"/{path}".endswith(f"/{plain}")] or [name]

    return find


def _on_any_system(path):
    """A path without what differs from system to system: Windows's separators, macOS's decomposed letters, capitals."""
    return unicodedata.normalize("NFC", path.replace("\\", "/")).casefold()


def without_ending(file):
    """A picture's path without the ending that tells its format."""
    return file.rpartition(".")[0] if is_picture(file) else file


@dataclass(frozen=True)
class ClassList:
    """Class folders in the order of the classes: {folder: class index as text}; others speak for themselves."""

    path: str
    indices: dict[str, str]

    def label_of(self, file):
        """The class index of the folder that a file is in, or the folder's name."""
        return self.index_of(parent(file)) or parent(file)

    def index_of(self, folder):
        """The class index of a folder as it is written or, if one class alone fits, but for capitals and "_"; or None."""
        fitting = self.indices.get(folder) or {self.indices[name] for name in self._spoken.get(spoken(folder), ())}
        return fitting if isinstance(fitting, str) else fitting.pop() if len(fitting) == 1 else None

    @cached_property
    def _spoken(self):
        names = {}
        for name in self.indices:
            names.setdefault(spoken(name), []).append(name)
        return names


def spoken(text):
    """A name without what one file writes so and another otherwise: capitals, and "_" for a space."""
    return text.replace("_", " ").casefold()


def class_list(path, lines):
    """Class folders in order, or each with its index."""
    if indices := numbered(path, lines):
        return ClassList(path, indices)
    if all(_SYNSET_ALONE.match(line) for line in lines):  # n01440764 tench, Tinca tinca
        lines = [line.split()[0] for line in lines]
    if len(set(lines)) < len(lines):
        twice = next(line for i, line in enumerate(lines) if line in lines[:i])
        raise UsageError(
            f"{path}: the class {twice!r} stands there twice; a list of class folders names each once, and labels of "
            f"pictures stand beside their names: lines `file label`"
        )
    return ClassList(path, {name: str(index) for index, name in enumerate(lines)})


def numbered(path, lines):
    """{class: index as text} of lines that each have one class and its index, else None."""
    pairs = [re.split(r"[\s,;:|]+", line.strip()) for line in lines]
    for index, name in ((0, 1), (1, 0)):
        if pairs and all(len(pair) == 2 and pair[index].isascii() and pair[index].isdigit() for pair in pairs):
            check_indices(path, [int(pair[index]) for pair in pairs])
            if sorted(int(pair[index]) for pair in pairs) == list(range(len(pairs))):
                return {pair[name]: str(int(pair[index])) for pair in pairs}
    return None


def check_indices(path, indices):
    """UsageError where classes are counted from 1."""
    if len(indices) > 1 and sorted(indices) == list(range(1, len(indices) + 1)):
        raise UsageError(f"{path}: counts the classes from 1 to {len(indices)}, expected them to be counted from 0")


def two_partings(path, one, other):
    """What is said of a file that has two classes of one picture."""
    return (
        f"{path}: {one} and {other} part the pictures differently, and either may be the class: leave only one of them"
    )


def table(path, entries):
    """{file: label} of (number of a line, (file, label))."""
    labels = {}
    for number, (file, label) in entries:
        if "\0" in file:
            raise UsageError(f"{path}: line {number} has a null character, which no file's name can have")
        file = posixpath.normpath(file)  # ./a.jpg is a.jpg, and cats/ is cats
        if labels.setdefault(file, label) != label:
            raise UsageError(f"{path}: line {number}: {file} is {label!r} here and {labels[file]!r} above")
    return labels


@dataclass(frozen=True)
class DevkitTruth:
    """The devkit's ground truth: line n is the ILSVRC2012_ID, 1 to 1000, of validation picture n."""

    path: str
    ids: tuple[int, ...]

    def synsets_of(self, files):
        """The synsets of pictures, by the number in their names or, if they have none, by their order."""
        numbers = [_VALIDATION_NAME.search(file) for file in files]
        if all(numbers):
            lines = [int(match.group(1)) for match in numbers]
        elif len(files) == len(self.ids):
            lines = range(1, len(files) + 1)
        else:
            raise UsageError(
                f"{self.path}: {len(self.ids):,} lines for {len(files):,} pictures, {sum(map(bool, numbers)):,} of "
                f"them named as the validation set's (ILSVRC2012_val_00000001.JPEG); expected all so, or equal numbers"
            )
        beyond = [file for file, line in zip(files, lines) if not 1 <= line <= len(self.ids)]
        if beyond:
            raise UsageError(
                f"{self.path}: {len(self.ids):,} lines, none for {len(beyond):,} pictures, such as {beyond[0]}"
            )
        synsets = ilsvrc2012_synsets()
        return [synsets[self.ids[line - 1] - 1] for line in lines]


@cache
def ilsvrc2012_synsets():
    """The synsets by ILSVRC2012_ID, of which the first is 1: the devkit's own order, not that of the networks.

    Source: ILSVRC2012_devkit_t12, data/meta.mat, the 1000 leaves
    """
    table = importlib.resources.files(__package__) / "ilsvrc2012_ids.csv"
    with table.open(encoding="ascii", newline="") as file:
        return tuple(row["synset"] for row in csv.DictReader(file))
