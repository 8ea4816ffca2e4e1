"""Keras's six networks (keras/applications/mobilenet_v3.py), as built for a fixed input size."""

from ..spec import RELU, Checkpoint, Published, Source, Variant, round8
from .paper import LARGE, SMALL, minimalistic

RATIOS_SMALL = (1, 72 / 16, 88 / 24, 4, 6, 6, 3, 3, 6, 6, 6)
RATIOS_LARGE = (1, 4, 3, 3, 3, 3, 6, 2.5, 2.3, 2.3, 6, 6, 6, 6, 6)

_NORM = {"gamma": "gamma", "beta": "beta", "mean": "moving_mean", "variance": "moving_variance"}


def _layer(part, unit):
    if unit is None:
        return {"stem": "Conv", "head": "Conv_2"}.get(part, "Logits")
    if part == "last":
        return "Conv_1"
    module = "expanded_conv" + (f"_{unit.index}" if unit.index else "")
    return f"{module}/" + {"se.squeeze": "squeeze_excite/Conv", "se.excite": "squeeze_excite/Conv_1"}.get(part, part)


def _param_name(part, unit, role):
    layer = _layer(part, unit)
    if role in _NORM:
        return f"{layer}/BatchNorm/{_NORM[role]}:0"
    if role == "weight":
        role = "depthwise_kernel" if part == "depthwise" else "kernel"
    return f"{layer}/{role}:0"


def _se_width(expand):
    return round8(0.25 * expand)


KERAS = Source(
    name="keras",
    licence="Apache-2.0",
    param_name=_param_name,
    layout="keras",
    has_count=False,
    norm_eps=1e-3,
    padding="same",
    expand_from="ratio",
    se_width=_se_width,
    classifier_stored_as="conv",
)

_URL = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v3/weights_mobilenet_v3_"
_OVER = "the docstring's count, which is not what the code builds"


def _variant(name, table, file, md5, published, width=1.0, minimal=False):
    large = table is LARGE
    return Variant(
        KERAS,
        name,
        minimalistic(table) if minimal else table,
        stem=16,
        last=round8(6 * round8(table[-1].out * width)),
        head=1280 if large else 1024,
        width=width,
        ratios=RATIOS_LARGE if large else RATIOS_SMALL,
        preprocess="keras",
        published=published,
        checkpoint=Checkpoint(f"{_URL}{file}_float.h5", md5=md5),
        **({"stem_act": RELU} if minimal else {}),
    )


# fmt: off
VARIANTS = (
    _variant("MobileNetV3Small", SMALL, "small_224_1.0", "8768d4c2e7dee89b9d02b2d03d65d862", Published(68.1, None, 66, 2.9, _OVER)),
    _variant("MobileNetV3Small_075", SMALL, "small_224_0.75", "cb65d4e5be93758266aa0a7f2c6708b7", Published(65.4, None, 44, 2.4, _OVER), 0.75),
    _variant("MobileNetV3Small_minimalistic", SMALL, "small_minimalistic_224_1.0", "99cd97fb2fcdad2bf028eb838de69e37", Published(61.9, None, 65, 2.0, _OVER), minimal=True),
    _variant("MobileNetV3Large", LARGE, "large_224_1.0", "59e551e166be033d707958cf9e29a6a7", Published(75.6, None, 217, 5.4)),
    _variant("MobileNetV3Large_075", LARGE, "large_224_0.75", "765b44a33ad4005b3ac83185abf1d0eb", Published(73.3, None, 155, 4.0), 0.75),
    _variant("MobileNetV3Large_minimalistic", LARGE, "large_minimalistic_224_1.0", "675e7b876c45c57e9e63e6d90a36599c", Published(72.3, None, 209, 3.9), minimal=True),
)
# fmt: on
