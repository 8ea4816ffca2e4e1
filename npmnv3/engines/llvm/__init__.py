"""The llvm engine: a small compiler from a plan to a list of commands, and kernels that carry them out.

The passes, a module each:

    fold_constants  batch norm and constant factors go into the weights, in float64
    fuse            steps become layers: activations, additions, poolings and gates go into the kernels beside them
    pack            weights in the order in which the kernels read them
    schedule        layers become commands, a kernel's address and its arguments each (`separable` and `simple_layers`
                    emit them, `grouping` says which are done together), and every tensor gets its place in memory
                    (`workspace`); `prefetch` adds what is to be fetched ahead
    programs        commands are bound to memory, and run: a loop calls one kernel after another

`engine` puts them together, `threads` has the team of helpers, `compiler` compiles, `code_cache` keeps what it made
and `linker` puts it into memory, `profile` measures.

The kernels (`kernels`) know no shapes, so one set of them, compiled once for a processor, serves all networks and
sizes. They are written in LLVM's vector instructions, a function of the vector's width, since no compiler keeps a whole
tile of a matrix product in registers by itself; beside each stand a few lines of NumPy that do the same on the same
memory. They are compiled by llvmlite, the compiler under Numba, but without Numba: there are no Python types to infer, and
importing Numba takes longer than everything else between a cold start and the first answer.

A map is stored as planes of `width` channels, in each of which a pixel is one vector.
"""

import importlib.util

from .code_cache import cache_folder
from .compiler import warm_up
from .engine import LlvmEngine


def available():
    """True if the compiler is installed (the extra `jit`)."""
    return importlib.util.find_spec("llvmlite") is not None


__all__ = ["LlvmEngine", "available", "cache_folder", "warm_up"]
