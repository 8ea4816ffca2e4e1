"""The threads of NumPy's own OpenBLAS.

For matrices as small as a MobileNet's, on cores that have other work too, its threads cost several times what they
bring.
"""

import contextlib
import ctypes
import pathlib

import numpy as np

#: what builds of OpenBLAS call the two functions
_NAMES = tuple(f"{before}openblas_%s_num_threads{after}" for before in ("scipy_", "") for after in ("64_", ""))


@contextlib.contextmanager
def one_thread():
    """Inside, NumPy multiplies matrices in one thread; where its BLAS has no such control, nothing changes."""
    controls = _controls()
    before = [get() for get, _ in controls]
    try:
        for _, put in controls:
            put(1)
        yield
    finally:
        for (_, put), threads in zip(controls, before):
            put(threads)


def _controls():
    """[(get, set) number of threads] of the OpenBLAS that lies beside NumPy in its wheels."""
    home = pathlib.Path(np.__file__).parent
    found = []
    for path in sorted((*home.parent.glob("numpy.libs/*openblas*"), *home.glob(".dylibs/*openblas*"))):
        library = ctypes.CDLL(str(path))  # the one that NumPy has loaded already
        for name in _NAMES:
            if hasattr(library, name % "set"):
                found.append((getattr(library, name % "get"), getattr(library, name % "set")))
                break
    return found
