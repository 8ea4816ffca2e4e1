"""How well a checkpoint fits a network, and, where it does not, what contradicts it in plain sentences."""

import math
import operator
from dataclasses import dataclass, field

from ...network.forms import form_text

# Parts of the network, as a plan's steps call them, and what their output channels are called.
_PARTS = {
    "stem": "stem width",
    "expand": "expanded widths",
    "depthwise": "depthwise widths",
    "se.squeeze": "squeeze-and-excitation widths",
    "project": "block outputs",
    "last": "last convolution's width",
    "head": "head width",
    "logits": "classes",
}
_FOLLOWS = {"depthwise": "expand"}  # a difference that follows from the other's, and is left out beside it


@dataclass(frozen=True)
class Fit:
    """A checkpoint beside one network.

    differences : sentences, none where it fits
    distance : how many entries or layers differ, to find the nearest network
    style : how many layers look otherwise than in the source's own files (kind, epsilon, form); it fits all the same
    share : of the network's entries that are there, 0 to 1
    notes : what conversion does beyond copying
    warnings : what may be otherwise than it was taken
    prefix, secondary : where in the file the network is, and whether that is an average's or a teacher's place
    arrays : {source's name: array or Entry}, of fits by name
    """

    variant: object  # Variant
    num_classes: int
    folded: bool = False
    differences: tuple[str, ...] = ()
    distance: int = 0
    style: int = 0
    share: float = 1.0
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    prefix: str = ""
    secondary: bool = False
    arrays: dict = field(default_factory=dict, repr=False, compare=False)


def form_notes(variant):
    """A note where a network is in another form than the published one, in a list."""
    form = form_text(variant)
    return [f"a form of its own: {form}"] if form else []


def is_one(factor):
    """Whether a factor changes nothing; paddle's 0.8 is rounded to float32."""
    return math.isclose(factor, 1, rel_tol=1e-6)


def gain_notes(what, gain, expected):
    """A note where a graph or a program, called `what`, multiplies what the classifier gets otherwise than the network
    does."""
    if is_one(gain / expected):
        return []
    return [
        f"the classifier's weight is multiplied by {gain / expected:.4g}: the {what} scales what the classifier gets by {gain:.4g}, "
        f"the network by {expected:.4g}"
    ]


def sides_for(checkpoint, variant):
    """The (height, width) of the pictures that a graph takes, None where it states none, or they are too small for the
    network."""
    large_enough = checkpoint.sides and all(map(operator.ge, checkpoint.sides, variant.min_side))
    return checkpoint.sides if large_enough else None


def layers_of(plan):
    """The steps that have weights, in order."""
    return [step for step in plan if step.param("weight")]


def norms_of(plan):
    """{name of a layer: the batch norm after it}."""
    return {step.inputs[0]: step for step in plan if step.op == "batch_norm"}


def stored_width_differences(plan, shapes):
    """`width_differences` of arrays as the source stores them: {parameter's name: shape}."""
    shapes_by_step = {}
    for step in layers_of(plan):
        weight = step.param("weight")
        shape = shapes.get(weight.name, ())
        if len(shape) == len(weight.shape):
            shapes_by_step[step.name] = tuple(shape[axis] for axis in weight.axes) if weight.axes else shape
    return width_differences(plan, shapes_by_step)


def width_differences(plan, shapes_by_step):
    """Sentences on the channels and kernels that differ, one for each part of the network.

    Parameters
    ----------
    plan : tuple of Step
    shapes_by_step : {step's name: shape}, of layers' weights in the operations' layout (output channels first)

    Returns
    -------
    list of str
    """
    parts = {}
    for step in layers_of(plan):
        if step.name in shapes_by_step:
            parts.setdefault(_part(step.name), []).append((shapes_by_step[step.name], step.param("weight").canonical))
    reported, sentences = set(), []
    for part, name in _PARTS.items():
        pairs = parts.get(part, [])
        if any(shape[0] != wanted[0] for shape, wanted in pairs) and _FOLLOWS.get(part) not in reported:
            reported.add(part)
            sentences.append(_versus(name, [shape[0] for shape, _ in pairs], [wanted[0] for _, wanted in pairs]))
    pairs = [(shape[-1], wanted[-1]) for shape, wanted in parts.get("depthwise", ())]
    if any(side != wanted for side, wanted in pairs):
        sentences.append(_versus("depthwise kernels", *zip(*pairs)))
    return sentences


def _part(name):
    """`blocks.3.se.squeeze.fc` -> `se.squeeze`"""
    name = name.split(".", 2)[2] if name.startswith("blocks.") else name
    return name.removesuffix(".conv").removesuffix(".fc")


def _versus(what, actual, expected):
    return f"{what} {_row(actual)}, not {_row(expected)}"


def _row(numbers):
    return ", ".join(map(str, numbers))


def listed(names, most=6):
    """The first names of a list and how many more there are."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def pair(value):
    """Two numbers as a tuple, whatever a damaged file has there."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)
