"""PNG and PPM pictures with the standard library and NumPy alone: what a Python without Pillow can open.

Read are PNG with 8 bits a channel, of every colour type, not interlaced; and binary PPM and PGM (P6, P5) with a
maximum of 255. Alpha and transparency are dropped, as everywhere in npmnv3. The limits on the size of any picture
are here too.
"""

import re
import struct
import zlib

import numpy as np

from ..errors import PictureError

MAX_PIXELS = 1 << 26  # 8192 x 8192: whatever is done with a picture stays below 1 GiB of memory
MAX_SIDE = 1 << 18  # pixels

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type: gray, RGB, palette, gray + alpha, RGB + alpha
PPM_CHANNELS = {b"P5": 1, b"P6": 3}
PPM_FIELD = rb"(?:\s|#[^\n]*\n)+(\d{1,9})"  # a number, behind white space and comments
PPM_HEADER = re.compile(rb"(P[56])" + 3 * PPM_FIELD + rb"\s")


def check_size(height, width, name, most=MAX_PIXELS):
    """Refuse a picture that is empty or too large, before memory is taken for it.

    Parameters
    ----------
    height, width : int, pixels
    name : str, what the message calls the picture
    most : int, pixels

    Raises
    ------
    PictureError
    """
    if height < 1 or width < 1:
        raise PictureError(f"{name}: has no pixels ({width} x {height}); expected at least 1 x 1")
    if height * width > most or max(height, width) > MAX_SIDE:
        raise PictureError(
            f"{name}: {width} x {height} is {height * width:,} pixels; at most {most:,} are taken, {MAX_SIDE:,} a "
            "side: make the picture smaller"
        )


def read(data, name):
    """Decode a PNG or PPM file.

    Parameters
    ----------
    data : bytes of the file
    name : str, what the messages call it

    Returns
    -------
    rgb : (H, W, 3) uint8
    exif : bytes of the file's EXIF block, empty if there is none

    Raises
    ------
    PictureError
        If the file is damaged, too large, or of a kind that needs Pillow.

    Source: PNG (Third Edition), W3C 2025; netpbm's ppm(5) and pgm(5).
    """
    try:
        if data.startswith(PNG_MAGIC):
            return _read_png(data, name)
        if data[:2] in PPM_CHANNELS:
            return _read_ppm(data, name), b""
    except _Damage as error:
        raise PictureError(f"{name}: {error}") from error
    raise PictureError(
        f"{name}: starts with {data[:8]!r}, which is neither PNG nor binary PPM or PGM; "
        "other formats need Pillow, which is not installed (pip install pillow)"
    )


class _Damage(Exception):
    """What is wrong with a file; `read` adds the file's name."""


def _read_ppm(data, name):
    header = PPM_HEADER.match(data)
    if header is None:
        raise _Damage("damaged PPM header; expected P5 or P6, width, height and maximum")
    kind = header[1]
    width, height, most = (int(field) for field in header.groups()[1:])
    if most != 255:
        raise _Damage(f"its maximum is {most}; without Pillow only 255 is read")
    check_size(height, width, name)
    shape = (height, width, PPM_CHANNELS[kind])
    body = memoryview(data)[header.end() :][: height * width * shape[2]]
    if len(body) < height * width * shape[2]:
        raise _Damage(f"cut short: {len(body):,} bytes of pixels, expected {height * width * shape[2]:,}")
    return _repeat_gray(np.frombuffer(body, np.uint8).reshape(shape))


