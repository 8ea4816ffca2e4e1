"""Decode a picture: a path, bytes, an open file, a PIL image or an array becomes (H, W, 3) uint8, RGB.

Files may be JPEG, PNG, BMP, GIF, PPM, WebP, TIFF, AVIF, JPEG 2000, TGA and some others (`MORE_FORMATS`) where Pillow
has their decoder; without Pillow, PNG and PPM (see `npmnv3.pictures.plain`). Alpha and transparency are dropped, not
blended; palettes are looked up; of an animation the first frame is taken. Beyond that there are two ways:

* "pil" is Pillow's convert("RGB"): EXIF rotation is ignored; gray with 16 bits is clipped at 255, as Pillow and so
  torchvision do, which makes most such pictures white.
* "cv2" is OpenCV's imread: EXIF rotation is applied, but in AVIF; gray with 16 bits keeps its upper 8; CMYK goes
  through OpenCV's own formula, in TIFF through libtiff's, which also multiplies colours by their alpha; bitmaps with 16
  bits a pixel keep their 5 and 6 bits as upper ones. That makes the same bytes for JPEG, PNG, BMP, PPM with a maximum of
  255, PGM with 255 or 65535, TIFF with 8 bits in RGB, gray and CMYK and with 16 in gray, AVIF, JPEG 2000, and WebP
  (whose rotation OpenCV applies since 4.13). What OpenCV does to others is not followed:
  - PPM and PGM with a maximum below 255: it leaves their numbers as they are, here they are scaled to 255;
  - PPM with 16 bits, PGM with a maximum between: it cuts the lower 8 bits, here they are scaled and rounded (by 1 at
    most where the maximum is 65535);
  - TIFF with 16 bits in RGB: it rounds them to 8, here the lower 8 are cut; signed or in LAB: other colours;
  - GIF: other colours where it is transparent;
  - what it does not open, such as ICO, is decoded as by "pil".
"""

import contextlib
import itertools
import struct
import threading
import warnings
import zlib

import numpy as np

from ..errors import PictureError, UsageError, check_unmasked
from . import plain
from .files import describe, is_pil_image, kind_of, open_picture, pillow_image
from .plain import MAX_PIXELS, check_size

