"""What other repositories call the parameters of the same networks.

A naming is a source's rules with other names and, for paddle's, another layout: the plan is the same, so its parameters
are too, one by one. paddle.vision's was compared with its own network, built and run; mmpretrain's was read from its
code, and PaddleOCR's from a checkpoint of it. Networks that look alike and are none of ours stand below, by what their
names show.
"""

import functools
import re
from dataclasses import dataclass

from ...network.variants.naming import PADDLE_NORM, TORCH_NORM, DottedNames


@dataclass(frozen=True)
class Naming:
    """Names of a variant's parameters.

    title : str, of whose names they are; "" for the source's own
    variant : Variant, with the names and the layout of that naming
    """

    title: str
    variant: object


def _mmpretrain(part, unit):
    if unit is None:
        return {
            "stem": ("backbone.layer0.conv", "backbone.layer0.bn"),
            "head": ("head.layers.0.fc", ""),
            "classifier": ("head.layers.1.fc", ""),
        }.get(part, ("head.fc", ""))
    module = f"backbone.layer{unit.index + 1}."
    if part == "last":
        return module + "conv", module + "bn"
    if part.startswith("se."):
        return module + {"se.squeeze": "se.conv1.conv", "se.excite": "se.conv2.conv"}[part], ""
    module += {"expand": "expand_conv", "depthwise": "depthwise_conv", "project": "linear_conv"}[part]
    return module + ".conv", module + ".bn"


def _paddle_vision(part, unit):
    if unit is None:
        heads = {"stem": ("conv.0", "conv.1"), "head": ("classifier.0", ""), "classifier": ("classifier.3", "")}
        return heads.get(part, ("classifier", ""))
    if part == "last":
        return "lastconv.0", "lastconv.1"
    module = f"blocks.{unit.index}."
    if part.startswith("se."):
        return module + {"se.squeeze": "mid_se.fc1", "se.excite": "mid_se.fc2"}[part], ""
    module += {"expand": "expand_conv", "depthwise": "bottleneck_conv", "project": "linear_conv"}[part]
    return module + ".0", module + ".1"


def _paddleocr(part, unit):
    if unit is None:
        return {"stem": ("backbone.conv1.conv", "backbone.conv1.bn")}.get(part, ("head.fc", ""))
    if part == "last":
        return "backbone.conv2.conv", "backbone.conv2.bn"
    module = f"backbone.blocks.{unit.index}."
    if part.startswith("se."):
        return module + {"se.squeeze": "mid_se.conv1", "se.excite": "mid_se.conv2"}[part], ""
    module += {"expand": "expand_conv", "depthwise": "bottleneck_conv", "project": "linear_conv"}[part]
    return module + ".conv", module + ".bn"


_TORCH, _PADDLE = {"layout": "torch", "has_count": True}, {"layout": "paddle", "has_count": False}
_TORCHVISION = ("torchvision/mobilenet_v3_small", "torchvision/mobilenet_v3_large")
_OTHERS = (  # title, names of the variants, names of the parameters, in what else the `Source` is another
    (
        "mmpretrain",
        (*_TORCHVISION, "timm/mobilenetv3_small_050", "timm/mobilenetv3_small_075"),
        DottedNames(_mmpretrain, TORCH_NORM),
        _TORCH | {"head_stored_as": "linear"},
    ),
    ("paddle.vision", _TORCHVISION, DottedNames(_paddle_vision, PADDLE_NORM), _PADDLE),
    ("PaddleOCR", ("ppocr/text_direction",), DottedNames(_paddleocr, PADDLE_NORM), _PADDLE),
    ("PaddleOCR2Pytorch", ("ppocr/text_direction",), DottedNames(_paddleocr, TORCH_NORM), _TORCH),
)


@functools.cache
def namings_of(variant):
    """The namings that a variant's parameters may have, the source's own first."""
    namings = [Naming("", variant)]
    for title, models, names, changes in _OTHERS:
        if variant.full_name in models:
            source = variant.source._replace(param_name=names, **changes)
            namings.append(Naming(title, variant._replace(source=source)))
    return tuple(namings)


# Networks of the same paper that compute otherwise: (the repository, names that must be there, what is different).
_NOT_OURS = (
    (
        "kuan-wang/pytorch-mobilenet-v3",
        ("features.1.conv.0.weight", "features.4.se.fc.0.weight"),
        "its squeeze-and-excitation follows the projection and ends in a plain sigmoid",
    ),
    (
        "d-li14/mobilenetv3.pytorch",
        ("features.1.conv.0.weight", "conv.0.weight", "classifier.0.weight"),
        "its squeeze-and-excitation stands before the activation in blocks with an expand convolution alone, or its "
        "strides are others, as the version has it",
    ),
)


def not_ours(names):
    """A sentence on the other repository's network that it is, "" where that is unknown."""
    names = set(names)
    for title, marks, difference in _NOT_OURS:
        stem = next((name for name in names if name.endswith(marks[0])), "")
        prefix = stem.removesuffix(marks[0])
        if stem and all(prefix + mark in names for mark in marks):
            return f"this is {title}'s network by its names, which is none of npmnv3's: {difference}"
    return ""


_OF_QUANTIZED = re.compile(r"(^|[._])zero_point(_\d+)?$|(^|[._])activation_post_process(_\d+)?\.")


def quantized_by_torch(names):
    """A sentence on a file of whatever PyTorch's quantisation makes of a network, by its names; "" where it is none."""
    marks = [name for name in names if _OF_QUANTIZED.search(name)]
    if not marks:
        return ""
    more = f" and {len(marks) - 1} more such arrays" * (len(marks) > 1)
    return (
        f"PyTorch quantised it, or prepared it for that ({marks[0][:100]!r}{more}): its integers are not read; give the weights "
        "from before that, or a file that is read with its integers: the state dict of one of torchvision's networks, "
        "torch.save(model.state_dict(), 'weights.pth'), what torch.onnx.export makes of a model of convert_pt2e, or of convert_fx "
        "(dynamo=False), or a quantised .onnx or .tflite"
    )
