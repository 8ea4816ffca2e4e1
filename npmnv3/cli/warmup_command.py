"""`npmnv3 warmup`: compile the kernels, so that later processes start quickly."""

import os
import sys

from ..errors import require

HELP = "compile the llvm engine's kernels for this processor into the cache, for images and quick first calls"


def add_arguments(parser):
    parser.add_argument("--cache", metavar="DIR", help="the cache folder (default: NPMNV3_CACHE, or the user's)")


def run(args):
    if args.cache:
        os.environ["NPMNV3_CACHE"] = args.cache
    require("llvmlite", "jit", "the llvm engine")
    from ..engines.llvm import warm_up

    folder, library = warm_up()
    if library.problem:
        print(f"npmnv3 warmup: {library.problem}; name another with --cache or NPMNV3_CACHE", file=sys.stderr)
        return 1
    state = "were there already" if library.cached else "compiled"
    print(f"{folder}: kernels for {library.processor}, {library.machine.width} floats a vector, {state}")
    return 0
