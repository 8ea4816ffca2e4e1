"""PaddleOCR's text-direction classifier (ch_ppocr_mobile_v2.0_cls), read from its published graph."""

from ..spec import Source, Variant, round8
from .paper import SMALL

_NORM = {"gamma": "scale", "beta": "offset", "mean": "mean", "variance": "variance"}
_LAYER = {"weight": "weights", "bias": "offset"}
_IN_BLOCK = {"se.squeeze": "se_1", "se.excite": "se_2", "project": "linear"}


def _param_name(part, unit, role):
    if part == "classifier":
        return {"weight": "fc_0.w_0", "bias": "fc_0.b_0"}[role]
    if unit is None:
        layer = "conv1"
    elif part == "last":
        layer = "conv_last"
    else:
        layer = f"conv{unit.index + 2}_{_IN_BLOCK.get(part, part)}"
    return f"{layer}_bn_{_NORM[role]}" if role in _NORM else f"{layer}_{_LAYER[role]}"


PPOCR = Source(
    name="ppocr",
    licence="Apache-2.0",
    param_name=_param_name,
    layout="paddle",
    has_count=False,
    gate_slope=0.2,
    always_expand=True,
    head_stored_as="",
    pool_before=2,
)

# A line of text is wide: below the stem only the height is halved.
_TABLE = tuple(block._replace(stride=(block.stride, 1)) for block in SMALL)

VARIANTS = (
    Variant(
        PPOCR,
        "text_direction",
        _TABLE,
        stem=round8(16 * 0.35),
        last=round8(576 * 0.35),
        head=0,
        width=0.35,
        num_classes=2,
        side=(48, 192),
        min_side=(33, 32),
        labels="",
        preprocess="ppocr",
    ),
)
