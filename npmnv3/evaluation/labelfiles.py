"""Files that say which class a picture is of: a table, the ILSVRC2012 devkit's ground truth, a list of class folders."""

import codecs
import csv
import io
import os
import re

from ..dumps.reader import read_whole
from ..errors import UsageError
from ..pictures.files import is_picture
from .columns import FILE_COLUMNS, column_key, columns_of, names_columns, one_hot, parting_otherwise
from .files import kind_of_data
from .labeljson import read_json
from .truths import ClassList, DevkitTruth, Table, class_list, numbered, table, two_partings

SEPARATORS = "\t;,|"
MAX_BYTES = 1 << 28  # three times a table of all of ImageNet

_SYNSET = re.compile(r"n\d{8}")
#: What may stand above a table: empty lines, comments, and Excel's hint.
_ABOVE = re.compile(r"\A(?:[^\S\r\n]*(?:#.*|sep=.)?[\r\n]+)+", re.IGNORECASE)
_COMMENT = re.compile(r"^# .*[\r\n]*", re.MULTILINE)


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
    text = _COMMENT.sub("", _ABOVE.sub("", _text(path)))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise UsageError(f"{path}: an empty labels file")
    if text.lstrip()[:1] in ("{", "["):
        return read_json(path, text, lines)
    separator = _separator(lines[0])
    header = [name.strip().strip('"') for name in lines[0].split(separator or None)]
    named = names_columns(header)
    if separator and (named or _is_header(header, lines[1:], separator)):
        return _read_table(path, text, separator)
    entries = list(enumerate(lines, 1))[named:]
    for mark in dict.fromkeys((separator, "")):  # the comma of the first line may be in a name
        pairs = [(number, _pair(line, mark)) for number, line in entries]
        if all(len(pair) == 2 and _says_which(*pair) for _, pair in pairs):  # as PaddleClas and Caffe have it
            return Table(path, table(path, pairs))
    if all(line.isascii() and line.isdigit() for line in lines):
        return _devkit(path, lines)
    return _classes(path, lines, separator)


def _says_which(file, label):
    """Whether a pair is of a picture and its label: by its ending or, without one, by the label."""
    return is_picture(file) or bool(_SYNSET.fullmatch(label) and not _SYNSET.match(file))


def _is_header(header, rows, separator):
    """Whether a line is above rows of which each names a picture, as it does not itself; or begins columns of such."""
    if len(header) > 2 and column_key(header[0]) in FILE_COLUMNS:
        return True
    fields = [[field.strip().strip('"') for field in row.split(separator)] for row in rows]
    return bool(rows) and not any(map(is_picture, header)) and all(any(map(is_picture, row)) for row in fields)


def _classes(path, lines, separator):
    """A list of classes, in a table also below a line of columns; UsageError where it is a table of something else."""
    if path.lower().endswith((".csv", ".tsv")) and separator:
        header = [field.strip() for field in lines[0].split(separator)]
        indices = numbered(path, lines) or numbered(path, lines[1:])
        if not indices:
            raise UsageError(f"{path}: the columns are {', '.join(header)}; expected file and label: name them so")
        return ClassList(path, indices)
    one = next((line for line in lines if is_picture(line.split()[0])), None)
    if one:
        raise UsageError(
            f"{path}: has the line {one[:100]!r}, expected a picture's name and its label, no more, on every line"
        )
    return class_list(path, lines)


def _text(path):
    """A file's text: UTF-8, or what its first bytes say, as Excel's "Unicode text" has it."""
    data = read_whole(path, MAX_BYTES, "a table of labels")
    if kind := kind_of_data(data):
        raise UsageError(f"{path}: {kind}; a labels file is a text, such as a CSV with the columns file and label")
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.removesuffix("-sig").upper()
        raise UsageError(f"{path}: not a text in {name} ({error}); save it as UTF-8") from error


def _separator(line):
    """What parts the fields of a line: a tab, a semicolon or a comma; "" for none of them."""
    return next((mark for mark in SEPARATORS if mark in line), "")


