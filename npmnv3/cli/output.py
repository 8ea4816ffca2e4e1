"""Tables, JSON and messages, as several commands print them, and the files that they write beside."""

import json
import math
import os
import re

from ..errors import UsageError

#: Arguments of the Python functions whose options have other names.
OPTIONS = {"num_classes": "classes"}

#: Options that name a file to be written beside the command's result.
REPORTS = ("html", "junit", "write_map", "confusion")


#: Characters that steer a terminal, or turn the order of its text. What a file calls itself, its labels and its tensors
#: may hold them; they are printed as escapes.
STEERING = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n\r"}
STEERING |= {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


class PlainStream:
    """A stream of text that steers no terminal."""

    def __init__(self, stream):
        self._stream = stream

    def write(self, text):
        return self._stream.write(text.translate(STEERING))

    def __getattr__(self, name):
        return getattr(self._stream, name)


def print_table(rows, header, align):
    """Print rows of texts in columns; `align` is a string of < and >, one a column."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        print("  ".join(f"{cell:{a}{w}}" for cell, a, w in zip(row, align, widths)).rstrip())


def as_options(message):
    """A message of `npmnv3.errors` with options where it speaks of arguments: `weights=FILE` is `--weights FILE`."""

    def option(match):
        name, value = match.groups()
        name = OPTIONS.get(name, name).replace("_", "-")
        return f"`--{name}`" if value in ("", "True") else f"`--{name} {value}`"

    return re.sub(r"`([a-z_]+)=([^`]*)`", option, str(message)).translate(STEERING)


def check_reports(args):
    """UsageError where a report would be written over a file that the command reads."""
    given = [value for name, value in vars(args).items() if name not in REPORTS]
    read = [value for entry in given for value in (entry if isinstance(entry, list) else [entry])]
    for name in REPORTS:
        path = getattr(args, name, None)
        for other in read:
            if isinstance(path, str) and isinstance(other, str) and _same_file(path, other):
                raise UsageError(f"--{name.replace('_', '-')} {path}: would be written over {other}, which is read")


def _same_file(path, other):
    try:
        return os.path.samefile(path, other)
    except (OSError, ValueError):  # one of them is no file, or no name of any
        return False


def print_json(result):
    """As JSON has it: in ASCII, whatever bytes a file's name has, and null for what is not finite."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(entry) for key, entry in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(entry) for entry in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    print(json.dumps(plain(result), indent=1, allow_nan=False))
