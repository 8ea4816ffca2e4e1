"""`npmnv3 convert`: a checkpoint of any source as a dump."""

import sys

from ..progress import working
from .output import as_options, counted_classes

HELP = "turn a checkpoint file of any source into a weight dump, without its framework"


def add_arguments(parser):
    parser.add_argument("file", metavar="FILE", help="a checkpoint of any source, or a dump")
    parser.add_argument(
        "-o",
        "--output",
        dest="out",
        metavar="OUT",
        help="the dump, .h5 or .npz (default: FILE's name with .h5, in this folder)",
    )
    parser.add_argument("--model", metavar="M", help="the network's name (default: what the file is found to be)")
    parser.add_argument(
        "--dtype", choices=("float16", "float32", "float64"), help="type to store in (default: as it is)"
    )
    parser.add_argument("--key", metavar="K", help="state dict of a training checkpoint to take, e.g. model_ema")
    parser.add_argument(
        "--kernels",
        metavar="K",
        help="of a quantised model, which becomes an .npz of integers: whose kernels they are for",
    )


def run(args):
    from ..conversion import convert

    with working("converting"):
        done = convert(args.file, args.out, args.model, args.key, args.dtype, args.kernels)
    folded = ", batch norm folded" if done.folded else ""
    print(f"{done.path}: {done.model or 'no known network'}, {counted_classes(done.num_classes)}{folded}")
    for title, sentences in (("because", done.reasons), ("note", done.notes)):
        for sentence in sentences:
            print(f"  {title:7s}  {as_options(sentence)}")
    for sentence in done.warnings:
        print(f"npmnv3 convert: warning: {args.file} {sentence}", file=sys.stderr)
    return 0
