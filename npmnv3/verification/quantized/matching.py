"""Which of a device's tensors is which of the network's: by name, by shape and order, and by what they hold."""

import math
import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from ...errors import UsageError
from ...network.steps import INPUT
from .pairing import likeness, match_group, most_like
from .probabilities import leave_out_probabilities

_ALIASES = {"output": "logits", "logits": "logits", "data": INPUT, "x": INPUT, "image": INPUT}


@dataclass
class Matching:
    """values : {step's name or INPUT: (N, *shape) of its grid's dtype}; rows : {step's name: (tensor's name, how, layout)}"""

    plan: object
    shapes: dict  # as `shapes_of` the plan
    count: int  # pictures
    values: dict = field(default_factory=dict)
    rows: dict = field(default_factory=dict)
    unmatched: list = field(default_factory=list)

    def put(self, step, given, how, view):
        layout, data = view
        self.values[step] = data
        self.rows[step] = given.name, how, layout

    def views(self, tensor, step):
        """[(layout, array)]: every way to read a tensor as a step's."""
        return _views(tensor, self.shapes[step], self.count, self.plan.grids[step])


def shapes_of(plan):
    """{name: shape} of the input and every step."""
    return {INPUT: tuple(plan.input_shape)} | {step.name: step.shape for step in plan.steps}


def match(plan, aliases, given, reference):
    """Match a device's tensors to a plan's.

    Parameters
    ----------
    plan : IntegerPlan
    aliases : {another name of a tensor: step's name}
    given : list of `Given`
    reference : callable (number of pictures, the input's integers or None) -> {step's name: integers} of a run, or None where
        the input is not known: likeness then tells nothing

    Returns
    -------
    Matching

    Raises
    ------
    UsageError
        A tensor under a step's name that cannot be it, or none that fits.
    """
    shapes = shapes_of(plan)
    found = Matching(plan, shapes, _pictures(shapes, given))
    _settle_layouts(shapes, given)
    named = _named(shapes, aliases, given)
    _place_input(found, given, named, reference)
    expected = reference(found.count, found.values.get(INPUT))
    _place_named(found, named, expected)
    taken = {id(t) for t in named.values()} | {id(t) for t in given if t.name == found.rows.get(INPUT, ("",))[0]}
    free = [tensor for tensor in given if id(tensor) not in taken]
    groups = {}
    for name, shape in shapes.items():
        if name not in found.values:
            groups.setdefault(math.prod(shape), []).append(name)
    for steps in groups.values():
        free = match_group(found, steps, free, expected)
    found.unmatched = [{"port": t.name, "shape": list(t.array.shape)} for t in free]
    if expected:
        leave_out_probabilities(plan, found, expected)
    if not found.values.keys() - {INPUT}:
        _refuse(found, given)
    return found


def _place_named(found, named, expected):
    """What names tell, in the layout that is most like a run; UsageError where one cannot be its step's."""
    for step, tensor in named.items():
        if step not in found.values:
            views = found.views(tensor, step)
            if not views:
                raise UsageError(
                    f"the tensor {tensor.name!r} is {tensor.array.dtype} {tensor.array.shape}, expected "
                    f"{found.plan.grids[step].dtype} of {step}, {(found.count, *found.shapes[step])} or channels last"
                )
            found.put(step, tensor, "name", most_like(views, expected and expected.get(step))[1])


def _refuse(found, given):
    """UsageError: none of the tensors is a step's."""
    some = ", ".join(f"{t.name} {t.array.dtype} {t.array.shape}" for t in given[:5])
    if any(found.views(tensor, step) for tensor in given for step in found.shapes):
        raise UsageError(
            f"nothing but their shapes tells which steps the tensors are ({some}): give them the steps' names, or give the "
            "input's integers as well, as input"
        )
    raise UsageError(f"none of the {len(given)} tensors of integers has the shape of one of the network's ({some})")


def _pictures(shapes, given):
    """How many pictures the tensors are of."""
    firsts = Counter()
    for tensor in given:
        shape = tensor.array.shape
        if len(shape) == 4 and any({shape[1:], (shape[3], *shape[1:3])} & {s} for s in shapes.values() if len(s) == 3):
            firsts[shape[0]] += 1
    if firsts:
        return firsts.most_common(1)[0][0]
    logits = shapes[list(shapes)[-1]]
    return next((t.array.shape[0] for t in given if t.array.shape[1:] == logits), 1)


