"""What a file of labels says: the class of each picture, of each folder, or ILSVRC2012's ground truth by number."""

import csv
import importlib.resources
import os
import re
import unicodedata
from dataclasses import dataclass
from functools import cache

from ..errors import UsageError
from ..pictures.files import is_picture
from .files import parent

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
        return self.indices.get(parent(file), parent(file))


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
