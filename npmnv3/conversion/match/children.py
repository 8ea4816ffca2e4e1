"""Networks whose parts were registered under other names, as nn.Sequential numbers what a network is taken apart into."""

import functools
import os
import re

from ...network.plan import make_plan
from .fit import listed

_COUNTER = ".num_batches_tracked"
_SORTED = ("safetensors", "dump")  # formats whose names may be in the alphabet's order


def source_beginnings(checkpoint, variant):
    """{beginning of names in the file: the source's} of the parts that a network is in.

    A part is all entries whose names begin alike, and go on as those of one of the source's parts do; a block is not
    taken apart. Parts that go on alike are told apart by their order, where the names are sorted by their numbers.
    Empty where the parts are not the whole network, or where all of it is one part: its names have a prefix then, and
    are the source's own.
    """
    shapes = tuple((name, array.shape) for name, array in checkpoint.arrays.items() if not name.endswith(_COUNTER))
    if len(shapes) != len(_params(variant)):
        return {}
    candidates = (_beginnings(shapes, variant, checkpoint.format, axes) for axes in (len, _axes))
    return next(filter(None, candidates), {})


@functools.lru_cache(maxsize=128)
def _params(variant):
    """[(step's name, parameter)], without counters."""
    return [(step.name, param) for step in make_plan(variant) for param in step.params if param.role != "count"]


@functools.lru_cache(maxsize=128)
def _own_parts(variant, axes):
    """(the source's parts in order, {what follows them: those of them that lie in no block})"""
    params = _params(variant)
    parts = _parts(tuple((param.name, param.shape) for _, param in params), axes)
    in_blocks = _within_blocks(parts, params)
    return list(parts), _by_inner({part: inner for part, inner in parts.items() if part not in in_blocks})


def _beginnings(shapes, variant, kind, axes):
    """`source_beginnings` of arrays of these (name, shape), whose axes are counted by the function `axes`."""
    theirs = _parts(shapes, axes)
    order, ours_alike = _own_parts(variant, axes)
    known = {part: inner for part, inner in theirs.items() if inner in ours_alike}
    outermost = {part: inner for part, inner in known.items() if not _lies_in(part, known)}
    theirs_alike, beginnings = _by_inner(outermost), {}
    for inner in sorted(theirs_alike, key=len, reverse=True):  # large parts first, which hold smaller ones
        free = [part for part in ours_alike[inner] if not part.startswith(tuple(beginnings.values()))]
        here = _in_order(theirs_alike[inner], kind)
        if len(free) != len(here):
            return {}
        beginnings |= zip(here, free)
    whole = sum(len(theirs[part]) for part in beginnings) == len(shapes)
    if not whole or "" in beginnings.values() or not _apart_alike(beginnings):
        return {}
    return dict(sorted(beginnings.items(), key=lambda pair: order.index(pair[1])))


def _by_inner(parts):
    """{what follows a part's beginning: the parts that it follows}"""
    alike = {}
    for part, inner in parts.items():
        alike.setdefault(inner, []).append(part)
    return alike


def _lies_in(part, others):
    return any(part[:end] in others for end in _ends(part) if end < len(part))


def source_name(name, beginnings):
    """A name in the file as the source has it."""
    beginning = next((each for each in beginnings if name.startswith(each)), "")
    return beginnings.get(beginning, "") + name.removeprefix(beginning)


def naming_note(beginnings):
    """A note on the names that were found by order."""
    pairs = [f"{here!r} for {source!r}" for here, source in beginnings.items() if here != source]
    return f"its parts' names are told by their order, shapes and the names within: {listed(pairs, 4)}"


def torn_warnings(beginnings):
    """Warnings of the source's sequences whose parts are in no one sequence of the file: anything may be between them."""
    where = {}
    for here, source in beginnings.items():
        (above, last), sequence = _place(here), _place(source)[0]
        where.setdefault(sequence, set()).add(above if last.isdecimal() else here)
    names = [repr(sequence) for sequence, places in where.items() if sequence and len(places) > 1]
    warning = f"the parts of {', '.join(names)} lie apart: what is computed between them is not in the file, taken for the network's own"
    return (warning,) * bool(names)


def _axes(shape):
    """How many axes a shape has, of 1x1 convolutions as many as of a linear layer, which may be in their place."""
    return len(shape[:2]) + any(n > 1 for n in shape[2:])


@functools.lru_cache(maxsize=8)  # a file is compared with every network
def _parts(shapes, axes):
    """{beginning of names, up to a dot: what it is followed by, with how many axes}, of (name, shape)."""
    parts = {}
    for name, shape in shapes:
        for end in _ends(name):
            parts.setdefault(name[:end], []).append((name[end:], axes(shape)))
    return {beginning: frozenset(inner) for beginning, inner in parts.items()}


def _ends(name):
    """Where a name's beginnings end: nowhere, and behind each dot."""
    return (0, *(dot.end() for dot in re.finditer(r"\.", name)))


def _within_blocks(parts, params):
    """The parts that lie inside of a block."""
    blocks = {}
    for step, param in params:
        if step.startswith("blocks."):
            blocks.setdefault(step.split(".")[1], []).append(param.name)
    shared = [os.path.commonprefix(names) for names in blocks.values()]
    whole = {names[: names.rfind(".") + 1] for names in shared}
    return {part for part in parts if _lies_in(part, whole)}


def _apart_alike(beginnings):
    """Whether parts of one sequence stand as far apart as the source's do: otherwise another layer, which has no entries, is
    between them, or one is missing."""
    shifts = {}
    for here, source in beginnings.items():
        (above, number), (source_above, source_number) = _place(here), _place(source)
        if number.isdecimal() and source_number.isdecimal():
            shifts.setdefault((above, source_above), set()).add(int(number) - int(source_number))
    return all(len(shift) == 1 for shift in shifts.values())


def _place(part):
    """("a.b", "2") of "a.b.2."."""
    above, _, last = part[:-1].rpartition(".")
    return above, last


def _in_order(parts, kind):
    """Parts with equal continuations in the network's order; none where the order is unknown."""
    if len(parts) == 1 or kind not in _SORTED:
        return parts
    if len({re.sub(r"\d+", "0", part) for part in parts}) > 1:
        return []
    return sorted(parts, key=lambda part: [int(number) for number in re.findall(r"\d+", part)])
