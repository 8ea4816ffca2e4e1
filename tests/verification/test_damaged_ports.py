"""Ports that are damaged, or full of numbers that overflow: our errors or a verdict, and no warning."""

import io
import os
import pathlib
import threading

import numpy as np
import pytest
from damages import damaged, damaged_json

import npmnv3
from npmnv3.cli.verify_command import _read_map
from npmnv3.dumps.npy import read_npy
from npmnv3.errors import Npmnv3Error, UsageError, WeightsError
from npmnv3.verification.measure import share
from npmnv3.verification.port import load_port

COUNT = int(os.environ.get("NPMNV3_DAMAGES", "100"))
RAW = {
    "a": {"shape": [2, 3], "dtype": "float32", "file": "a.bin"},
    "b": {"shape": [6], "dtype": "int8", "scale": 0.1, "zero_point": 3},
}
LISTED = {"tensors": [{"name": name, **row} for name, row in RAW.items()]}


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


KINDS = {
    "npy": (npy(np.ones((2, 3), "f4")), "x.npy", damaged),
    "folder of npy": (npy(np.ones((2, 3), ">i2")), "port/x.npy", damaged),
    "npy of a dict": (npy({"a": np.ones((2, 3), "f4")}), "x.npy", damaged),
    "npz": (npz(a=np.ones((2, 3), "f4"), b=np.zeros(3)), "x.npz", damaged),
    "raw": (RAW, "port/x.json", damaged_json),
    "raw, as a list": (LISTED, "port/x.json", damaged_json),
}


@pytest.mark.parametrize("kind", KINDS)
def test_random_damage(kind, tmp_path):
    whole, name, damage = KINDS[kind]
    (tmp_path / "port").mkdir()
    if "raw" in kind:
        (tmp_path / "port" / "a.bin").write_bytes(bytes(24))
        (tmp_path / "port" / "b.bin").write_bytes(bytes(6))
    rng, refused, path = np.random.default_rng(3), 0, tmp_path / name
    port = path.parent if path.parent.name == "port" else path
    for _ in range(COUNT):
        path.write_bytes(damage(whole, rng))
        try:
            with np.errstate(all="ignore"):  # as `verify` has it
                load_port(port, None)
        except Npmnv3Error:
            refused += 1
    assert refused > COUNT / 10


@pytest.mark.parametrize(
    "array",
    [
        np.ones((2, 3)),
        np.array(3),
        np.zeros((0, 2), "i1"),
        np.asfortranarray(np.eye(3, 4)),
        np.array([True]),
        np.array(["é"]),
    ],
)
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_is_read_as_numpy_does(array, version, tmp_path):
    with open(tmp_path / "x.npy", "wb") as file:
        np.lib.format.write_array(file, array, version)
    found, expected = read_npy(tmp_path / "x.npy"), np.load(tmp_path / "x.npy")
    assert found.dtype == expected.dtype and np.array_equal(found, expected) and found.flags.writeable


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (1 << 60,), }", "header is"),
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999,), }", "is not what its"),
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,", "header is"),
        (b"{'descr': '|O', 'fortran_order': False, 'shape': (3,), }", "objects"),
        (b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,), }", "header is"),
        (b"(" * 5000, "header is"),
        (b"{'descr': 'zz', 'fortran_order': False, 'shape': (3,), }", "header is|which is none"),
        (b"\xff\xfe", "header is"),
    ],
)
def test_hostile_npy(header, message, tmp_path):
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(WeightsError, match=message):
        read_npy(tmp_path / "x.npy")
    with pytest.raises(UsageError, match="x.npy: (not a readable .npy file|no dict of a run's tensors)"):
        load_port(tmp_path / "x.npy", None)


def test_a_picture_is_not_called_a_weight_dump_that_is_none(tmp_path):
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UsageError, match=r"x.png: neither HDF5 nor .npz \(it begins with .*PNG.*\); of a bare file"):
        load_port(tmp_path / "x.png", None)


def test_a_map_as_deep_as_no_map_is(tmp_path):
    (tmp_path / "map.json").write_text("[" * 100_000)
    with pytest.raises(UsageError, match="map.json: not a readable JSON file"):
        _read_map(tmp_path / "map.json")


