"""Files that say which class a picture is of: a table, the ILSVRC2012 devkit's ground truth, a list of class folders."""

import csv
import importlib.resources
import io
import os
import posixpath
import re
from dataclasses import dataclass
from functools import lru_cache

from ..errors import UsageError
from .files import is_picture, parent

#: Columns of a CSV that can say the class, the exact ones first: names of classes may have two meanings.
LABEL_COLUMNS = ("synset", "class_index", "label")

_VALIDATION_NAME = re.compile(r"_(\d{8})\.[^./]+$")  # ILSVRC2012_val_00000001.JPEG


@dataclass(frozen=True)
class Table:
    """The label of each picture, or folder of pictures."""

    path: str
    labels: dict[str, str]

    def label_of(self, file):
        """The label of a file by its path, its name or its folder, or ""."""
        names = (file, file.rpartition("/")[2], file.rpartition("/")[0])
        return next((self.labels[name] for name in names if name in self.labels), "")


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


@lru_cache(maxsize=None)
def ilsvrc2012_synsets():
    """The synsets by ILSVRC2012_ID, of which the first is 1: the devkit's own order, not that of the networks.

    Source: ILSVRC2012_devkit_t12, data/meta.mat, the 1000 leaves
    """
    table = importlib.resources.files(__package__) / "ilsvrc2012_ids.csv"
    with table.open(encoding="ascii", newline="") as file:
        return tuple(row["synset"] for row in csv.DictReader(file))


def read_label_file(path):
    """Read a labels file; which of the three kinds it is shows in its content.

    Returns
    -------
    Table, DevkitTruth or ClassList

    Raises
    ------
    UsageError
    """
    path = os.fspath(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a text in UTF-8 ({error})") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise UsageError(f"{path}: an empty labels file")
    if path.lower().endswith(".csv") or "file" in lines[0].split(","):
        return Table(path, _read_table(path, text))
    pairs = [line.rsplit(None, 1) for line in lines]
    if all(len(pair) == 2 and is_picture(pair[0]) for pair in pairs):  # as PaddleClas and Caffe have it
        return Table(path, _table(path, enumerate(pairs, 1)))
    if all(line.isascii() and line.isdigit() for line in lines):
        return _devkit(path, lines)
    if len(set(lines)) < len(lines):
        twice = next(line for i, line in enumerate(lines) if line in lines[:i])
        raise UsageError(f"{path}: the class {twice!r} stands there twice; a list of class folders names each once")
    return ClassList(path, {name: str(index) for index, name in enumerate(lines)})


def _devkit(path, lines):
    wrong = next((number for number, line in enumerate(lines, 1) if len(line) > 9 or not 1 <= int(line) <= 1000), None)
    if wrong:
        raise UsageError(f"{path}: line {wrong} is {lines[wrong - 1][:50]}, expected an ILSVRC2012_ID, 1 to 1000")
    return DevkitTruth(path, tuple(map(int, lines)))


def _read_table(path, text):
    """{file: label} of a CSV."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        names = reader.fieldnames or ()
        columns = [name for name in LABEL_COLUMNS if name in names]
        if "file" not in names or not columns:
            raise UsageError(f"{path}: the columns are {', '.join(names)}; expected file and label")
        return _table(path, _table_rows(path, reader, columns))
    except csv.Error as error:
        raise UsageError(f"{path}: line {reader.line_num}: {error}") from error


def _table_rows(path, reader, columns):
    for row in reader:
        if not row["file"] or None in row:
            raise UsageError(f"{path}: line {reader.line_num} has no file, or more fields than columns")
        yield reader.line_num, (row["file"], next((row[name] for name in columns if row[name]), ""))


def _table(path, entries):
    """{file: label} of (number of a line, (file, label))."""
    labels = {}
    for number, (file, label) in entries:
        if "\0" in file:
            raise UsageError(f"{path}: line {number} has a null character, which no file's name can have")
        file = posixpath.normpath(file)  # ./a.jpg is a.jpg, and cats/ is cats
        if labels.setdefault(file, label) != label:
            raise UsageError(f"{path}: line {number}: {file} is {label!r} here and {labels[file]!r} above")
    return labels
