"""`npmnv3 trace`: every tensor of the reference, to compare with."""

import os

from ..errors import UsageError
from ..progress import working
from .arguments import add_kernels, add_model
from .output import print_table

HELP = "print or write the reference's tensors: preprocessing stages, every step, logits"


def add_arguments(parser):
    add_model(parser)
    add_kernels(parser)
    parser.add_argument("--integers", action="store_true", help="of a quantised dump: the stored integers themselves")
    parser.add_argument(
        "--input", metavar="PICTURE|FILE.npy", required=True, help="a picture, or its preprocessed (N, 3, H, W) floats"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write the tensors: .h5 or .npz (default: print a table of them)"
    )
    parser.add_argument(
        "--dtype",
        choices=("float64", "float32"),
        default="float32",
        help="of the arithmetic and the tensors (default float32)",
    )
    parser.add_argument("--layout", choices=("nchw", "nhwc"), default="nchw", help="of the tensors (default nchw)")
    parser.add_argument(
        "--only", metavar="PATTERN", default="*", help="tensors, with shell wildcards: 'blocks.3.*,logits'"
    )


def run(args):
    from ..dumps.containers import write_container
    from ..evaluation.files import counted
    from ..verification.trace import trace

    if args.output is not None and not args.output.endswith((".h5", ".hdf5", ".npz")):
        raise UsageError(f"--output is {args.output!r}, expected a name that ends in .h5 or .npz")
    with working("tracing"):
        tensors, attributes = trace(
            args.model,
            args.input,
            weights=args.weights,
            dtype=args.dtype,
            layout=args.layout,
            only=args.only,
            kernels=args.kernels,
            integers=args.integers,
        )
    if args.output is None:
        rows = [
            (name, " x ".join(map(str, a.shape)), str(a.dtype), *(f"{f(a):.6g}" for f in _STATISTICS))
            for name, a in tensors.items()
        ]
        print_table(rows, ("tensor", "shape", "type", "least", "largest", "mean"), "<<<>>>")
        return 0
    with working("writing"):
        write_container(args.output, tensors, attributes)
    size = os.path.getsize(args.output)
    print(f"{args.output}: {counted(len(tensors), 'tensor')}, {size / 1e6:.1f} MB")
    return 0


_STATISTICS = (lambda a: a.min(), lambda a: a.max(), lambda a: a.mean(dtype="float64"))
