"""From picture to tensor: the sources' own bytes, every kind of picture, custom recipes, and what is refused."""

import dataclasses
import hashlib
import io
import os
import pathlib
import struct
import threading
import warnings
import zlib

import goldens
import h5py
import numpy as np
import pytest

from npmnv3.errors import PictureError, UsageError
from npmnv3.network.spec import Preprocess
from npmnv3.pictures import decode as decoding
from npmnv3.pictures import recipes
from npmnv3.pictures.decode import decode
from npmnv3.pictures.plain import MAX_PIXELS
from npmnv3.pictures.recipes import RECIPES, find_recipe, lookup_table, preprocess, stages

PHOTOS = goldens.CUT / "photos"
FULL = goldens.SHARED / "golden" / "preprocess.h5"
GOLDEN = FULL if FULL.exists() else goldens.CUT / "preprocess.h5"  # the cut has hashes where the full one has pixels
NAMES = sorted(photo.name for photo in PHOTOS.glob("*.*") if photo.suffix in (".png", ".jpg"))
PIPELINES = ("torchvision", "timm", "ppcls")

Image = pytest.importorskip("PIL.Image", reason="pictures of most formats need Pillow")


@pytest.fixture
def without_pillow(monkeypatch):
    monkeypatch.setattr(recipes, "pillow_image", lambda: None)
    monkeypatch.setattr(decoding, "pillow_image", lambda: None)


def sha256(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def assert_same(got, expected, what):
    assert got.shape == expected.shape and got.dtype == expected.dtype, (what, got.shape, expected.shape, got.dtype)
    off = np.abs(got.astype(float) - expected)
    worst = np.unravel_index(off.argmax(), off.shape)
    message = f"{what}: {np.count_nonzero(off)} differ, at {worst} {got[worst]} instead of {expected[worst]}"
    assert not off.any(), message


def check_golden(name, pipeline):
    made = stages(PHOTOS / name, pipeline)
    with h5py.File(GOLDEN) as file:
        picture = file[name]
        golden = picture[pipeline]
        where = f"{name}, {pipeline}"
        assert made["resized"].shape[1::-1] == tuple(golden.attrs["resized_wh"]), where
        if "crop" in golden:
            assert_same(made["decoded"], (golden if "rgb" in golden else picture)["rgb"][...], f"{where}, decoded")
            assert_same(made["cropped"], golden["crop"][...], f"{where}, cropped")
        else:
            assert sha256(made["decoded"]) == golden.attrs["rgb_sha256"], f"{where}, decoded"
            assert sha256(made["cropped"]) == golden.attrs["crop_sha256"], f"{where}, cropped"
        left, top = golden.attrs["crop_xy"]
        assert_same(made["cropped"], made["resized"][top : top + 224, left : left + 224], f"{where}, crop's place")
        assert sha256(made["normalised"]) == golden.attrs["tensor_sha256"], f"{where}, normalised"


def test_all_golden_pictures_are_here():
    with h5py.File(GOLDEN) as file:
        assert sorted(set(file) - {"lut"}) == NAMES and len(NAMES) == 13


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("name", NAMES)
def test_golden(name, pipeline):
    check_golden(name, pipeline)


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".png")])
def test_golden_without_pillow(name, pipeline, without_pillow):
    check_golden(name, pipeline)


@pytest.mark.parametrize("pipeline", ("torch", "ppcls"))
def test_lookup_table(pipeline):
    with h5py.File(GOLDEN) as file:
        table = lookup_table(RECIPES["torchvision" if pipeline == "torch" else pipeline])
        assert_same(table, file[f"lut/{pipeline}"][...], pipeline)


@pytest.mark.parametrize("where", (goldens.CUT, goldens.SHARED / "golden"), ids=("cut", "full"))
def test_golden_text_lines(where):
    folder = where / "ppocr_cls"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}, which is not here")
    with h5py.File(folder / "expected.h5") as file:
        assert len(file) == 10
        for name, golden in file.items():
            photo = folder / name
            if not photo.exists():
                pytest.skip(f"needs {photo}, which is not here")
            made = stages(photo, "ppocr")
            assert_same(made["resized"][..., ::-1], golden["resized_bgr"][...], name)
            assert sha256(made["normalised"]) == golden.attrs["input_sha256"], name


