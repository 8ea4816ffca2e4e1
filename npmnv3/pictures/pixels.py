"""The stages of a recipe after decoding: resize, crop, normalise, bit for bit as each source does it.

A recipe whose `interpolation` is "cv2_linear" also rounds the long side and the crop's offset as PaddleClas does, the
others as torchvision does.
"""

import math

import numpy as np

from . import resample
from .files import pillow_image


def resized_size(height, width, recipe):
    """(height, width) in pixels that a picture of (height, width) is resized to."""
    return size_rule(recipe)(height, width, recipe)


def size_rule(recipe):
    """Which of the four functions below is a recipe's."""
    if recipe.fit == "short":
        return short_side_opencv if recipe.interpolation == "cv2_linear" else short_side
    return {"squash": squashed, "line": line_of_text}[recipe.fit]


def squashed(height, width, recipe):
    """Both sides become `resize`, whatever they were."""
    return recipe.resize, recipe.resize


def line_of_text(height, width, recipe):
    """The height of `side`, and at most its width. Source: PaddleOCR 2.7 resize_norm_img."""
    line, most = recipe.side
    return line, min(most, math.ceil(line * (width / height)))


def short_side(height, width, recipe):
    """The short side becomes `resize`, the long one is rounded down. Source: torchvision 0.29 transforms.Resize."""
    short, long = sorted((height, width))
    long = int(recipe.resize * long / short)
    return (recipe.resize, long) if height <= width else (long, recipe.resize)


def short_side_opencv(height, width, recipe):
    """The short side becomes `resize`, the long one is rounded to the nearest. Source: PaddleClas 2.6 ResizeImage."""
    scale = recipe.resize / min(height, width)
    return round(height * scale), round(width * scale)


def resize(picture, size, interpolation):
    """A picture of `size`, (height, width) pixels, of another; both (H, W, 3) uint8."""
    if interpolation == "cv2_linear":
        return resample.opencv_linear(picture, *size)
    image_module = pillow_image()
    if image_module is None:
        return resample.pillow(picture, *size, interpolation)
    # One axis a call, in the order of Pillow 13, gives the same bytes with every Pillow.
    passes = resample.pillow_passes(picture.shape[:2], size)
    image = image_module.fromarray(picture)
    for height, width in passes:
        image = image.resize((width, height), image_module.Resampling[interpolation.upper()])
    return np.asarray(image) if passes else picture


def centre(picture, recipe):
    """The middle (height, width) = `side`; a picture smaller than that gets zeros around it, as by torchvision.

    Source: torchvision 0.29 transforms.CenterCrop (halves to even); PaddleClas 2.6 CropImage (halves down).
    """
    missing = [max(side - have, 0) for side, have in zip(recipe.side, picture.shape)]
    if any(missing):
        picture = np.pad(picture, [(gap // 2, (gap + 1) // 2) for gap in missing] + [(0, 0)])
    spare = [have - side for side, have in zip(recipe.side, picture.shape)]
    top, left = (gap // 2 if recipe.interpolation == "cv2_linear" else round(gap / 2) for gap in spare)
    return picture[top : top + recipe.side[0], left : left + recipe.side[1]]


def lookup_table(recipe):
    """What each byte becomes in each plane of the network's input.

    Parameters
    ----------
    recipe : Preprocess

    Returns
    -------
    (planes, 256) float32, in the order of `recipe.channels`

    Source: torchvision 0.29 ToTensor and Normalize; PaddleClas 2.6 NormalizeImage: every step rounds to float32.
    """
    byte = np.arange(256, dtype=np.float32)
    unit = byte / np.float32(255) if recipe.arithmetic == "divide" else byte * np.float32(1 / 255)
    mean, std = (np.array(values, np.float32)[:, None] for values in (recipe.mean, recipe.std))
    return (unit - mean) / std


def luminance(picture):
    """(H, W, 3) uint8, three equal planes, of RGB. Source: Pillow 12, Convert.c, L24: ITU-R 601-2 in 16 bits."""
    red, green, blue = (picture[..., plane].astype(np.uint32) for plane in range(3))
    gray = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    return np.repeat(gray.astype(np.uint8)[..., None], 3, axis=2)


def normalise(picture, recipe):
    """The network's input, (planes, *side) float32, of (H, W, 3) uint8: the recipe's `side`, or a line less wide."""
    height, width, _ = picture.shape
    tensor = np.zeros((len(recipe.channels), *recipe.side), np.float32)  # what a line leaves free at its right stays 0
    for plane, table, channel in zip(tensor, lookup_table(recipe), recipe.channels):
        # "clip" has nothing to clip: it spares the copy that guards against indices out of range.
        table.take(picture[..., max("RGB".find(channel), 0)], out=plane[:height, :width], mode="clip")
    return tensor
