"""safetensors files, by hand."""

import json
import struct

import checkpoint_files as files
import numpy as np
import pytest

from npmnv3.conversion.formats import read_checkpoint
from npmnv3.errors import UsageError, WeightsError

ARRAYS = {"b.weight": np.arange(12, dtype=np.float32).reshape(3, 4), "a.count": np.array(3, np.int64)}


def raw(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def test_arrays_come_in_the_order_of_the_header():
    checkpoint = read_checkpoint(files.safetensors(ARRAYS, metadata={"format": "pt"}))
    assert (checkpoint.format, checkpoint.metadata) == ("safetensors", {"format": "pt"})
    files.assert_same(checkpoint.arrays, ARRAYS)
    backwards = {
        "second": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        "first": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    }
    found = read_checkpoint(raw(backwards, struct.pack("<2f", 1, 2))).arrays
    assert [(name, float(array[0])) for name, array in found.items()] == [("second", 2), ("first", 1)]


@pytest.mark.parametrize(
    "dtype", (np.float64, np.float32, np.float16, np.int64, np.int32, np.int16, np.int8, np.uint8, np.bool_)
)
def test_element_types(dtype):
    values = np.array([0, 1, 1], dtype)
    files.assert_same(read_checkpoint(files.safetensors({"a": values})).arrays, {"a": values})


def test_bfloat16():
    upper = np.array([0x3F80, 0xC049], np.uint16)
    found = read_checkpoint(files.safetensors({"a": upper}, dtypes={"a": "BF16"})).arrays
    files.assert_same(found, {"a": np.array([1, -3.140625], np.float32)})


def test_the_header_may_be_padded_with_spaces():
    text = json.dumps({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode() + b"      "
    assert read_checkpoint(raw(text, b"\7")).arrays["a"][0] == 7


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
BROKEN = (
    ("length of the header", raw({"a": ENTRY}, bytes(8), length=10_000), "the header would be 10000 bytes"),
    ("huge header", raw({"a": ENTRY}, bytes(8), length=(1 << 32) - 1), "the header would have 4294967295 bytes"),
    ("no JSON", raw(b'{"a": nothing}'), "the header is not JSON"),
    ("deep JSON", raw(b'{"a":' + b"[" * 100_000), "the header is not JSON"),
    ("not UTF-8", raw(b'{"\xff": 1}'), "the header is not JSON"),
    ("a name twice", raw(b'{"a": {}, "a": {}}'), "the header: the name 'a' is there twice"),
    ("no offsets", raw({"a": {"dtype": "F32", "shape": [2]}}, bytes(8)), "a has no data_offsets of two numbers"),
    ("no entry", raw({"a": 3}, bytes(8)), "a has no data_offsets of two numbers"),
    ("offsets backwards", raw({"a": {**ENTRY, "data_offsets": [8, 0]}}, bytes(8)), "a has the data_offsets 8, 0"),
    (
        "a gap",
        raw({"a": {**ENTRY, "data_offsets": [4, 12]}}, bytes(12)),
        "begins at 4, expected 0: a gap or an overlap",
    ),
    ("an overlap", raw({"a": ENTRY, "b": {**ENTRY, "data_offsets": [4, 12]}}, bytes(12)), "begins at 4, expected 8"),
    ("cut off", raw({"a": ENTRY}, bytes(7)), "a would be 8 bytes .* cut off"),
    ("left over", raw({"a": ENTRY}, bytes(9)), "1 bytes after the last tensor"),
    ("wrong size", raw({"a": {**ENTRY, "shape": [3]}}, bytes(8)), r"a is f4 \(3,\), 12 bytes, but 8 are there"),
    ("huge shape", raw({"a": {**ENTRY, "shape": [1 << 62, 0]}}, bytes(8)), "a has the impossible shape"),
    ("negative shape", raw({"a": {**ENTRY, "shape": [-1, -2]}}, bytes(8)), "a has a shape that is not a list"),
    ("truth as a shape", raw({"a": {**ENTRY, "shape": [True, 2]}}, bytes(8)), "a has a shape that is not a list"),
    ("no shape", raw({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, bytes(8)), "a has a shape that is not a list"),
    (
        "unknown type",
        raw({"a": {**ENTRY, "dtype": "F8_E4M3"}}, bytes(8)),
        "a has the dtype F8_E4M3, expected one of F64, F32",
    ),
    ("type not a text", raw({"a": {**ENTRY, "dtype": ["F32"]}}, bytes(8)), "expected one of F64, F32"),
)


@pytest.mark.parametrize("data, message", [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_broken_files(data, message):
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(data)


def test_there_is_nothing_to_choose():
    with pytest.raises(UsageError, match="nothing to take under 'model'; the names begin with a, b"):
        read_checkpoint(files.safetensors(ARRAYS), key="model")
    inner = {f"model.{name}": array for name, array in ARRAYS.items()}
    files.assert_same(
        read_checkpoint(files.safetensors({"other.c": np.ones(2, np.float32), **inner}), key="model").arrays, ARRAYS
    )
