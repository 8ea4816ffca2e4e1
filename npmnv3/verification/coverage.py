"""How far the tensors that agree reach, and what is left beyond them."""

import math

INNER = 2  # tensors of one shape that an activation written out may have inside


def untold(comparison):
    """The port's tensors that fit no step, and have shapes of some beyond all that agrees and of none before: list of str.

    An engine's inner tensors have the shape of the step that they are in, maybe the next one; more may be a fault's.
    """
    net, factor = comparison.net, comparison.factor
    agree = [row.step for row in comparison.rows if row.step in net.steps and row.accumulated.ratio <= factor]
    reached = {name for step in agree for name in net.back_to(step, ())}
    shapes = {step.shape for step in net.plan if step.name in reached} | {net.input_shape}
    beyond = {step.shape for step in net.plan} - shapes
    found = {t.name: _first_of(t, beyond) for t in comparison.matching.free if not _first_of(t, shapes)}
    found = {name: shape for name, shape in found.items() if shape}
    return list(found) if len(set(found.values())) > 1 or len(found) > INNER else []


def _first_of(tensor, shapes):
    """The shape among these that a tensor may have, or None."""
    return next((shape for shape in sorted(shapes, key=len) if tensor.views(shape, 1)), None)


def misnamed(comparison):
    """Tensors that have a step's very name and size, and fit neither it nor another."""
    steps = comparison.net.steps
    free = comparison.matching.free
    return [t.name for t in free if t.name in steps and t.array.size == math.prod(steps[t.name].shape)]
