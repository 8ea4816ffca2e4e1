"""Pickles read as data.

The standard library's disassembler (`pickletools.genops`) cuts a pickle into opcodes; the machine here gives meaning to
the ones that state dicts need. It makes only lists, tuples, dicts, strings, numbers, bytes and stand-ins (`stand_ins`),
and calls nothing but the functions of a given table. Foreign classes' objects are passed over (`foreign`); any other
name is refused, by name, before anything happens. It does not recurse, so nesting costs nothing, and its memory is
bounded by the file's size and the opcodes it allows.
"""

import pickletools

from ...errors import WeightsError
from .foreign import REFUSED, Foreign, ForeignName, known_name
from .stand_ins import Known, Opaque

MAX_OPCODES = 500_000  # a training state of the largest network has a fifth of that
MAX_DEPTH = 10_000  # of the stack; picklers write lists and dicts in batches of 1000
MAX_INT_BITS = 128

_ARGUMENT_IS_VALUE = frozenset(
    "BININT BININT1 BININT2 LONG1 LONG4 INT LONG FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)


def _ordered_dict(pairs=None):
    result, pairs = {}, [] if pairs is None else pairs
    if type(pairs) is not list or any(type(pair) not in (list, tuple) or len(pair) != 2 for pair in pairs):
        raise WeightsError("the pickle makes an OrderedDict of something else than a list of pairs")
    for key, value in pairs:
        _put(result, key, value)
    pairs.clear()  # a pickle that recalls one list again and again must not multiply it
    return result


def table(*rows):
    """The functions that a pickle may call: rows of (name, stand-in, least, most arguments)."""
    return {name: Known(name, call, least, most) for name, call, least, most in rows}


def opaque(*arguments):
    return Opaque()


def _tuple(items=()):
    return tuple(items) if type(items) in (list, tuple) else ()


BASIC = table(("builtins.tuple", _tuple, 0, 1), ("collections.OrderedDict", _ordered_dict, 0, 1))


def load(stream, known=BASIC, persistent=None):
    """Read one pickle from where the stream, a binary file, stands; it stands behind it afterwards.

    known : {full name: Known, or a constant that the name stands for}
    persistent : function of a persistent id, or None where the format has none

    Returns a dict, list, tuple, str, bytes, int, float, bool, None, Opaque (of a foreign class: `Foreign`) or what the
    functions of `known` return. Raises WeightsError where it is damaged, too large, or asks for an unknown name, which
    the message has.
    """
    return _Machine(known, persistent).run(stream)


def _opcodes(stream):
    try:
        yield from pickletools.genops(stream)
    except ValueError as error:
        raise WeightsError(f"the pickle is damaged: {str(error)[:200]}") from error


def _put(target, key, value):
    """Set a dict's item. Keys that cannot be names are left out, so that hashing is never made costly."""
    if type(key) is str or type(key) is int and abs(key) < 1 << 60:
        target[key] = value


class _Machine:
    def __init__(self, known, persistent):
        self.known, self.persistent = known, persistent
        self.stack, self.below, self.memo = [], [], {}  # below: the stacks under each mark

    def run(self, stream):
        for count, (opcode, argument, _) in enumerate(_opcodes(stream)):
            if opcode.name in _ARGUMENT_IS_VALUE:
                if type(argument) is int and argument.bit_length() > MAX_INT_BITS:
                    raise WeightsError(f"the pickle has a whole number of {argument.bit_length()} bits")
                self.stack.append(argument)
            elif opcode.name in _MEANING:
                _MEANING[opcode.name](self, argument)
            else:
                raise WeightsError(f"the pickle uses the opcode {opcode.name}, which state dicts do not need: refused")
            if count > MAX_OPCODES or len(self.stack) > MAX_DEPTH or len(self.below) > MAX_DEPTH:
                raise WeightsError(
                    f"the pickle has more than {MAX_OPCODES} opcodes or is nested deeper than {MAX_DEPTH}"
                )
        return self.pop()

    def push(self, value):
        self.stack.append(value)

    def pop(self):
        if not self.stack:
            raise WeightsError("the pickle is damaged: it takes more from its stack than is there")
        return self.stack.pop()

    def pop_to_mark(self, _=None):
        if not self.below:
            raise WeightsError("the pickle is damaged: a mark is missing")
        items, self.stack = self.stack, self.below.pop()
        return items

    def top(self, kind):
        if not self.stack or type(self.stack[-1]) not in (kind, Foreign):
            raise WeightsError(f"the pickle is damaged: it adds to something that is no {kind.__name__}")
        return self.stack[-1]

    def mark(self, _):
        self.below.append(self.stack)
        self.stack = []

    def push_tuple(self, count):
        items = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(items)))

    def append(self, items):
        target = self.top(list)
        if type(target) is list:
            target.extend(items)

    def set_items(self, items):
        if len(items) % 2:
            raise WeightsError("the pickle is damaged: a dict's key has no value")
        target = self.top(dict)
        target = target.items if type(target) is Foreign else target
        for key, value in zip(items[::2], items[1::2], strict=True):
            _put(target, key, value)

    def set_item(self, _):
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def push_dict(self, _):
        items = self.pop_to_mark()
        self.push({})
        self.set_items(items)

    def remember(self, index):
        if not self.stack or index > MAX_OPCODES:
            raise WeightsError(f"the pickle is damaged: it remembers what is not there, or as number {index}")
        self.memo[index] = self.stack[-1]

    def recall(self, index):
        if index not in self.memo:
            raise WeightsError(f"the pickle is damaged: it recalls {index}, which it never stored")
        self.push(self.memo[index])

    def push_name(self, module, name):
        full = f"{'builtins' if module == '__builtin__' else module}.{name}"
        value = self.known.get(full) or known_name(full)
        if value is None:
            raise WeightsError(f"the pickle asks for {full[:200]}, {REFUSED}")
        self.push(value)

    def stack_global(self, _):
        name, module = self.pop(), self.pop()
        if type(module) is not str or type(name) is not str:
            raise WeightsError("the pickle is damaged: a global's name is no text")
        self.push_name(module, name)

    def reduce(self, _):
        arguments, function = self.pop(), self.pop()
        if isinstance(function, ForeignName) and function.is_class and type(arguments) is tuple and len(arguments) == 1:
            self.push(Foreign(function.name))  # a member of an enumeration, by its value
            return
        if isinstance(function, ForeignName):
            raise WeightsError(f"the pickle asks for {function.name[:200]}, to call it, {REFUSED}")
        if not isinstance(function, Known) or type(arguments) is not tuple:
            raise WeightsError(f"the pickle calls a {type(function).__name__}, which is no function: refused")
        if not function.least <= len(arguments) <= function.most:
            raise WeightsError(f"the pickle calls {function.name} with {len(arguments)} arguments")
        self.push(function.call(*arguments))

    def new_object(self, _):
        """An object of a class, whose constructor is not asked."""
        if len(self.stack) > 1 and isinstance(self.stack[-2], ForeignName):
            self.pop()
            self.push(Foreign(self.pop().name))
        else:
            self.reduce(None)

    def new_object_with_names(self, _):
        self.pop()  # the arguments that have names
        self.new_object(None)

    def push_set(self, _):
        self.pop_to_mark()
        self.push(Foreign("builtins.set"))

    def add_items(self, _):
        self.pop_to_mark()
        if type(self.pop()) is not Foreign:
            raise WeightsError("the pickle is damaged: it adds to something that is no set")
        self.push(Foreign("builtins.set"))

    def instantiate(self, names):
        arguments = tuple(self.pop_to_mark())
        self.push_name(*names.split(" ", 1))
        self.push(arguments)
        self.reduce(None)

    def build(self, _):
        state, target = self.pop(), self.pop()
        if isinstance(target, Opaque):
            target.build(state)
        elif type(target) is not dict:  # a dict's attributes, as OrderedDict has: torch keeps versions there
            raise WeightsError(f"the pickle sets attributes of a {type(target).__name__}: refused")
        self.push(target)

    def persistent_id(self, _):
        if self.persistent is None:
            raise WeightsError("the pickle refers to data outside of it, which this format does not have")
        self.push(self.persistent(self.pop()))


_MEANING = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda machine, _: None),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.remember),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.recall),
    "MARK": _Machine.mark,
    "POP": lambda machine, _: machine.pop(),
    "POP_MARK": _Machine.pop_to_mark,
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "LIST": lambda machine, _: machine.push(machine.pop_to_mark()),
    "DICT": _Machine.push_dict,
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.push_tuple(1),
    "TUPLE2": lambda machine, _: machine.push_tuple(2),
    "TUPLE3": lambda machine, _: machine.push_tuple(3),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "SETITEM": _Machine.set_item,
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "MEMOIZE": lambda machine, _: machine.remember(len(machine.memo)),
    "GLOBAL": lambda machine, names: machine.push_name(*names.split(" ", 1)),
    "STACK_GLOBAL": _Machine.stack_global,
    "INST": _Machine.instantiate,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.new_object,
    "NEWOBJ_EX": _Machine.new_object_with_names,
    "EMPTY_SET": lambda machine, _: machine.push(Foreign("builtins.set")),
    "FROZENSET": _Machine.push_set,
    "ADDITEMS": _Machine.add_items,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent_id,
}
