"""State dicts whose names were lost on the way: arrays that are numbered, or names in which underscores stand for the dots.

`np.savez(FILE, *arrays)` numbers its arrays, and a list of a state dict's values has no names at all: what is left is
their order, in which a source's own state dict and its plan agree. Where names must be identifiers,
`name.replace(".", "_")` makes them.
"""

import re

from ...network.plan import make_plan

_NUMBERED = re.compile(r"arr_(\d{1,6})")  # as np.savez does it


def restored_names(arrays, variant):
    """({the source's name: the name in the file}, a note), both empty where no names were lost, or they cannot be
    restored."""
    if not arrays or any("." in name for name in arrays):
        return {}, ""
    params = [param for step in make_plan(variant) for param in step.params]
    numbers = [_NUMBERED.fullmatch(name) for name in arrays]
    if all(numbers):
        return _by_order(sorted(arrays, key=lambda name: int(name[4:])), params, arrays)
    dotted_names = {param.name.replace(".", "_"): param.name for param in params if "." in param.name}
    if next(iter(dotted_names), None) not in arrays:
        return {}, ""
    return {dotted_names.get(name, name): name for name in arrays}, "took underscores in the names for dots"


def _by_order(names, params, arrays):
    """`restored_names` of as many arrays as a state dict has, with its counters or without them."""
    note = f"{len(names)} arrays have no names: taken in the order in which the network's state dict has them"
    for expected in (params, [param for param in params if param.role != "count"]):
        if [len(param.shape) for param in expected] == [len(arrays[name].shape) for name in names]:
            return dict(zip((param.name for param in expected), names)), note
    return {}, ""
