"""Operations that a quantised graph has before its first layer: how it prepares pictures itself, in integers."""

from dataclasses import dataclass, replace

import numpy as np

from ...network.integer_plan import LAYERS
from ...network.steps import INPUT
from ...pictures.recipes import RECIPES, at_side

_OPS = ("scale", "fill", "add")
_BYTES = 128, 512  # between these is the end of an input's range that is taken for one of bytes, 255


@dataclass(frozen=True)
class Preparation:
    """What a graph does to pictures before its first layer.

    names : {the step's name: what it is called in a dump}; empty where there are none, or they are folded into the layer
    last : name of the tensor that the first layer reads in place of the input
    scale, offset : of the input's real values, as the integers have them
    grid : of the input
    """

    names: dict
    last: str = INPUT
    scale: float = 1.0
    offset: float = 0.0
    grid: object = None

    def description(self):
        """(whether it takes bytes, the sentence on it); "" where there is nothing to say."""
        done = f"{len(self.names)} steps of it prepare the picture, about x * {self.scale:.6g} {self.offset:+.6g}"
        low, high = (self.grid.scale * (end - self.grid.zero_point) for end in (self.grid.low, self.grid.high))
        ends = f"its input's integers stand for {low:.4g} to {high:.4g}"
        if low > -_BYTES[0] and _BYTES[0] < high < _BYTES[1]:
            text = f"{ends}: taken for the bytes of a picture as they are, and the dump says so"
            return True, f"{done}; {text}" if self.names else text
        text = f"{done}, but {ends}, which are no bytes: nothing says how pictures are prepared before that"
        return False, text if self.names else ""

    def recipe(self, variant, side):
        """The network's own, but for bytes as they are."""
        usual = RECIPES[variant.preprocess]
        planes = len(usual.channels)
        plain = replace(usual, name=f"{usual.name}, bytes", mean=(0.0,) * planes, std=(1 / 255,) * planes)
        return at_side(plain, side)


def preparation(plan):
    """The Preparation of an IntegerPlan: products and sums with single numbers, in a row from the input."""
    values, names = {INPUT: (1.0, 0.0)}, {}
    for i, step in enumerate(plan.steps):
        if step.op in LAYERS:
            break
        if step.op not in _OPS or any(name not in values for name in step.inputs):
            continue
        values[step.name] = _affine(plan, step, [values[name] for name in step.inputs])
        names[step.name] = f"prepare.{i}.{step.op}"
    if not names:
        return Preparation({}, grid=plan.grids[INPUT])
    last = next(reversed(names))
    return Preparation(names, last, *values[last], plan.grids[INPUT])


def constant_of(plan, step):
    """The real number that a `fill` gives, or that a `scale` multiplies by."""
    constant, *grid = plan.params(step)
    if step.op == "fill":
        return float(plan.grids[step.name].dequantize(constant))
    scale, zero = grid
    return float(scale[0]) * (int(constant) - int(zero[0]))


def _affine(plan, step, inputs):
    """(scale, offset) of a step's real values against the input's."""
    if step.op == "fill":
        return 0.0, constant_of(plan, step)
    if step.op == "add":
        return tuple(np.sum(inputs, 0).tolist())
    factor = constant_of(plan, step)
    return inputs[0][0] * factor, inputs[0][1] * factor
