"""Every loop compiled ahead, in floats and in integers, so that no first call waits for it."""

import numpy as np
from numba import config

from . import compiled, integer_loops, loops
from .grids import Grid
from .jit import LOOPS


def compile_loops(dtype):
    """Compile all loops for float32 or float64, or load them from Numba's cache, by running each on a tiny array.

    Returns
    -------
    str, the folder of that cache; None where Numba finds none that can be written
    """
    dtype = np.dtype(dtype)
    known = {name for name in ("float32", "float64") if compiled.compiled(name)}
    _run_floats(dtype)
    _run_integers()
    if config.DISABLE_JIT:
        return None
    folders = {one.dispatcher().stats.cache_path for one in LOOPS}
    compiled.record(known | {dtype.name}, [] if None in folders else folders)
    return None if None in folders else folders.pop()


def _run_floats(dtype):
    x, weight = np.zeros((1, 4, 4, 4), dtype), np.zeros((8, 4), dtype)
    loops.conv2d(x, weight.reshape(8, 4, 1, 1))
    loops.pointwise_conv2d(x, weight)
    loops.depthwise_conv2d(x, weight[:4, :, None])
    loops.relu(x), loops.hard_swish(x), loops.mul(x, loops.global_avg_pool(x))
    loops.batch_norm(x, *weight[:4], eps=1.0), loops.norm_act(x, *weight[:2], act="relu")


def _run_integers():
    grid = Grid(1.0, 0)
    bias, ends = np.zeros(2, np.int32), (grid.low, grid.high)
    for sums in (np.float32, np.float64):
        for rule, dtype in (("float", np.float32), ("double", np.float64)):
            integer_loops.requantize(np.zeros((1, 2), sums), bias, rule, np.ones(1, dtype), grid, *ends)
    one = np.zeros(1, np.intp)
    terms, weights, lost = np.zeros((2, 1), np.uint8), np.zeros((1, 2), np.int8), np.zeros((1, 1), np.int32)
    integer_loops.add_lost(terms, one, one, weights, lost)
