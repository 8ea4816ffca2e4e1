"""Which columns of a table say the picture and the class: by their names and, of pictures, by what is in them."""

import re

from ..pictures.files import is_picture

#: Columns that can say which picture, as `column_key` writes them.
# fmt: off
FILE_COLUMNS = (
    "file", "filename", "filepath", "path", "image", "imagepath", "imagename", "imagefile", "imageid", "img", "imgpath",
    "imgname", "picture", "folder", "id", "name",
)
#: Columns that can say the class, the exact ones first: names of classes may have two meanings.
LABEL_COLUMNS = (
    "synset", "wnid", "classindex", "label", "labels", "labelid", "classid", "cls", "target", "categoryid", "class",
    "classname", "labelname", "category", "groundtruth", "truth", "gt", "gtlabel", "species", "breed", "diagnosis",
    "predictionstring", "y", "name",
)
# fmt: on
#: Words in a column's name that say that it has the class: true_label, Class Label, category_name; and that it has not.
_WORDS = {"label", "labels", "class", "category", "target", "truth", "annotation", "tag"}
_OTHERS = {"num", "number", "count", "is", "has", "width", "height", "confidence", "score", "predicted", "prediction"}


def column_key(column):
    """A column's name without capitals and what stands between its words."""
    return re.sub("[^a-z0-9]", "", column.lower())


def _says_class(column):
    words = {word.lower() for word in re.findall("[A-Z]+(?![a-z])|[A-Z]?[a-z]+", column)}
    return bool(words & _WORDS) and not words & _OTHERS


def names_columns(header):
    """Whether a line names both kinds of columns, two different ones."""
    columns = list(map(column_key, header))
    files, labels = ([name for name in columns if name in known] for known in (FILE_COLUMNS, LABEL_COLUMNS))
    return len({*files, *labels}) > 1 and bool(files) and bool(labels)


def label_columns(keys):
    """Those of some columns, as `column_key` writes them, that hold labels, in the order in which they are asked; `y`
    beside `x` is a place."""
    return [name for name in LABEL_COLUMNS if name in keys and not (name == "y" and "x" in keys)]


def columns_of(columns, rows):
    """(the column of pictures or None, those of labels in the order in which they are asked) of a table.

    Parameters
    ----------
    columns : list of str
    rows : list of {column: text}
    """
    keys = {column_key(name): name for name in columns if name}
    known = [keys[name] for name in FILE_COLUMNS if name in keys]
    showing = [name for name in keys.values() if rows and all(is_picture((row[name] or "").strip()) for row in rows)]
    named = [name for name in known if name in showing] or showing[: len(showing) == 1] or known
    file = next(iter(named), None)
    labels = [keys[name] for name in label_columns(keys) if keys[name] != file]
    like = [name for name in keys.values() if name != file and _says_class(name)]
    return file, labels or like[: len(like) == 1]


def parting_otherwise(labels, rows):
    """The first of several columns of labels that gives pictures of one class, by the very first, several; or None.

    A class index, its synset and its name part pictures alike; class and species do not, and which is meant only people
    know. A column of names may have each picture's own.
    """
    first, *others = labels
    for other in (column for column in others if column_key(column) != "name"):
        beside = {}
        for row in rows:
            label, value = row.get(first), row.get(other)
            if label and value and beside.setdefault(label, value) != value:
                return other
    return None


def one_hot(columns, rows):
    """Whether these columns are each a class, with one 1 in each row, and else 0."""
    if len(columns) < 2 or any(map(_says_class, columns)):
        return False
    try:
        numbers = [sorted(float(row[name] or "nan") for name in columns) for row in rows]
    except ValueError:
        return False
    return bool(numbers) and all(row == [0] * (len(row) - 1) + [1] for row in numbers)
