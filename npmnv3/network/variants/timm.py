"""timm's networks (timm/models/mobilenetv3.py): five of the table, TensorFlow's six under timm's names, and others."""

import re

from ..spec import RELU, Checkpoint, Published, Source, Variant, round8
from . import widths
from .naming import TORCH_NORM, DottedNames
from .paper import LARGE, SMALL, minimalistic

# Expanded over input channels, as timm's block strings print them.
RATIOS_SMALL = (1, 4.5, 3.67, 4, 6, 6, 3, 3, 6, 6, 6)
RATIOS_LARGE = (1, 4, 3, 3, 3, 3, 6, 2.5, 2.3, 2.3, 6, 6, 6, 6, 6)


def _place(part, unit):
    if unit is None:
        return {"stem": ("conv_stem", "bn1"), "head": ("conv_head", "")}.get(part, ("classifier", ""))
    module = f"blocks.{unit.stage}.{unit.position}."
    layer, norm = {
        "expand": ("conv_pw", "bn1"),
        "depthwise": ("conv_dw", "bn2" if unit.has_expand else "bn1"),
        "se.squeeze": ("se.conv_reduce", ""),
        "se.excite": ("se.conv_expand", ""),
        "project": ("conv_pwl", "bn3") if unit.has_expand else ("conv_pw", "bn2"),
        "last": ("conv", "bn1"),
    }[part]
    return module + layer, module + norm


def _se_width(expand):
    return round8(expand / 4)


def _se_width_rw(expand):
    return round(expand / 4)


TIMM = Source(
    name="timm",
    licence="Apache-2.0",
    param_name=DottedNames(_place, TORCH_NORM),
    expand_from="ratio",
    se_width=_se_width,
    counts_se_pool=False,
)
# TensorFlow's networks under timm's module names.
TIMM_TF = TIMM._replace(norm_eps=1e-3, padding="same")
TIMM_RW = TIMM._replace(norm_eps=1e-3, se_width=_se_width_rw, se_act=None, residual_in_first=False, head_bias=False)

_URL = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
_PADDLE = "the MFLOPs are PaddleClas's figure for its network of the nearest width"
NOT_PUBLISHED = Published()
_CHANCE = "46.02 is also this network's count by an old rule (norms and pooling included), by chance: " + _PADDLE
_NAME = re.compile(r"(tf_)?mobilenetv3_(small|large)(_minimal)?_(\d{3})")
_DEFAULT = "torchvision"  # what timm prepares pictures with where a network says nothing: bilinear, ImageNet's mean
_WRONG = "100.66 MFLOPs is wrong by every rule of counting; this is a large network"


def _checkpoint(file):
    return Checkpoint(_URL + file, file.rpartition("-")[2].removesuffix(".pth"))


def _network(source, name, table, width, published=NOT_PUBLISHED, file="", preprocess="timm", minimal=False):
    large = table is LARGE
    return Variant(
        source,
        name,
        minimalistic(table) if minimal else table,
        stem=16 if width < 0.75 else round8(16 * width),
        last=round8((960 if large else 576) * width),
        head=1280 if large else 1024,
        width=width,
        ratios=RATIOS_LARGE if large else RATIOS_SMALL,
        preprocess=preprocess,
        published=published,
        checkpoint=_checkpoint(file) if file else None,
        **({"stem_act": RELU} if minimal else {}),
    )


def _rw(name, published, file):
    return _network(TIMM_RW, name, LARGE, 1.0, published, file)


def _own(name, table, width, published, file):
    return _network(TIMM, name, table, width, published, file)


def _tf(name, table, width, published, file, minimal=False):
    return _network(TIMM_TF, name, table, width, published, file, "keras", minimal)


