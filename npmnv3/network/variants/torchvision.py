"""torchvision's two networks (torchvision/models/mobilenetv3.py)."""

import re

from ..spec import Checkpoint, Published, Source, Variant, round8
from . import widths
from .naming import TORCH_NORM, DottedNames
from .paper import LARGE, SMALL


def _place(part, unit):
    if unit is None:
        return {
            "stem": ("features.0.0", "features.0.1"),
            "head": ("classifier.0", ""),
            "classifier": ("classifier.3", ""),
            "classifier.only": ("classifier", ""),
        }[part]
    if part == "last":
        module = f"features.{unit.index + 1}"
        return f"{module}.0", f"{module}.1"
    # The parts of a block are numbered in order, and only those that exist count.
    parts = ["expand"] * unit.has_expand + ["depthwise"] + ["se"] * bool(unit.se) + ["project"]
    module = f"features.{unit.index + 1}.block.{parts.index(part.partition('.')[0])}"
    if part.startswith("se."):
        return {"se.squeeze": (f"{module}.fc1", ""), "se.excite": (f"{module}.fc2", "")}[part]
    return f"{module}.0", f"{module}.1"


def _se_width(expand):
    return round8(expand // 4)


TORCHVISION = Source(
    name="torchvision",
    licence="BSD-3-Clause",
    param_name=DottedNames(_place, TORCH_NORM),
    norm_eps=1e-3,
    se_width=_se_width,
    head_stored_as="linear",
)

_URL = "https://download.pytorch.org/models/"
_NOTE = "the MFLOPs are PaddleClas's figure for its own x1_0 network"

VARIANTS = (
    Variant(
        TORCHVISION,
        "mobilenet_v3_small",
        SMALL,
        stem=16,
        last=576,
        head=1024,
        published=Published(67.668, 87.402, 63.67, 2.5, note=_NOTE),
        checkpoint=Checkpoint(_URL + "mobilenet_v3_small-047dcff4.pth", "047dcff4"),
    ),
    Variant(
        TORCHVISION,
        "mobilenet_v3_large",
        LARGE,
        stem=16,
        last=960,
        head=1280,
        published=Published(74.042, 91.340, 229.66, 5.5, note=_NOTE),
        checkpoint=Checkpoint(_URL + "mobilenet_v3_large-8738ca79.pth", "8738ca79"),
    ),
)
_NAME = re.compile(r"(mobilenet_v3_(?:small|large))_(\d{3})")
_BY_NAME = {variant.name: variant for variant in VARIANTS}


def of_width(name):
    """The network of a name such as mobilenet_v3_small_050, None if it is none: any `width_mult` can be built with
    torchvision, but the two networks of width 1 are published."""
    found = _NAME.fullmatch(name)
    if not found or int(found[2]) < widths.PERCENTS[0] or int(found[2]) == 100:
        return None
    whole, width = _BY_NAME[found[1]], int(found[2]) / 100
    return whole._replace(
        name=name,
        stem=round8(whole.stem * width),
        last=6 * round8(whole.table[-1].out * width),
        head=round8(whole.head * width),
        width=width,
        published=Published(),
        checkpoint=None,
    )


def with_ends(stem, last):
    """The networks of any width whose first and last convolutions have so many channels."""
    return widths.with_ends(of_width, _BY_NAME, stem, last)