@pytest.mark.parametrize("numbers", [1, None])
def test_an_input_that_is_not_finite(numbers):
    """It is no other picture that the port saw, and nothing can be computed from it."""
    x = np.random.default_rng(0).standard_normal((1, 3, 48, 192)).astype(np.float32)
    bad = x.copy()
    bad.reshape(-1)[:numbers] = np.nan
    port = {"input": bad, "logits": np.zeros((1, 2), np.float32)}
    assert "overflow at input" in npmnv3.verify("ppocr/text_direction", port, x, explain=False).sentence
    with pytest.raises(UsageError, match="own tensor input, which would serve as input, has NaN or infinite values"):
        npmnv3.verify("ppocr/text_direction", port)


def test_a_tensor_of_the_picture_s_shape_that_is_not_finite_is_not_the_input_where_another_is():
    x = np.random.default_rng(0).standard_normal((1, 3, 48, 192)).astype(np.float32)
    logits = npmnv3.load("ppocr/text_direction", engine="numpy")(x)
    report = npmnv3.verify("ppocr/text_direction", {"never_written": x * np.nan, "net_in": x, "logits": logits})
    assert "own tensor net_in serves as input" in report.text(), report.text()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_that_nobody_named_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "list.json")
    (tmp_path / "a.bin").write_bytes(bytes(8))
    with pytest.raises(UsageError, match="list.json: not a regular file"):
        load_port(tmp_path, None)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_map_out_of_a_pipe(tmp_path):
    """As a shell's `--map <(...)` gives it, with the mark that some programs put before UTF-8."""
    pipe = tmp_path / "map"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=('{"a": null}', "utf-8-sig"))
    writer.start()
    assert _read_map(pipe) == {"a": None}
    writer.join()


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs a device without end")
def test_a_map_without_an_end_is_refused():
    with pytest.raises(UsageError, match="/dev/zero: more than 16 MB, expected a map of tensors"):
        _read_map("/dev/zero")


SEARCHED = (np.inf,)  # for which faults are looked for as well: that takes ten seconds each


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 0.0])
def test_no_number_makes_a_warning(value):
    model = npmnv3.load("ppocr/text_direction", engine="numpy")
    examples = pathlib.Path(__file__).parents[2] / "weights" / "examples"
    x = npmnv3.preprocess(examples / "hello_upright.png", model)[None]
    tensors, rng = model.trace(x), np.random.default_rng(0)
    for part in (0.1, 1.0):
        port = {name: tensor.copy() for name, tensor in tensors.items() if rng.random() < part or name == "logits"}
        for name, tensor in port.items():
            if rng.random() < 0.5 and name != "input":
                tensor.reshape(-1)[rng.integers(tensor.size, size=3)] = value
            elif name != "input" and part < 1:
                tensor[...] = value
        report = npmnv3.verify(model, port, x, explain=part == 1.0 and value in SEARCHED)
        # Half of the tensors bear such numbers: no further fault is looked for on top of one that mends none of them.
        assert not report.fine and report.faults_tried < 800


@pytest.mark.parametrize(("count", "words"), [(1, "1 value is NaN or infinite"), (3, "3 values are NaN or infinite")])
def test_values_that_overflowed_are_counted(count, words):
    model = npmnv3.load("ppocr/text_direction", engine="numpy")
    x = np.random.default_rng(3).standard_normal((1, 3, 48, 192)).astype(np.float32)
    tensors = model.trace(x)
    tensors["blocks.6.expand"].flat[:count] = np.nan
    assert words in npmnv3.verify(model, tensors, x, explain=False).sentence


def test_decibels_beyond_all_numbers_are_a_share():
    """A gate that is not cut blows up block by block: the reference on the port's tensors may be of any size."""
    assert share(-np.inf) == share(-5000.0) == pytest.approx(1e12)
    assert share(np.inf) == 0 and share(20.0) == pytest.approx(0.01)


@pytest.mark.parametrize("scale", [1e200, np.nan, [0.1] * 15 + [1e200]])
def test_a_scale_beyond_float32_is_refused(scale):
    port = {"blocks.5": np.ones((1, 16, 3, 96), np.int8), "blocks.5.scale": np.array(scale)}
    with pytest.raises(UsageError, match="blocks.5 has a scale of (1e\\+200|nan), expected a number within float32"):
        load_port(port, None)
