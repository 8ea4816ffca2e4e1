"""The checksums of HDF5: of its structures (Bob Jenkins's lookup3), and of arrays on demand (Fletcher's)."""

import numpy as np

_MASK = 0xFFFFFFFF


def lookup3(data):
    """Bob Jenkins's hashlittle of some bytes, a 32-bit integer.

    Source: burtleburtle.net/bob/c/lookup3.c, public domain; HDF5 takes 0 as its start.
    """
    a = b = c = (0xDEADBEEF + len(data)) & _MASK
    if not data:
        return c
    words = np.frombuffer(data + bytes(-len(data) % 12), "<u4").tolist()
    # Cut to 32 bits only where a number is turned next, and turned in place: thousands of links are checked so.
    for at in range(0, len(words) - 3, 3):
        a, b, c = a + words[at], b + words[at + 1], c + words[at + 2] & _MASK
        a = (a - c ^ (c << 4 | c >> 28)) & _MASK
        c += b
        b = (b - a ^ (a << 6 | a >> 26)) & _MASK
        a += c
        c = (c - b ^ (b << 8 | b >> 24)) & _MASK
        b += a
        a = (a - c ^ (c << 16 | c >> 16)) & _MASK
        c += b
        b = (b - a ^ (a << 19 | a >> 13)) & _MASK
        a += c
        c = (c - b ^ (b << 4 | b >> 28)) & _MASK
        b += a
    return _final(*(number & _MASK for number in (a + words[-3], b + words[-2], c + words[-1])))


def _final(a, b, c):
    c = (c ^ b) - _turned(b, 14) & _MASK
    a = (a ^ c) - _turned(c, 11) & _MASK
    b = (b ^ a) - _turned(a, 25) & _MASK
    c = (c ^ b) - _turned(b, 16) & _MASK
    a = (a ^ c) - _turned(c, 4) & _MASK
    b = (b ^ a) - _turned(a, 14) & _MASK
    return (c ^ b) - _turned(b, 24) & _MASK


def _turned(word, bits):
    return (word << bits | word >> 32 - bits) & _MASK


def fletcher32(data):
    """The two sums of Fletcher's checksum, each modulo 65535, of 16-bit words, most significant byte first."""
    words = np.frombuffer(data + bytes(len(data) % 2), ">u2").astype(np.uint64)
    weights = np.arange(len(words), 0, -1, dtype=np.uint64)
    return int(words.sum() % 65535), int((words * (weights % 65535) % 65535).sum() % 65535)
