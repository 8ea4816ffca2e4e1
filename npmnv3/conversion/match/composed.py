"""Weights that a file keeps in parts: torch's pruning (weight times mask) and weight norm (a length, a direction)."""

import numpy as np

from ...dumps.containers import Entry, read_any
from ...errors import WeightsError
from .fit import is_one

# Endings of the two parts' names, what takes their place, and how the weight is made of them.
_PARTS = (
    ("_orig", "_mask", "{}", "product"),
    ("_g", "_v", "{}", "norm"),
    (".parametrizations.weight.original0", ".parametrizations.weight.original1", "{}.weight", "norm"),
)
_FIRSTS = tuple(first for first, *_ in _PARTS)


def compose(arrays):
    """({name: array or Entry}, notes): the arrays with such weights in one piece.

    WeightsError where the shape of a length leaves open along which axes it was taken.
    """
    made, parts, names_by_kind = {}, set(), {"product": [], "norm": []}
    firsts = [name for name in arrays if name.endswith(_FIRSTS)]
    for first, second, whole, how in _PARTS:
        for name in firsts:
            stem = name.removesuffix(first)
            other = stem + second
            if stem == name or other not in arrays or not _are_parts(how, arrays[name].shape, arrays[other].shape):
                continue
            axes = _axes(name, arrays[name].shape, other, arrays[other].shape) if how == "norm" else ()
            made[name] = whole.format(stem), _composed(how, arrays[name], arrays[other], axes)
            parts |= {name, other}
            names_by_kind[how].append(whole.format(stem))
    if not made:
        return arrays, ()
    composed = {}
    for name, array in arrays.items():
        if name in made:
            composed[made[name][0]] = made[name][1]
        elif name not in parts:
            composed[name] = array
    sentences = {"product": "pruned, weight times mask", "norm": "weight norm, length times direction"}
    return composed, tuple(f"{sentences[how]}: {', '.join(names[:6])}" for how, names in names_by_kind.items() if names)


def _are_parts(how, first, second):
    return first == second if how == "product" else len(second) > 1


def _axes(name, length, other, direction):
    """The axes over which a norm was taken: those of size 1 in the length, as torch keeps it; all where it is a scalar."""
    if not length:
        return tuple(range(len(direction)))
    if len(length) != len(direction) or any(n not in (1, whole) for n, whole in zip(length, direction, strict=True)):
        raise WeightsError(
            f"weight norm: {name[:100]} is {length}, which is no length of {other[:100]} {direction} along any of its axes; "
            "take it off before saving: torch.nn.utils.remove_weight_norm or parametrize.remove_parametrizations"
        )
    return tuple(axis for axis, n in enumerate(length) if n == 1)


def _composed(how, first, second, axes):
    whole = first if how == "product" else second

    def read():
        a, b = read_any(first), read_any(second)
        if how == "product":
            return a * b.astype(a.dtype)
        length = np.sqrt(np.sum(np.square(b, dtype=np.float64), axis=axes, keepdims=True))
        with np.errstate(all="ignore"):  # what is not finite is named when the arrays are checked
            return (b * (a / length)).astype(b.dtype)

    return Entry(whole.shape, whole.dtype, read)


def regained(weight, factor):
    """The classifier's weight times the factor by which a graph or program multiplies and the plan does not."""
    if is_one(factor):
        return weight
    values = read_any(weight)
    return (values.astype(np.float64) * factor).astype(np.promote_types(values.dtype, np.float32))


def as_stored(array, ours, param):
    """An array that is stored as the parameter `ours` as the source stores `param`; itself where that is the same."""
    if (ours.shape, ours.axes) == (param.shape, param.axes):
        return array
    return Entry(param.shape, array.dtype, lambda: param.from_canonical(ours.to_canonical(read_any(array))))