WAYS = ("pil", "cv2")
# Formats that are opened, and the pixels they may have: WebP's decoder takes twice the memory of the others.
FORMATS = dict.fromkeys(("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF"), MAX_PIXELS) | {"WEBP": MAX_PIXELS // 2}
# Formats that are tried where none of these fits, as far as this Pillow has them; the last has no mark of its own.
MORE_FORMATS = dict.fromkeys(
    ("AVIF", "JPEG2000", "QOI", "PSD", "SGI", "PCX", "SUN", "DDS", "ICO", "XPM", "XBM", "TGA"), MAX_PIXELS
) | {"AVIF": MAX_PIXELS // 2, "JPEG2000": MAX_PIXELS // 4}
BAND = 1 << 22  # pixels converted at a time, so that a large picture is not held twice
# fmt: off
DAMAGE = (  # what Pillow's readers raise when a file is not as they expect
    OSError, EOFError, SyntaxError, ValueError, TypeError, AttributeError, AssertionError, LookupError, ArithmeticError,
    RuntimeError, MemoryError, struct.error, zlib.error,
)
# fmt: on
ORIENTATION, TILE_WIDTH, TILE_LENGTH = 0x0112, 0x0142, 0x0143  # tags of TIFF and EXIF
TURNS = {  # EXIF orientation -> (transpose, then flip rows, flip columns)
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def decode(picture, how="pil"):
    """Decode a picture.

    Parameters
    ----------
    picture : str or os.PathLike (a file), bytes (a file's), binary file, PIL image, or uint8 array of RGB (H, W, 3),
        gray (H, W) or (H, W, 1), or RGB and alpha (H, W, 4)
    how : "pil" or "cv2"

    Returns
    -------
    (H, W, 3) uint8, RGB, C-contiguous; it may share the memory of the array given, and may be read-only

    Raises
    ------
    PictureError
        If the picture is missing, damaged, of an unknown format, too large or not a picture at all.
    UsageError
        If `how` is neither.
    """
    if how not in WAYS:
        raise UsageError(f"decode is {how!r}; expected one of {', '.join(WAYS)}")
    name = describe(picture)
    if isinstance(picture, np.ndarray):
        return from_array(picture, name)
    if is_pil_image(picture):
        with _damage_is_ours(name):
            return _from_pil(picture, how, name, MAX_PIXELS)
    with open_picture(picture, name) as file:
        image_module = pillow_image()
        if image_module is None:
            rgb, exif = plain.read(file.read(), name)
            return turn(rgb, exif) if how == "cv2" else rgb
        with _damage_is_ours(name, file):
            with _QUIET:
                image = open_image(image_module, file)
            return _from_pil(image, how, name, (FORMATS | MORE_FORMATS).get(image.format, MAX_PIXELS))


def file_size(picture):
    """(width, height) in pixels that a picture's file, a path or bytes, states; an EXIF rotation is not applied.

    Raises
    ------
    PictureError
    """
    name, image_module = describe(picture), pillow_image()
    with open_picture(picture, name) as file:
        if image_module is None:
            return plain.read(file.read(), name)[0].shape[1::-1]
        with _damage_is_ours(name, file), _QUIET:
            return open_image(image_module, file).size


def open_image(image_module, file):
    """A PIL image of a file in one of the formats that are read here."""
    try:
        return image_module.open(file, formats=tuple(FORMATS))
    except image_module.UnidentifiedImageError:
        image_module.init()  # loads the plugins of all formats, which takes a while
        file.seek(0)
        return image_module.open(file, formats=tuple(name for name in MORE_FORMATS if name in image_module.OPEN))


def from_array(array, name):
    """(H, W, 3) uint8 of an array of RGB, gray or RGB and alpha; PictureError if it is none of them."""
    check_unmasked(array, name, PictureError)
    if array.dtype != np.uint8:
        raise PictureError(f"{name}: expected uint8, values 0 to 255")
    if array.ndim not in (2, 3) or array.ndim == 3 and array.shape[2] not in (1, 3, 4):
        raise PictureError(f"{name}: expected (H, W, 3), (H, W), (H, W, 1) or (H, W, 4), channels last")
    check_size(*array.shape[:2], name)
    planes = array.reshape(*array.shape[:2], -1)
    return np.repeat(planes, 3, axis=2) if planes.shape[2] == 1 else np.ascontiguousarray(planes[..., :3])


@contextlib.contextmanager
def _damage_is_ours(name, file=None):
    """Whatever Pillow raises over a damaged file becomes a PictureError."""
    image_module = pillow_image()
    try:
        yield
    except image_module.DecompressionBombError as error:
        raise PictureError(f"{name}: is too large; at most {MAX_PIXELS:,} pixels are taken ({error})") from error
    except image_module.UnidentifiedImageError as error:
        if kind := kind_of(file):
            raise PictureError(f"{name}: {kind}") from error
        known = ", ".join(name for name in FORMATS | MORE_FORMATS if name in image_module.OPEN)
        raise PictureError(f"{name}: is not a picture in a format that is read here ({known}), or damaged") from error
    except DAMAGE as error:
        raise PictureError(f"{name}: cannot be decoded ({type(error).__name__}: {error})") from error


def _from_pil(image, how, name, most):
    check_size(image.height, image.width, name, most)
    tags = getattr(image, "tag_v2", {})  # a TIFF's tiles may be larger than the picture, and are decoded whole
    check_size(tags.get(TILE_LENGTH, 1), tags.get(TILE_WIDTH, 1), f"{name}: its tile", most)
    # JPEG's decoder has no warnings, and is left to run in parallel.
    with contextlib.nullcontext() if image.format in ("JPEG", "MPO") else _QUIET:
        kept = kept_bits(image, how)
        image.load()
        if how == "pil" and image.mode.startswith("I") and np.asarray(image).max() > 255:
            _warn_of_clipping(name)
        way = way_of(image, how)
        rgb = to_rgb(image, way) if image.width * image.height <= BAND else _to_rgb_in_bands(image, way)
        rgb = rgb if kept is None else rgb & kept
    return turn(rgb, exif_of(image)) if how == "cv2" else rgb


_CLIPPED = itertools.count()  # pictures that had more than they could keep: of the first it is said


def _warn_of_clipping(name):
    if not next(_CLIPPED):
        import logging

        logging.getLogger("npmnv3").warning(
            "%s: gray with 16 bits is clipped at 255, as by this network's source, and is all but white: save it with 8 bits "
            "(said once)",
            name,
        )


class _Quiet:
    """No warnings while anybody is inside: the first to enter switches them off, the last to leave on again.

    Python's warning filters belong to the whole process, so a switch for each thread would restore them out of order.
    """

    def __init__(self):
        self._lock, self._inside, self._filters = threading.Lock(), 0, None

    def __enter__(self):
        with self._lock:
            if not self._inside:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *exception):
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._filters.__exit__(*exception)


_QUIET = _Quiet()


def _to_rgb_in_bands(image, how):
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    step = max(1, BAND // image.width)
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        rgb[top:bottom] = to_rgb(image.crop((0, top, image.width, bottom)), how)
    return rgb


def kept_bits(image, how):
    """(3,) uint8 masks of what OpenCV has of a bitmap of 16 bits a pixel, None for others; before it is loaded.

    OpenCV shifts 5 and 6 bits up, Pillow scales them to 255: the upper bits are the same.
    """
    raw = image.tile[0][3] if how == "cv2" and image.format == "BMP" and image.tile else ""
    raw = raw[0] if isinstance(raw, tuple) else raw
    masks = {"BGR;15": (0xF8, 0xF8, 0xF8), "BGR;16": (0xF8, 0xFC, 0xF8)}.get(raw)
    return None if masks is None else np.array(masks, np.uint8)


def exif_of(image):
    """The EXIF block that OpenCV goes by: AVIF's is not, nor WebP's where it begins with JPEG's mark."""
    exif = image.info.get("exif")
    marked = image.format == "WEBP" and bytes(exif or b"").startswith(b"Exif\0\0")
    return None if marked or image.format == "AVIF" else exif


def way_of(image, how):
    """`how`, or "libtiff" where OpenCV leaves the colours to that library."""
    return "libtiff" if how == "cv2" and image.format == "TIFF" else how


def to_rgb(image, how):
    """(H, W, 3) uint8 of a PIL image that is loaded, or of a part of it, as `how`, one of `way_of`'s, has it."""
    if image.mode == "F":
        low, high = image.getextrema()
        if 0 <= low < high <= 1:  # it would be black
            raise ValueError(f"floats from {low:.3g} to {high:.3g}, which are no bytes: multiply them by 255")
    if how == "cv2" and image.mode == "CMYK":
        inks = np.asarray(image).astype(np.uint16)
        light = 255 - inks[..., 3:]
        return (light - (inks[..., :3] * light >> 8)).astype(np.uint8)
    if how == "libtiff" and image.mode in ("CMYK", "RGBA"):
        cmyk = image.mode == "CMYK"
        planes = (255 - np.asarray(image) if cmyk else np.asarray(image)).astype(np.uint16)
        return ((planes[..., :3] * planes[..., 3:] + (0 if cmyk else 127)) // 255).astype(np.uint8)
    if how != "pil" and image.mode.startswith("I"):
        gray = np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def turn(rgb, exif):
    """Apply the EXIF orientation as OpenCV's imread does."""
    orientation = _orientation(exif) if isinstance(exif, bytes) else 1
    if orientation not in TURNS:
        return rgb
    transpose, flip_rows, flip_columns = TURNS[orientation]
    turned = rgb.transpose(1, 0, 2) if transpose else rgb
    return np.ascontiguousarray(turned[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])


def _orientation(exif):
    """The orientation that a block of EXIF bytes states: 1 to 8, 1 if it states none.

    Source: Exif 2.32, section 4.6; read as leniently as by OpenCV, modules/imgcodecs/src/exif.cpp.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "little", b"MM": "big"}.get(exif[:2])

    def number(at, size):
        return int.from_bytes(exif[at : at + size], order)

    if order is None or number(2, 2) != 42:
        return 1
    directory = number(4, 4)
    for entry in range(directory + 2, min(directory + 2 + 12 * number(directory, 2), len(exif) - 11), 12):
        if number(entry, 2) == ORIENTATION:
            return number(entry + 8, 2)
    return 1
