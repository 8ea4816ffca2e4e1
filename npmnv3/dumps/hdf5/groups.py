"""The members of a group: a table of symbols, links in its header, or links in a heap."""

import struct
from typing import NamedTuple

from ...errors import WeightsError, once_each
from .headers import LINK, LINKS, SYMBOLS
from .heaps import FractalHeap, records
from .source import UNDEFINED
from .values import text_at

MAX_NAMES = 100_000
_SOFT_SYMBOL = 2
_BY_NAME = 5  # the kind of tree that links are found in by their names
_ORDERED = 4  # flag of a link: it knows the order in which links were made


class Link(NamedTuple):
    """A name in a group."""

    address: int | None  # of the object's header; None where it leads elsewhere, by another name
    order: int | None = None  # of its making


def links(source, messages):
    """{name: Link} of a group, in the order in which they were made if that is known, else by name; {} of what is none."""
    pairs = list(map(_link, messages.get(LINK, [])))
    for table in messages.get(SYMBOLS, []):
        pairs += _symbols(source, *struct.unpack_from("<2Q", table))
    for info in messages.get(LINKS, []):
        heap, tree = struct.unpack_from("<2Q", info, 2 + 8 * (info[1] & 1))
        if heap != UNDEFINED:
            objects = FractalHeap(source, heap)
            pairs += [_link(objects.object(record[4:])) for record in records(source, tree, _BY_NAME)]
    members = once_each(pairs, "the member")
    if members and all(link.order is not None for link in members.values()):
        return dict(sorted(members.items(), key=lambda item: item[1].order))
    return dict(sorted(members.items()))


def _link(content):
    version, flags = struct.unpack_from("<2B", content)
    if version != 1:
        raise WeightsError(f"a link of version {version}, expected 1: damaged")
    position, kind, order = 2, 0, None
    if flags & 8:
        kind, position = content[position], position + 1
    if flags & _ORDERED:
        (order,), position = struct.unpack_from("<Q", content, position), position + 8
    position += bool(flags & 16)  # the name's character set: UTF-8 holds ASCII
    width = 1 << (flags & 3)
    length = int.from_bytes(content[position : position + width], "little")
    name, position = content[position + width : position + width + length], position + width + length
    address = struct.unpack_from("<Q", content, position)[0] if kind == 0 else None
    return text_at(name, 0), Link(address, order)


def _symbols(source, tree, heap):
    """[(name, Link)] of a table of symbols."""
    signature, size, _, segment = struct.unpack("<8s3Q", source.take(heap, 32, "a group's names"))
    if signature[:5] != b"HEAP\0":
        raise WeightsError(f"a group's names at {heap} do not begin with HEAP: damaged")
    names = source.take(segment, size, "a group's names")
    members, nodes, seen = [], [tree], set()
    while nodes:
        node = nodes.pop()
        if node in seen or len(members) > MAX_NAMES:
            raise WeightsError(f"a group goes round in circles, or has more than {MAX_NAMES} members")
        seen.add(node)
        signature, count = struct.unpack("<6sH", source.take(node, 8, "a group's node"))
        if signature[:4] == b"SNOD":
            for entry in struct.iter_unpack("<2QI20x", source.take(node + 8, 40 * count, "a group's node")):
                link = Link(None if entry[2] == _SOFT_SYMBOL else entry[1])
                members.append((text_at(names, entry[0]), link))
        elif signature[:5] == b"TREE\0":
            keys_and_children = source.take(node + 24, 16 * count, "a group's tree")
            nodes += [child for _, child in struct.iter_unpack("<2Q", keys_and_children)][::-1]
        else:
            raise WeightsError(f"a group's node at {node} begins with {signature[:4]!r}: damaged")
    return members
