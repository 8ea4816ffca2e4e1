"""PaddleClas's ten networks and three further sets of weights (legendary_models/mobilenet_v3.py)."""

from ..spec import Checkpoint, Published, Source, Variant, round8
from .naming import PADDLE_NORM, DottedNames
from .paper import LARGE, SMALL


def _place(part, unit):
    if unit is None:
        return {"stem": ("conv.conv", "conv.bn"), "head": ("last_conv", "")}.get(part, ("fc", ""))
    if part == "last":
        return "last_second_conv.conv", "last_second_conv.bn"
    module = f"blocks.{unit.index}."
    if part.startswith("se."):
        return module + {"se.squeeze": "mid_se.conv1", "se.excite": "mid_se.conv2"}[part], ""
    module += {"expand": "expand_conv", "depthwise": "bottleneck_conv", "project": "linear_conv"}[part]
    return module + ".conv", module + ".bn"


PPCLS = Source(
    name="ppcls",
    licence="Apache-2.0",
    param_name=DottedNames(_place, PADDLE_NORM),
    layout="paddle",
    has_count=False,
    gate_slope=0.2,
    always_expand=True,
    head_bias=False,
    head_gain=0.8,  # its dropout, p = 0.2, is in mode "downscale_in_infer"
)

_URL = "https://paddle-imagenet-models-name.bj.bcebos.com/dygraph/legendary_models/"


def _variant(size, width, top1, top5, mflops, mparams, ssld=""):
    table, last = (SMALL, 576) if size == "small" else (LARGE, 960)
    name = f"MobileNetV3_{size}_x{str(width).replace('.', '_')}{ssld}"
    return Variant(
        PPCLS,
        name,
        table,
        stem=round8(16 * width),
        last=round8(last * width),
        head=1280,
        width=width,
        preprocess="ppcls",
        published=Published(top1, top5, mflops, mparams, note="the Mparams count the norms' running statistics too"),
        checkpoint=Checkpoint(f"{_URL}{name}_pretrained.pdparams"),
    )


# fmt: off
VARIANTS = (
    #        size   width   top-1  top-5  MFLOPs Mparams
    _variant("small", 0.35, 53.03, 76.37,  14.56, 1.67),
    _variant("small", 0.35, 55.55, 77.71,  14.56, 1.67, "_ssld"),
    _variant("small", 0.5,  59.21, 81.52,  22.6,  1.91),
    _variant("small", 0.75, 66.02, 86.33,  46.02, 2.38),
    _variant("small", 1.0,  68.24, 88.06,  63.67, 2.95),
    _variant("small", 1.0,  71.29, 90.10,  63.67, 2.95, "_ssld"),
    _variant("small", 1.25, 70.67, 89.51, 100.07, 3.64),
    _variant("large", 0.35, 64.32, 85.46,  40.9,  2.11),
    _variant("large", 0.5,  69.24, 88.52,  71.83, 2.69),
    _variant("large", 0.75, 73.14, 91.08, 151.7,  3.93),
    _variant("large", 1.0,  75.32, 92.31, 229.66, 5.5),
    _variant("large", 1.0,  78.96, 94.48, 229.66, 5.5,  "_ssld"),
    _variant("large", 1.25, 76.41, 92.95, 362.7,  7.47),
)
# fmt: on
