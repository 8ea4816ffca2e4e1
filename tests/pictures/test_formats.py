"""Kinds of pictures that people have: what OpenCV and Pillow make of them."""

import io
import itertools
import struct

import numpy as np
import pytest
from command_line import run

from npmnv3.errors import PictureError
from npmnv3.pictures import decode as decoding
from npmnv3.pictures.decode import MORE_FORMATS, decode
from npmnv3.pictures.files import is_one, is_picture

image = pytest.importorskip("PIL.Image")


def bitmap(pixels, masks=None):
    """A BMP of one row with 16 bits a pixel."""
    row = b"".join(struct.pack("<H", pixel) for pixel in pixels)
    row += bytes(-len(row) % 4)
    head = struct.pack("<IiiHHIIiiII", 40, len(pixels), 1, 1, 16, 3 if masks else 0, len(row), 0, 0, 0, 0)
    head += struct.pack("<3I", *masks) if masks else b""
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(row), 0, 0, 14 + len(head)) + head + row


def test_bitmaps_of_16_bits_as_opencv_has_them():
    pixels = [31 << 10, 17 << 5, 5, (31 << 10) | (31 << 5) | 31]
    expected = [[248, 0, 0], [0, 136, 0], [0, 0, 40], [248, 248, 248]]
    assert decode(bitmap(pixels), "cv2")[0].tolist() == expected
    assert decode(bitmap(pixels), "pil")[0][3].tolist() == [255, 255, 255]
    masks = (0xF800, 0x07E0, 0x001F)
    pixels = [31 << 11, 33 << 5, 5, 0xFFFF]
    expected = [[248, 0, 0], [0, 132, 0], [0, 0, 40], [248, 252, 248]]
    assert decode(bitmap(pixels, masks), "cv2")[0].tolist() == expected


def saved(size, kind, **more):
    stream = io.BytesIO()
    array = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
    image.fromarray(array).save(stream, kind, **more)
    return array, stream.getvalue()


def test_opencv_does_not_know_webps_exif_with_jpegs_mark():
    turned = image.Exif()
    turned[0x0112] = 6
    block = turned.tobytes()
    plain = block.removeprefix(b"Exif\0\0")
    for exif, shape in ((plain, (30, 20, 3)), (b"Exif\0\0" + plain, (20, 30, 3))):
        _, data = saved((30, 20), "WEBP", lossless=True)
        stream = io.BytesIO()
        image.open(io.BytesIO(data)).save(stream, "WEBP", lossless=True, exif=exif)
        held = image.open(io.BytesIO(stream.getvalue())).info["exif"]
        if held.startswith(b"Exif") == exif.startswith(b"Exif"):  # some writers take the mark off
            assert decode(stream.getvalue(), "cv2").shape == shape
        assert decode(stream.getvalue(), "pil").shape == (20, 30, 3)


@pytest.mark.parametrize("kind", sorted(MORE_FORMATS))
def test_what_pillow_opens_is_a_picture(kind):
    image.init()
    options = {"JPEG2000": {"irreversible": False}}.get(kind, {})
    if kind not in image.OPEN or kind not in image.SAVE or kind in ("AVIF", "XBM", "ICO"):
        pytest.skip(f"this Pillow does not write {kind} without loss")
    array, data = saved((40, 30), kind, **options)
    np.testing.assert_array_equal(decode(data), array)


def test_floats_from_0_to_1_are_no_picture():
    stream = io.BytesIO()
    image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)).save(stream, "TIFF")
    with pytest.raises(PictureError, match="floats from 0 to 1, which are no bytes: multiply them by 255"):
        decode(stream.getvalue())
    stream = io.BytesIO()
    image.fromarray(np.full((8, 8), 200, np.float32)).save(stream, "TIFF")
    assert (decode(stream.getvalue()) == 200).all()


def test_jfif_is_a_picture_and_others_are_named(tmp_path, capsys):
    assert is_picture("a.JFIF") and is_picture("a.avif") and not is_picture("a.txt")
    _, data = saved((192, 48), "JPEG")
    (tmp_path / "a.jfif").write_bytes(data)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/more.md").write_text("no picture")
    code, out, err = run(capsys, "predict", tmp_path, "--engine", "numpy")
    assert code == 0 and "a.jfif" in out
    assert "left out: 2 files, no picture by name: deep/more.md, notes.txt" in err


def test_a_format_that_this_pillow_lacks_is_not_said_to_be_read(monkeypatch):
    image.init()
    monkeypatch.delitem(image.OPEN, "QOI")
    with pytest.raises(PictureError, match=r"read here \(JPEG, (?!.*QOI).* TGA\)"):
        decode(b"qoif and no more")


def test_tiff_as_libtiff_gives_it_to_opencv():
    """Colours times alpha, rounded, and light times inks, cut off: OpenCV 5.0 gave these numbers."""
    for mode, pixel, expected in (
        ("RGBA", (200, 100, 3, 128), [100, 50, 2]),
        ("CMYK", (10, 20, 30, 40), [206, 198, 189]),
    ):
        picture, stream = image.new(mode, (3, 2), pixel), io.BytesIO()
        picture.save(stream, "TIFF")
        assert decode(stream.getvalue(), "cv2")[0, 0].tolist() == expected
        assert decode(picture, "cv2")[0, 0].tolist() != expected
        assert decode(stream.getvalue(), "pil")[0, 0].tolist() == list(picture.convert("RGB").getpixel((0, 0)))


@pytest.mark.skipif("AVIF" not in image.registered_extensions().values(), reason="this Pillow writes no AVIF")
def test_opencv_turns_no_avif():
    turned = image.Exif()
    turned[0x0112] = 6
    _, data = saved((30, 20), "AVIF", exif=turned)
    assert decode(data, "cv2").shape == decode(data, "pil").shape == (20, 30, 3)


def test_16_bits_that_become_white_are_spoken_of_once(monkeypatch, caplog):
    monkeypatch.setattr(decoding, "_CLIPPED", itertools.count())
    dark, light = (image.fromarray(np.full((8, 8), value, np.uint16)) for value in (255, 256))
    decode(dark, "pil")
    decode(light, "cv2")
    assert not caplog.records
    decode(light, "pil")
    decode(light, "pil")
    assert ["16 bits is clipped at 255" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize(
    ("begin", "complaint"),
    [
        (b"\0\0\0\x24ftypheic\0\0\0\0", "photo: HEIC, which Pillow cannot read: save it as JPEG or PNG"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "a video: save a picture of it"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"<!DOCTYPE html>\n<html>", "a page of the web"),
        (b"version https://git-lfs.github.com/spec/v1\n", "`git lfs pull` brings the picture"),
        (b"%PDF-1.7", "a PDF: save its page as PNG"),
    ],
)
def test_what_is_taken_for_a_picture_is_named(begin, complaint, tmp_path):
    (tmp_path / "photo").write_bytes(begin + bytes(200))
    with pytest.raises(PictureError, match=complaint):
        decode(tmp_path / "photo")


def test_an_open_file_is_one_picture(tmp_path):
    """As web servers hand over what was uploaded: iterated over, it would be lines."""
    array, data = saved((30, 20), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    with open(tmp_path / "a.png", "rb") as file:
        assert is_one(file) and is_one(io.BytesIO(data))
        np.testing.assert_array_equal(decode(file), array)
    np.testing.assert_array_equal(decode(io.BytesIO(data)), array)
    for stream, complaint in ((io.BytesIO(b"?"), "open file BytesIO: is not"), (io.StringIO("?"), "open it with 'rb'")):
        with pytest.raises(PictureError, match=complaint):
            decode(stream)
