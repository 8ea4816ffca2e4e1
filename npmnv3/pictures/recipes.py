"""From a picture to a network's input, by the recipe of each source, bit for bit.

    picture -> decoded -> resized -> cropped -> normalised
               (H, W, 3) uint8, RGB             (3, H, W) float32

A recipe is a `Preprocess`. Each field belongs to one stage: `decode` to the first (see `npmnv3.pictures`); `fit`, `resize`
and `interpolation` to the second; `side` to the third; the others to the last. `pixels` has the arithmetic of all but the
first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import UsageError
from ..network.spec import Preprocess
from .decode import WAYS, decode
from .files import describe
from .pixels import centre, luminance, normalise, resize, resized_size
from .plain import check_size

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    import numpy.typing as npt
    import PIL.Image

    class HasRecipe(Protocol):
        """Such as a model."""

        @property
        def preprocess(self) -> Preprocess | None: ...

    #: What `preprocess` takes.
    Picture = str | os.PathLike[str] | bytes | IO[bytes] | PIL.Image.Image | npt.NDArray[np.uint8]

HALF = (0.5, 0.5, 0.5)
# fmt: off
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Preprocess("torchvision"),  # showlo's too
        Preprocess("timm", interpolation="bicubic"),  # sqlai's too
        Preprocess("ppcls", decode="cv2", interpolation="cv2_linear", arithmetic="multiply"),
        Preprocess("keras", mean=HALF, std=HALF),
        Preprocess("timm150d", resize=269, side=(256, 256), mean=HALF, std=HALF),
        Preprocess("ppocr", decode="cv2", fit="line", side=(48, 192), interpolation="cv2_linear",
                   mean=HALF, std=HALF, channels="BGR"),
    )
}
CHOICES = {
    "decode": WAYS,
    "fit": ("short", "squash", "line"),
    "interpolation": ("bilinear", "bicubic", "cv2_linear"),
    "arithmetic": ("divide", "multiply"),
    "channels": ("RGB", "BGR", "L"),
}
# fmt: on
MAX_SIDE = 4096  # pixels of `resize` and `side`


def preprocess(picture: Picture, recipe: str | Preprocess | HasRecipe) -> npt.NDArray[np.float32]:
    """Make a picture the input of a network.

    Parameters
    ----------
    picture : str or os.PathLike (a file), bytes (a file's), binary file, PIL image, or uint8 array of RGB (H, W, 3),
        gray (H, W) or (H, W, 1), or RGB and alpha (H, W, 4), whose alpha is dropped
    recipe : a name in `RECIPES`, a `Preprocess`, or whatever has one as its attribute `preprocess`, such as a model

    Returns
    -------
    (3, H, W) float32, or (1, H, W) where the recipe's channels are "L", C-contiguous; (H, W) is its `side`

    Raises
    ------
    PictureError
        If the picture cannot be read or used: missing, damaged, of an unknown format, or larger than `check_size`
        allows, before or after resizing.
    UsageError
        If the recipe is unknown or impossible.

    Examples
    --------
    >>> x = npmnv3.preprocess("weights/examples/sign_upright.png", "torchvision")
    >>> x.shape, x.dtype
    ((3, 224, 224), dtype('float32'))
    >>> model = npmnv3.load("ppocr/text_direction")
    >>> npmnv3.preprocess(np.zeros((48, 96, 3), np.uint8), model)[:, 0, 95:97].tolist()
    [[-1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]]
    """
    for _, tensor in _walk(picture, recipe):  # noqa: B007
        pass  # no stage is held longer than the next one needs it
    return tensor


def stages(picture: Picture, recipe: str | Preprocess | HasRecipe) -> dict[str, npt.NDArray[np.generic]]:
    """Every stage of `preprocess`, in order: to compare with another implementation.

    Parameters
    ----------
    picture, recipe : as for `preprocess`

    Returns
    -------
    dict of str to array: "decoded", "resized" and "cropped" are (H, W, 3) uint8, always RGB; "normalised" is what
    `preprocess` returns. A stage with nothing to do hands on the array before it.

    Raises
    ------
    PictureError, UsageError

    Examples
    --------
    >>> from npmnv3.pictures.recipes import stages
    >>> {name: array.shape for name, array in stages("weights/examples/sign_upright.png", "ppcls").items()}
    {'decoded': ..., 'resized': ..., 'cropped': (224, 224, 3), 'normalised': (3, 224, 224)}
    """
    return dict(_walk(picture, recipe))


def _walk(picture: Picture, recipe: str | Preprocess | HasRecipe) -> Iterator[tuple[str, Any]]:
    recipe = find_recipe(recipe)
    name = describe(picture)
    pixels = decode(picture, recipe.decode)
    yield "decoded", pixels
    if recipe.channels == "L":
        pixels = luminance(pixels)
    height, width = resized_size(pixels.shape[0], pixels.shape[1], recipe)
    check_size(height, width, f"{name}, resized for {recipe.name}")
    pixels = resize(pixels, (height, width), recipe.interpolation)
    yield "resized", pixels
    if recipe.fit != "line":
        pixels = centre(pixels, recipe)
    yield "cropped", pixels
    yield "normalised", normalise(pixels, recipe)


def find_recipe(recipe: str | Preprocess | HasRecipe) -> Preprocess:
    """The checked `Preprocess` behind a name, a recipe or a model.

    Parameters
    ----------
    recipe : as for `preprocess`

    Returns
    -------
    Preprocess

    Raises
    ------
    UsageError
    """
    recipe = getattr(recipe, "preprocess", recipe)
    if isinstance(recipe, str) and recipe in RECIPES:
        return RECIPES[recipe]
    if not isinstance(recipe, Preprocess):
        raise UsageError(f"recipe {recipe!r} is unknown; expected one of {', '.join(RECIPES)}, a Preprocess or a model")
    if not isinstance(recipe.name, str):
        raise _impossible(recipe, "name", "a text")
    for field, known in CHOICES.items():
        if getattr(recipe, field) not in known:
            raise _impossible(recipe, field, f"one of {', '.join(known)}")
    if not _is_side(recipe.resize):
        raise _impossible(recipe, "resize", f"a whole number of pixels, 1 to {MAX_SIDE}")
    if not _are(_is_side, recipe.side, 2):
        raise _impossible(recipe, "side", f"(height, width), whole numbers of pixels, 1 to {MAX_SIDE}")
    planes = len(recipe.channels)
    if not _are(_is_moderate, recipe.mean, planes):
        raise _impossible(recipe, "mean", f"{planes} numbers, -1e6 to 1e6")
    if not _are(_is_moderate, recipe.std, planes) or min(recipe.std) < 1e-6:
        raise _impossible(recipe, "std", f"{planes} numbers, 1e-6 to 1e6")
    return recipe


def _are(kind, values, count):
    return isinstance(values, (tuple, list, np.ndarray)) and len(values) == count and all(map(kind, values))


def _is_side(value):
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and 1 <= value <= MAX_SIDE


def _is_moderate(value):
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    return number and abs(value) <= 1e6


def _impossible(recipe, field, expected):
    return UsageError(f"recipe {recipe.name!r}: {field} is {getattr(recipe, field)!r}; expected {expected}")


def at_side(recipe: Preprocess, side: tuple[int, int]) -> Preprocess:
    """A recipe for another input size, (height, width) pixels: resized in the same proportion, the rest the same."""
    if tuple(side) == recipe.side:
        return recipe
    resize = max(1, round(recipe.resize * min(side) / min(recipe.side)))
    return replace(recipe, name=f"{recipe.name} at {side[0]} x {side[1]}", side=(side[0], side[1]), resize=resize)


def for_planes(recipe: Preprocess, planes: int) -> Preprocess:
    """The recipe for a network that takes so many planes: 1 is luminance, with the averages of the means and deviations.

    Raises
    ------
    UsageError
        A recipe of luminance for a network that takes colours.
    """
    if planes == len(recipe.channels):
        return recipe
    if planes != 1:
        raise UsageError(
            f"recipe {recipe.name!r} makes {len(recipe.channels)} plane{'s'[: len(recipe.channels) > 1]}, the network takes {planes}"
        )
    mean, std = ((round(sum(values) / len(values), 6),) for values in (recipe.mean, recipe.std))
    return replace(recipe, name=f"{recipe.name}, gray", channels="L", mean=mean, std=std)
