"""`npmnv3 warmup`: compile what the engines need, so that later processes start quickly."""

import importlib.util
import os
import sys

from ..errors import UsageError, require
from ..progress import progress_bar
from .arguments import add_weight_dtype

HELP = "compile the engines' kernels and loops for this processor into the cache, for images and quick first calls"


def add_arguments(parser):
    parser.add_argument("--engine", choices=("llvm", "numba"), help="only this engine (default: both)")
    add_weight_dtype(parser)
    parser.add_argument(
        "--cache", metavar="DIR", help="folder for llvm's kernels (default: NPMNV3_CACHE, or the user's)"
    )


def run(args):
    if args.cache:
        os.environ["NPMNV3_CACHE"] = args.cache
    if args.engine == "numba" and args.weight_dtype != "float32":
        raise UsageError(f"--weight-dtype {args.weight_dtype} is what the engine llvm alone has, but --engine is numba")
    if args.engine != "numba":
        require("llvmlite", "jit", "the llvm engine")
    if args.engine == "numba" or importlib.util.find_spec("numba") is None:
        require("numba", "jit", "the numba engine")
    jobs = [] if args.engine == "numba" else [lambda: _kernels(args.weight_dtype)]
    jobs += [] if args.engine == "llvm" else [lambda: _loops("float32"), lambda: _loops("float64")]
    answers = []
    with progress_bar(len(jobs), title="compiling", unit="engine") as update:
        for done, job in enumerate(jobs, 1):
            answers.append(job())
            update(done)
    for text, error in answers:
        print(f"npmnv3 warmup: {error}" if error else text, file=sys.stderr if error else sys.stdout)
    return int(any(error for _, error in answers))


def _kernels(weight_dtype):
    """(what was done, or None; what went wrong, or None), for the llvm engine."""
    from ..engines.llvm import warm_up

    folder, library = warm_up(weight_dtype == "float16")
    if library.problem:
        return None, f"{library.problem}; name another with --cache or NPMNV3_CACHE"
    state = "were there already" if library.cached else "compiled"
    what = f"kernels for {library.processor}, {library.machine.width} floats a vector, {weight_dtype} weights"
    return f"{folder}: {what}, {state}", None


def _loops(dtype):
    """The same for the numba engine's loops."""
    from ..ops import compiled
    from ..ops.compile_loops import compile_loops

    state = "were there already" if compiled.compiled(dtype) else "compiled"
    folder = compile_loops(dtype)
    if folder is None:
        return None, "Numba finds no folder for the loops it compiled; name one with NUMBA_CACHE_DIR"
    return f"{folder}: loops in {dtype}, {state}", None
