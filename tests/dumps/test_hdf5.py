"""The reader of HDF5 files, beside h5py; and that no file, whatever was done to it, ends the process or fills memory."""

import io
import itertools
import os
import subprocess
import sys

import goldens
import h5py
import numpy as np
import pytest

import npmnv3
from npmnv3.conversion import identify_file
from npmnv3.dumps.containers import open_container
from npmnv3.dumps.hdf5 import open_tree
from npmnv3.dumps.hdf5.checksum import lookup3
from npmnv3.dumps.reader import Reader
from npmnv3.errors import WeightsError

DUMP = goldens.ROOT / "weights" / "ppocr--text_direction.h5"
VERSIONS = (None, "earliest", ("earliest", "v108"), ("v108", "v110"), "latest")
STORED = (
    {},
    {"chunks": True, "compression": "gzip"},
    {"chunks": True, "shuffle": True, "compression": "gzip", "fletcher32": True},
    {"chunks": (2, 3)},
)
VALUES = {
    "whole": 3,
    "float": 1.5,
    "half": np.float16(3),
    "yes": True,
    "text": "é",
    "texts": ["x", "yy "],
    "list": [1, 2],
}


def draw(index):
    kind = ("f4", ">f8", "f2", "i8", "?", "u1")[index % 6]
    return (np.random.default_rng(index).standard_normal((7, 11)) * 9).astype(kind)


def written(arrays, attributes=(), stored=None, **options):
    """The bytes of an HDF5 file."""
    stream = io.BytesIO()
    with h5py.File(stream, "w", **options) as file:
        file.attrs.update(attributes)
        for name, array in arrays.items():
            file.create_dataset(name, data=array, **(stored or {}))
    return stream.getvalue()


def read(data, tmp_path):
    """(attributes, {name: array}) as the package reads them."""
    (tmp_path / "x.h5").write_bytes(data)
    with open_container(tmp_path / "x.h5") as (attributes, entries):
        return attributes, {name: entry.read() for name, entry in entries.items()}


def assert_same(found, arrays):
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype.newbyteorder("=") and found[name].shape == array.shape, name
        np.testing.assert_array_equal(found[name], array, name)


@pytest.mark.parametrize("count", (0, 1, 9, 300))
@pytest.mark.parametrize("track_order", (False, True))
@pytest.mark.parametrize("libver", VERSIONS, ids=str)
def test_all_that_h5py_writes_is_read(libver, track_order, count, tmp_path):
    """Few members and many, old layouts and new, attributes in the header and beside it."""
    arrays = {f"group{i % 3}/n.{i}" if i % 2 else f"n{i}": draw(i) for i in range(count)}
    arrays |= {"scalar": np.array(3.5), "nothing": np.zeros((0, 3), "f4")}
    for more in (0, 20):
        attributes = VALUES | {f"note{i}": i for i in range(more)}
        found, made = read(written(arrays, attributes, libver=libver, track_order=track_order), tmp_path)
        assert found == attributes
        assert_same(made, arrays)


@pytest.mark.parametrize(("libver", "stored"), list(itertools.product(VERSIONS, STORED)), ids=str)
def test_chunks_are_read(libver, stored, tmp_path):
    arrays = {f"n{i}": draw(i) for i in range(6)}
    data = written(arrays, stored=stored, libver=libver)
    if libver == "latest" and stored.get("chunks") == (2, 3):
        with pytest.raises(WeightsError, match="chunks in an index of kind 3, which is not read; copy the file with"):
            read(data, tmp_path)
    else:
        assert_same(read(data, tmp_path)[1], arrays)


def test_very_many_members_and_labels(tmp_path):
    """Trees of several levels; an attribute beyond 64 KB."""
    arrays, labels = {f"n{i}": np.array(i) for i in range(6000)}, [f"class {i}" for i in range(21_841)]
    for track_order in (False, True):
        attributes = {"labels": labels} if track_order else {}
        found, made = read(written(arrays, attributes, track_order=track_order, libver="v108"), tmp_path)
        assert found == attributes and list(made) == (list(arrays) if track_order else sorted(arrays))
        assert_same(made, arrays)


def test_the_shipped_weights_are_what_h5py_reads():
    with h5py.File(DUMP) as file, open_container(DUMP) as (attributes, entries):
        assert attributes["variant"] == file.attrs["variant"]
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert_same({name: entry.read() for name, entry in entries.items()}, {name: file[name][()] for name in names})


def test_the_checksum_is_bob_jenkinss():
    assert lookup3(b"") == 0xDEADBEEF
    assert lookup3(b"Four score and seven years ago") == 0x17770551  # his own example


@pytest.mark.parametrize("change", ("a header", "a heap", "a tree", "fletcher32"))
def test_a_bit_that_a_checksum_covers(change, tmp_path):
    arrays = {f"n{i}": draw(i) for i in range(30)}
    data = bytearray(
        written(arrays, stored=STORED[2] if change == "fletcher32" else {}, libver="v108", track_order=True)
    )
    signature = {"a header": b"OHDR", "a heap": b"FHDB", "a tree": b"BTLF"}.get(change)
    place = data.index(signature) + 30 if signature else _first_chunk(data) + 10
    data[place] ^= 4
    with pytest.raises(WeightsError, match="checksum is another|no gzip stream"):
        read(bytes(data), tmp_path)


