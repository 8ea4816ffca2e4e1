"""What runs a plan: the reference engine in NumPy, and the fast one."""

import functools
import logging

import numpy as np

from ..errors import UsageError, require

ENGINES = ("auto", "numba", "numpy")
DTYPES = ("float32", "float64")


def make_engine(engine, make_plan, params, dtype, *, folded, threads=None):
    """The engine of this name; "auto" is the fast one where it can serve, and NumPy elsewhere.

    Parameters
    ----------
    engine : "auto", "numba" or "numpy"
    make_plan : callable (side, folded) -> tuple of Step; side None is the network's own
    params : {source's name: array as the source stores it}
    dtype : "float32" or "float64"; the llvm engine has only float32
    folded : bool, the parameters have no norms any more
    threads : int or None, for the llvm engine

    Raises
    ------
    UsageError, MissingExtraError
    """
    if engine not in ENGINES:
        raise UsageError(f"engine is {engine!r}, expected one of {', '.join(ENGINES)}")
    if str(dtype) not in DTYPES and dtype not in (np.float32, np.float64):
        raise UsageError(f"dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")
    dtype = np.dtype(dtype)
    if engine == "numba":
        if dtype != np.float32:
            raise UsageError("the numba engine computes in float32; for float64 take engine='numpy'")
        require("llvmlite", "jit", "engine='numba'")
    elif engine == "numpy" or dtype != np.float32 or not _fast_is_here():
        from .plan_engine import PlanEngine

        return PlanEngine(make_plan, params, dtype, folded=folded)
    from .llvm import LlvmEngine

    return LlvmEngine(lambda side: make_plan(side, folded), params, threads=threads)


@functools.cache
def _fast_is_here():
    """Whether the llvm engine can run here; if not it is said, once."""
    from .llvm import available

    if not available():
        logging.getLogger("npmnv3").warning(
            "npmnv3 computes with NumPy alone; with Numba it is several times faster: pip install 'npmnv3[jit]'"
        )
    return available()
