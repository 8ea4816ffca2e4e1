"""Whole modules (torch.save(model), torch.jit.save) as state dicts: their attributes are in the file as data.

torch's modules keep parameters, buffers and inner modules in three dicts; a scripted module has them all as attributes.
"""

from ...errors import WeightsError
from .foreign import Foreign
from .stand_ins import Stored

_PARTS = ("_parameters", "_buffers", "_modules")
_SCRIPTED = "__torch__."
MAX_MODULES = 20_000
AROUND, BESIDE = "^", "/"  # before names of modules that are not the network's
CODE = "code"  # of a scripted module: the file of the archive that holds its class
# Attributes that change what a module computes.
SETTINGS = ("eps", "stride", "padding", "dilation", "padding_mode", "pool_type", "use_res_connect", "has_skip")


def fields(value, most):
    """{name: item} of a dict, a list (by index, of the first items) or a foreign object."""
    if isinstance(value, Foreign):
        return value.fields
    return value if isinstance(value, dict) else {str(i): item for i, item in enumerate(value[:most])}


def is_module(value):
    """Whether an object is a module of torch, scripted or not."""
    if not isinstance(value, Foreign):
        return False
    return set(_PARTS) <= value.state.keys() or value.name.startswith(_SCRIPTED)


def module_state(module):
    """{dotted name: Stored} of a module's parameters and buffers, in torch's order."""
    state, stack, count = {}, [("", module, frozenset())], 0
    while stack:
        prefix, module, above = stack.pop()
        count += 1
        if id(module) in above or count > MAX_MODULES:
            raise WeightsError(f"a module contains itself, or there are more than {MAX_MODULES} of them")
        arrays, inner = _parts(module)
        state |= {prefix + name: value for name, value in arrays.items()}
        above = above | {id(module)}
        stack += [(f"{prefix}{name}.", part, above) for name, part in reversed(inner.items())]
    return state


def module_settings(module):
    """{dotted name: {"class": str, and what it is set to}} of a module and those in it, which `module_state` has checked,
    in the order in which they were registered."""
    by_name, stack = {}, [("", module)]
    while stack:
        name, module = stack.pop()
        settings = {key: module.state[key] for key in SETTINGS if _is_plain(module.state.get(key))}
        where, _, kind = module.name.rpartition(".")
        if module.name.startswith(_SCRIPTED):
            settings[CODE] = where.replace(".", "/") + ".py"
        by_name[name] = {"class": kind, **settings}
        stack += [(f"{name}.{inner}".lstrip("."), part) for inner, part in reversed(_parts(module)[1].items())]
    return by_name


def _is_plain(value):
    numbers = value if isinstance(value, tuple) else (value,)
    return isinstance(value, str) or all(type(number) in (int, float, bool) for number in numbers)


def _parts(module):
    """({name: Stored}, {name: module}) that a module has itself."""
    if set(_PARTS) <= module.state.keys():
        parameters, buffers, inner = (_dict(module.state[part]) for part in _PARTS)
        arrays = parameters | buffers
    else:
        arrays = inner = module.state
    return (
        {
            name: value
            for name, value in arrays.items()
            if isinstance(name, str) and isinstance(value, Stored) and (value.is_numbers or value.why)
        },
        {name: value for name, value in inner.items() if isinstance(name, str) and is_module(value)},
    )


def _dict(value):
    """A dict, whatever kind of dict the module keeps."""
    return value.fields if isinstance(value, Foreign) else value if isinstance(value, dict) else {}
