"""What a row of the table is made of: frozen records, no arrays.

A `Block` is a line of the paper's table, a `Source` the rules by which one publisher turned that table into a network,
a `Variant` one published network, a `Unit` one of its blocks with every number resolved.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

RELU, HARD_SWISH = "relu", "hard_swish"


def round8(value: float, divisor: int = 8) -> int:
    """Nearest multiple of `divisor`, halves up, never below 0.9 of the value: the "make divisible" of all sources."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def quarter(channels: int) -> int:
    """A quarter, rounded down: the width of squeeze-and-excitation with most sources."""
    return channels // 4


class Block(NamedTuple):
    """One inverted residual as the paper's table prints it, at width 1.0."""

    kernel: int
    expand: int  # channels
    out: int  # channels
    se: bool
    act: str
    stride: int | tuple[int, int]  # pixels; a pair is (height, width)


class Unit(NamedTuple):
    """One block of a variant, every number resolved."""

    index: int  # type: ignore[assignment]  # which of a tuple is a method
    stage: int  # a stage is a run of blocks with the same output channels in the paper's table
    position: int  # within the stage
    inp: int  # channels, as the three below
    expand: int = 0
    out: int = 0
    se: int = 0  # inner width of squeeze-and-excitation, 0: none
    kernel: int = 1
    stride: tuple[int, int] = (1, 1)
    act: str = ""
    has_expand: bool = False
    skip: str = ""  # or "identity", "projected"


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes a network's input; see `npmnv3.preprocess`.

    decode : "pil" (no EXIF rotation, alpha dropped) or "cv2" (EXIF rotation applied)
    fit : "short" (short side to `resize`, then the centre of `side`), "squash" (both sides straight to `resize`, then
        the centre) or "line" (height to side[0], width at most side[1], padded on the right with zeros after
        normalization)
    resize : pixels the short side gets (ignored by "line")
    side : (height, width) of the result, pixels
    interpolation : "bilinear", "bicubic" (both antialiased, Pillow's) or "cv2_linear" (two taps, OpenCV's)
    mean, std : per plane, on values in 0..1, in the order of `channels`
    arithmetic : "divide" (byte / 255, minus mean, over std) or "multiply" (byte * float32(1 / 255), ...): they differ
        in the last bit
    channels : "RGB", "BGR" or "L", the planes that the network gets; "L" is one plane of luminance,
        (299 R + 587 G + 114 B) / 1000 as Pillow computes it, with one mean and one deviation

    Examples
    --------
    >>> mine = npmnv3.Preprocess("mine", resize=64, side=(64, 64), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    >>> npmnv3.preprocess("weights/examples/sign_upright.png", mine).shape
    (3, 64, 64)
    """

    name: str
    decode: str = "pil"
    fit: str = "short"
    resize: int = 256
    side: tuple[int, int] = (224, 224)
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    arithmetic: str = "divide"
    channels: str = "RGB"


class Checkpoint(NamedTuple):
    """The published file of a row's weights."""

    url: str
    sha256_prefix: str = ""  # where the file's name holds the start of its hash
    md5: str = ""  # where the publisher's code holds it

    @property
    def file(self) -> str:
        return self.url.rpartition("/")[2]


class Published(NamedTuple):
    """The figures as published for a row, right or wrong."""

    top1: float | None = None  # percent, ImageNet-1k validation
    top5: float | None = None
    mflops: float | None = None  # as printed: a count of operations by somebody's rule
    mparams: float | None = None
    note: str = ""  # what is known to be wrong with them


class Source(NamedTuple):
    """One publisher's rules. The defaults are what most of them do; a source states only its departures."""

    name: str
    licence: str
    param_name: Callable[[str, "Unit | None", str], str]  # (part, unit, role) -> the source's own name
    layout: str = "torch"  # how weights are stored: "torch", "paddle" (linear transposed) or "keras" (HWIO)
    has_count: bool = True  # norms keep num_batches_tracked
    norm_eps: float = 1e-5
    padding: str = "symmetric"  # or "same": TensorFlow's
    gate_slope: float = 1 / 6  # the gate is clip(slope * x + 0.5, 0, 1)
    expand_from: str = "table"  # "table": round8(table * width); "ratio": round8(in * ratio)
    always_expand: bool = False  # an expand convolution even where it changes nothing
    se_width: Callable[[int], int] = quarter  # of the expanded channels; no lambda, which cannot be pickled
    se_stored_as: str = "conv"  # 1x1 convolutions or "linear" layers
    se_bias: bool = True
    se_norm: bool = False  # batch norm after the squeeze
    se_act: str | None = RELU  # None: the block's own
    se_before_act: bool = False  # between the depthwise norm and its activation
    counts_se_pool: bool = True  # SE's pooling is a module that operation counters see
    residual_in_first: bool = True  # block 0 may have a residual
    skip_everywhere: bool = False  # a projected skip path where the shape changes
    act_after_add: bool = False
    head_stored_as: str = "conv"  # "conv", "linear" or "" (no head)
    head_bias: bool = True
    head_norm: bool = False
    head_gain: float = 1.0  # multiplies the head's output in inference
    classifier_stored_as: str = "linear"  # or "conv"
    pool_before: int = 0  # side of a max pooling before the global average, 0: none


class Variant(NamedTuple):
    """One published network."""

    source: Source
    name: str
    table: tuple[Block, ...]
    stem: int  # channels, resolved
    last: int
    head: int  # width of the hidden layer before the classifier, 0: none
    width: float = 1.0
    in_channels: int = 3  # of the picture: 3, or 1 for gray
    last_convs: int = 1  # how many convolutions follow the blocks
    ratios: tuple[float, ...] = ()  # expand / in, for sources with expand_from="ratio"
    stem_act: str = HARD_SWISH  # of the stem, the last convolution and the head
    num_classes: int = 1000
    side: tuple[int, int] = (224, 224)  # (height, width), pixels
    min_side: tuple[int, int] = (32, 32)
    labels: str = "imagenet"  # the label set, or "" if the classes have no names here
    preprocess: str = "torchvision"  # the recipe's name
    published: Published = Published()
    checkpoint: Checkpoint | None = None

    @property
    def full_name(self) -> str:
        return f"{self.source.name}/{self.name}"