# Recipes


def test_stages_and_preprocess_are_one_way():
    made = stages(PHOTOS / "made_tiny.jpg", "ppcls")
    assert list(made) == ["decoded", "resized", "cropped", "normalised"]
    assert [made[key].shape for key in made] == [(56, 75, 3), (256, 343, 3), (224, 224, 3), (3, 224, 224)]
    assert [made[key].dtype for key in made] == 3 * [np.uint8] + [np.float32]
    tensor = preprocess(PHOTOS / "made_tiny.jpg", "ppcls")
    assert tensor.flags.c_contiguous and tensor.dtype == np.float32
    assert_same(tensor, made["normalised"], "preprocess against stages")


def test_recipes():
    assert list(RECIPES) == ["torchvision", "timm", "ppcls", "keras", "timm150d", "ppocr"]
    assert all(recipe.name == name and find_recipe(recipe) is recipe for name, recipe in RECIPES.items())
    assert RECIPES["torchvision"] == Preprocess("torchvision")
    assert lookup_table(RECIPES["keras"])[:, [0, 255]].tolist() == 3 * [[-1, 1]]


class Model:
    preprocess = RECIPES["timm"]


def test_recipe_of_a_model():
    expected = preprocess(PHOTOS / "made_tiny.jpg", "timm")
    assert_same(preprocess(PHOTOS / "made_tiny.jpg", Model()), expected, "a model's recipe")


@pytest.mark.parametrize(
    ("size", "recipe", "resized"),
    [
        ((300, 451), "torchvision", (256, 384)),  # 384.85, cut off
        ((300, 451), "ppcls", (256, 385)),  # rounded
        ((451, 300), "torchvision", (384, 256)),
        ((256, 341), "timm", (256, 341)),
        ((9, 9), "ppcls", (256, 256)),
        ((5, 1000), "torchvision", (256, 51200)),
        ((32, 64), "ppocr", (48, 96)),
        ((10, 15), "ppocr", (48, 72)),
        ((33, 100), "ppocr", (48, 146)),  # 145.45, up
        ((32, 500), "ppocr", (48, 192)),  # squeezed
        ((900, 2), "ppocr", (48, 1)),
    ],
)
def test_sizes(size, recipe, resized):
    picture = np.zeros((*size, 3), np.uint8)
    assert stages(picture, recipe)["resized"].shape == (*resized, 3)


def test_a_line_is_padded_with_zeros_after_normalization():
    tensor = preprocess(np.zeros((48, 50, 3), np.uint8), "ppocr")
    assert (tensor[:, :, :50] == -1).all() and (tensor[:, :, 50:] == 0).all() and tensor.shape == (3, 48, 192)


def test_custom_recipe():
    """Every field changed, on a picture where the result is known: nothing is resampled."""
    picture = np.random.default_rng(5).integers(0, 256, (40, 61, 3), dtype=np.uint8)
    recipe = Preprocess("mine", resize=40, side=(21, 32), mean=(0.1, 0.2, 0.3), std=(1, 2, 3), channels="BGR")
    crop = picture[10:31, 14:46]  # 9.5 and 14.5, halves to even
    mean, std = (np.float32(v)[:, None, None] for v in (recipe.mean, recipe.std))
    expected = (crop.transpose(2, 0, 1)[::-1] / np.float32(255) - mean) / std
    assert_same(preprocess(picture, recipe), expected, "mine")
    lower = preprocess(picture, dataclasses.replace(recipe, interpolation="cv2_linear"))
    mean_of_lower = (picture[9:30, 14:46].transpose(2, 0, 1)[::-1] / np.float32(255) - mean) / std
    assert_same(lower, mean_of_lower, "halves down, as ppcls")


