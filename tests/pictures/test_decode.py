"""Every kind of picture: forms, modes, orientation, 16 bits, transparency, frames, and large ones."""

import io
import struct
import threading
import warnings

import numpy as np
import pytest
from picture_material import NAMES, PHOTOS, assert_same, encode, noise, sha256

from npmnv3.errors import PictureError
from npmnv3.pictures import decode as decoding
from npmnv3.pictures.decode import decode
from npmnv3.pictures.recipes import RECIPES, preprocess

Image = pytest.importorskip("PIL.Image", reason="pictures of most formats need Pillow")


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_picture_in_all_its_forms(recipe):
    path = PHOTOS / "rocket.jpg"
    data = path.read_bytes()
    expected = preprocess(path, recipe)
    with Image.open(path) as image:
        forms = [str(path), data, bytearray(data), memoryview(data), image, image.convert("RGB"), np.asarray(image)]
        for form in forms:
            assert_same(preprocess(form, recipe), expected, type(form).__name__)


def test_arrays():
    rgb, alpha, gray = noise(), noise(channels=4), noise(channels=1)
    assert np.shares_memory(decode(rgb), rgb) and (decode(rgb) == rgb).all()
    assert_same(decode(alpha), np.ascontiguousarray(alpha[..., :3]), "alpha dropped")
    for form in gray, gray[..., 0]:
        assert_same(decode(form), np.repeat(gray, 3, axis=2), "gray")
    flipped = decode(rgb[::-1, :, ::-1])
    assert flipped.flags.c_contiguous and (flipped == rgb[::-1, :, ::-1]).all()


@pytest.mark.parametrize(
    "mode",
    ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV", "I", "F", "I;16", "I;16B"),
)
def test_pil_modes(mode):
    first = {"I": "L", "F": "L", "I;16": "L", "I;16B": "L", "RGBa": "RGBA", "PA": "LA"}.get(mode, "RGB")
    image = Image.fromarray(noise()).convert(first).convert(mode)
    assert_same(decode(image), np.asarray(image.convert("RGB")), mode)


def test_pil_mode_without_a_way_to_rgb():
    with pytest.raises(PictureError, match="PIL image, mode La, 4 x 4: cannot be decoded"):
        decode(Image.new("La", (4, 4)))


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ("JPEG", "PNG", "WEBP"))
def test_exif_orientation(kind, orientation):
    exif = Image.Exif()
    exif[0x010F] = "a maker of cameras"
    exif[0x0112] = orientation
    data = encode(Image.fromarray(noise()), kind, exif=exif.tobytes(), **{"lossless": True} if kind == "WEBP" else {})
    with Image.open(io.BytesIO(data)) as image:
        plain = np.asarray(image.convert("RGB"))
    turned = {
        2: plain[:, ::-1],
        3: plain[::-1, ::-1],
        4: plain[::-1],
        5: plain.transpose(1, 0, 2),
        6: np.rot90(plain, -1),
        7: np.rot90(plain, 2).transpose(1, 0, 2),
        8: np.rot90(plain),
    }.get(orientation, plain)
    assert_same(decode(data, "pil"), plain, "pil")
    made = decode(data, "cv2")
    assert_same(made, turned, "cv2")
    assert made.flags.c_contiguous


def tiff_directory(order, *entries, magic=42, start=8):
    mark = "<" if order == "II" else ">"
    body = b"".join(struct.pack(mark + "HHIHH", tag, 3, 1, value, 0) for tag, value in entries)
    return order.encode() + struct.pack(mark + "HI", magic, start) + struct.pack(mark + "H", len(entries)) + body


