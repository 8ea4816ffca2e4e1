"""Tables and JSON, as several commands print them."""

import json
import math


def print_table(rows, header, align):
    """Print rows of texts in columns; `align` is a string of < and >, one a column."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        print("  ".join(f"{cell:{a}{w}}" for cell, a, w in zip(row, align, widths)).rstrip())


def print_json(result):
    """As JSON has it: in ASCII, whatever bytes a file's name has, and null for what is not finite."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(entry) for key, entry in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(entry) for entry in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    print(json.dumps(plain(result), indent=1, allow_nan=False))
