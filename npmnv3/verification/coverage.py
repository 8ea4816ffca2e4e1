"""How far the tensors that agree reach, and what is left beyond them."""


def untold(comparison):
    """The port's tensors that fit no step, and have the shape of one beyond all that agrees and of none before: list of str.

    An engine's own inner tensors have the shape of the step that they are inside of; beyond what agrees as a whole, a
    tensor of a step's shape that is not this step's may as well be what a fault made of it.
    """
    net, factor = comparison.net, comparison.factor
    agree = [row.step for row in comparison.rows if row.step in net.steps and row.accumulated.ratio <= factor]
    reached = {name for step in agree for name in net.back_to(step, ())}
    shapes = {step.shape for step in net.plan if step.name in reached} | {net.input_shape}
    beyond = {step.shape for step in net.plan} - shapes
    free = comparison.matching.free
    return [t.name for t in free if _has_one_of(t, beyond) and not _has_one_of(t, shapes)]


def _has_one_of(tensor, shapes):
    return any(tensor.views(shape, 1) for shape in shapes)
