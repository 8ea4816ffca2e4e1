"""Checkpoints in several files, listed by an index (model.safetensors.index.json): each entry is in one of them."""

import json
import os
import re

from ...dumps.containers import read_any
from ...dumps.reader import Reader
from ...errors import WeightsError
from .record import Checkpoint

MAX_INDEX = 16 << 20  # bytes
MAX_FILES = 1000
PART = re.compile(r"-(\d{5})-of-(\d{5})\.(safetensors|bin)$")


def read(reader, read_one):
    """Read an index and the files that it names, which lie beside it.

    Parameters
    ----------
    reader : Reader, of the index
    read_one : callable (Reader) -> Checkpoint, of one of the files
    """
    if reader.path is None:
        raise WeightsError("a JSON text; an index of several files must be given by its path, not its bytes")
    if reader.size > MAX_INDEX:
        raise WeightsError(f"a JSON text of {reader.size} bytes, more than {MAX_INDEX}")
    text = reader.take(0, reader.size, "the index")
    if b'"weightsManifest"' in text:
        raise WeightsError("TensorFlow.js's model, which is not read: give the Keras file that it was made of")
    try:
        placed = json.loads(text)["weight_map"]
        files = list(dict.fromkeys(placed.values()))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError("a JSON text, but no index of a checkpoint in several files (no weight_map)") from error
    wrong = next((name for name in files if not _is_beside(name)), None)
    if wrong is not None or len(files) > MAX_FILES:
        raise WeightsError(f"the index names the file {str(wrong)[:200]!r}, which does not lie beside it, or too many")
    arrays, kind = {}, ""
    for name in files:
        with Reader(os.path.join(os.path.dirname(reader.path), name)) as part:
            checkpoint = read_one(part)
            kind = checkpoint.format
            arrays |= {n: read_any(array) for n, array in checkpoint.arrays.items()}
    missing = [name for name in placed if name not in arrays]
    if missing:
        raise WeightsError(f"{missing[0][:100]!r} and {len(missing) - 1} more of the index are in none of its files")
    return Checkpoint(kind, {name: arrays[name] for name in placed}, notes=(f"in {len(files)} files",))


def refuse_part(path):
    """WeightsError for one of several files, which is no checkpoint by itself; it names the index."""
    match = PART.search(path or "")
    if match and int(match[2]) > 1:
        index = os.path.basename(PART.sub(rf".{match[3]}.index.json", path))
        raise WeightsError(f"one of {int(match[2])} files that make a checkpoint together; give their index, {index}")


def _is_beside(name):
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\:\0")
