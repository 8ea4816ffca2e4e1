"""Ports that store their maps' columns first, as MATLAB and Julia do: of square maps no shape tells it."""

from dataclasses import replace

from ..network.steps import INPUT
from .matching import GOOD
from .tensors import sketch


def read_columns_first(comparison):
    """The Comparison of a port's maps read with their columns first, where more of them are right so; else the given one.

    From the picture on they must be: one that is on its side at first, or kernels that are, is a fault.
    """
    _, height, width = comparison.net.input_shape
    is_suspect = comparison.failing() or height != width  # oblong maps fit no step when they are turned
    if not is_suspect or not _looks_turned(comparison):
        return comparison
    turned = comparison.with_columns_first()
    first = next((row for row in turned.rows if len(row.shape) > 2), None)
    if first is None or not (first.passes and first.accumulated.ratio <= comparison.factor):
        return comparison
    return turned if _right(turned) > _right(comparison) else comparison


def _right(comparison):
    return sum(row.passes for row in comparison.rows)


def _looks_turned(comparison):
    """Whether some map that is not right is a step's, turned."""
    right = {row.port for row in comparison.rows if row.passes}
    wrong = [replace(tensor, columns_first=True) for tensor in comparison.tensors if tensor.name not in right]
    shapes = {INPUT: comparison.net.input_shape} | {step.name: step.shape for step in comparison.net.plan}
    maps = {name: shape for name, shape in shapes.items() if len(shape) == 3 and min(shape[1:]) > 1}
    return any(
        view.quick_error(sketch(comparison.oracle[name])) < GOOD
        for name, shape in maps.items()
        for tensor in wrong
        for view in tensor.views(shape, 1)
    )
