"""PNG and PPM without Pillow: the same pixels as Pillow reads, every row filter, and what is refused."""

import io
import struct
import zlib

import numpy as np
import pytest

from npmnv3.errors import PictureError
from npmnv3.pictures.plain import PNG_MAGIC, check_size, read

MODES = {0: "L", 2: "RGB", 4: "LA", 6: "RGBA"}  # of the PNG colour types
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header(width, height, bits=8, kind=2, interlace=0):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, interlace))


def png(rows, kind, *extra, **options):
    """A PNG of coded rows, (H, 1 + W * channels) uint8: each begins with its filter."""
    height, width = len(rows), (rows.shape[1] - 1) // CHANNELS[kind]
    pixels = chunk(b"IDAT", zlib.compress(rows.tobytes()))
    return PNG_MAGIC + header(width, height, kind=kind, **options) + b"".join(extra) + pixels + chunk(b"IEND", b"")


def unfilter_by_definition(rows, channels):
    """PNG (Third Edition), section 9.2, a byte at a time."""
    height, length = rows.shape[0], rows.shape[1] - 1
    out = np.zeros((height + 1, length + channels), int)  # zeros above and at the left
    for y, (kind, *line) in enumerate(rows.tolist(), start=1):
        for x, byte in enumerate(line, start=channels):
            a, b, c = int(out[y, x - channels]), int(out[y - 1, x]), int(out[y - 1, x - channels])
            p = a + b - c
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            out[y, x] = (byte + (0, a, b, (a + b) // 2, paeth)[kind]) % 256
    return out[1:, channels:].reshape(height, -1, channels).astype(np.uint8)


@pytest.mark.parametrize("size", ((1, 1), (1, 9), (9, 1), (12, 7), (6, 20)))
@pytest.mark.parametrize("kind", MODES)
def test_row_filters(kind, size):
    rng = np.random.default_rng([kind, *size])
    rows = rng.integers(0, 256, (size[0], 1 + size[1] * CHANNELS[kind]), dtype=np.uint8)
    rows[:, 0] = rng.permutation(np.arange(size[0]) % 5)
    expected = unfilter_by_definition(rows, CHANNELS[kind])
    rgb, exif = read(png(rows, kind), "x")
    assert (rgb == expected[..., : 3 if kind in (2, 6) else 1]).all() and rgb.shape == (*size, 3) and exif == b""


@pytest.mark.parametrize("mode", [*MODES.values(), "P"])
def test_same_as_pillow(mode):
    image_module = pytest.importorskip("PIL.Image")
    y, x = np.mgrid[:45, :61]
    smooth = np.stack([3 * x + y, x * y // 9, 255 - x, x + 4 * y], axis=2).astype(np.uint8)  # makes all filters useful
    image = image_module.fromarray(smooth)
    image = image.convert("RGB").quantize(77) if mode == "P" else image.convert(mode)
    for kind in ("PNG", "PPM") if mode in ("L", "RGB") else ("PNG",):
        buffer = io.BytesIO()
        image.save(buffer, kind)
        rgb, _ = read(buffer.getvalue(), "x")
        assert (rgb == np.asarray(image.convert("RGB"))).all() and rgb.dtype == np.uint8


def test_palette():
    colours = np.arange(12, dtype=np.uint8) + 100
    rows = np.array([[0, 0, 1, 2, 3, 4, 255]], np.uint8)
    rgb, _ = read(png(rows, 3, chunk(b"PLTE", colours.tobytes()), chunk(b"tRNS", bytes(4))), "x")
    assert (rgb[0, :4].ravel() == colours).all() and not rgb[0, 4:].any()  # black beyond the palette


def test_exif_is_handed_on():
    assert read(png(np.zeros((2, 4), np.uint8), 2, chunk(b"eXIf", b"II*\0")), "x")[1] == b"II*\0"


def test_pixels_in_many_chunks():
    rows = np.random.default_rng(0).integers(0, 256, (9, 28), dtype=np.uint8)
    rows[:, 0] = 0
    packed = zlib.compress(rows.tobytes())
    parts = b"".join(chunk(b"IDAT", packed[i : i + 50]) for i in range(0, len(packed), 50))
    rgb, _ = read(PNG_MAGIC + header(9, 9) + parts + chunk(b"IEND", b""), "x")
    assert (rgb.reshape(9, 27) == rows[:, 1:]).all()


@pytest.mark.parametrize("comment", ("", "# made by hand\n", "# 7 8 9\n#\n"))
def test_ppm_header(comment):
    data = f"P5\n{comment}3\t2\n{comment} 255\n".encode() + bytes(range(6)) + b"more"
    assert read(data, "x")[0][..., 1].tolist() == [[0, 1, 2], [3, 4, 5]]


ROWS = np.zeros((3, 10), np.uint8)
GOOD = png(ROWS, 2)


def spoiled(data, place):
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "neither PNG nor binary PPM or PGM; other formats need Pillow"),
        (b"\xff\xd8\xff\xe0 a JPEG", "other formats need Pillow, which is not installed"),
        (b"P3\n1 1\n255\n1 2 3", "neither PNG nor"),
        (PNG_MAGIC, "cut short after 8 bytes: no IEND chunk"),
        (GOOD[:-12], "no IEND chunk"),
        (GOOD[:30], "cut short"),
        (GOOD[:50], "cut short"),
        (spoiled(GOOD, 17), "chunk b'IHDR' at byte 8 is damaged or cut short"),
        (spoiled(GOOD, 45), "chunk b'IDAT' at byte 33 is damaged or cut short"),
        (PNG_MAGIC + chunk(b"IEND", b""), "damaged PNG header"),
        (PNG_MAGIC + chunk(b"IHDR", bytes(12)) + chunk(b"IEND", b""), "damaged PNG header"),
        (PNG_MAGIC + header(3, 3, kind=5) + chunk(b"IEND", b""), "damaged PNG header"),
        (PNG_MAGIC + header(0, 3) + chunk(b"IEND", b""), "has no pixels"),
        (PNG_MAGIC + header(30_000, 30_000) + chunk(b"IEND", b""), "900,000,000 pixels; at most 67,108,864"),
        (PNG_MAGIC + header(3, 3) + chunk(b"IEND", b""), "cut short: 0 bytes of pixels, expected 30"),
        (PNG_MAGIC + header(3, 3) + chunk(b"IDAT", b"x" * 20) + chunk(b"IEND", b""), "compressed pixels are damaged"),
        (PNG_MAGIC + header(3, 9) + GOOD[33:], "cut short: 30 bytes of pixels, expected 90"),
        (png(ROWS + np.uint8(5), 2), "row filter 5"),
        (png(ROWS, 2, bits=16), "PNG with 16 bits; without Pillow only 8 bits, not interlaced, are read"),
        (png(ROWS, 0, bits=1), "PNG with 1 bits"),
        (png(ROWS, 2, interlace=1), "PNG with 8 bits, interlaced; without"),
        (png(ROWS, 3), "palette of 0 bytes; expected 3 to 768, in threes"),
        (png(ROWS, 3, chunk(b"PLTE", bytes(10))), "palette of 10 bytes"),
        (b"P6\n3", "damaged PPM header"),
        (b"P6\n3 -1\n255\n", "damaged PPM header"),
        (b"P6\n3 3\n65535\n" + bytes(54), "maximum is 65535; without Pillow only 255"),
        (b"P6\n3 3\n255\n" + bytes(26), "cut short: 26 bytes of pixels, expected 27"),
        (b"P5\n99999 99999\n255\n", "at most 67,108,864"),
        (b"P5\n0 3\n255\n", "has no pixels"),
    ],
)
def test_refused(data, complaint):
    with pytest.raises(PictureError, match=f"a.png: .*{complaint}"):
        read(data, "a.png")


def test_check_size():
    check_size(8192, 8192, "x")
    check_size(1, 1 << 18, "x")
    for height, width in ((8192, 8193), (1, (1 << 18) + 1)):
        with pytest.raises(PictureError, match=f"^x: {width} x {height} is .* pixels; at most 67,108,864 are taken"):
            check_size(height, width, "x")
