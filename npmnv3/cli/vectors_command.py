"""`npmnv3 vectors`: test vectors of every step, for ports in C, HDL or anything."""

import os

from ..errors import UsageError
from ..progress import working
from .arguments import add_kernels, add_model, add_recipe, recipe

HELP = "write each step's inputs, parameters and expected output: raw files, C with a checker, or hex for $readmemh"


def add_arguments(parser):
    add_model(parser)
    add_kernels(parser, text="of integers: whose kernels', if not the scheme's or the quantised dump's own")
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="a folder that is new or empty")
    parser.add_argument(
        "--format", choices=("npy", "bin", "c", "hex"), required=True, help="of the arrays; c brings a checker in C99"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "int8"),
        help="of the arrays (default float32; int8 is symmetric, with a tolerance; exact integers are --scheme's and a "
        "quantised dump's)",
    )
    parser.add_argument(
        "--only", metavar="PATTERN", default="*", help="steps, with shell wildcards: 'blocks.3.*,logits'"
    )
    parser.add_argument(
        "--input",
        metavar="PICTURE|FILE.npy",
        help="what the network gets (default standard normal numbers): of its own size, or of an .npy's",
    )
    parser.add_argument("--dry-run", action="store_true", help="say how large it would be, and write nothing")
    group = parser.add_argument_group("exact integers of a network in floats, as `npmnv3 quantize` makes them")
    group.add_argument("--scheme", metavar="S", help="quantise it first: tflite, onnx, symmetric or pow2")
    group.add_argument(
        "--calibrate", nargs="+", metavar="PICTURES", help="pictures, or folders of them, for the ranges"
    )
    add_recipe(group)


def run(args):
    from ..evaluation.files import counted
    from ..export.vectors import kit_size, make_integer_kit, make_kit, write_kit
    from ..verification.inputs import pick_input

    model = _model(args)
    with working("computing"):
        x = pick_input(model, args.input, None).x[:1]
        if model.kernels:
            kit = make_integer_kit(model, x, only=args.only)
        else:
            kit = make_kit(model, x, dtype=args.dtype or "float32", only=args.only)
    files, size = kit_size(kit, args.format)
    print(
        f"{counted(len(kit.steps), 'step')}, {counted(files, 'file')}, about {size / 1e6:.1f} MB of {kit.dtype} as "
        f"{args.format}",
        flush=True,
    )
    if args.scheme in ("symmetric", "pow2"):
        print(f"{args.scheme} gives grids and weights, and no NPU's arithmetic: it is {kit.kernels.name}'s here")
    if args.dry_run:
        return 0
    with working("writing"):
        write_kit(kit, args.output, args.format)
    print(f"{args.output}: written; manifest.json says what each file is")
    if args.format == "c":
        print("cc -std=c99 -O2 -Wall -Wextra -Werror check.c -o check -lm && ./check")
    return 0


def _model(args):
    """The network whose vectors they are: in floats, quantised in its file, or quantised here."""
    from ..model import load
    from ..ops.kernel_sets import USUAL

    if args.scheme is not None:
        return _quantized(args)
    for name, value in (recipe(args) | {"calibrate": args.calibrate}).items():
        if value and value != "minmax":
            raise UsageError(
                f"--{name.replace('_', '-')} says how to quantise; name a --scheme too: {', '.join(USUAL)}"
            )
    model = load(args.model, args.weights, engine="numpy", kernels=args.kernels)
    if model.kernels and args.dtype:
        raise UsageError(f"--dtype {args.dtype} is for networks in floats; {args.model} has integers of its own")
    return model


def _quantized(args):
    """A network in floats, quantised as asked for."""
    from ..dumps.dumps import is_quantized
    from ..model import load
    from ..model.quantized import QuantizedModel
    from ..quantization.integers import check_exact
    from ..quantization.run import quantize_exactly

    file = args.weights or args.model
    if os.path.isfile(file) and is_quantized(file):
        raise UsageError(f"--scheme {args.scheme} is for networks in floats; {file} has integers of its own")
    if args.dtype:
        raise UsageError(f"--dtype {args.dtype} is of vectors in floats; those of --scheme {args.scheme} are integers")
    check_exact(args.scheme, args.kernels)
    if not args.calibrate:
        raise UsageError(
            f"--scheme {args.scheme} needs --calibrate PICTURES: ranges come from what the network will see"
        )
    network = load(args.model, args.weights, engine="numpy")
    made = quantize_exactly(network, args.calibrate, scheme=args.scheme, kernels=args.kernels, **recipe(args))
    return QuantizedModel(made, engine="numpy")
