"""Which network a quantised graph is, told by its operations, shapes, strides and padding; and its names for the tensors."""

from dataclasses import dataclass

from ...errors import UsageError, WeightsError
from ...network.integer_plan import LAYERS, OF_VECTORS
from ...network.lowering import SCHEMES, lower
from ...network.plan import check_side, make_plan
from ...network.steps import INPUT
from ...network.variants import get_variant, list_models
from ...ops.integers import LIKE
from .builder import renamed
from .preparation import constant_of, preparation

_PASSING = ("pad2d", "identity")  # operations that a graph may have or not
_CONSTANTS = {"fill": 3.0, "scale": 1 / 6}  # of a hard-sigmoid in its parts; a network may have a factor of its own too
_NEAR = 0.01  # relative: a constant's own rounding to integers


@dataclass(frozen=True)
class Named:
    """A quantised graph under a network's names.

    plan : IntegerPlan
    variant : Variant, or None where no network fits
    num_classes : int
    whole : bool; False where the graph ends before the network does
    also : names of the other networks that fit as well
    """

    plan: object
    variant: object
    num_classes: int
    whole: bool = True
    also: tuple[str, ...] = ()


def name_tensors(plan, model=None):
    """Find the network that a graph is, and give its tensors that network's names.

    Parameters
    ----------
    plan : IntegerPlan, under a file's names
    model : str, the network's name; default every network is tried

    Returns
    -------
    Named; where nothing fits and no model was asked for, under the file's own names

    Raises
    ------
    WeightsError
        The graph is not this network's; the message says where it parts.
    """
    num_classes = plan.steps[-1].shape[0]
    if model is not None:
        variant = get_variant(model)
        found, reason = _compare(plan, variant, num_classes)
        if found is None:
            raise WeightsError(f"the quantised graph is not {variant.full_name}: {reason}")
        return Named(found[0], variant, num_classes, found[1])
    fits = []
    for name in list_models():
        found, _ = _compare(plan, get_variant(name), num_classes)
        if found:
            fits.append((not found[1], len(fits), name, found))
    if not fits:
        return Named(_plainly_named(plan), None, num_classes, False)
    fits.sort()
    cut, _, name, found = fits[0]
    also = tuple(other[2] for other in fits[1:] if other[0] == cut)
    return Named(found[0], get_variant(name), num_classes, found[1], also)


def _compare(plan, variant, num_classes):
    """((the plan under the network's names, whether it is whole), ""), or (None, where it parts)."""
    best = "", -1
    try:
        side = check_side(variant, plan.input_shape[1:])
    except UsageError as error:
        return None, str(error)
    first = next((plan.arrays[f"{step.name}.weight"].shape[0] for step in plan.steps if step.op in LAYERS), 0)
    if first != variant.stem:  # which spares making most networks' plans
        return None, f"its first layer has {first} channels, not {variant.stem}"
    head = _head(plan, variant)
    variant = variant._replace(in_channels=plan.input_shape[0], head=head)
    network = make_plan(variant, num_classes, side, folded=True)
    if differs := _other_weights(plan, network):
        return None, differs
    factors = {step.name: step.factor for step in network if step.op == "scale"}
    for scheme in SCHEMES:
        expected, layers = lower(network, scheme, plan.input_shape)
        names, reason, count = _match(plan, expected, layers, factors)
        if names is not None:
            return (renamed(plan, names), count == len(_without_passing(expected))), ""
        best = max(best, (reason, count), key=lambda pair: pair[1])
    return None, best[0]


def _head(plan, variant):
    """The hidden layer's width, as the graph has it: the outputs of the last layer but one; 0 where the classifier stands
    alone behind the last convolution."""
    layers = [step for step in plan.steps if step.op in LAYERS]
    if not variant.head or len(layers) < 2 or layers[-1].op not in OF_VECTORS:
        return variant.head
    last, before = (plan.arrays[f"{step.name}.weight"].shape for step in (layers[-1], layers[-2]))
    if layers[-2].op in OF_VECTORS:
        return before[0] if before[1] == variant.last else variant.head
    return 0 if last[1] == variant.last and last[0] != variant.head else variant.head


def _other_weights(plan, network):
    """Which layer has weights of another shape, "" if none has: sooner told than by going through the operations."""
    wanted = [param.canonical for step in network if (param := step.param("weight"))]
    found = [(step.name, plan.arrays[f"{step.name}.weight"].shape) for step in plan.steps if step.op in LAYERS]
    apart = ((name, shape, want) for (name, shape), want in zip(found, wanted) if shape != want)
    return next((f"{name} has weights {shape}, not {want}" for name, shape, want in apart), "")


