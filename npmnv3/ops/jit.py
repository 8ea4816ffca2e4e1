"""How loops are compiled, and what they are given.

They may round a product and a sum at once (`contract`), reorder sums (`reassoc`), without which a sum would not run
along a vector, and forget the sign of a zero (`nsz`). They may not assume that NaN and infinity never occur, and pass them as
the definitions do.
"""

import numpy as np
from numba import njit

OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}

#: Every loop; `dispatcher()` gives Numba's object for it.
LOOPS = []


def loop(function):
    """Compile a function when it is first called, and keep the machine code for later processes where that can be."""
    try:
        best = njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # there is no folder for the code: a read-only installation, or one in a zip file
        best = njit(**OPTIONS)(function)

    def run(*args):
        nonlocal best
        try:
            return best(*args)
        except (OSError, EOFError):  # the code cannot be kept, or what was kept cannot be read; the loop has not begun
            best = njit(**OPTIONS)(function)
            return best(*args)

    run.dispatcher = lambda: best
    LOOPS.append(run)
    return run


def as_contiguous(array):
    array = np.ascontiguousarray(array)
    return array if array.flags.aligned else array.copy()


def as_input(array):
    """An array as all loops take it: contiguous, aligned, read-only. Any other kind would be compiled for by itself."""
    if array.flags.c_contiguous and array.flags.aligned and not array.flags.writeable:
        return array
    view = as_contiguous(array).view()
    view.flags.writeable = False
    return view


def channels_last(x):
    return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x


def channels_first(x):
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 else x


def as_pixels(x):
    """(N, C, H, W) as the loops take it, (N, H, W, C); (N, C) as it is."""
    return as_input(channels_last(x))
