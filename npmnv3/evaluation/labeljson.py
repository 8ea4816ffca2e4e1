"""Labels in JSON: {class: index}, {index: class}, {file: label}, {class: [files]}, a list of classes, rows, columns, COCO."""

import contextlib
import json

from ..errors import UsageError, WeightsError, once_each
from ..pictures.files import is_picture
from .columns import FILE_COLUMNS, LABEL_COLUMNS, column_key, label_columns, parting_otherwise
from .truths import ClassList, Table, check_indices, class_list, table, two_partings

#: Entries, as `column_key` writes them, of which one holds what is looked for, beside others that are passed over.
_CLASSES = ("classtoidx", "classtoindex", "classindices", "label2id", "id2label")
#: Names of sets of pictures, which are no classes where they stand alone.
_SPLITS = {"train", "training", "val", "valid", "validation", "dev", "eval", "test", "testing"}
_ROWS = ("images", "annotations", "labels", "data", "samples", "items", "rows", "files", "entries", "datalist")


def read_json(path, text, lines):
    """Table or ClassList of the text of a labels file, or of its lines where each is JSON; UsageError for others."""
    try:
        content = _content(path, text, lines)
    except WeightsError as error:
        raise UsageError(f"{path}: {error}") from error
    if any(isinstance(name, str) and not name.strip() for name in content):
        raise UsageError(f"{path}: an empty text, expected the name of a class or of a picture")
    rows = _rows(path, content) if isinstance(content, dict) else content
    if isinstance(rows, list) and rows:
        if all(isinstance(row, dict) for row in rows):
            return Table(path, table(path, _read_rows(path, rows)))
        if all(isinstance(row, list) and len(row) == 2 and isinstance(row[0], str) for row in rows):
            return Table(path, table(path, _read_rows(path, [dict(zip(("file", "label"), row)) for row in rows])))
        if all(isinstance(name, str) for name in rows):
            return class_list(path, rows)
    indices = _indices(content) if isinstance(content, dict) else None
    if indices:
        check_indices(path, list(map(int, indices.values())))
        if "0" not in indices.values() and len(set(indices.values())) < len(indices):
            raise UsageError(f"{path}: no class is the first, and some are the same: are these indices of classes?")
        return ClassList(path, indices)
    raise UsageError(
        f"{path}: JSON, expected {{class: index}}, {{file: label}}, a list of classes, or rows with file and label"
    )


def label_in(row):
    """The class that a JSON object states, or None."""
    columns = {column_key(name): as_label(value) for name, value in row.items()}
    return next((columns[name] for name in ("label", *LABEL_COLUMNS) if columns.get(name) is not None), None)


def as_label(value):
    """A text, a number or a list of one of them as a label, else None."""
    if isinstance(value, list) and len(value) == 1:
        return as_label(value[0])
    return str(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else None


def _content(path, text, lines):
    """One JSON value, or a list of those on the lines."""
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text, object_pairs_hook=once_each)
    try:
        return [json.loads(line, object_pairs_hook=once_each) for line in lines]
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: neither JSON nor a JSON value a line ({error})") from error


def _rows(path, content):
    """The rows that a JSON object stands for, or None."""
    keys = {column_key(name): value for name, value in content.items()}
    if all(isinstance(keys.get(name), list) for name in ("images", "annotations")):
        return _coco(path, keys)
    if all(is_picture(name) and as_label(label) is not None for name, label in content.items()):
        return [{"file": name, "label": label} for name, label in content.items()]
    # Of a column pandas has {row: value}.
    lists = {name: list(v.values()) if isinstance(v, dict) else v for name, v in content.items()}
    if all(isinstance(value, list) and len(value) == len(next(iter(lists.values()))) for value in lists.values()):
        if not keys.keys().isdisjoint(FILE_COLUMNS) and not keys.keys().isdisjoint(LABEL_COLUMNS):
            return [dict(zip(lists, row)) for row in zip(*lists.values())]
    if all(isinstance(files, list) and files and all(map(_names_picture, files)) for files in content.values()):
        if keys.keys() <= _SPLITS:
            raise UsageError(
                f"{path}: names sets of pictures, {', '.join(content)}, expected classes: {{class: [files]}}"
            )
        return [{"file": file, "label": label} for label, files in content.items() for file in files]
    inner = [keys[name] for name in _ROWS if isinstance(keys.get(name), list)]
    return inner[0] if len(inner) == 1 else None


def _names_picture(value):
    return isinstance(value, str) and is_picture(value)


def _coco(path, keys):
    """Rows of COCO's images, annotations and categories, which refer to each other by numbers."""
    files = _by_id(path, keys["images"], "images", FILE_COLUMNS)
    names = _by_id(path, keys.get("categories"), "categories", ("name",))
    rows = []
    for number, entry in enumerate((row for row in keys["annotations"] if isinstance(row, dict)), 1):
        image, category = str(entry.get("image_id")), str(entry.get("category_id"))
        for what, found, known in (("image", image, files), ("category", category, names or [category])):
            if found not in known:
                raise UsageError(f"{path}: annotation {number} is of {what} {found}, and none has this id")
        rows.append({"file": files[image], "label": names.get(category, category)})
    return rows


def _by_id(path, entries, what, columns):
    """{id: the first of some columns} of COCO's images or categories; UsageError where two have one id."""
    found = {}
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            values = {column_key(name): value for name, value in entry.items()}
            value = next((values[name] for name in columns if name in values), None)
            if found.setdefault(str(values.get("id")), value) != value:
                raise UsageError(f"{path}: two {what} have the id {values.get('id')}, expected one")
    return found


def _indices(content):
    """{class: index as text} of a JSON object, or None."""
    inner = {column_key(name): value for name, value in content.items()}
    found = next((inner[name] for name in _CLASSES if isinstance(inner.get(name), dict)), content)
    if found and all(type(index) is int for index in found.values()):
        return {name: str(index) for name, index in found.items()}
    firsts = {index: name[0] if isinstance(name, list) and name else name for index, name in found.items()}
    if found and all(index.isdigit() and isinstance(name, str) for index, name in firsts.items()):
        return {name: index for index, name in firsts.items()}
    return None


def _read_rows(path, rows):
    keyed = [{column_key(name): as_label(value) for name, value in row.items()} for row in rows]
    # Of JSON's columns "label" is asked first.
    labels = sorted(label_columns(set().union(*keyed)), key=lambda name: name != "label")
    if labels and (other := parting_otherwise(labels, keyed)):
        raise UsageError(two_partings(path, labels[0], other))
    for number, row in enumerate(rows, 1):
        columns = {column_key(name): value for name, value in row.items()}
        file = next((columns[name] for name in FILE_COLUMNS if isinstance(columns.get(name), str)), None)
        label = label_in(row)
        if file is None or label is None:
            raise UsageError(f"{path}: row {number} has {', '.join(map(str, row))[:100]}; expected file and label")
        yield number, (file, label)
