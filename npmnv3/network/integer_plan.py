"""A quantised network as data: a flat tuple of integer steps, the grid of every tensor, and the integers of the weights.

The same kind of tuple as a plan's, walked by the same `walk`. What it holds is what an engine's file holds: nothing in it
depends on whose kernels run it.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..errors import WeightsError
from ..ops.grids import Grid
from .padding import output_sides
from .steps import INPUT

_LAYER = ("weight", "bias", "weight_scale", "weight_zero_point")

# fmt: off
#: operation -> (roles of its arrays, fields of the step that it takes, number of inputs)
INTEGER_OPS = {
    "conv2d":           (_LAYER, ("act", "stride", "pad"), 1),
    "depthwise_conv2d": (_LAYER, ("act", "stride", "pad"), 1),
    "pointwise_conv2d": (_LAYER, ("act",), 1),
    "linear":           (_LAYER, ("act",), 1),                       # a convolution of one pixel, or any engine's product
    "fully_connected":  (_LAYER, ("act",), 1),                       # TensorFlow Lite's, which some kernels round otherwise
    "relu":             ((), (), 1),
    "hard_swish":       ((), (), 1),
    "hard_sigmoid":     ((), ("slope", "offset"), 1),
    "global_avg_pool":  ((), (), 1),
    "mean_to_vector":   ((), (), 1),                                 # TensorFlow Lite's MEAN without keep_dims, another kernel
    "max_pool2d":       ((), ("kernel",), 1),                        # keeps the grid
    "pad2d":            ((), ("pad",), 1),                           # keeps the grid
    "identity":         ((), (), 1),                                 # keeps the grid
    "scale":            (("constant", "weight_scale", "weight_zero_point"), ("act",), 1),
    "mul":              ((), ("act",), 2),
    "add":              ((), ("act",), 2),
    "fill":             (("constant",), (), 0),                      # one integer everywhere
}
# fmt: on
OF_VECTORS = ("linear", "fully_connected")
LAYERS = ("conv2d", "depthwise_conv2d", "pointwise_conv2d", *OF_VECTORS)
SAME_GRID = ("max_pool2d", "pad2d", "identity")
ACTS = ("", "relu", "relu6")


@dataclass(frozen=True)
class IntegerStep:
    """One operation on integers. Shapes have no batch axis: (C, H, W) or (C,)."""

    name: str
    op: str
    inputs: tuple[str, ...]  # names of earlier steps, or INPUT
    shape: tuple[int, ...]  # of the output
    kernel: int = 0  # of a pool, pixels
    stride: tuple[int, int] = (1, 1)  # (height, width), pixels
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, bottom, left, right, pixels of what stands for 0
    act: str = ""  # fused activation
    slope: float = 0.0
    offset: float = 0.0


@dataclass(frozen=True)
class IntegerPlan:
    """Steps, grids and arrays of a quantised network.

    steps : tuple of IntegerStep; the last gives the logits
    grids : {name of a step or INPUT: Grid}
    arrays : {f"{step}.weight": int8 or uint8, in the layout of `ops.definitions`; f"{step}.bias": (O,) int32;
        f"{step}.weight_scale": (O,) or (1,) float32; f"{step}.weight_zero_point": (O,) or (1,) integers;
        f"{step}.constant": () integer}
    input_shape : (C, H, W)
    notes, warnings : sentences of what read a file
    bias_rests : {a layer's step: (O,) float64, what its bias has lost that was floats in the file, in steps of the sum}

    Raises
    ------
    WeightsError
        Whatever of this does not fit together; the message names the tensor.
    """

    steps: tuple[IntegerStep, ...]
    grids: Mapping[str, Grid]
    arrays: Mapping[str, np.ndarray]
    input_shape: tuple[int, int, int]
    notes: tuple[str, ...] = field(default=())
    warnings: tuple[str, ...] = field(default=())
    bias_rests: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        _check(self)

    def params(self, step):
        """A step's arrays in the order of its roles."""
        return [self.arrays[f"{step.name}.{role}"] for role in INTEGER_OPS[step.op][0]]


def _check(plan):
    """Everything that a step reads is there, of its kind and shape, and gives the shape that it says."""
    if not plan.steps:
        raise WeightsError("a quantised network without steps")
    names = Counter([INPUT, *(step.name for step in plan.steps)])
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice is not None:
        raise WeightsError(f"two tensors of the name {twice[:100]!r}")
    missing = next((name for name in names if name not in plan.grids), None)
    if missing is not None:
        raise WeightsError(f"the tensor {missing[:100]!r} has no scale: not quantised")
    shapes = {INPUT: tuple(plan.input_shape)}
    for step in plan.steps:
        try:
            _check_step(plan, step, shapes)
        except WeightsError as error:
            raise WeightsError(f"the tensor {step.name[:100]!r} ({step.op[:50]}): {error}") from error
        shapes[step.name] = step.shape


def _check_step(plan, step, shapes):
    if step.op not in INTEGER_OPS:
        raise WeightsError(f"no operation of MobileNetV3; known are {', '.join(INTEGER_OPS)}")
    roles, _, count = INTEGER_OPS[step.op]
    if len(step.inputs) != count or any(name not in shapes for name in step.inputs):
        raise WeightsError(f"reads {step.inputs}, expected {count} of the tensors before it")
    if step.act not in ACTS:
        raise WeightsError(f"the activation {step.act!r}, expected one of {', '.join(ACTS)}")
    absent = [f"{step.name}.{role}" for role in roles if f"{step.name}.{role}" not in plan.arrays]
    if absent:
        raise WeightsError(f"{', '.join(absent)} missing")
    if step.op in LAYERS:
        _check_layer(step, *plan.params(step))
        _check_rest(plan.bias_rests.get(step.name), step.shape[:1])
    elif step.op == "scale":
        grid = plan.grids[step.inputs[0]]
        _check_scales(*plan.params(step)[1:], 1, (min(grid.low, -128), max(grid.high, 255)))
    if step.op == "fill" and step.shape not in shapes.values():
        raise WeightsError(f"is {step.shape}, expected the shape of a tensor before it")
    if "constant" in roles:
        _check_constant(plan.params(step)[0], plan.grids[step.name] if step.op == "fill" else None)
    given = _shape(step, plan, [shapes[name] for name in step.inputs])
    if given != step.shape:
        raise WeightsError(f"gives {given}, but is said to be {step.shape}")
    if step.op in SAME_GRID and plan.grids[step.name] != plan.grids[step.inputs[0]]:
        raise WeightsError("has another grid than its input, whose integers it passes on")


def _check_layer(step, weight, bias, scale, zero):
    dims = {"conv2d": 4, "depthwise_conv2d": 3}.get(step.op, 2)
    if weight.ndim != dims or weight.dtype not in (np.int8, np.uint8):
        raise WeightsError(f"weights {weight.dtype} {weight.shape}, expected {dims} axes of int8 or uint8")
    if bias.shape != weight.shape[:1] or bias.dtype != np.int32:
        raise WeightsError(f"a bias {bias.dtype} {bias.shape}, expected int32 {weight.shape[:1]}")
    _check_scales(scale, zero, len(weight))
    if min(step.stride) < 1 or min(step.pad) < 0 or max(step.pad) > 1 << 10:
        raise WeightsError(f"stride {step.stride} and padding {step.pad}")


def _check_rest(rest, shape):
    """What a bias lost when it was rounded: half a step, or what float32 cannot hold of a large one."""
    if rest is not None and (rest.dtype != np.float64 or rest.shape != shape or not (np.abs(rest) <= 256).all()):
        raise WeightsError(f"the rest of a bias {rest.dtype} {rest.shape}, expected float64 {shape} of little size")


def _check_constant(constant, grid):
    """One integer; on this grid, if there is one."""
    if constant.shape != () or constant.dtype.kind not in "iu":
        raise WeightsError(f"a constant {constant.dtype} {constant.shape}, expected one integer")
    if grid is not None and not grid.low <= constant <= grid.high:
        raise WeightsError(f"a constant {constant}, which {grid.dtype} does not hold")


def _check_scales(scale, zero, count, ends=(-128, 255)):
    if scale.dtype != np.float32 or scale.shape not in ((1,), (count,)) or not (np.isfinite(scale) & (scale > 0)).all():
        raise WeightsError(
            f"weight scales {scale.dtype} {scale.shape} from {min(scale.flat, default='none')}, expected {count} or 1 "
            "positive finite float32"
        )
    if (
        zero.shape not in ((1,), (count,))
        or zero.dtype.kind not in "iu"
        or zero.min() < ends[0]
        or zero.max() > ends[1]
    ):
        raise WeightsError(
            f"weight zero points {zero.dtype} {zero.shape}, expected {count} or 1 integers from {ends[0]} to {ends[1]}"
        )


_OF_ANY_SHAPE = ("scale", "mul", "add", "relu", "hard_swish", "hard_sigmoid", "identity")


def _shape(step, plan, inputs):
    """What the operation gives for inputs of these shapes."""
    if step.op == "fill":
        return step.shape
    first, dims = inputs[0], 1 if step.op in OF_VECTORS else 3
    if step.op not in _OF_ANY_SHAPE and len(first) != dims:
        raise WeightsError(f"reads {first}, expected {'(C,)' if dims == 1 else '(C, H, W)'}")
    if step.op in LAYERS:
        return _layer_shape(step, plan.arrays[f"{step.name}.weight"], first)
    if step.op == "identity":
        if math.prod(first) != math.prod(step.shape):
            raise WeightsError(f"reads {first}")
        return step.shape
    if step.op == "pad2d":
        return first[0], first[1] + step.pad[0] + step.pad[1], first[2] + step.pad[2] + step.pad[3]
    if step.op in ("global_avg_pool", "mean_to_vector"):
        return first[:1]
    if step.op == "max_pool2d":
        if step.kernel < 1:
            raise WeightsError(f"a kernel of {step.kernel}")
        return first[0], first[1] // step.kernel, first[2] // step.kernel
    if step.op == "mul" and inputs[1] != first[: len(inputs[1])] or step.op == "add" and inputs[1] != first:
        raise WeightsError(f"reads {first} and {inputs[1]}")
    return first


def _layer_shape(step, weight, shape):
    channels = weight.shape[0 if step.op == "depthwise_conv2d" else 1]
    if shape[0] != channels:
        raise WeightsError(f"reads {shape[0]} channels with weights {weight.shape}")
    kernel = weight.shape[-2:] if step.op in ("conv2d", "depthwise_conv2d") else (1, 1)
    return (len(weight), *output_sides(shape[1:], kernel, step.stride, step.pad))
