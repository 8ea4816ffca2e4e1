"""What readers of quantised files have in common: steps collected, grids checked as they come."""

from dataclasses import replace

import numpy as np

from ...errors import UsageError, WeightsError
from ...network.integer_plan import LAYERS, SAME_GRID, IntegerPlan, IntegerStep
from ...network.steps import INPUT
from ...ops.grids import Grid
from ..graph_order import steps_in_canonical_order

FEW = 200  # characters of a name in an error


class PartlyInFloats(WeightsError):
    """A model that has integers, and parts that are computed in floats: no kernel set says what comes of it."""


class Builder:
    """Collects the steps of an IntegerPlan under the file's own names of tensors."""

    def __init__(self):
        self.steps, self.grids, self.arrays, self.shapes = [], {}, {}, {}
        self.same = {}  # tensor: another name for it
        self.notes, self.warnings, self.bias_rests = [], [], {}

    def known(self, name):
        """The tensor that a name of the file stands for, None if nothing made it."""
        name = self.same.get(name, name)
        return name if name in self.shapes else None

    def begin(self, name, shape, grid):
        """The picture, (C, H, W), under the file's name."""
        if len(shape) != 3 or min(shape) < 1 or max(shape) > 1 << 14:
            raise WeightsError(
                f"the input {name[:FEW]!r} is {shape}, expected channels, height and width that are told"
            )
        if self.grids.get(INPUT, grid) != grid:
            raise WeightsError(
                f"the input {name[:FEW]!r} is quantised twice, with the scales {self.grids[INPUT].scale:.6g} and {grid.scale:.6g} or "
                "with two zero points: expected one of each"
            )
        self.same[name], self.shapes[INPUT], self.grids[INPUT] = INPUT, tuple(shape), grid

    def add(self, name, op, inputs, shape, grid=None, arrays=(), **fields):
        """A step; `grid` is its input's where the operation keeps it."""
        inputs = tuple(self.same.get(source, source) for source in inputs)
        if op in SAME_GRID and grid is not None and grid != self.grids[inputs[0]]:
            raise WeightsError(
                f"the tensor {name[:FEW]!r} ({op}) has another scale than its input, whose integers it keeps"
            )
        self.steps.append(IntegerStep(name, op, inputs, tuple(shape), **fields))
        self.grids[name] = self.grids[inputs[0]] if grid is None else grid
        self.arrays |= {f"{name}.{role}": value for role, value in dict(arrays).items()}
        self.shapes[name] = tuple(shape)

    def rename(self, old, new):
        """Another name for the tensor that the last step gave."""
        self.same[new] = self.same.get(old, old)

    def layer_op(self, source, weight, *, depthwise, strides, pads):
        """(operation, weight in its layout) of a convolution with a weight (O, I, KH, KW), or (C, 1, KH, KW)."""
        if len(self.shapes[source]) == 1:
            return "linear", weight.reshape(len(weight), -1)
        if depthwise and weight.shape[1] != 1:
            raise WeightsError(f"depthwise weights for {weight.shape[1]} channels each, expected 1")
        if depthwise:
            return "depthwise_conv2d", weight.reshape(len(weight), *weight.shape[2:])
        plain = weight.shape[2:] == (1, 1) and strides == (1, 1) and not any(pads)
        return ("pointwise_conv2d", weight.reshape(weight.shape[:2])) if plain else ("conv2d", weight)

    def done(self, input_shape):
        if not self.steps:
            raise WeightsError("no operation on integers in it")
        steps = steps_in_canonical_order(self.steps, LAYERS)
        remarks = (tuple(dict.fromkeys(sentences)) for sentences in (self.notes, self.warnings))
        return IntegerPlan(steps, self.grids, self.arrays, input_shape, *remarks, self.bias_rests)


def make_grid(name, scale, zero_point, dtype):
    """A tensor's Grid, or WeightsError that names the tensor."""
    if np.size(scale) != 1 or np.size(zero_point) > 1:
        raise WeightsError(f"the tensor {name[:FEW]!r} has {np.size(scale)} scales, expected one: it is no weight")
    zero = int(np.ravel(zero_point)[0]) if np.size(zero_point) else 0
    try:
        return Grid(float(np.ravel(scale)[0]), zero, dtype)
    except UsageError as error:
        raise WeightsError(f"the tensor {name[:FEW]!r}: {error}") from error


def bias_array(name, bias, count):
    """(O,) int32 of a stored bias, or of none."""
    if bias is None:
        return np.zeros(count, np.int32)
    if bias.size != count or bias.dtype != np.int32:
        raise WeightsError(f"the tensor {name[:FEW]!r} has a bias {bias.dtype} {bias.shape}, expected {count} int32")
    return bias.reshape(count)


def renamed(plan, names):
    """The plan with the tensors of {old: new} under new names; arrays follow their steps."""

    def of(name):
        return names.get(name, name)

    steps = tuple(replace(s, name=of(s.name), inputs=tuple(map(of, s.inputs))) for s in plan.steps)
    arrays = {}
    for name, value in plan.arrays.items():
        step, _, role = name.rpartition(".")
        arrays[f"{of(step)}.{role}"] = value
    grids, rests = ({of(name): value for name, value in values.items()} for values in (plan.grids, plan.bias_rests))
    return replace(plan, steps=steps, grids=grids, arrays=arrays, bias_rests=rests)
