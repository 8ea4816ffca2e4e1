"""Weights are asked for before they are needed, a few cache lines with every round of a product.

They are packed in the order of use, and every product on many pixels, which reads its own weights again and again,
moves two pointers on. One runs ahead of the weights in use by the size of the second-level cache. The other runs far
ahead, as evenly as it can: what it asks for is on its way out of the second-level cache into the third when it is
needed, but the memory had the whole time to bring it, where the classifier and squeeze-and-excitation alone would wait
for it.
"""

from .kernels.kernel import LINE, split
from .kernels.pointwise import AHEAD_LINES, FAR_LINES
from .workspace import SEGMENT_BITS, WEIGHTS

#: How far the pointers run ahead, in bytes.
NEAR, FAR = 1 << 19, 1 << 22


class _Pointer:
    """Where the memory begins that has not been asked for yet, and up to where it may be.

    Parameters
    ----------
    lines : cache lines that it moves on by in a round, at most
    end : bytes of all weights
    """

    def __init__(self, lines, end):
        self.lines, self.end, self.at, self.limit = lines, end, 0, 0

    def between(self, at, limit):
        self.at, self.limit = max(self.at, at), min(limit, self.end)

    def move(self, rounds):
        """(address, step) for a command of so many rounds."""
        lines = min(-(-max(self.limit - self.at, 0) // LINE), rounds * self.lines)
        address, step = WEIGHTS + min(self.at, self.end - LINE), -(-lines // rounds) * LINE
        self.at += lines * LINE
        return address, step


def pace(commands, library, end):
    """Fill in `ahead`, `far` and their steps in the products of one part's commands.

    Parameters
    ----------
    commands : list of lists of int, changed in place
    library : compiler.Library
    end : bytes of all weights
    """
    kernels = {library.addresses[name]: kernel for name, kernel in library.kernels.items()}
    near, far = _Pointer(AHEAD_LINES, end), _Pointer(FAR_LINES, end)
    work = [_rounds(kernels.get(command[0]), command) for command in commands]
    total, done = max(sum(work), 1), 0
    for command, rounds in zip(commands, work):
        kernel, done = kernels.get(command[0]), done + rounds
        weight = command[1 + kernel.args.index("weight")] if kernel and "weight" in kernel.args else 0
        if weight >> SEGMENT_BITS == WEIGHTS >> SEGMENT_BITS:
            here = weight - WEIGHTS
            near.between(here, here + NEAR)
            far.between(min(here + NEAR, end), min(here + FAR, end * done // total))
        if rounds:
            at = 1 + kernel.args.index("ahead")
            command[at : at + 4] = *near.move(rounds), *far.move(rounds)


def _rounds(kernel, command):
    """How many times a command asks for memory: once for each chunk of channels of each tile."""
    if kernel is None or "chunks" not in kernel.args:
        return 0
    a = dict(zip(kernel.args, command[1:]))
    tiles = sum(split(a["pixels"], kernel.tiles)) * a["rows"] if "pixels" in a else 1
    return tiles * (a["first"] + a["blocks"] * a["chunks"])
