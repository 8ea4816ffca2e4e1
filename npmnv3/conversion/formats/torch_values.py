"""What the code of scripted and traced modules works on: numbers and lists as they are, stand-ins for the rest."""

import math
import operator

#: Height and width for which sizes are computed, one odd and one even; nothing may depend on them but padding.
SIDES = 97, 130
_LARGEST = 1 << 63


class Unclear(Exception):
    """The code has something that is not followed."""


class Computed:
    """A number that depends on the sizes of tensors: what it is for `SIDES`, None where that is unknown."""

    def __init__(self, number=None):
        self.number = number


PICTURES = (Computed(), Computed(), *map(Computed, SIDES))  # sizes of what the network gets


class Tensor:
    """A tensor: `name` is that of the value that it has now, `family` all that share its memory."""

    def __init__(self, name, shape=None, family=None):
        self.name, self.shape, self.family = name, shape, [] if family is None else family
        self.family.append(self)


class Module:
    """A module, by its dotted name and as it is stored."""

    def __init__(self, name, stored):
        self.name, self.stored = name, stored


class Function:
    """A function whose code is in the file, by its full name."""

    def __init__(self, name):
        self.name = name


class _Sizes(list):
    """The sizes of a tensor that is not stored; how many there are is unknown."""


def truth(value):
    """Whether a condition holds, None where that is unknown."""
    return bool(value) if isinstance(value, (bool, int, float)) else None


def is_unknown(value):
    """Whether an argument is, or holds, an unknown number."""
    if isinstance(value, (list, tuple)):
        return any(map(is_unknown, value))
    return isinstance(value, (Computed, Module, Function))


def compute(op, arguments):
    """What a function gives for arguments of which none is a tensor, or which asks for no more than a tensor's size."""
    first = arguments[0] if arguments else None
    if op in _OF_ANY:
        return _OF_ANY[op](*arguments)
    if isinstance(first, list):
        raise Unclear(f"it uses {op} of a list")
    if op in ("eq", "ne") and any(isinstance(value, str) for value in arguments):
        return Computed() if any(map(is_unknown, arguments)) else _OF_NUMBERS[op](*arguments)
    numbers = [value.number if isinstance(value, Computed) else value for value in arguments]
    if op not in _OF_NUMBERS or not all(isinstance(number, (int, float)) for number in numbers):
        return Computed()
    number = _OF_NUMBERS[op](*numbers)
    if abs(number) >= _LARGEST:
        return Computed()
    return Computed(number) if any(isinstance(value, Computed) for value in arguments) else number


def _size(tensor, axis=None):
    if not isinstance(tensor, Tensor):
        return Computed()
    sizes = _Sizes(PICTURES) if tensor.shape is None else list(tensor.shape)
    return sizes if axis is None else sizes[axis]


def _item(items, index):
    if not isinstance(items, (list, tuple)) or type(index) is not int:
        raise Unclear
    return items[index]


def _slice(items, *ends):
    return type(items)(items[slice(*ends, *(None,) * (2 - len(ends)))])


def _length(items):
    return len(items) if isinstance(items, (list, tuple)) and not isinstance(items, _Sizes) else Computed()


def _append(items, item):
    items.append(item)


def _contains(items, item):
    return Computed() if is_unknown(items) or is_unknown(item) else item in items


def _is(value, other):
    return value is other if other is None and not isinstance(value, Computed) else Computed()


def _not(value):
    holds = truth(value)
    return Computed() if holds is None else not holds


_OF_ANY = {
    "size": _size,
    "dim": lambda tensor: _length(_size(tensor)),
    "len": _length,
    "append": _append,
    "slice": _slice,
    "__getitem__": _item,
    "__contains__": _contains,
    "__is__": _is,
    "__isnot__": lambda value, other: _not(_is(value, other)),
    "__not__": _not,
}
_OF_NUMBERS = {name: getattr(operator, name) for name in "add sub mul neg floordiv eq ne lt le gt ge".split()} | {
    "div": operator.truediv,
    "truediv": operator.truediv,
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "__and__": operator.and_,
    "__or__": operator.or_,
    "ceil": math.ceil,
    "floor": math.floor,
    "max": max,
    "min": min,
    "clamp": max,  # at one end
    "int": int,
    "float": float,
    "bool": bool,
    "NumToTensor": lambda number: number,
}
#: What code asks of tensors without computing with them.
OF_TENSORS = (
    *("size", "dim", "__is__", "__isnot__", "int", "float", "bool"),
    *("dtype", "device", "layout", "is_cuda", "requires_grad", "is_floating_point", "format"),
)
