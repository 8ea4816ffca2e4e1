"""Files that say which class a picture is of: a table, the ILSVRC2012 devkit's ground truth, a list of class folders."""

import codecs
import contextlib
import csv
import io
import json
import os
import posixpath
import re

from ..dumps.reader import read_whole
from ..errors import UsageError, WeightsError, once_each
from ..pictures.files import is_picture
from .truths import ClassList, DevkitTruth, Table

#: Columns of a table that can say which picture, as `_column_key` writes them.
# fmt: off
FILE_COLUMNS = (
    "file", "filename", "filepath", "path", "image", "imagepath", "imagename", "imagefile", "imageid", "img", "imgpath",
    "imgname", "picture", "id", "name",
)
#: Columns that can say the class, the exact ones first: names of classes may have two meanings.
LABEL_COLUMNS = (
    "synset", "wnid", "classindex", "label", "labels", "labelid", "classid", "cls", "target", "categoryid", "class",
    "classname", "labelname", "category", "groundtruth", "truth", "species", "breed", "predictionstring", "y",
)
# fmt: on
SEPARATORS = "\t;,"
MAX_BYTES = 1 << 28  # three times a table of all of ImageNet

_SYNSET = re.compile(r"n\d{8}")
#: A synset that no number follows: lines that number the classes in another way than their order does are no list of them.
_SYNSET_ALONE = re.compile(r"n\d{8}(?!\S|\s+\d+(\s|$))")
_EXCELS_HINT = re.compile(r"\Asep=.[\r\n]+", re.IGNORECASE)


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
    text = _EXCELS_HINT.sub("", _text(path))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise UsageError(f"{path}: an empty labels file")
    if text.lstrip()[:1] in ("{", "["):
        return _json(path, text, lines)
    separator = _separator(lines[0])
    header = [name.strip().strip('"') for name in lines[0].split(separator or None)]
    columns = {_column_key(name) for name in header} if separator else set()
    named = not columns.isdisjoint(FILE_COLUMNS) and not columns.isdisjoint(LABEL_COLUMNS)
    if named or (path.lower().endswith((".csv", ".tsv")) and not is_picture(header[0])):
        return Table(path, _read_table(path, text, separator or ","))
    for mark in dict.fromkeys((separator, "")):  # the comma of the first line may be in a name
        pairs = [_pair(line, mark) for line in lines]
        if all(len(pair) == 2 and is_picture(pair[0]) for pair in pairs):  # as PaddleClas and Caffe have it
            return Table(path, _table(path, enumerate(pairs, 1)))
    if all(line.isascii() and line.isdigit() for line in lines):
        return _devkit(path, lines)
    return _class_list(path, lines)


def _text(path):
    """A file's text: UTF-8, or what its first bytes say, as Excel's "Unicode text" has it."""
    data = read_whole(path, MAX_BYTES, "a table of labels")
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.removesuffix("-sig").upper()
        raise UsageError(f"{path}: not a text in {name} ({error}); save it as UTF-8") from error


def _column_key(column):
    """A column's name without capitals and what stands between its words."""
    return re.sub("[^a-z0-9]", "", column.lower())


def _separator(line):
    """What parts the fields of a line: a tab, a semicolon or a comma; "" for none of them."""
    return next((mark for mark in SEPARATORS if mark in line), "")


def _pair(line, separator):
    """(file, label) of a line without header, parted by the separator or by white space."""
    if separator and separator in line:
        file, *rest = [part.strip().strip('"') for part in line.split(separator)]
        synset = _without_boxes(" ".join(rest))  # as Tiny ImageNet has it: synset, left, top, right, bottom
        return [file, synset] if synset in rest else [file, *rest]
    return line.rsplit(None, 1)


def _class_list(path, lines):
    """Class folders in order, or each with its index."""
    pairs = [line.replace(",", " ").replace(":", " ").split() for line in lines]
    for index, name in ((0, 1), (1, 0)):
        if all(len(pair) == 2 and pair[index].isascii() and pair[index].isdigit() for pair in pairs):
            if sorted(int(pair[index]) for pair in pairs) == list(range(len(pairs))):
                return ClassList(path, {pair[name]: str(int(pair[index])) for pair in pairs})
    if all(_SYNSET_ALONE.match(line) for line in lines):  # n01440764 tench, Tinca tinca
        lines = [line.split()[0] for line in lines]
    if len(set(lines)) < len(lines):
        twice = next(line for i, line in enumerate(lines) if line in lines[:i])
        raise UsageError(f"{path}: the class {twice!r} stands there twice; a list of class folders names each once")
    return ClassList(path, {name: str(index) for index, name in enumerate(lines)})


