"""What is no picture, damaged, too large or not to be waited for is refused, and files are closed."""

import os
import pathlib
import struct
import zlib

import numpy as np
import pytest
from picture_material import PHOTOS, encode, noise

from npmnv3.errors import PictureError
from npmnv3.pictures import decode as decoding
from npmnv3.pictures import pixels
from npmnv3.pictures.decode import decode
from npmnv3.pictures.plain import MAX_PIXELS
from npmnv3.pictures.recipes import preprocess

Image = pytest.importorskip("PIL.Image", reason="pictures of most formats need Pillow")


@pytest.fixture
def without_pillow(monkeypatch):
    monkeypatch.setattr(pixels, "pillow_image", lambda: None)
    monkeypatch.setattr(decoding, "pillow_image", lambda: None)


@pytest.mark.parametrize("how", ("pil", "cv2"))
@pytest.mark.parametrize("name", ("made_tiny.jpg", "made_short256.jpg", "made_cmyk.jpg", "made_rgba.png"))
def test_cut_short(name, how, tmp_path):
    data = (PHOTOS / name).read_bytes()
    for length in (1, 3, 10, 100, len(data) // 2, len(data) - 100):
        path = tmp_path / f"{length}-{name}"
        path.write_bytes(data[:length])
        with pytest.raises(PictureError, match=path.name):
            decode(path, how)


def test_files_that_are_no_pictures(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "folder.png").mkdir()
    complaints = {
        "empty.jpg": r"is empty \(0 bytes\)",
        "text.jpg": r"is not a picture in a format that is read here \(JPEG, PNG, .*\), or damaged",
        "folder.png": "is a folder, expected a picture's file",
        "missing.png": r"cannot be opened \(No such file",
    }
    for name, complaint in complaints.items():
        for path in tmp_path / name, str(tmp_path / name):
            with pytest.raises(PictureError, match=f"{name}: {complaint}"):
                preprocess(path, "ppcls")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(PictureError, match="pipe.jpg: is not a file but a pipe or a device, expected a picture"):
        decode(tmp_path / "pipe.jpg")


@pytest.mark.parametrize(
    ("picture", "complaint"),
    [
        ("", "empty path: cannot be opened"),
        ("a\0b.png", "cannot be opened"),
        ("x" * 10000, "cannot be opened"),
        (b"", "picture of 0 bytes: is empty"),
        (b"GIF89a", "picture of 6 bytes: "),
        (
            None,
            "picture of type NoneType: expected a path, the bytes of a file, an open file, a PIL image or a uint8 array",
        ),
        (7, "type int: expected"),
        ([[1, 2], [3, 4]], "type list: expected"),
        (pathlib.Path, "type type: expected"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\): has no pixels"),
        (np.zeros((4, 0), np.uint8), "has no pixels"),
        (np.zeros(0, np.uint8), "channels last"),
        (np.zeros((), np.uint8), "channels last"),
        (np.zeros((3, 20, 20), np.uint8), r"shape \(3, 20, 20\): expected \(H, W, 3\), .* channels last"),
        (np.zeros((20, 20, 2), np.uint8), "channels last"),
        (np.zeros((2, 20, 20, 3), np.uint8), "channels last"),
        (np.zeros((20, 20, 3), np.float32), "float32 array of shape .*: expected uint8, values 0 to 255"),
        (np.zeros((20, 20, 3), np.int8), "expected uint8"),
        (np.zeros((20, 20, 3), bool), "expected uint8"),
        (np.broadcast_to(np.uint8(0), (9000, 9000, 3)), "9000 x 9000 is 81,000,000 pixels; at most 67,108,864"),
        (np.broadcast_to(np.uint8(0), (1, 300_000)), "300000 x 1 is"),
        (np.zeros((2, 9000, 3), np.uint8), "resized for torchvision: 1152000 x 256 is 294,912,000 pixels; at most"),
    ],
)
def test_unusable_pictures(picture, complaint):
    with pytest.raises(PictureError, match=complaint):
        preprocess(picture, "torchvision")


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("side", (9_000, 12_000, 30_000))
def test_bombs_are_refused_before_decoding(side, tmp_path):
    """Just the headers, and no pixels: whoever tried to decode would complain of those."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(bytes(100))))
    with pytest.raises(PictureError, match=f"bomb.png: .*at most {MAX_PIXELS:,}") as caught:
        decode(path)
    assert f"{side**2:,}" in str(caught.value) or str(side**2) in str(caught.value)


def test_a_tiff_with_a_huge_tile():
    side = 20_000
    values = {256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 324: 200, 325: 10}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    data = b"II*\0" + struct.pack("<IH", 8, len(values)) + entries
    with pytest.raises(PictureError, match="its tile: 20000 x 20000 is 400,000,000 pixels; at most"):
        decode(data.ljust(300, b"\0"))


def damaged(data, rng):
    data = bytearray(data)
    kind = rng.integers(5)
    for place in rng.integers(0, min(len(data), (400, len(data))[kind % 2]), rng.integers(1, 8)):
        data[place] = rng.integers(256)
    start, stop = np.sort(rng.integers(0, len(data), 2))
    if kind == 2:
        del data[start:]
    elif kind == 3:
        del data[start:stop]
    elif kind == 4:
        data[start:start] = bytes(int(stop - start) % 500)
    return bytes(data)


@pytest.mark.parametrize("pillow_is_here", (True, False))
def test_damaged_files_are_read_or_refused(pillow_is_here, monkeypatch):
    """Nothing but a PictureError or a picture, no warning, no file left open."""
    if not pillow_is_here:
        monkeypatch.setattr(decoding, "pillow_image", lambda: None)
    image = Image.fromarray(noise(40, 50))
    kinds = ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP") if pillow_is_here else ("PNG", "PPM")
    sources = [encode(image, kind) for kind in kinds] + [encode(image.quantize(9), "PNG", transparency=bytes(9))]
    if pillow_is_here:
        sources += [(PHOTOS / name).read_bytes() for name in ("made_tiny.jpg", "made_exif6.jpg", "made_cmyk.jpg")]
    rng = np.random.default_rng(11)
    outcomes = {True: 0, False: 0}
    for i in range(600):
        data = damaged(sources[i % len(sources)], rng)
        try:
            rgb = decode(data, ("pil", "cv2")[i % 2])
        except PictureError as error:
            assert str(error).startswith(f"picture of {len(data):,} bytes")
            outcomes[False] += 1
        else:
            assert rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3
            outcomes[True] += 1
    assert min(outcomes.values()) > 10, outcomes


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files in /proc")
def test_files_are_closed(tmp_path):
    (tmp_path / "cut.png").write_bytes((PHOTOS / "made_rgba.png").read_bytes()[:5000])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        decode(PHOTOS / "made_tiny.jpg")
        with pytest.raises(PictureError):
            decode(tmp_path / "cut.png")
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_pillow_other_formats_say_so(without_pillow):
    with pytest.raises(PictureError, match="rocket.jpg: .* need Pillow, which is not installed"):
        preprocess(PHOTOS / "rocket.jpg", "timm")