def test_squash():
    picture = np.random.default_rng(6).integers(0, 256, (31, 77, 3), dtype=np.uint8)
    made = stages(picture, Preprocess("device", fit="squash", interpolation="cv2_linear"))
    assert made["resized"].shape == (256, 256, 3)
    assert_same(made["cropped"], made["resized"][16:240, 16:240], "squash")


def test_a_small_picture_is_padded_before_the_crop():
    """As torchvision's CenterCrop: zeros around it, the odd one at the right and at the bottom."""
    picture = np.full((5, 8, 3), 200, np.uint8)
    cropped = stages(picture, Preprocess("small", resize=5, side=(8, 6)))["cropped"]
    expected = np.zeros((8, 6, 3), np.uint8)
    expected[1:6] = 200
    assert_same(cropped, expected, "padded")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"decode": "opencv"}, "decode is 'opencv'; expected one of pil, cv2"),
        ({"fit": "long"}, "fit is 'long'"),
        ({"interpolation": "nearest"}, "interpolation is 'nearest'; expected one of bilinear, bicubic, cv2_linear"),
        ({"arithmetic": None}, "arithmetic is None"),
        ({"channels": "GRAY"}, "channels is 'GRAY'; expected one of RGB, BGR"),
        ({"resize": 0}, "resize is 0; expected a whole number of pixels, 1 to 4096"),
        ({"resize": 256.0}, "resize is 256.0"),
        ({"resize": True}, "resize is True"),
        ({"resize": 10**9}, "resize is 1000000000"),
        ({"side": 224}, r"side is 224; expected \(height, width\)"),
        ({"side": (224, -1)}, r"side is \(224, -1\)"),
        ({"side": (224, 224, 3)}, "side is"),
        ({"mean": (0.5, 0.5)}, r"mean is \(0.5, 0.5\); expected 3 numbers"),
        ({"mean": (0.5, 0.5, float("nan"))}, "mean is"),
        ({"mean": "0.5"}, "mean is '0.5'"),
        ({"std": (0.5, 0, 0.5)}, "std is"),
        ({"std": (0.5, float("inf"), 0.5)}, "std is"),
        ({"std": (0.5, -0.5, 0.5)}, "std is"),
        ({"std": (0.5, 1e-9, 0.5)}, "std is"),
    ],
)
def test_impossible_recipes(change, complaint):
    with pytest.raises(UsageError, match="recipe 'timm': " + complaint):
        preprocess(np.zeros((4, 4, 3), np.uint8), dataclasses.replace(RECIPES["timm"], **change))


@pytest.mark.parametrize("recipe", ("resnet", None, 3, {}, "", b"timm", Preprocess))
def test_unknown_recipes(recipe):
    with pytest.raises(
        UsageError, match="is unknown; expected one of torchvision, timm, ppcls, keras, timm150d, ppocr"
    ):
        preprocess(np.zeros((4, 4, 3), np.uint8), recipe)


# Kinds of pictures


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(height=23, width=31, channels=3, seed=0):
    return np.random.default_rng([height, width, channels, seed]).integers(
        0, 256, (height, width, channels), dtype=np.uint8
    )


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


# What is refused


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
        "folder.png": "is a folder",
        "missing.png": r"cannot be opened \(No such file",
    }
    for name, complaint in complaints.items():
        for path in tmp_path / name, str(tmp_path / name):
            with pytest.raises(PictureError, match=f"{name}: {complaint}"):
                preprocess(path, "ppcls")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(PictureError, match="pipe.jpg: is not a file"):
        decode(tmp_path / "pipe.jpg")


@pytest.mark.parametrize(
    ("picture", "complaint"),
    [
        ("", "empty path: cannot be opened"),
        ("a\0b.png", "cannot be opened"),
        ("x" * 10000, "cannot be opened"),
        (b"", "picture of 0 bytes: is empty"),
        (b"GIF89a", "picture of 6 bytes: "),
        (None, "picture of type NoneType: expected a path, the bytes of a file, a PIL image or a uint8 array"),
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