def _without_passing(steps):
    return [step for step in steps if step.op not in _PASSING]


def _match(plan, expected, layers, factors):
    """({the graph's name: the network's}, "", steps that fit), or (None, where they part, steps that fit)."""
    prepared = preparation(plan)
    ours, theirs = _Graph(plan.steps, {prepared.last: INPUT}), _Graph(expected)
    names, wanted, count = {INPUT: INPUT, **prepared.names}, iter(_without_passing(expected)), 0
    for step in _without_passing(plan.steps):
        if step.name in prepared.names:
            continue
        want = next(wanted, None)
        if want is None:
            return None, f"{step.name} comes after its last operation", count
        wrong = _difference(plan, step, want, layers, factors) or _other_place(ours, theirs, step, want, names)
        if wrong:
            return None, f"{step.name}, where {want.name} should be, {wrong}", count
        names[step.name] = want.name
        count += 1
    for step in plan.steps:
        if step.op == "identity":
            names[step.name] = f"{names.get(step.inputs[0], step.inputs[0])}.flat"
        elif step.op == "pad2d":
            reader = next((other.name for other in plan.steps if step.name in other.inputs), step.name)
            names[step.name] = f"{names.get(reader, reader)}.pad"
    if len(set(names.values())) < len(names):
        return None, "two of its tensors would have one name", count
    return names, "", count


def _difference(plan, step, want, layers, factors):
    """What sets a step apart from what the network has there, "" if nothing does."""
    if LIKE.get(step.op, step.op) != LIKE.get(want.op, want.op):
        return f"is {step.op}, not {want.op}"
    if step.op in LAYERS:
        shape = plan.arrays[f"{step.name}.weight"].shape
        canonical = layers[want.name].param("weight").canonical
        if shape != canonical:
            return f"has weights {shape}, not {canonical}"
    if step.shape != want.shape:
        return f"is {step.shape}, not {want.shape}"
    if step.op == "hard_sigmoid" and abs(step.slope - want.slope) > 1e-6:
        return f"has the slope {step.slope:.4g}, not {want.slope:.4g}"
    constant = factors.get(want.name, _CONSTANTS.get(step.op))
    if constant and abs(constant_of(plan, step) - constant) > _NEAR * constant:
        return f"computes with {constant_of(plan, step):.4g}, not {constant:.4g}"
    return ""


def _other_place(ours, theirs, step, want, names):
    """The same of what it reads, and of strides and padding."""
    sources, expected = [names.get(name, name) for name in ours.sources(step)], theirs.sources(want)
    if sorted(sources) != sorted(expected):
        return f"reads {', '.join(sources)}, not {', '.join(expected)}"
    found, needed = ((one.stride, graph.pads.get(one.name)) for one, graph in ((step, ours), (want, theirs)))
    return "" if found == needed else f"has stride and padding {found}, not {needed}"


class _Graph:
    """What reads what, where operations that pass integers on are looked through."""

    def __init__(self, steps, through=()):
        self._through = {step.name: step.inputs[0] for step in steps if step.op in _PASSING}
        self._through |= {name: source for name, source in dict(through).items() if name != source}
        self.pads = _padding(steps)

    def sources(self, step):
        return [self._source(name) for name in step.inputs]

    def _source(self, name):
        while name in self._through:
            name = self._through[name]
        return name


def _padding(steps):
    """{layer: all the padding before it, its own and that of an operation before it}."""
    pads, found = {}, {}
    for step in steps:
        if step.op == "pad2d":
            pads[step.name] = step.pad
        elif step.op in LAYERS:
            before = pads.get(step.inputs[0], (0, 0, 0, 0))
            found[step.name] = tuple(a + b for a, b in zip(step.pad, before))
    return found


def _plainly_named(plan):
    """Under the file's own names, without what makes no difference in them."""
    short = {}
    for name in plan.grids:
        plain = name.split(":", 1)[-1] if name.split(":", 1)[0].isdigit() else name
        for end in ("_QuantizeLinear_Output", "_quantized"):
            plain = plain.removesuffix(end)
        short[name] = plain
    return renamed(plan, short) if len(set(short.values())) == len(short) else plan
