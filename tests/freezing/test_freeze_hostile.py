"""Frozen classifiers where things are not as they should be: damaged files, odd names, closed pipes, other flags."""

import io
import json
import os
import struct
import subprocess
import sys
import zlib

import goldens
import numpy as np
import pytest

import npmnv3
from npmnv3.errors import UsageError
from npmnv3.freezing import excerpt, freeze
from npmnv3.freezing.cost import open_frozen

CASES = 150  # a kind of file
EXAMPLE = goldens.ROOT / "weights" / "examples" / "hello_upright.png"
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
EXIF = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # turned by 90 degrees


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("frozen") / "classifier.pyz"
    freeze(npmnv3.load("ppocr/text_direction", engine="numpy"), path)
    return path


@pytest.fixture(params=["Pillow", "no Pillow"])
def frozen(request, archive, monkeypatch):
    """The names in a frozen file, with and without Pillow."""
    if request.param == "no Pillow":
        monkeypatch.setitem(sys.modules, "PIL", None)
    return open_frozen(archive)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(kind):
    rng = np.random.default_rng(kind)
    rows = rng.integers(0, 256, (17, 1 + 23 * PNG_CHANNELS[kind]), dtype=np.uint8)
    rows[:, 0] %= 5
    extra = [chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"eXIf", EXIF)]
    if kind == 3:
        extra += [chunk(b"PLTE", rng.bytes(768)), chunk(b"tRNS", bytes(range(9)))]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 23, 17, 8, kind, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(rows.tobytes()))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + pixels + chunk(b"IEND", b"")


def npy(array):
    file = io.BytesIO()
    np.lib.format.write_array(file, array)
    return file.getvalue()


# fmt: off
FILES = {
    **{f"{kind}.png": png(kind) for kind in PNG_CHANNELS},
    "P6.ppm": b"P6\n# a comment\n5 4\n255\n" + bytes(60),
    "P5.ppm": b"P5 7 3 255\n" + bytes(21),
    "picture.npy": npy(np.full((9, 11, 3), 200, np.uint8)),
    "input.npy": npy(np.ones((3, 48, 192), np.float32)),
}
# fmt: on


def mended(data):
    """A PNG with all its checksums right, so that damage is found further in."""
    out, at = bytearray(data), 8
    while at + 12 <= len(out):
        end = at + 8 + int.from_bytes(out[at : at + 4], "big")
        out[end : end + 4] = struct.pack(">I", zlib.crc32(out[at + 4 : end]))
        at = end + 4
    return bytes(out)


def damaged(data, rng):
    out = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(min(len(out), rng.choice([150, len(data)])) or 1))
        length = int(rng.integers(1, 9))
        new = [rng.bytes(length), b"", bytes([rng.choice(list(b"()[]{}'\"\\#-,\n\t\0Ox9 "))])][rng.integers(3)]
        out[at : at + length] = new
    if rng.random() < 0.1:
        del out[int(rng.integers(len(out) + 1)) :]
    return bytes(out)


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_refused_or_read_and_nothing_else(frozen, name, tmp_path):
    rng = np.random.default_rng(list(name.encode()))
    path, refused = tmp_path / name, 0
    path.write_bytes(FILES[name])
    frozen["prepare"](path)  # undamaged it is read
    for case in range(CASES):
        data = damaged(FILES[name], rng)
        path.write_bytes(mended(data) if name.endswith(".png") and case % 3 else data)
        try:
            x = frozen["prepare"](path)
            assert x.shape == (3, 48, 192) and x.dtype == np.float32
        except frozen["PictureError"] as error:
            refused += 1
            assert str(error).startswith(str(path))
    assert refused > CASES // 10


@pytest.mark.parametrize("name", FILES)
def test_kinds_of_files_are_prepared_as_the_package_does(frozen, name, tmp_path):
    if name.endswith(".npy"):
        picture = np.load(io.BytesIO(FILES[name]))
        expected = picture if picture.dtype == np.float32 else npmnv3.preprocess(picture, "ppocr")
    else:
        expected = npmnv3.preprocess(FILES[name], "ppocr")
    (tmp_path / name).write_bytes(FILES[name])
    assert np.array_equal(frozen["prepare"](tmp_path / name), expected)


