"""timm's networks (timm/models/mobilenetv3.py): five of the table, and TensorFlow's six under timm's names."""

from dataclasses import replace

from ..spec import RELU, Checkpoint, Published, Source, Variant, round8
from .naming import TORCH_NORM, DottedNames
from .paper import LARGE, SMALL, minimalistic

# Expanded over input channels, as timm's block strings print them.
RATIOS_SMALL = (1, 4.5, 3.67, 4, 6, 6, 3, 3, 6, 6, 6)
RATIOS_LARGE = (1, 4, 3, 3, 3, 3, 6, 2.5, 2.3, 2.3, 6, 6, 6, 6, 6)


def _place(part, unit):
    if unit is None:
        return {"stem": ("conv_stem", "bn1"), "head": ("conv_head", ""), "classifier": ("classifier", "")}[part]
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
TIMM_TF = replace(TIMM, norm_eps=1e-3, padding="same")
TIMM_RW = replace(TIMM, norm_eps=1e-3, se_width=_se_width_rw, se_act=None, residual_in_first=False, head_bias=False)

_URL = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
_PADDLE = "the MFLOPs are PaddleClas's figure for its network of the nearest width"
_CHANCE = "46.02 is also this network's count by an old rule (norms and pooling included), by chance: " + _PADDLE
_WRONG = "100.66 MFLOPs is wrong by every rule of counting; this is a large network"


def _checkpoint(file):
    return Checkpoint(_URL + file, file.rpartition("-")[2].removesuffix(".pth"))


def _small(name, width, published, file):
    return Variant(
        TIMM,
        name,
        SMALL,
        stem=16 if width < 0.75 else round8(16 * width),
        last=round8(6 * round8(96 * width)),
        head=1024,
        width=width,
        ratios=RATIOS_SMALL,
        preprocess="timm",
        published=published,
        checkpoint=_checkpoint(file),
    )


def _large(source, name, published, file):
    return Variant(
        source,
        name,
        LARGE,
        stem=16,
        last=960,
        head=1280,
        ratios=RATIOS_LARGE,
        preprocess="timm",
        published=published,
        checkpoint=_checkpoint(file),
    )


def _tf(name, table, width, published, file, minimal=False):
    large = table is LARGE
    return Variant(
        TIMM_TF,
        name,
        minimalistic(table) if minimal else table,
        stem=16,
        last=round8(6 * round8(table[-1].out * width)),
        head=1280 if large else 1024,
        width=width,
        ratios=RATIOS_LARGE if large else RATIOS_SMALL,
        preprocess="keras",
        published=published,
        checkpoint=_checkpoint(file),
        **({"stem_act": RELU} if minimal else {}),
    )


# fmt: off
VARIANTS = (
    _large(TIMM_RW, "mobilenetv3_rw", Published(75.632, 92.708, 100.66, 5.48, _WRONG), "mobilenetv3_100-35495452.pth"),
    _large(TIMM, "mobilenetv3_large_100", Published(75.766, 92.544, 229.66, 5.48, _PADDLE), "mobilenetv3_large_100_ra-f55367f5.pth"),
    _small("mobilenetv3_small_050", 0.5, Published(57.890, 80.194, 22.6, 1.59, _PADDLE), "mobilenetv3_small_050_lambc-4b7bbe87.pth"),
    _small("mobilenetv3_small_075", 0.75, Published(65.242, 85.438, 46.02, 2.04, _CHANCE), "mobilenetv3_small_075_lambc-384766db.pth"),
    _small("mobilenetv3_small_100", 1.0, Published(67.656, 87.634, 63.67, 2.54, _PADDLE), "mobilenetv3_small_100_lamb-266a294c.pth"),
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
