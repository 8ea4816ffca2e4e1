"""xiaolai-sqlai's two networks (github.com/xiaolai-sqlai/mobilenetv3, mobilenetv3.py at 1a70883)."""

from ..spec import Checkpoint, Published, Source, Variant
from .naming import TORCH_NORM, DottedNames
from .paper import LARGE, SMALL


def _place(part, unit):
    if unit is None:
        return {"stem": ("conv1", "bn1"), "head": ("linear3", "bn3")}.get(part, ("linear4", ""))
    if part == "last":
        return "conv2", "bn2"
    after_depthwise = unit.stride != (1, 1)
    layer, norm = {
        "expand": ("conv1", "bn1"),
        "depthwise": ("conv2", "bn2"),
        "se.squeeze": ("se.se.1", "se.se.2"),
        "se.excite": ("se.se.4", ""),
        "project": ("conv3", "bn3"),
        "shortcut.depthwise": ("skip.0", "skip.1"),
        "shortcut.pointwise": ("skip.2", "skip.3") if after_depthwise else ("skip.0", "skip.1"),
    }[part]
    return f"bneck.{unit.index}.{layer}", f"bneck.{unit.index}.{norm}"


def _se_width(expand):
    return max(expand // 4, 8)


SQLAI = Source(
    name="sqlai",
    licence="MIT",
    param_name=DottedNames(_place, TORCH_NORM),
    always_expand=True,
    se_width=_se_width,
    se_bias=False,
    se_norm=True,
    skip_everywhere=True,
    act_after_add=True,
    head_stored_as="linear",
    head_bias=False,
    head_norm=True,
)

# Block 13 expands to 672, where the paper has 960.
_LARGE = LARGE[:13] + (LARGE[13]._replace(expand=672),) + LARGE[14:]
_URL = "https://github.com/xiaolai-sqlai/mobilenetv3/raw/1a7088358ec7f27d8917d5c32c9d1182ab79a711/"

VARIANTS = (
    Variant(
        SQLAI,
        "mobilenetv3_small",
        SMALL,
        stem=16,
        last=576,
        head=1280,
        preprocess="timm",
        published=Published(69.048, 88.274, 65.639, 2.951),
        checkpoint=Checkpoint(_URL + "450_act3_mobilenetv3_small.pth"),
    ),
    Variant(
        SQLAI,
        "mobilenetv3_large",
        _LARGE,
        stem=16,
        last=960,
        head=1280,
        preprocess="timm",
        published=Published(75.796, 92.440, 231.038, 5.179),
        checkpoint=Checkpoint(_URL + "450_act3_mobilenetv3_large.pth"),
    ),
)
