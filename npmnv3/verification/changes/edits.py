"""A change: one way to be wrong, as a transformation of a network; and what most of them are made of."""

from collections.abc import Callable
from dataclasses import dataclass, replace

ACTIVATIONS = ("relu", "hard_swish")


@dataclass(frozen=True)
class Change:
    """One way to be wrong."""

    fault: str  # the fault's ID
    text: str  # what a verdict says of it
    apply: Callable  # (net, where) -> Net or None
    alone: bool = False  # also tried in each block by itself, if not yet explained
    whole: bool = False  # makes sense everywhere or nowhere
    layer: bool = False  # is tried in each layer by itself, if not yet explained
    ties: bool = False  # rounds to levels: a number halfway between two may be either
    rare: bool = False  # is tried only where the tensors say something of where it may be
    kin: str = ""  # changes of one kin may give the very same numbers: where one explains all, the others are tried
    unknowns: float = 0.0  # bits that were solved for from the port's own numbers


def each(fault, *rows):
    """Changes of one fault, of (text, function, flags that are set)."""
    return [Change(fault, text, apply, **dict.fromkeys(flags, True)) for text, apply, *flags in rows]


def edited(net, edits, arrays=None):
    """The net with some steps changed, as `Net.edit`; None where none is."""
    return net.edit(edits, arrays) if edits else None


def set_field(op, skip=lambda step: False, **fields):
    """Set fields of all steps of an operation."""

    def apply(net, where):
        found = {s.name: replace(s, **fields) for s in net.plan if s.op == op and where(s.name) and not skip(s)}
        return edited(net, {name: step for name, step in found.items() if step != net.steps[name]})

    return apply


def swap_op(olds, new, part=lambda name: True, **fields):
    """Another operation in place of some."""

    def apply(net, where):
        steps = [s for s in net.plan if s.op in olds and s.op != new and where(s.name) and part(s.name)]
        return edited(net, {s.name: replace(s, op=new, **fields) for s in steps})

    return apply


def without(step, role):
    return replace(step, params=tuple(p for p in step.params if p.role != role))


def is_squeeze(name):
    return name.endswith(".se.squeeze")


def is_main(name):
    return not is_squeeze(name) and not name.endswith(".gate")


def in_parts(*words):
    return lambda name: name.split(".")[0] in words and is_main(name)
