"""Forms that people make of a published network: gray input, another hidden layer, or none.

A form is two numbers of a `Variant`, `in_channels` and `head`, which show in the shapes of a file's arrays.
"""

from .plan import classifier_part, make_plan
from .variants import get_variant

CHANNELS = (1, 3)  # of a picture
_MOST = 1 << 16  # hidden units


def form_in(variant, shapes):
    """The form of a network that these arrays are of.

    Parameters
    ----------
    variant : Variant
    shapes : {source's name: shape}

    Returns
    -------
    Variant, with the `in_channels` and `head` of the arrays; its own where these do not show
    """
    return variant._replace(in_channels=_in_channels(variant, shapes), head=_head(variant, shapes))


def form_of(variant, in_channels=None, head=None):
    """A network with these numbers in place of its own; ValueError where they cannot be."""
    changes = {}
    if in_channels is not None:
        if in_channels not in CHANNELS:
            raise ValueError(f"in_channels is {in_channels!r}, expected 1 or 3")
        changes["in_channels"] = in_channels
    if head is not None:
        if isinstance(head, bool) or not isinstance(head, int) or not 0 <= head <= _MOST:
            raise ValueError(f"head is {head!r}, expected the hidden layer's width, 0 for none")
        if head != variant.head and not variant.source.head_stored_as:
            raise ValueError(f"head is {head}, but {variant.full_name} has no hidden layer")
        changes["head"] = head
    return variant._replace(**changes)


def form_text(variant):
    """How a form differs from the published network, in words: "gray input, no hidden layer"; "" if it does not."""
    own = get_variant(variant.full_name)
    differences = ["gray input"] * (variant.in_channels != own.in_channels)
    if variant.head != own.head:
        differences.append(f"hidden layer of {variant.head}" if variant.head else "no hidden layer")
    return ", ".join(differences)


def _in_channels(variant, shapes):
    weight = make_plan(variant)[0].param("weight")
    shape = shapes.get(weight.name, ())
    axis = weight.axes[1] if weight.axes else 1
    return shape[axis] if len(shape) == 4 and shape[axis] in CHANNELS else variant.in_channels


def _head(variant, shapes):
    source = variant.source
    if not source.head_stored_as:
        return variant.head
    plan = make_plan(variant._replace(head=variant.head or 1))
    weight = next(step for step in plan if step.name in ("head.fc", "head")).param("weight")
    shape = shapes.get(weight.name, ())
    if len(shape) == len(weight.shape):
        width = shape[weight.axes[0] if weight.axes else 0]
        return width if 0 < width <= _MOST else variant.head
    only = classifier_part(variant._replace(head=0))
    alone = weight.name not in shapes and source.param_name(only, None, "weight") in shapes
    return 0 if alone and _stands_on_pooled(variant, shapes) else variant.head


def _stands_on_pooled(variant, shapes):
    """Whether the classifier takes the last convolution's channels."""
    weight = make_plan(variant._replace(head=0))[-1].param("weight")
    shape, wanted = shapes[weight.name], weight.shape
    axis = weight.axes[1] if weight.axes else 1
    return len(shape) == len(wanted) and shape[axis] == wanted[axis]
