"""ShowLo's network (github.com/ShowLo/MobileNetV3, mobileNetV3.py at 667c7f6)."""

from ..spec import Checkpoint, Published, Source, Variant
from .naming import TORCH_NORM, DottedNames
from .paper import SMALL


def _place(part, unit):
    if unit is None:
        return {
            "stem": ("featureList.0.0", "featureList.0.1"),
            "head": ("last_stage_layers.1", ""),
            "classifier": ("classifier.1", ""),
            "classifier.only": ("classifier", ""),
        }[part]
    module = f"featureList.{unit.index + 1}."
    if part == "last":
        return module + "0", module + "1"
    # conv1 and conv2 are sequences; without an expand convolution conv1 holds the depthwise part.
    depthwise = module + ("conv2." if unit.has_expand else "conv1.")
    project, norm = (4, 5) if unit.has_expand else (0, 1)
    return {
        "expand": (f"{module}conv1.0", f"{module}conv1.1"),
        "depthwise": (f"{depthwise}0", f"{depthwise}1"),
        "se.squeeze": (f"{depthwise}2.fc.0", ""),
        "se.excite": (f"{depthwise}2.fc.2", ""),
        # The norm that may start at zero is wrapped once more, exactly where there is a residual.
        "project": (f"{module}conv2.{project}", f"{module}conv2.{norm}" + (".lastBN" if unit.skip else "")),
    }[part]


SHOWLO = Source(
    name="showlo",
    licence="none stated by its author",
    param_name=DottedNames(_place, TORCH_NORM),
    se_stored_as="linear",
    se_bias=False,
    se_before_act=True,
    head_bias=False,
)

_URL = "https://github.com/ShowLo/MobileNetV3/raw/667c7f6cd9fda26cb96205f01272fbf506860328/"

VARIANTS = (
    Variant(
        SHOWLO,
        "mobilenetv3_small",
        SMALL,
        stem=16,
        last=576,
        head=1024,
        published=Published(67.52, 87.58, 62.47, 2.533),
        checkpoint=Checkpoint(_URL + "pretrained/best_model_wts-67.52.pth"),
    ),
)
