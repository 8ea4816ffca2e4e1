"""Put cached machine code into memory: what LLVM's linker does, where the object file is as simple as the kernels' is.

Importing LLVM takes a tenth of the time that a process needs to its first answer, and its linker is all that a process
with cached code would use of it. Object files with anything else in them than is known here are left to LLVM.
"""

import ctypes
import mmap
import platform
import struct
import sys
from typing import NamedTuple

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_MAGIC = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian
_RELOCATABLE, _X86_64 = 1, 62
_PROGBITS, _SYMTAB, _RELA, _NOBITS = 1, 2, 4, 8
_WRITE, _ALLOC = 1, 2
_FUNCTION = 2
#: Kind of relocation -> (format, whether it is relative to its own place).
_KINDS = {1: ("<Q", False), 2: ("<i", True), 4: ("<i", True), 24: ("<q", True)}


class _Section(NamedTuple):
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


class NotKnownError(Exception):
    """The object file has something that is not known here."""


def is_known_here():
    """Whether this system and processor are those that `link` knows."""
    return sys.platform == "linux" and platform.machine() == "x86_64" and sys.maxsize > 1 << 32


def link(object_file):
    """Load an object file's functions into memory that may be run, and stays for the life of the process.

    Parameters
    ----------
    object_file : bytes, ELF for x86-64

    Returns
    -------
    {function's name: address}, or None where the system, the processor or the file is none that is known here
    """
    if not is_known_here():
        return None
    try:
        sections = _sections(object_file)
        places, size = _layout(sections)
        symbols = _symbols(object_file, sections, places)
        if size > len(object_file) + len(places) * mmap.PAGESIZE:
            raise NotKnownError
        memory = _Memory(size)
        image = bytearray(size)
        for index, place in places.items():
            image[place : place + sections[index].size] = _body(object_file, sections[index])
        for section in sections:
            if section.kind == _RELA and section.info in places:
                _relocate(image, memory.start, places[section.info], _body(object_file, section), symbols)
        memory.fill(image)
    except (NotKnownError, struct.error, ValueError, IndexError, OSError):
        return None
    return {name: memory.start + place for name, is_function, place in symbols if is_function and place is not None}


def _sections(data):
    magic, kind, machine, *_, at, _, _, _, _, size, count, _ = _HEADER.unpack_from(data)
    if magic[: len(_MAGIC)] != _MAGIC or (kind, machine, size) != (_RELOCATABLE, _X86_64, _SECTION.size):
        raise NotKnownError
    return [_Section(*_SECTION.unpack_from(data, at + i * size)) for i in range(count)]


def _body(data, section):
    body = data[section.offset : section.offset + section.size]
    if len(body) != section.size:
        raise NotKnownError
    return body


def _layout(sections):
    """({index of a section: its place}, bytes in all) of what is code or constants; tables for unwinding stay out."""
    places, end = {}, 0
    for index, section in enumerate(sections):
        if not section.flags & _ALLOC or not section.size:
            continue
        if section.flags & _WRITE or section.kind == _NOBITS or not 1 <= section.alignment <= mmap.PAGESIZE:
            raise NotKnownError  # variables: no kernel has any
        if section.kind == _PROGBITS:
            start = -(-end // section.alignment) * section.alignment
            places[index], end = start, start + section.size
    return places, end


def _symbols(data, sections, places):
    """[(name, whether it is a function, its place or None if it is in none of ours)]"""
    table = next((section for section in sections if section.kind == _SYMTAB), None)
    if table is None:
        raise NotKnownError
    names, found = _body(data, sections[table.link]), []
    for name, info, _, index, value, _ in _SYMBOL.iter_unpack(_body(data, table)):
        text = names[name : names.index(b"\0", name)].decode()
        found.append((text, info & 15 == _FUNCTION, places[index] + value if index in places else None))
    return found


def _relocate(image, start, place, table, symbols):
    """Write the addresses that code and constants have of one another."""
    for offset, info, addend in _RELOCATION.iter_unpack(table):
        _, _, target = symbols[info >> 32]
        kind = info & 0xFFFFFFFF
        if target is None or kind not in _KINDS:
            raise NotKnownError  # a function of another library, such as memset
        form, is_relative = _KINDS[kind]
        struct.pack_into(form, image, place + offset, target + addend - (place + offset if is_relative else -start))


class _Memory:
    """Pages of the system's own that are written once, and run from then on. They are never given back.

    A thread may still be at work in them when Python ends.
    """

    def __init__(self, size):
        self._system, self._size = ctypes.CDLL(None, use_errno=True), -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self._system.mmap.restype = ctypes.c_void_p
        self._system.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        self._system.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        writable, own = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.start = self._system.mmap(None, self._size, writable, own, -1, 0)
        if self.start in (None, ctypes.c_void_p(-1).value):
            raise OSError(ctypes.get_errno(), "no memory for machine code")

    def fill(self, image):
        ctypes.memmove(self.start, bytes(image), len(image))
        if self._system.mprotect(self.start, self._size, mmap.PROT_READ | mmap.PROT_EXEC):
            raise OSError(ctypes.get_errno(), "memory may not be run")
