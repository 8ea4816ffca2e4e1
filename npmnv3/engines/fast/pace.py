"""Weights are asked for before they are needed, a few cache lines with every round of a product.

The weights of a network do not fit into the second-level cache, and they are packed in the order of use. So a pointer
runs ahead of the weights in use by about half of that cache, and every product on many pixels, which reads its own
weights again and again, moves it on.
"""

from .kernels.record import AHEAD_LINES, LINE, split
from .workspace import SEGMENT_BITS, WEIGHTS

#: How far the pointer runs ahead, in bytes.
DISTANCE = 1 << 19


def pace(commands, library, end):
    """Fill in `ahead` and `ahead_step` of the products in one thread's commands.

    Parameters
    ----------
    commands : list of lists of int, changed in place
    library : jit.Library
    end : bytes of all weights
    """
    kernels = {library.addresses[name]: kernel for name, kernel in library.kernels.items()}
    pointer = 0
    for command in commands:
        kernel = kernels.get(command[0])
        if kernel is None or "weight" not in kernel.args:
            continue
        a = dict(zip(kernel.args, command[1:]))
        if a["weight"] >> SEGMENT_BITS == WEIGHTS >> SEGMENT_BITS:
            here = a["weight"] - WEIGHTS
            pointer = max(pointer, here)
            limit = min(here + DISTANCE, end)
        if "ahead_step" not in kernel.args:
            continue
        chunks = a["first"] + a["blocks"] * a["chunks"]
        rounds = sum(split(a["pixels"], library.machine.tiles)) * a["rows"] * chunks
        lines = min(-(-max(limit - pointer, 0) // LINE), rounds * AHEAD_LINES)
        per_round = -(-lines // max(rounds, 1))
        command[1 + kernel.args.index("ahead")] = WEIGHTS + min(pointer, end - LINE)
        command[1 + kernel.args.index("ahead_step")] = per_round * LINE
        pointer += lines * LINE
