"""What runs a plan: the reference engine in NumPy, and the fast one."""

import numpy as np

from ..errors import UsageError

ENGINES = ("auto", "numba", "numpy")
DTYPES = ("float32", "float64")


def make_engine(engine, make_plan, params, dtype, *, folded, threads=None):
    """The engine of this name; "auto" is the fast one where it can serve, and NumPy elsewhere.

    Parameters
    ----------
    engine : "auto", "numba" or "numpy"
    make_plan : callable (side, folded) -> tuple of Step; side None is the network's own
    params : {source's name: array as the source stores it}
    dtype : "float32" or "float64"; the fast engine has only float32
    folded : bool, the parameters have no norms any more
    threads : int or None, for the fast engine

    Raises
    ------
    UsageError, MissingExtraError
    """
    from .reference import ReferenceEngine

    if engine not in ENGINES:
        raise UsageError(f"engine is {engine!r}, expected one of {', '.join(ENGINES)}")
    if str(dtype) not in DTYPES and dtype not in (np.float32, np.float64):
        raise UsageError(f"dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")
    dtype = np.dtype(dtype)
    if engine == "numba" and dtype != np.float32:
        raise UsageError("the numba engine computes in float32; for float64 take engine='numpy'")
    if engine == "numpy" or dtype != np.float32:
        return ReferenceEngine(make_plan, params, dtype, folded=folded)
    return ReferenceEngine(make_plan, params, dtype, folded=folded)