def _first_chunk(data):
    with h5py.File(io.BytesIO(data)) as file:
        return file["n0"].id.get_chunk_info(0).byte_offset


@pytest.mark.parametrize("what", ("the member", "the attribute"))
def test_a_name_that_is_there_twice(what, tmp_path):
    values = {"second": draw(0), "sec0nd": draw(1)}
    data = written(values) if what == "the member" else written({}, values)
    read(data, tmp_path)
    with pytest.raises(WeightsError, match=f"{what} 'second' is there twice"):
        read(data.replace(b"sec0nd", b"second"), tmp_path)


def test_a_chunk_that_begins_within_an_element(tmp_path):
    data = bytearray(written({"n0": draw(0)}, stored={"chunks": (2, 3)}))
    data[data.index(b"TREE\1") + 24 + 8 + 2 * 8] = 2  # behind the first chunk's sizes and its place in two axes
    with pytest.raises(WeightsError, match="n0 has a chunk that begins within an element"):
        read(bytes(data), tmp_path)


def test_what_was_never_written(tmp_path):
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("w", (3,), "f4")
    with pytest.raises(WeightsError, match="w was never written"):
        read(stream.getvalue(), tmp_path)
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("w", (8,), "f4", chunks=(2,))[:3] = 1
    with pytest.raises(WeightsError, match="w has 2 of 4 chunks that were never written"):
        read(stream.getvalue(), tmp_path)


def test_many_names_for_one_array_do_not_fill_memory(tmp_path):
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["w0"] = np.zeros((100, 100))
        for i in range(1, 100):
            file[f"w{i}"] = file["w0"]
    with pytest.raises(WeightsError, match="lies where other parts of the file lie"):
        read(stream.getvalue(), tmp_path)


# Damage, under a limit of memory, in a process of its own: a crash would be seen.

DAMAGE = """
import contextlib, pathlib, resource, sys
import numpy as np
import npmnv3
from npmnv3.conversion import identify_file
from npmnv3.dumps.dumps import load_weights

resource.setrlimit(resource.RLIMIT_AS, (2 << 30,) * 2)
path, rng, refused = pathlib.Path(sys.argv[1]), np.random.default_rng(int(sys.argv[3])), 0
whole = path.read_bytes()
for _ in range(int(sys.argv[2])):
    data = bytearray(whole)
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(min(len(data), 60_000)))  # most of the structure lies at the front
        kind = rng.integers(5)
        if kind < 2:
            data[place] = rng.integers(256)
        elif kind == 2:
            data[place : place + 8] = rng.bytes(8)
        elif kind == 3:
            data[place : place + 16] = bytes(16)
        else:
            del data[max(place, 64) :]
    path.write_bytes(data)
    for use in (load_weights, identify_file):
        try:
            use(path)
        except npmnv3.Npmnv3Error:
            refused += 1
print(refused)
"""


def dumps():
    arrays = {
        name: np.asarray(array) for name, array in npmnv3.load("ppocr/text_direction", engine="numpy").params.items()
    }
    said = {"source": "ppocr", "variant": "text_direction", "labels": ["0", "180"]}
    yield "shipped", DUMP.read_bytes()
    for libver in ("earliest", "v108", "latest"):
        yield (
            libver,
            written(
                arrays, said, libver=libver, stored={"chunks": True, "compression": "gzip"} if libver == "v108" else {}
            ),
        )


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of memory")
@pytest.mark.parametrize("index", range(4))
def test_damage_ends_in_our_errors(index, tmp_path):
    name, data = list(dumps())[index]
    (tmp_path / "x.h5").write_bytes(data)
    count = int(os.environ.get("NPMNV3_DAMAGES", "60"))
    command = [sys.executable, "-c", DAMAGE, str(tmp_path / "x.h5"), str(count), "7"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=goldens.ROOT)
    assert done.returncode == 0, f"{name}: {done.returncode} {done.stderr[-2000:]}"
    assert int(done.stdout) > count / 4


@pytest.mark.parametrize("command", ("identify", "convert", "load"))
def test_a_known_crash_of_the_library(command, shared, tmp_path):
    path = shared / "cases" / "checkpoints" / "cve-2024-32609.h5"
    use = {
        "identify": lambda: identify_file(path),
        "convert": lambda: npmnv3.convert(path, tmp_path / "x.h5"),
        "load": lambda: npmnv3.load(path),
    }[command]
    with pytest.raises(npmnv3.Npmnv3Error, match="cve-2024-32609.h5"):
        use()


def test_a_tree_needs_no_library():
    code = f"import sys; sys.modules['h5py'] = None; import npmnv3; print(npmnv3.load({str(DUMP)!r}, engine='numpy').num_classes)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=goldens.ROOT)
    assert done.stdout == "2\n", done.stderr


def test_the_reader_takes_bytes():
    with Reader(written({"a": draw(0)})) as reader, open_tree(reader) as tree:
        np.testing.assert_array_equal(tree.array("/a"), draw(0))
