"""safetensors: a JSON header's length, the header, the data. The format's rules are held to: no gaps, no overlaps.

Source: https://github.com/huggingface/safetensors, section "Format"
"""

import json
import struct

from ...dumps.reader import naming
from ...errors import WeightsError, once_each
from .arrays import BFLOAT16, shaped
from .record import Checkpoint

_NAMING = ("architecture", "arch", "model_name", "model")  # entries of the metadata that may name the network
MAX_HEADER = 16 << 20  # bytes; a network's is some tens of thousands
_DTYPES = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "BF16": BFLOAT16,
    "I64": "i8",
    "I32": "i4",
    "I16": "i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "b1",
}


def read(reader):
    (length,) = struct.unpack("<Q", reader.take(0, 8, "the header's length"))
    if length > MAX_HEADER:
        raise WeightsError(f"the header would have {length} bytes, more than {MAX_HEADER}")
    header = _parse(reader.take(8, length, "the header"))
    metadata = header.pop("__metadata__", {})
    arrays, start, done = dict.fromkeys(header), 8 + length, 0
    for name, (begin, end) in sorted(
        ((name, _offsets(name, header[name])) for name in header), key=lambda item: item[1]
    ):
        if begin != done:
            raise WeightsError(f"{name[:100]} begins at {begin}, expected {done}: a gap or an overlap")
        arrays[name] = _tensor(name, header[name], reader.take(start + begin, end - begin, name[:100]))
        done = end
    if start + done != reader.size:
        raise WeightsError(f"{reader.size - start - done} bytes after the last tensor belong to none")
    metadata = metadata if isinstance(metadata, dict) else {}
    claims = [("the metadata", metadata[key][:100]) for key in _NAMING if isinstance(metadata.get(key), str)]
    return Checkpoint("safetensors", arrays, metadata=metadata, claims=tuple(claims))


def _parse(text):
    try:
        with naming("the header"):
            header = json.loads(text.decode("utf-8"), object_pairs_hook=once_each)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"the header is not JSON: {str(error)[:200]}") from error
    if not isinstance(header, dict):
        raise WeightsError(f"the header is a {type(header).__name__}, expected an object")
    return header


def _offsets(name, entry):
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not isinstance(offsets, list) or len(offsets) != 2 or any(type(n) is not int for n in offsets):
        raise WeightsError(f"{name[:100]} has no data_offsets of two numbers")
    if not 0 <= offsets[0] <= offsets[1]:
        raise WeightsError(f"{name[:100]} has the data_offsets {offsets[0]}, {offsets[1]}")
    return offsets[0], offsets[1]


def _tensor(name, entry, data):
    dtype = entry.get("dtype")
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise WeightsError(f"{name[:100]} has the dtype {str(dtype)[:50]}, expected one of {', '.join(_DTYPES)}")
    return shaped(data, _DTYPES[dtype], entry.get("shape"), name[:100])