def _pair(line, separator):
    """(file, label) of a line without header, parted by the separator or by white space."""
    if separator and separator in line:
        file, *rest = [part.strip().strip('"') for part in line.split(separator)]
        if (
            len(rest) == 2 and separator == "\t" and file.isdigit() and is_picture(rest[1])
        ):  # MXNet's lists: number, label, file
            file, *rest = rest
        synset = _without_boxes(" ".join(rest))  # as Tiny ImageNet has it: synset, left, top, right, bottom
        pair = [file, synset] if synset in rest else [file, *rest]
        return pair[::-1] if len(pair) == 2 and is_picture(pair[1]) and not is_picture(file) else pair
    if is_picture(line) and not is_picture(line.split(None, 1)[0]):  # the label first
        return line.split(None, 1)[::-1]
    return line.rsplit(None, 1)


def _devkit(path, lines):
    wrong = next((number for number, line in enumerate(lines, 1) if len(line) > 9 or not 1 <= int(line) <= 1000), None)
    if wrong:
        raise UsageError(
            f"{path}: line {wrong} is {lines[wrong - 1][:50]}, expected an ILSVRC2012_ID, 1 to 1000, of the devkit's ground "
            f"truth; other labels of pictures stand beside their names: lines `file label`"
        )
    return DevkitTruth(path, tuple(map(int, lines)))


def _read_table(path, text, separator):
    """Table of a text with a header, or the ClassList that it is."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=separator, skipinitialspace=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(row.values())]  # a spreadsheet's emptied rows have none
        columns = reader.fieldnames or ()
    except csv.Error as error:
        raise UsageError(f"{path}: line {reader.line_num}: {error}") from error
    file, labels = columns_of(columns, [row for _, row in rows])
    if twice := next((name for name in (file, *labels) if columns.count(name) > 1), None):
        raise UsageError(f"{path}: two columns are called {twice}, expected one with the labels")
    wide = next((number for number, row in rows if None in row or (file and not row[file])), None)
    if wide:
        raise UsageError(f"{path}: line {wide} has no file, or more fields than columns")
    others = [name for name in columns if name and name != file]
    if file and not labels and one_hot(others, [row for _, row in rows]):
        return Table(path, table(path, ((number, (row[file].strip(), _hot(row, others))) for number, row in rows)))
    if not file or not labels:
        raise UsageError(f"{path}: the columns are {', '.join(columns)}; expected file and label: name them so")
    if classes := _numbered_classes([(row[file], row[labels[0]] or "") for _, row in rows], file, columns):
        return ClassList(path, classes)
    if other := parting_otherwise(labels, [row for _, row in rows]):
        raise UsageError(two_partings(path, labels[0], other))
    return Table(path, table(path, ((number, (row[file].strip(), _label(row, labels))) for number, row in rows)))


def _numbered_classes(pairs, file, columns):
    """{class: index as text} of a table of two columns, `id,name`, whose ids number classes and are no pictures; else None."""
    classes = {name.strip(): number.strip() for number, name in pairs}
    numbers = [int(number) for number in classes.values() if number.isascii() and number.isdigit()]
    of_classes = sorted(numbers) == list(range(len(pairs))) and not any(name.isdigit() or not name for name in classes)
    if len(columns) != 2 or column_key(file) != "id" or len(pairs) < 2 or not of_classes:
        return None
    return {name: str(int(number)) for name, number in classes.items()}


def _label(row, columns):
    """What the first of some columns says that says something."""
    return _without_boxes(next((row[name] for name in columns if row[name]), "").strip())


def _hot(row, columns):
    """The column that has the one of a row."""
    return next(name.strip() for name in columns if float(row[name]))


def _without_boxes(label):
    """The synset of "n01440764 10 20 30 40 n01440764 ...": ILSVRC2012's solution file has every object's box."""
    first, *rest = label.split() or [""]
    boxed = _SYNSET.fullmatch(first) and len(rest) % 5 == 4 and all(word == first or word.isdigit() for word in rest)
    return first if boxed else label
