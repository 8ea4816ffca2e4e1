"""How commands print tables, JSON and messages; and a check of the files that they will write."""

import contextlib
import itertools
import json
import math
import os
import re

from ..dumps.writing import check_folder
from ..errors import ESCAPES, UsageError, one_line

#: Name of a Python argument, or of argparse's attribute -> its option, where that is called otherwise. `--out` is `--output`:
#: argparse takes any unique prefix.
OPTIONS = {"num_classes": "classes", "out": "output", "path": "output", "threads": "workers"}

#: Options that name a file to be written.
WRITTEN = ("out", "output", "csv", "html", "junit", "write_map", "confusion")

#: Control characters, which would steer a terminal; names of files, labels and tensors may hold them. They are escaped.
STEERING = {code: escape for code, escape in ESCAPES.items() if chr(code) not in "\t\n\r"}


class PlainStream:
    """A stream of text that steers no terminal, and in which a line break of a name makes no line.

    Parameters
    ----------
    stream : of text
    words : of the command line, among which are the names
    """

    def __init__(self, stream, words=()):
        self._stream = stream
        parts = {part for word in words for part in re.split("[/=]", word)}  # so that a path's end is one line as well
        self._names = {part.translate(STEERING): one_line(part) for part in parts if part.strip()}
        self._names = {part: plain for part, plain in self._names.items() if part != plain}

    def write(self, text):
        text = text.translate(STEERING)
        for name, plain in self._names.items():
            text = text.replace(name, plain)
        return self._stream.write(text)

    def __getattr__(self, name):
        return getattr(self._stream, name)


class Messages(PlainStream):
    """Standard error, plain as well.

    Once a write has failed, as on a full disk, all later ones are dropped; the work goes on, and its exit code stays.
    """

    def write(self, text):
        try:
            super().write(text)
        except OSError:
            self._give_up()
        return len(text)

    def flush(self):
        try:
            self._stream.flush()
        except OSError:
            self._give_up()

    def _give_up(self):
        """Write to nowhere from here on: else Python would try once more when it ends, and exit with 120."""
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())


def print_table(rows, header, align):
    """Print rows of texts in columns; `align` is a string of < and >, one a column."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        print("  ".join(f"{cell:{a}{w}}" for cell, a, w in zip(row, align, widths)).rstrip())


def counted_classes(number):
    """`1 class`, `1000 classes`."""
    return f"{number} class{'es' * (number != 1)}"


def as_options(message):
    """A message of `npmnv3.errors` with options where it speaks of arguments: `weights=FILE` is `--weights FILE`."""

    def option(match):
        name, value = match.groups()
        return f"`{option_of(name)}`" if value in ("", "True") else f"`{option_of(name)} {value}`"

    return re.sub(r"`([a-z_]+)=([^`]*)`", option, str(message)).translate(STEERING)


def check_written(args):
    """UsageError or WriteError if a file that an option names cannot be written, or is also read.

    Two options that name one file are an error as well. This is checked before an hour's work is done.
    """
    options = {name: value for name, value in vars(args).items() if name in WRITTEN and isinstance(value, str)}
    inputs = [value for name, value in vars(args).items() if name not in WRITTEN]
    read = [value for entry in inputs for value in (entry if isinstance(entry, list) else [entry])]
    for name, path in options.items():
        if name != "csv" or not os.path.isfile(path):  # whose rows are appended in place
            check_folder(path)
        for other in read:
            if isinstance(other, str) and (_same_file(path, other) or _is_picture_in(other, path)):
                raise UsageError(f"{option_of(name)} {path}: would be written over {other}, which is read")
    for (name, path), (other, its) in itertools.combinations(options.items(), 2):
        if _same_place(path, its):
            raise UsageError(
                f"{option_of(other)} {its}: would be written over what {option_of(name)} writes; name another"
            )


def option_of(name):
    """The option of an argument of this name."""
    return f"--{OPTIONS.get(name, name).replace('_', '-')}"


def _same_file(path, other):
    try:
        return os.path.samefile(path, other)
    except (OSError, ValueError):  # one of them is no file, or no name of any
        return False


def _same_place(path, other):
    """Whether two names, not those of a device, are of one file, be it there or not."""
    with contextlib.suppress(OSError, ValueError):
        same = os.path.realpath(path) == os.path.realpath(other)
        return same and (os.path.isfile(path) or not os.path.exists(path))
    return False


def _is_picture_in(folder, path):
    """Whether there is such a picture somewhere in a folder of pictures."""
    from ..pictures.files import is_picture

    if not (is_picture(path) and os.path.isfile(path) and os.path.isdir(folder)):
        return False
    return os.path.realpath(path).startswith(os.path.join(os.path.realpath(folder), ""))


def print_json(result):
    """Print JSON: in ASCII, whatever bytes a file's name has, and null for what is not finite."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(entry) for key, entry in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(entry) for entry in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    print(json.dumps(plain(result), indent=1, allow_nan=False))