def _json(path, text, lines):
    """The kinds of JSON: {class: index}, {index: class}, {file: label}, a list of classes, rows of a table."""
    try:
        content = _json_content(path, text, lines)
    except WeightsError as error:
        raise UsageError(f"{path}: {error}") from error
    if any(isinstance(name, str) and not name.strip() for name in content):
        raise UsageError(f"{path}: an empty text, expected the name of a class or of a picture")
    if isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        return Table(path, _table(path, _json_rows(path, content)))
    if isinstance(content, list) and content and all(isinstance(name, str) for name in content):
        return _class_list(path, content)
    if isinstance(content, dict) and content:
        if all(is_picture(name) and isinstance(label, (str, int)) for name, label in content.items()):
            return Table(path, {posixpath.normpath(name): str(label) for name, label in content.items()})
        if all(type(index) is int for index in content.values()):
            return ClassList(path, {name: str(index) for name, index in content.items()})
        firsts = {index: name[0] if isinstance(name, list) and name else name for index, name in content.items()}
        if all(index.isdigit() and isinstance(name, str) for index, name in firsts.items()):
            return ClassList(path, {name: index for index, name in firsts.items()})
    raise UsageError(
        f"{path}: JSON, expected {{class: index}}, {{file: label}}, a list of classes, or rows with file and label"
    )


def _json_content(path, text, lines):
    """One JSON value, or a list of those on the lines."""
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text, object_pairs_hook=once_each)
    try:
        return [json.loads(line, object_pairs_hook=once_each) for line in lines]
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: neither JSON nor a JSON value a line ({error})") from error


def _json_rows(path, rows):
    for number, row in enumerate(rows, 1):
        columns = {_column_key(name): value for name, value in row.items()}
        file = next((columns[name] for name in FILE_COLUMNS if isinstance(columns.get(name), str)), None)
        label = label_in(row)
        if file is None or label is None:
            raise UsageError(f"{path}: row {number} has {', '.join(map(str, row))[:100]}; expected file and label")
        yield number, (file, label)


def label_in(row):
    """The class that a JSON object states, or None."""
    columns = {_column_key(name): value for name, value in row.items()}
    found = (columns.get(name) for name in ("label", *LABEL_COLUMNS))
    label = next((value for value in found if isinstance(value, (int, str)) and not isinstance(value, bool)), None)
    return None if label is None else str(label)


def _devkit(path, lines):
    wrong = next((number for number, line in enumerate(lines, 1) if len(line) > 9 or not 1 <= int(line) <= 1000), None)
    if wrong:
        raise UsageError(f"{path}: line {wrong} is {lines[wrong - 1][:50]}, expected an ILSVRC2012_ID, 1 to 1000")
    return DevkitTruth(path, tuple(map(int, lines)))


def _read_table(path, text, separator):
    """{file: label} of a table with a header."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=separator, skipinitialspace=True)
    try:
        header = {_column_key(name): name for name in reader.fieldnames or () if name}
        files = [header[name] for name in FILE_COLUMNS if name in header]
        columns = [header[name] for name in LABEL_COLUMNS if name in header and header[name] not in files[:1]]
        if not files or not columns:
            raise UsageError(f"{path}: the columns are {', '.join(reader.fieldnames or ())}; expected file and label")
        return _table(path, _table_rows(path, reader, files[0], columns))
    except csv.Error as error:
        raise UsageError(f"{path}: line {reader.line_num}: {error}") from error


def _table_rows(path, reader, file, columns):
    for row in reader:
        if not any(row.values()):  # a row of separators alone, as a spreadsheet writes those that were emptied
            continue
        if not row[file] or None in row:
            raise UsageError(f"{path}: line {reader.line_num} has no file, or more fields than columns")
        label = next((row[name] for name in columns if row[name]), "")
        yield reader.line_num, (row[file].strip(), _without_boxes(label.strip()))


def _without_boxes(label):
    """The synset of "n01440764 10 20 30 40 n01440764 ...": ILSVRC2012's solution file has every object's box."""
    first, *rest = label.split() or [""]
    boxed = _SYNSET.fullmatch(first) and len(rest) % 5 == 4 and all(word == first or word.isdigit() for word in rest)
    return first if boxed else label


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