@pytest.mark.parametrize("shape, dtype", [((48, 192, 3), "u1"), ((3, 48, 192), "f4")])
def test_masked_arrays_are_refused(frozen, shape, dtype):
    with pytest.raises(frozen["PictureError"], match="the array is a masked array, 27,648 of 27,648 numbers masked"):
        frozen["classify"](np.ma.masked_equal(np.zeros(shape, dtype), 0))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_not_read(frozen, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path, told in ((tmp_path / "pipe.png", "is not a file"), (tmp_path, "is a folder")):
        with pytest.raises(frozen["PictureError"], match=told):
            frozen["classify"](path)


def test_what_is_no_picture_is_said_without_an_address_in_memory(frozen, tmp_path):
    (tmp_path / "notes.md").write_text("no picture")
    with pytest.raises(frozen["PictureError"], match="notes.md: ") as raised:
        frozen["classify"](tmp_path / "notes.md")
    assert "object at" not in str(raised.value)


@pytest.mark.parametrize("name", ["a\0.png", "nothing.npy", ""])
def test_impossible_paths(frozen, name):
    with pytest.raises(frozen["PictureError"], match="cannot be opened"):
        frozen["classify"](name)


def python(*arguments, **options):
    return subprocess.run([sys.executable, *map(os.fspath, arguments)], capture_output=True, **options)


def test_names_of_any_bytes(archive, tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff\xc3\xa4.png"
    try:
        with open(name, "wb") as file:
            file.write(EXAMPLE.read_bytes())
    except OSError:
        pytest.skip("this file system takes no such names")
    for encoding in ("utf-8", "ascii"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        for options in ([], ["--json"]):
            done = python(archive, name, name + b"x", *options, env=environment)
            assert (
                done.returncode == 1 and b"Traceback" not in done.stderr and b".pngx: cannot be opened" in done.stderr
            )
            assert done.stdout.count(b"180") == 1


def test_a_name_with_line_breaks_makes_no_line(archive, tmp_path):
    name = tmp_path / "a\n\x1b[2J b.png"
    name.write_bytes(EXAMPLE.read_bytes())
    done = python(archive, name, f"{name}x")
    assert done.stdout.splitlines()[0] == os.fsencode(tmp_path) + rb"/a\n\x1b[2J b.png"
    assert len(done.stdout.splitlines()) == 3 and len(done.stderr.splitlines()) == 1 and b"\x1b" not in done.stderr


def test_a_closed_pipe_is_no_error(archive):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, archive, EXAMPLE, EXAMPLE], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's device that is full")
def test_a_full_output_is_one_line(archive):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, archive, EXAMPLE], stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, b"standard output: No space left on device\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's device that is full")
def test_a_full_standard_error_stops_nothing(archive):
    with open("/dev/full", "wb") as full:
        run = [sys.executable, archive, "--top", "1", "nothing.png", EXAMPLE]
        done = subprocess.run(run, stdout=subprocess.PIPE, stderr=full)
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 2)


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes streams")
def test_without_standard_error_answers_are_alone_in_the_output(archive):
    line = '"$0" "$1" --json nothing.png "$2" 2>&-'
    done = subprocess.run(["sh", "-c", line, sys.executable, archive, EXAMPLE], stdout=subprocess.PIPE, text=True)
    assert ["error" in json.loads(answer) for answer in done.stdout.splitlines()] == [True, False]


@pytest.mark.parametrize("flags", (["-OO"], ["-I", "-W", "error", "-b"]))
def test_flags_of_python_change_nothing(archive, flags):
    plain, flagged = python(archive, EXAMPLE), python(*flags, archive, EXAMPLE)
    assert plain.stdout == flagged.stdout != b"" and flagged.stderr == b""


def test_runs_as_a_module_and_unpacked(archive, tmp_path):
    expected = python(archive, EXAMPLE).stdout
    assert python("-m", "classifier", EXAMPLE, env={**os.environ, "PYTHONPATH": os.fspath(archive)}).stdout == expected
    assert python("-m", "zipfile", "-e", archive, tmp_path).returncode == 0
    assert python(tmp_path / "classifier.py", EXAMPLE).stdout == expected


def test_a_package_without_source_is_named(monkeypatch):
    class Loader:
        def get_source(self, module):
            return None

    monkeypatch.setattr(excerpt.importlib.util, "find_spec", lambda module: type("Spec", (), {"loader": Loader()}))
    excerpt._source.cache_clear()
    try:
        with pytest.raises(UsageError, match="npmnv3.pictures.recipes is here without its source"):
            excerpt._source("npmnv3.pictures.recipes")
    finally:
        excerpt._source.cache_clear()