def of_width(name):
    """The network of a name such as mobilenetv3_small_035 or tf_mobilenetv3_large_050, None if it is none: any width can
    be built with timm, none of these is published."""
    found = _NAME.fullmatch(name)
    if not found:
        return None
    tf, size, minimal, percent = found.groups()
    if int(percent) < widths.PERCENTS[0] or (minimal and not tf):
        return None
    table, source = LARGE if size == "large" else SMALL, TIMM_TF if tf else TIMM
    return _network(
        source, name, table, int(percent) / 100, preprocess="keras" if tf else _DEFAULT, minimal=bool(minimal)
    )


def with_ends(stem, last):
    """The networks of any width whose first and last convolutions have so many channels."""
    beginnings = [f"{tf}mobilenetv3_{size}" for tf in ("", "tf_") for size in ("small", "large")]
    return widths.with_ends(of_width, beginnings, stem, last)


def _deeper(table, ratios, repeats):
    """A table and its ratios with blocks repeated, each so many times."""
    index = [i for i, count in enumerate(repeats) for _ in range(count)]
    # What is repeated keeps the channels: it has no stride.
    blocks = [table[i]._replace(stride=1) if k and i == index[k - 1] else table[i] for k, i in enumerate(index)]
    return tuple(blocks), tuple(ratios[i] for i in index)


# fmt: off
VARIANTS = (
    _rw("mobilenetv3_rw", Published(75.632, 92.708, 100.66, 5.48, _WRONG), "mobilenetv3_100-35495452.pth"),
    _own("mobilenetv3_large_100", LARGE, 1.0, Published(75.766, 92.544, 229.66, 5.48, _PADDLE), "mobilenetv3_large_100_ra-f55367f5.pth"),
    _own("mobilenetv3_small_050", SMALL, 0.5, Published(57.890, 80.194, 22.6, 1.59, _PADDLE), "mobilenetv3_small_050_lambc-4b7bbe87.pth"),
    _own("mobilenetv3_small_075", SMALL, 0.75, Published(65.242, 85.438, 46.02, 2.04, _CHANCE), "mobilenetv3_small_075_lambc-384766db.pth"),
    _own("mobilenetv3_small_100", SMALL, 1.0, Published(67.656, 87.634, 63.67, 2.54, _PADDLE), "mobilenetv3_small_100_lamb-266a294c.pth"),
)
TF_VARIANTS = (
    _tf("tf_mobilenetv3_small_100", SMALL, 1.0, Published(67.924, 87.664), "tf_mobilenetv3_small_100-37f49e2b.pth"),
    _tf("tf_mobilenetv3_small_075", SMALL, 0.75, Published(65.714, 86.134), "tf_mobilenetv3_small_075-da427f52.pth"),
    _tf("tf_mobilenetv3_small_minimal_100", SMALL, 1.0, Published(62.908, 84.234), "tf_mobilenetv3_small_minimal_100-922a7843.pth", True),
    _tf("tf_mobilenetv3_large_100", LARGE, 1.0, Published(75.518, 92.604), "tf_mobilenetv3_large_100-427764d5.pth"),
    _tf("tf_mobilenetv3_large_075", LARGE, 0.75, Published(73.436, 91.344), "tf_mobilenetv3_large_075-150ee8b0.pth"),
    _tf("tf_mobilenetv3_large_minimal_100", LARGE, 1.0, Published(72.250, 90.630), "tf_mobilenetv3_large_minimal_100-8596ae28.pth", True),
)
# fmt: on

# Blocks repeated 1.2 times, rounded up, as timm's depth_multiplier does.
_TABLE_150D, _RATIOS_150D = _deeper(LARGE, RATIOS_LARGE, (2, 1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 2, 1, 2, 1))
MORE_VARIANTS = (
    of_width("mobilenetv3_large_075"),
    _network(TIMM, "mobilenetv3_large_150d", LARGE, 1.5, preprocess="timm150d")._replace(
        table=_TABLE_150D, ratios=_RATIOS_150D, last_convs=2, side=(256, 256)
    ),
)
