"""One published network taken for another, and what the shapes of a port's tensors tell."""

import re
from dataclasses import replace

from ...errors import UsageError
from ...network.plan import make_plan
from ...network.spec import round8
from ...network.steps import INPUT
from ...network.variants import BEYOND, TABLE
from ..net import with_probabilities
from .edits import Change

SE_WIDTHS = (
    lambda e: e // 4,
    lambda e: round8(e / 4),
    lambda e: max(e // 4, 8),
    lambda e: e // 8,
    lambda e: e // 16,
    lambda e: max(e // 32 * 8, 8),
    lambda e: -(-e // 32) * 8,
)


def row_changes(base, variant):
    """Every other row that this row's weights fit into: list of Change.

    Parameters
    ----------
    base : Net, the reference's
    variant : Variant it was made from
    """
    found, seen = [], {base.function()}
    classes, side = base.steps["logits"].shape[0], base.input_shape[1:]
    for other in TABLE + BEYOND:
        if other.full_name == variant.full_name:
            continue
        try:
            plan = make_plan(other, classes, side)
            net = _dressed(replace(base, plan=with_probabilities(plan)), base)
        except (UsageError, ValueError):  # too small an input, or weights of other shapes
            continue
        if net is not None and (function := net.function()) not in seen:
            seen.add(function)
            text = f"{other.full_name}'s network with {variant.full_name}'s weights"
            found.append(Change("other_source", text, _instead(base, net), whole=True))
    return found


def _instead(base, net):
    """A change of the whole network, which nothing can be under."""
    return lambda now, where: net if now.plan == base.plan else None


def _part(step):
    """What a layer or its norm is called in every source's plan."""
    return re.sub(r"\.(conv|fc|norm)$", "", step.name), step.op == "batch_norm"


def _dressed(net, base):
    """The net with the base's parameters in its steps; what the base has no parameters for is left out."""
    ours = {_part(step): step for step in base.plan if step.params}
    edits = {}
    for step in net.plan:
        if not step.params:
            continue
        mine = ours.get(_part(step))
        params = [mine.param(p.role) for p in step.params] if mine else []
        params = tuple(p for p in params if p is not None)
        if not params:
            edits[step.name] = None
            continue
        if any(step.param(p.role).canonical != p.canonical for p in params):
            return None
        edits[step.name] = replace(step, params=params)
    return net.edit(edits)


def shape_evidence(net, variant, free, named):
    """What tensors of shapes that the network does not have say.

    Parameters
    ----------
    net : Net, the reference's
    free : list of PortTensor that fit no step
    named : {port tensor's name: step's name}, as far as names tell

    Returns
    -------
    list of dict(fault, steps, text), the likeliest first
    """
    shapes = {t.name: _shape(t) for t in free}
    classes = net.steps["logits"].shape[0]
    own = {step.shape for step in net.plan} | _bordered_shapes(net) | _kernel_shapes(net)
    odd = {name: shape for name, shape in shapes.items() if shape not in own and shape != net.input_shape}
    found = {}
    for name, shape in odd.items():
        fault, step, text = _one_shape(net, name, shape, named.get(name), classes)
        if fault:
            found.setdefault(fault, {"fault": fault, "steps": [], "text": text})["steps"] += [step] if step else []
    row = _row_of(odd.values(), own, variant)
    if row and len(found) != 1:
        return [{"fault": "other_source", "steps": [], "text": f"the shapes are those of {row}"}, *found.values()]
    return sorted(found.values(), key=lambda f: -len(f["steps"]))


def _bordered_shapes(net):
    """{(C, H, W)} of what convolutions get with its border of zeros, which some engines add in a step of its own."""
    shapes = {INPUT: net.input_shape} | {step.name: step.shape for step in net.plan}
    found = set()
    for step in net.plan:
        top, bottom, left, right = step.pad
        if any(step.pad):
            c, h, w = shapes[step.inputs[0]]
            found.add((c, h + top + bottom, w + left + right))
    return found


def _kernel_shapes(net):
    """{(C, KH, KW)} of depthwise kernels, which an engine that stores weights in float16 has as tensors of its run."""
    depthwise = (step for step in net.plan if step.op == "depthwise_conv2d")
    return {(step.shape[0], step.kernel, step.kernel) for step in depthwise}


def _shape(tensor):
    """Channels first, without the batch; the channels of three axes are the side that is alone."""
    shape = tuple(n for n in tensor.array.shape if n != 1)
    if len(shape) == 3 and shape[0] == shape[1] != shape[2]:
        return (shape[2], shape[0], shape[1])
    return shape


def _one_shape(net, name, shape, step, classes):
    """(fault, step, text) that one tensor of an odd shape speaks for, or ("", "", "")."""
    if len(shape) == 1:
        if shape[0] in (classes + 1, classes - 1) and (step in (None, "logits", "probabilities")):
            return "class_shift", "logits", f"{shape[0]} classes where the network has {classes}"
        for one in net.plan:
            if one.name.endswith(".se.squeeze") and step in (None, one.name, f"{one.name}.fc", f"{one.name}.norm"):
                expand = net.steps[one.name.replace(".se.squeeze", ".se.pool")].shape[0]
                if step or shape[0] in {rule(expand) for rule in SE_WIDTHS}:
                    text = f"a squeeze layer of {shape[0]} channels ({name}) where the network has {one.shape[0]}"
                    return "se_width", one.name, text
    if len(shape) == 3:
        c, *sides = shape
        for one in net.plan:
            same = len(one.shape) == 3 and one.shape[0] == c and step in (None, one.name)
            if same and [*one.shape[1:]] != sides and _alike(one.shape[1:], sides):
                is_, should = (" x ".join(map(str, part)) for part in (sides, one.shape[1:]))
                return "stride", one.name, f"{name} is {is_} where {one.name} is {should}"
    return "", "", ""


def _alike(one, other):
    """Whether two maps may be one, made with another stride or border: both sides, but for a pixel, as they are, twice
    or half."""
    return any(
        all(abs(a * up - b * down) <= up + down for a, b in zip(one, other)) for up, down in ((1, 1), (2, 1), (1, 2))
    )


def _row_of(odd, own, variant):
    """A row that has all the odd shapes."""
    odd = set(odd)
    for other in TABLE + BEYOND if odd else ():
        if other.side == variant.side and odd <= {step.shape for step in make_plan(other)} - own:
            return other.full_name
    return ""