@pytest.mark.parametrize(
    ("exif", "turned"),
    [
        (tiff_directory("II", (0x0112, 6)), True),
        (tiff_directory("MM", (0x0112, 6)), True),
        (tiff_directory("MM", (0x0128, 2), (0x0112, 6)), True),
        (tiff_directory("MM", (0x0112, 6), (0x0112, 1)), True),
        (tiff_directory("MM", (0x0128, 6)), False),
        (tiff_directory("II", (0x0112, 6), magic=43), False),
        (tiff_directory("II", (0x0112, 6), start=2000), False),
        (tiff_directory("II", (0x0112, 6))[:-5], False),
        (tiff_directory("II", (0x0112, 0x0600)), False),
        (b"XX" + tiff_directory("II", (0x0112, 6))[2:], False),
        (b"II", False),
        (b"", False),
    ],
)
def test_exif_by_hand(exif, turned):
    data = encode(Image.fromarray(noise()), "JPEG")
    marked = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif + data[2:]
    assert decode(marked, "cv2").shape == ((31, 23, 3) if turned else (23, 31, 3))


def test_cmyk_as_opencv():
    """Every pair of an ink and black, by OpenCV's formula, one number at a time."""
    ink, black = np.meshgrid(np.arange(0, 256, 5), np.arange(256))
    planes = [ink, ink, ink, black]
    image = Image.merge("CMYK", [Image.fromarray(plane.astype(np.uint8)) for plane in planes])
    rgb = decode(image, "cv2")
    for row, column in np.ndindex(ink.shape):
        light = 255 - int(black[row, column])
        assert rgb[row, column, 0] == light - (int(ink[row, column]) * light >> 8)


def test_gray_with_16_bits():
    values = np.random.default_rng(4).integers(0, 65536, (9, 11)).astype(np.uint16)
    values[0, :4] = 0, 255, 256, 65535
    data = encode(Image.fromarray(values), "PNG")
    clipped, upper = np.minimum(values, 255).astype(np.uint8), (values >> 8).astype(np.uint8)
    assert_same(decode(data, "pil"), np.repeat(clipped[..., None], 3, axis=2), "pil clips")
    assert_same(decode(data, "cv2"), np.repeat(upper[..., None], 3, axis=2), "cv2 takes the upper byte")


@pytest.mark.parametrize("how", ("pil", "cv2"))
def test_transparency_is_dropped_without_a_word(how):
    colours = Image.fromarray(noise()).quantize(200)
    for transparency in 7, bytes(range(200)):
        data = encode(colours, "PNG", transparency=transparency)
        with warnings.catch_warnings(record=True) as said:
            assert_same(decode(data, how), np.asarray(colours.convert("RGB")), "palette")
        assert not said
    rgba = noise(channels=4)
    for kind, options in ("PNG", {}), ("WEBP", {"lossless": True, "exact": True}):
        data = encode(Image.fromarray(rgba), kind, **options)
        assert_same(decode(data, how), np.ascontiguousarray(rgba[..., :3]), kind)


@pytest.mark.parametrize("kind", ("PNG", "WEBP", "TIFF"))
def test_first_frame(kind):
    frames = [Image.fromarray(noise(seed=seed)) for seed in range(3)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert_same(decode(data), np.asarray(frames[0]), kind)


@pytest.mark.parametrize("kind", ("BMP", "GIF", "PPM", "TIFF", "PNG"))
def test_formats(kind):
    gray = noise(channels=1)
    data = encode(Image.fromarray(gray[..., 0]), kind)
    assert_same(decode(data), np.repeat(gray, 3, axis=2), kind)


def test_large_pictures_are_converted_in_bands(monkeypatch):
    image = Image.merge("CMYK", Image.fromarray(noise(channels=4)).split())
    whole = decode(image, "pil"), decode(image, "cv2")
    monkeypatch.setattr(decoding, "BAND", 100)
    for how, expected in zip(("pil", "cv2"), whole):
        assert_same(decode(image, how), expected, how)


def test_the_same_from_every_thread():
    """Bits do not depend on threads, and Python's warning filters survive them."""
    before = list(warnings.filters)
    expected = {name: sha256(decode(PHOTOS / name)) for name in NAMES}
    wrong = []

    def work():
        wrong.extend(name for name in NAMES if sha256(decode(PHOTOS / name)) != expected[name])

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and list(warnings.filters) == before