def _read_png(data, name):
    chunks = _png_chunks(data)
    if len(chunks.get(b"IHDR", b"")) != 13:
        raise _Damage("damaged PNG header")
    width, height, bits, kind, *methods = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    if kind not in PNG_CHANNELS or methods[:2] != [0, 0] or methods[2] > 1:
        raise _Damage(f"damaged PNG header (colour type {kind}, methods {methods})")
    if bits != 8 or methods[2]:
        found = f"PNG with {bits} bits{', interlaced' * methods[2]}"
        raise _Damage(f"{found}; without Pillow only 8 bits, not interlaced, are read")
    check_size(height, width, name)
    shape = (height, width, PNG_CHANNELS[kind])
    pixels = _png_pixels(chunks.get(b"IDAT", b""), shape)
    if kind == 3:
        if len(chunks.get(b"PLTE", b"")) not in range(3, 769, 3):
            raise _Damage(f"palette of {len(chunks.get(b'PLTE', b''))} bytes; expected 3 to 768, in threes")
        colours = np.zeros((256, 3), np.uint8)  # indices beyond the palette are black, as for Pillow and OpenCV
        colours.reshape(-1)[: len(chunks[b"PLTE"])] = np.frombuffer(chunks[b"PLTE"], np.uint8)
        return colours[pixels[..., 0]], chunks.get(b"eXIf", b"")
    return _repeat_gray(pixels), chunks.get(b"eXIf", b"")


def _png_chunks(data):
    """Type -> contents, IDAT's joined; of other types the first."""
    chunks, pixels, at = {}, [], len(PNG_MAGIC)
    while b"IEND" not in chunks:
        if len(data) < at + 12:
            raise _Damage(f"cut short after {len(data):,} bytes: no IEND chunk")
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        if data[at + 8 + length : at + 12 + length] != zlib.crc32(body, zlib.crc32(kind)).to_bytes(4, "big"):
            raise _Damage(f"chunk {kind!r} at byte {at:,} is damaged or cut short (checksum)")
        chunks.setdefault(kind, body)
        if kind == b"IDAT":
            pixels.append(body)
        at += 12 + length
    return {**chunks, b"IDAT": b"".join(pixels)}


def _png_pixels(packed, shape):
    """Inflate and unfilter: (H, W, C) uint8."""
    height, width, channels = shape
    size = height * (1 + width * channels)
    try:
        raw = zlib.decompressobj().decompress(packed, size)
    except zlib.error as error:
        raise _Damage(f"its compressed pixels are damaged ({error})") from error
    if len(raw) < size:
        raise _Damage(f"cut short: {len(raw):,} bytes of pixels, expected {size:,}")
    rows = np.frombuffer(raw, np.uint8).reshape(height, -1)
    if rows[:, 0].max() > 4:
        raise _Damage(f"its compressed pixels are damaged (row filter {rows[:, 0].max()})")
    return _unfilter(rows[:, 0], rows[:, 1:].reshape(shape))


def _unfilter(filters, coded):
    """Undo PNG's row filters along diagonals: a pixel needs its left, upper and upper left neighbour only.

    Parameters
    ----------
    filters : (H,) uint8, 0 to 4: none, sub, up, average, Paeth
    coded : (H, W, C) uint8

    Returns
    -------
    (H, W, C) uint8
    """
    height, width, channels = coded.shape
    out = np.zeros((height + 1, width + 1, channels), np.uint8)  # a row and a column of zeros for the edges
    out[1:, 1:] = coded
    flat = out.reshape(-1, channels)
    for diagonal in range(height + width - 1):
        top = max(0, diagonal - width + 1)
        count = min(height, diagonal + 1) - top
        first = (top + 1) * (width + 1) + diagonal - top + 1
        here, left, up, corner = (
            flat[start : start + (count - 1) * width + 1 : width]
            for start in (first, first - 1, first - width - 1, first - width - 2)
        )
        a, b, c = (near.astype(np.int16) for near in (left, up, corner))
        to_a, to_b, to_c = abs(b - c), abs(a - c), abs(a + b - 2 * c)
        paeth = np.where((to_a <= to_b) & (to_a <= to_c), a, np.where(to_b <= to_c, b, c))
        here += np.choose(filters[top : top + count, None], (0, a, b, (a + b) >> 1, paeth)).astype(np.uint8)
    return out[1:, 1:]


def _repeat_gray(pixels):
    """Gray, gray + alpha, RGB or RGB + alpha to RGB."""
    return np.repeat(pixels[..., :1], 3, axis=2) if pixels.shape[2] < 3 else np.ascontiguousarray(pixels[..., :3])
