"""The names that a file gives its network, and whether a network may be the one that is meant.

Programs write such names in several spellings: timm's tf_mobilenetv3_small_100, with or without its repository and tag,
torchvision's mobilenet_v3_small, PaddleClas's MobileNetV3_small_x0_35, Keras's MobilenetV3small.
"""

import re
from dataclasses import dataclass

_SPELLED = re.compile(r"(tf)?mobilenetv3(small|large|rw|100)?(minimalistic|minimal)?(x\d+|\d{3}d?)?")
# Other families of networks for pictures, by the beginning of their names.
_OTHERS = re.compile(
    "(tf|timm)?(resnet|resnext|wideresnet|seresnet|efficientnet|mobilenetv?[124]|mobilenet$|mobilevit|mobileone|vgg|densenet|vit|"
    "deit|beit|swin|convnext|regnet|shufflenet|squeezenet|inception|ghostnet|mnasnet|semnasnet|fbnet|googlenet|alexnet|"
    "nasnet|xception|mixnet|lcnet|pplcnet|hardcorenas|tinynet|repvgg|hrnet|rexnet|edgenext|fastvit|levit|maxvit|dinov|spnasnet)"
)
_KERAS_CONFIGS = ("config.json", "model_config")  # Keras's name of a model there is one for all widths
_SOURCES = ("ppcls", "torchvision", "timm", "showlo", "sqlai", "keras", "ppocr")


@dataclass(frozen=True)
class Claim:
    """A name that a file has for its network.

    where, text : str, as in the file
    source, size, tf, minimal, width : what the name states, None for what it leaves open
    other : whether it is the name of another family of networks
    """

    where: str
    text: str
    source: str | None = None
    size: str | None = None
    tf: bool | None = None
    minimal: bool | None = None
    width: float | None = None
    other: bool = False

    def __str__(self):
        return f"{self.where} says {self.text!r}"

    @property
    def is_specific(self):
        """Whether it rules any network out: it names another family, or a size."""
        return self.other or self.size is not None

    def allows(self, variant):
        """Whether a network may be the one that is meant."""
        if self.other:
            return False
        parts = _parts(variant.name)
        pairs = [
            (self.source, variant.source.name),
            (self.size, parts["size"]),
            (self.tf, bool(parts["tf"])),
            (self.minimal, parts["minimal"]),
            (self.width, variant.width),
        ]
        return all(claimed is None or claimed == actual for claimed, actual in pairs)


def read_claims(names):
    """The specific ones of a checkpoint's `claims`, (where, name) each, as `Claim`."""
    claims = (read_claim(where, text) for where, text in names)
    return [claim for claim in claims if claim.is_specific]


def read_claim(where, text):
    """A `Claim` of a name, in whatever spelling."""
    head, slash, last = text.strip().removeprefix("hf-hub:").removeprefix("hf_hub:").rpartition("/")
    source = next((name for name in _SOURCES if slash and head.endswith(name)), None)
    plain = re.sub(r"[^a-z0-9]", "", last.lower() if source == "ppcls" else last.partition(".")[0].lower())
    if "x" in plain and "." in last:  # x0.35
        plain = re.sub(r"[^a-z0-9]", "", last.lower())
    if _OTHERS.match(plain):
        return Claim(where, text, other=True)
    if not _SPELLED.match(plain):
        return Claim(where, text)
    parts = _parts(last)
    in_timm = parts["style"] == "timm"
    loose = source == "keras" or (where.startswith(_KERAS_CONFIGS) and not parts["style"])
    return Claim(
        where,
        text,
        source or ("timm" if in_timm else None),
        parts["size"],
        bool(parts["tf"]) if in_timm or parts["tf"] else None,
        None if loose else parts["minimal"],
        None if loose else parts["width"],
    )


def _parts(name):
    """{tf, size, minimal, width, style} of a network's name; the size is None where the name has none."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    match = _SPELLED.match(plain)
    if not match:
        return {"tf": False, "size": None, "minimal": False, "width": None, "style": ""}
    tf, size, minimal, width = match.groups()
    deep = (width or "").endswith("d")
    return {
        "tf": bool(tf),
        "size": "deep" if deep else size,
        "minimal": bool(minimal),
        "width": _width(width),
        "style": "timm" if size == "rw" or (width and width[0].isdecimal()) else "ppcls" if width else "",
    }


def _width(text):
    """075 -> 0.75, x0_35 -> 0.35, nothing -> 1."""
    if not text:
        return 1.0
    if text.startswith("x"):
        digits = text[1:4]
        return float(f"{digits[0]}.{digits[1:] or 0}")
    return int(text.rstrip("d")) / 100
