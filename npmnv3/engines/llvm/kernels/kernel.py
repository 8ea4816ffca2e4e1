"""What a kernel is: its arguments, the code that makes it, and its plain NumPy twin on the same memory."""

import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ....ops.pages import LINE

#: What is done to a sum before it is stored; commands carry these numbers.
NONE, RELU, HARD_SWISH, HARD_SIGMOID = 0, 1, 2, 3

FLOAT_BYTES, FLOAT16_BYTES = 4, 2

#: The most vectors of output channels that a product works on at once.
VECTORS = 3

#: Registers -> vectors of output channels -> pixels that a product works on at once, from large to small; see `split`.
TILES = {16: {1: (8, 7, 3, 1), 2: (6, 5, 2, 1), 3: (4, 3, 2, 1)}, 32: {1: (14, 7, 3, 1), 2: (7, 3, 1), 3: (7, 3, 1)}}

#: 64-bit integers in a command: the kernel's address, then its arguments.
RECORD = 24

#: What threads that share a picture tell each other: 64-bit integers, each in a cache line of its own. They are the phase
#: that is open; the first phase that may not be begun yet; the number of parts done, of all phases; how often a thread waited
#: long; how often helpers were called; and how many helpers are at hand. Then, for each part, the phase for which it was last
#: claimed. Phases are numbered on from run to run, so all of these but the helpers at hand only grow.
PHASE, LIMIT, DONE, STALLS, CALLS, AT_HAND, CLAIMS = (LINE * place for place in range(7))


def control_bytes(parts):
    return CLAIMS + LINE * parts


class Machine(NamedTuple):
    """What the kernels need to know of a processor.

    width : floats in a vector: 16 (AVX-512), 8 (AVX2) or 4 (SSE, NEON)
    registers : vector registers
    halves : bool, a vector of half the width takes half the time, so a last half vector of channels is not filled up
    float16 : bool, the linear layers' weights are stored in 16 bits, and widened as they are read
    """

    width: int
    registers: int
    halves: bool = False
    float16: bool = False

    @property
    def bytes(self):
        """Of one vector."""
        return self.width * FLOAT_BYTES

    def tiles(self, vectors):
        """Pixels that a product works on at once, for so many vectors of channels: from large tiles to small ones.

        A tile must stay in registers, but have eight sums or more, so that two multiply-add units never wait for one. Of
        inputs with 224 pixels a side, all rows are a multiple of 7 pixels long: sizes of 7, or two sizes that differ by one,
        do them with few small tiles.
        """
        return TILES[32 if self.registers >= 32 else 16][vectors]

    @property
    def depthwise_tiles(self):
        """The same for a depthwise convolution, which has one vector of channels and a row of taps in registers."""
        return (7, 3, 1)

    @property
    def conv_tiles(self):
        """The same for the first convolution."""
        return (2 * self.tiles(VECTORS)[0], 2, 1)

    @property
    def multiplies_by_lane(self):
        """True if the processor has a multiply-add whose factor is one lane of a vector (NEON)."""
        return self.width == 4 and self.registers >= 32

    @property
    def chunk(self):
        """Input channels that one round of the pointwise kernel takes: a whole vector of them, or half of one."""
        return min(8, self.width)


class Operand(NamedTuple):
    """Memory that a command touches: an address, and a shape and strides (bytes) from there.

    With a table, the name of another operand that holds offsets, there is one such array at each of them.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    table: str = ""
    dtype: str = "float32"


class Kernel(NamedTuple):
    """One kernel.

    name : of the compiled function; it gets one argument, the address of its arguments as 64-bit integers
    args : names of these. Addresses and strides are in bytes, `slope` is a float's bits, the rest are counts.
    emit : callable (code, a) that writes the function; `a` has the arguments as attributes
    operands : callable (a) -> {name: Operand}: all memory that a command touches; a table comes before what it is for
    plain : callable (a, arrays): the same in NumPy; `arrays` are the operands as views by name, a list where a table is
    writes : names of the operands that are written
    tiles : pixels of a product's tiles, see `split`
    """

    name: str
    args: tuple[str, ...]
    emit: Callable
    operands: Callable
    plain: Callable
    writes: tuple[str, ...] = ("out",)
    tiles: tuple[int, ...] = (1,)


def split(pixels, tiles):
    """How many tiles of each size do a row of `pixels` pixels: the plain twin of `Code.tiles`.

    Small tiles are slow. So if the first two sizes differ by one, and the row is long enough, these two do all of it.
    """
    kept, counts = 0, []
    if tiles[0] == tiles[1] + 1:
        kept = -pixels % tiles[0] * tiles[1]
        kept = kept if kept <= pixels else 0
    for tile in tiles:
        counts.append((pixels - kept) // tile)
        pixels, kept = pixels - counts[-1] * tile, 0
    return counts


def float_bits(value):
    """A float32's bits as an int, as commands carry it."""
    return struct.unpack("<i", struct.pack("<f", value))[0]  # a command has one each, and NumPy takes ten times as long


def bits_float(bits):
    return np.int32(bits).view(np.float32)


def activate(x, act, slope):
    """The activation of that number: the plain twin of `Code.activate`."""
    gate = np.clip(x * bits_float(slope) + np.float32(0.5), np.float32(0), np.float32(1))
    return (x, np.maximum(x, np.float32(0)), x * gate, gate)[act]