def _settle_layouts(shapes, given):
    """Where all tensors that can be read in one way have one layout, so have those that can be read in two: 16 x 16 x 16."""
    first = {shape for shape in shapes.values() if len(shape) == 3}
    ways = {"nchw": first, "nhwc": {(h, w, c) for c, h, w in first}}
    possible = [tuple(way for way, fits in ways.items() if t.array.shape[-3:] in fits) for t in given]
    sure = {layouts for layouts in possible if len(layouts) == 1}
    if len(sure) == 1:
        ((layout,),) = sure
        for tensor, layouts in zip(given, possible):
            tensor.layout = layout if len(layouts) == 2 else ""


def _key(name):
    return re.sub(r"[^a-z0-9]+", ".", name.lower()).strip(".")


def _named(shapes, aliases, given):
    """{step: Given}, as far as names tell."""
    by_key = {}
    for name, step in (*_ALIASES.items(), *aliases.items(), *((name, name) for name in shapes)):
        if step in shapes:
            by_key[_key(name)] = step
    named = {}
    for tensor in given:
        inner = tensor.name.split("/", 1)[-1]
        for name in (
            tensor.name,
            inner,
            *(inner.removesuffix(end) for end in ("_QuantizeLinear_Output", "_quantized")),
        ):
            step = by_key.get(_key(name))
            if step is not None:
                named.setdefault(step, tensor)
                break
    return named


def _place_input(found, given, named, reference):
    """The picture's integers: by name, or what fits its shape and makes a run most like the other tensors.

    Of several that fit none may be it: a model that prepares its picture has steps of that shape, nearly alike. Then a
    run of the input that was given is more like the tensors.
    """
    tensor = named.get(INPUT)
    others = {id(other) for other in named.values()}
    fits = [tensor] if tensor else [t for t in given if id(t) not in others]
    views = [(t, view) for t in fits for view in found.views(t, INPUT)]
    if len(views) > 1:
        runs = [(_fit_of_run(found, given, reference(found.count, view[1])), t, view) for t, view in views]
        most, *best = max(runs, key=lambda run: run[0])
        views = [best] if tensor or _fit_of_run(found, given, reference(found.count, None)) <= most else []
    elif tensor is None and list(found.shapes.values()).count(found.shapes[INPUT]) > 1:
        views = []  # it may as well be a step's
    if views:
        found.put(INPUT, views[0][0], "name" if tensor else "shape", views[0][1])


def _fit_of_run(found, given, expected):
    """How much like a run the tensors are, all of them in order."""
    total = 0.0
    for name in found.shapes:
        if expected and name != INPUT:
            views = [view for t in given for view in found.views(t, name)]
            total += max((likeness(view[1], expected.get(name)) for view in views), default=0.0)
    return total


def _views(tensor, shape, count, grid):
    """See `Matching.views`: arrays (count, *shape) of the grid's dtype."""
    array, wanted = tensor.array, (count, *shape)
    if array.size != int(np.prod(wanted)) * (2 if tensor.raw and grid.dtype.endswith("16") else 1):
        return []
    if tensor.raw:
        array = array.view(np.dtype(grid.dtype).newbyteorder("<"))
    views = []
    if len(shape) == 1:
        if tensor.raw or tuple(n for n in array.shape if n > 1) == tuple(n for n in wanted if n > 1):
            views.append(("", array.reshape(wanted)))
    else:
        last = (count, *shape[1:], shape[0])
        if array.ndim == 1 or array.shape in (wanted, wanted[1:] if count == 1 else wanted):
            views.append(("nchw", array.reshape(wanted)))
        if array.ndim == 1 or array.shape in (last, last[1:] if count == 1 else last):
            views.append(("nhwc", array.reshape(last).transpose(0, 3, 1, 2)))
    if tensor.layout and len(views) == 2:
        views = [(layout, view) for layout, view in views if layout == tensor.layout]
    return [(layout, data) for layout, view in views if (data := _as_dtype(view, grid)) is not None]


def _as_dtype(array, grid):
    """Integers in the grid's dtype; None where they are not of it."""
    if array.dtype == grid.dtype:
        return np.ascontiguousarray(array)
    if array.dtype.itemsize == np.dtype(grid.dtype).itemsize == 1:  # uint8 for int8: 128 apart, as engines convert
        shifted = array.astype(np.int16) + (128 if grid.dtype == "uint8" else -128)
        return np.ascontiguousarray(shifted).astype(grid.dtype)
    if array.min(initial=0) < grid.low or array.max(initial=0) > grid.high:
        return None
    return np.ascontiguousarray(array).astype(grid.dtype)
