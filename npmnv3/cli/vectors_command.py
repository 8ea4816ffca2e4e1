"""`npmnv3 vectors`: test vectors of every step, for ports in C, HDL or anything."""

from ..errors import UsageError
from ..progress import working
from .arguments import add_kernels, add_model

HELP = "write each step's inputs, parameters and expected output: raw files, C with a checker, or hex for $readmemh"


def add_arguments(parser):
    add_model(parser)
    add_kernels(parser)
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="a folder that is new or empty")
    parser.add_argument(
        "--format", choices=("npy", "bin", "c", "hex"), required=True, help="of the arrays; c brings a checker in C99"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "int8"),
        help="of the arrays (default float32; a quantised dump has its own integers)",
    )
    parser.add_argument(
        "--only", metavar="PATTERN", default="*", help="steps, with shell wildcards: 'blocks.3.*,logits'"
    )
    parser.add_argument(
        "--input", metavar="PICTURE|FILE.npy", help="what the network gets (default standard normal numbers)"
    )
    parser.add_argument("--dry-run", action="store_true", help="say how large it would be, and write nothing")


def run(args):
    from ..export.vectors import make_integer_kit, make_kit, write_kit
    from ..model import load
    from ..verification.inputs import pick_input

    model = load(args.model, args.weights, engine="numpy", kernels=args.kernels)
    if model.kernels and args.dtype:
        raise UsageError(f"--dtype {args.dtype} is for networks in floats; {args.model} has integers of its own")
    with working("computing"):
        x = pick_input(model, args.input, None).x[:1]
        if model.kernels:
            kit = make_integer_kit(model, x, only=args.only)
        else:
            kit = make_kit(model, x, dtype=args.dtype or "float32", only=args.only)
    files, size = kit.sizes(args.format)
    print(
        f"{len(kit.steps)} steps, {files} files, about {size / 1e6:.1f} MB of {kit.dtype} as {args.format}", flush=True
    )
    if args.dry_run:
        return 0
    with working("writing"):
        write_kit(kit, args.output, args.format)
    print(f"{args.output}: written; manifest.json says what each file is")
    if args.format == "c":
        print("cc -std=c99 -O2 -Wall -Wextra -Werror check.c -o check -lm && ./check")
    return 0
