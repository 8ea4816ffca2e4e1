"""What runs a plan: the plan engine, with NumPy's operations or Numba's, and the llvm engine.

numpy   the definitions: no compiler, float32 and float64, keeps every step's tensor; the oracle
numba   the same walk with compiled loops: float32 and float64, keeps every step's tensor
llvm    a compiler of its own, from a plan to commands for hand-made kernels: float32, the quickest
"""

import functools
import importlib.util

import numpy as np

from ..errors import UsageError, install_line, require

ENGINES = ("auto", "llvm", "numba", "numpy")
DTYPES = ("float32", "float64")
WEIGHT_DTYPES = ("float32", "float16")


def make_engine(engine, plan_for, params, dtype, *, threads=None, weight_dtype="float32"):
    """The engine of this name.

    Parameters
    ----------
    engine : "llvm", "numba", "numpy" or "auto": llvm for float32 where llvmlite is; for float64 numba where its loops
        are compiled already; else numpy
    plan_for : callable (side) -> tuple of Step; side None is the network's own
    params : {source's name: array as the source stores it}
    dtype : "float32" or "float64"; llvm has only float32
    threads : int or None, for llvm
    weight_dtype : "float32" or, of llvm alone, "float16": what the linear layers' weights are kept in

    Raises
    ------
    UsageError, MissingExtraError
    """
    if engine not in ENGINES:
        raise UsageError(f"engine is {engine!r}, expected one of {', '.join(ENGINES)}")
    if str(dtype) not in DTYPES and dtype not in (np.float32, np.float64):
        raise UsageError(f"dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")
    if not isinstance(weight_dtype, str) or weight_dtype not in WEIGHT_DTYPES:
        raise UsageError(f"weight_dtype is {weight_dtype!r}, expected one of {', '.join(WEIGHT_DTYPES)}")
    dtype = np.dtype(dtype)
    if engine == "auto":
        engine = _choice(dtype) if weight_dtype == "float32" else "llvm"
    if weight_dtype != "float32" and engine != "llvm":
        raise UsageError(
            f"`weight_dtype={weight_dtype}` is what the engine llvm alone has, but the engine here is {engine}"
        )
    if engine == "llvm":
        if dtype != np.float32:
            raise UsageError(
                "the llvm engine computes in float32; for float64 take `engine='numba'` or `engine='numpy'`"
            )
        require("llvmlite", "jit", "the engine llvm")
        from .llvm import LlvmEngine

        return LlvmEngine(plan_for, params, threads=threads, weight_dtype=weight_dtype)
    from .plan_engine import PlanEngine

    if engine == "numba":
        require("numba", "jit", "the engine numba")
    return PlanEngine(plan_for, params, dtype, name=engine)


def tracing_engine(dtype):
    """The engine that traces where none was asked for: "numba" if its loops are compiled already, else "numpy"."""
    from ..ops.compiled import compiled

    return "numba" if compiled(np.dtype(dtype).name) else "numpy"


def _choice(dtype):
    if dtype != np.float32:
        return tracing_engine(dtype)
    return "llvm" if _llvm_is_here() else "numpy"


@functools.cache
def _llvm_is_here():
    """Whether llvmlite is installed. Where it is not, a warning is logged the first time."""
    here = importlib.util.find_spec("llvmlite") is not None
    if not here:
        import logging

        logging.getLogger("npmnv3").warning(
            "npmnv3 computes with NumPy alone; with llvmlite it is several times faster: %s", install_line("jit")
        )
    return here
