"""LLVM's IR as text: types, values, and a builder that appends one instruction at a time.

The builder has what the kernels need of llvmlite's own, mostly by the same names. That one takes six times as long for
their fourteen thousand instructions: a third of the time to the first answer of a process that has to compile them.
Nothing is checked here: LLVM checks every type when it reads the text.
"""

import contextlib
import functools
import struct
from typing import NamedTuple


class Type(NamedTuple):
    """What LLVM calls it, and how many lanes it has."""

    text: str
    count: int = 1


VOID, BOOL, INT32, INT = (Type(name) for name in ("void", "i1", "i32", "i64"))
FLOAT, FLOAT16 = Type("float"), Type("half")


@functools.cache
def vector_of(element, count):
    """The vector of so many of a type."""
    return Type(f"<{count} x {element.text}>", count)


class Value:
    """The result of an instruction, an argument or a constant: its type, its name, and both, as an operand is written."""

    __slots__ = ("name", "type", "typed")

    def __init__(self, kind, name):
        self.type, self.name, self.typed = kind, name, f"{kind.text} {name}"


@functools.cache
def integer(value, kind=INT):
    """A constant."""
    return Value(kind, str(value))


@functools.cache
def lanes(*indices):
    """A constant vector of 32-bit integers, which `shuffle_vector` takes."""
    return Value(vector_of(INT32, len(indices)), f"<{', '.join(f'i32 {index}' for index in indices)}>")


def filled(kind, number):
    """A vector with a number in every lane, which float32 holds exactly."""
    bits = struct.unpack("<Q", struct.pack("<d", number))[0]
    return Value(kind, f"<{', '.join([f'float 0x{bits:016x}'] * kind.count)}>")


class Phi(Value):
    """A value that depends on the block from which its own was entered."""

    __slots__ = ("ways",)

    def __init__(self, kind, name):
        super().__init__(kind, name)
        self.ways = []

    def add_incoming(self, value, block):
        self.ways.append(f"[{value.name}, %{block.name}]")

    def __str__(self):
        return f"{self.name} = phi {self.type.text} {', '.join(self.ways)}"


class Block:
    """Instructions without a jump between them, as text; a `Phi` becomes text last, when all its ways are known."""

    def __init__(self, name):
        self.name, self.lines = name, []


class Module:
    """Functions, and those of LLVM that they call.

    Parameters
    ----------
    typed_pointers : bool, a pointer's type says what it points to, as LLVM had it until its version 15
    """

    def __init__(self, typed_pointers=False):
        self.typed_pointers, self.functions, self.declared = typed_pointers, {}, {}

    def function(self, name, args):
        """A new function of so many integers, which gives nothing back."""
        self.functions[name] = Function(self, name, args)
        return self.functions[name]

    def __str__(self):
        declared = [f"declare {result} @{name}({args})" for name, (result, args) in self.declared.items()]
        return "\n".join([*declared, *map(str, self.functions.values())])


class Function:
    """A function under construction: the integers it gets, and its blocks in their order."""

    def __init__(self, module, name, args):
        self.module, self.name, self.blocks, self._values = module, name, [], 0
        self.args = [Value(INT, f"%a{index}") for index in range(args)]

    def new_name(self):
        self._values += 1
        return f"%v{self._values}"

    def append_basic_block(self, name):
        self.blocks.append(Block(f"{name}{len(self.blocks)}"))
        return self.blocks[-1]

    def __str__(self):
        lines = [f"define void @{self.name}({', '.join(arg.typed for arg in self.args)}) {{"]
        for block in self.blocks:
            lines += [f"{block.name}:", *map(str, block.lines)]
        return "\n".join([*lines, "}"])


# What LLVM calls a comparison: of integers with a sign, of others, of floats, false if one is NaN.
_SIGNED = {"==": "eq", "!=": "ne", "<": "slt", ">": "sgt", ">=": "sge"}
_UNSIGNED = {"<=": "ule"}
_ORDERED = {"<": "olt", ">": "ogt"}


def _binary(operation):
    return lambda self, a, b: self._value(a.type, f"{operation} {a.typed}, {b.name}")


def _conversion(operation):
    return lambda self, value, kind: self._value(kind, f"{operation} {value.typed} to {kind.text}")


