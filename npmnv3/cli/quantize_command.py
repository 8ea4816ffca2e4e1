"""`npmnv3 quantize`: what a network loses in few bits, why, and what saves it."""

import sys

from ..dumps.writing import write_text
from ..errors import UsageError
from .arguments import add_json, add_kernels, add_model, add_recipe, recipe
from .output import print_json

HELP = "say what int8, fp16 or bf16 will cost a model, why, and the cheapest change that saves it"


def add_arguments(parser):
    add_model(parser)
    parser.add_argument(
        "--calibrate", nargs="+", required=True, metavar="PICTURES", help="pictures, or folders of them, for the ranges"
    )
    parser.add_argument(
        "--scheme", default="tflite", metavar="S", help="tflite (default), onnx, symmetric, pow2, fp16 or bf16"
    )
    add_recipe(parser)
    parser.add_argument("--evaluate", metavar="DATA", help="labelled pictures to judge on, as for evaluate")
    parser.add_argument("--labels", metavar="FILE", help="labels of DATA, as for evaluate")
    parser.add_argument("--limit", type=int, metavar="N", help="only N pictures of DATA, evenly spread over all")
    parser.add_argument("--no-recipes", action="store_true", help="simulate only what is asked for")
    parser.add_argument(
        "-o",
        "--output",
        dest="out",
        metavar="Q.npz",
        help="write the integers of what is asked for, to be loaded and run",
    )
    add_kernels(parser, text="of --output: whose kernels the integers are for")
    add_json(parser, "the report as JSON")
    parser.add_argument("--html", metavar="FILE", help="write a page with plots (extra report)")


def run(args):
    from ..quantization import quantize

    if args.kernels and args.out is None:
        raise UsageError(
            "--kernels is of the integers that --output writes; the prediction is for no kernels: name --output too, or leave it out"
        )
    if args.html:
        from ..evaluation.figures import check_html

        check_html()
    report = quantize(
        args.model,
        args.calibrate,
        weights=args.weights,
        scheme=args.scheme,
        **recipe(args),
        evaluate=args.evaluate,
        labels=args.labels,
        limit=args.limit,
        recipes=not args.no_recipes,
        out=args.out,
        kernels=args.kernels,
    )
    if args.html:
        from ..quantization.page import page

        write_text(args.html, page(report))
    if args.json:
        print_json(report.as_json())
    else:
        print(report.text())
    for line in report.left_out:
        print(f"npmnv3 quantize: left out: {line}", file=sys.stderr)
    return int(bool(report.left_out))