class Builder:
    """Appends instructions to `block`, and gives back their values."""

    def __init__(self, function):
        self.function, self.module = function, function.module
        self.position_at_end(function.append_basic_block("entry"))

    def append_basic_block(self, name):
        return self.function.append_basic_block(name)

    def position_at_end(self, block):
        """Go on in another block."""
        self.block = block

    def _append(self, line):
        self.block.lines.append(line)

    def _value(self, kind, text):
        value = Value(kind, self.function.new_name())
        self._append(f"{value.name} = {text}")
        return value

    # Arithmetic

    add, sub, mul, udiv, urem = map(_binary, ("add", "sub", "mul", "udiv", "urem"))
    lshr, and_, fadd, fmul = map(_binary, ("lshr", "and", "fadd", "fmul"))

    def not_(self, value):
        return self._value(value.type, f"xor {value.typed}, -1")

    def _compare(self, operation, a, b):
        kind = BOOL if a.type.count == 1 else vector_of(BOOL, a.type.count)
        return self._value(kind, f"{operation} {a.typed}, {b.name}")

    def icmp_signed(self, relation, a, b):
        return self._compare(f"icmp {_SIGNED[relation]}", a, b)

    def icmp_unsigned(self, relation, a, b):
        return self._compare(f"icmp {_UNSIGNED[relation]}", a, b)

    def fcmp_ordered(self, relation, a, b):
        return self._compare(f"fcmp {_ORDERED[relation]}", a, b)

    def is_nan(self, value):
        return self._compare("fcmp uno", value, value)

    def select(self, condition, a, b):
        return self._value(a.type, f"select {condition.typed}, {a.typed}, {b.typed}")

    # Conversions, lanes

    trunc, bitcast, fpext = map(_conversion, ("trunc", "bitcast", "fpext"))

    def insert_element(self, vector, scalar, index):
        return self._value(vector.type, f"insertelement {vector.typed}, {scalar.typed}, {index.typed}")

    def shuffle_vector(self, a, b, mask):
        kind = a.type if mask.type.count == a.type.count else vector_of(FLOAT, mask.type.count)
        return self._value(kind, f"shufflevector {a.typed}, {b.typed}, {mask.typed}")

    # Memory: addresses are integers

    def pointer(self, address, to="i8"):
        """To a type, by its name."""
        kind = Type(f"{to}*" if self.module.typed_pointers else "ptr")
        return self._value(kind, f"inttoptr {address.typed} to {kind.text}")

    def load(self, kind, address, align):
        pointer = self.pointer(address, kind.text).typed
        return self._value(kind, f"load {kind.text}, {pointer}, align {align}")

    def store(self, value, address, align):
        self._append(f"store {value.typed}, {self.pointer(address, value.type.text).typed}, align {align}")

    def load_atomic(self, address, ordering):
        return self._value(INT, f"load atomic i64, {self.pointer(address, 'i64').typed} {ordering}, align 8")

    def store_atomic(self, value, address, ordering):
        self._append(f"store atomic {value.typed}, {self.pointer(address, 'i64').typed} {ordering}, align 8")

    def atomic_rmw(self, operation, address, value, ordering):
        return self._value(INT, f"atomicrmw {operation} {self.pointer(address, 'i64').typed}, {value.typed} {ordering}")

    def compare_exchange(self, address, seen, value, ordering, failing):
        """True if memory had what was `seen`, and has the value now."""
        pointer = self.pointer(address, "i64").typed
        pair = self.function.new_name()
        self._append(f"{pair} = cmpxchg {pointer}, {seen.typed}, {value.typed} {ordering} {failing}")
        return self._value(BOOL, f"extractvalue {{i64, i1}} {pair}, 1")

    # Control

    def phi(self, kind):
        phi = Phi(kind, self.function.new_name())
        self._append(phi)
        return phi

    def branch(self, block):
        self._append(f"br label %{block.name}")

    def cbranch(self, condition, then, otherwise):
        self._append(f"br {condition.typed}, label %{then.name}, label %{otherwise.name}")

    def switch(self, value, default, cases):
        """Go on in one of several blocks, by number."""
        ways = " ".join(f"{integer(number).typed}, label %{block.name}" for number, block in cases.items())
        self._append(f"switch {value.typed}, label %{default.name} [{ways}]")

    @contextlib.contextmanager
    def if_then(self, condition):
        """What is appended within is done if the condition holds."""
        then, end = self.append_basic_block("then"), self.append_basic_block("end")
        self.cbranch(condition, then, end)
        self.position_at_end(then)
        yield
        self.branch(end)
        self.position_at_end(end)

    def ret_void(self):
        self._append("ret void")

    # Calls

    def call(self, function, args):
        """Another function of the module."""
        self._append(f"call void @{function.name}({', '.join(arg.typed for arg in args)})")

    def call_address(self, address, args, result=VOID):
        """A function that lies at an address; its result is not used."""
        kinds = ", ".join(arg.type.text for arg in args)
        pointer = self.pointer(address, f"{result.text} ({kinds})").name
        self._append(f"call {result.text} {pointer}({', '.join(arg.typed for arg in args)})")

    def intrinsic(self, name, result, args):
        """A function of LLVM."""
        self.module.declared[name] = result.text, ", ".join(arg.type.text for arg in args)
        call = f"call {result.text} @{name}({', '.join(arg.typed for arg in args)})"
        return self._append(call) if result is VOID else self._value(result, call)
