"""`npmnv3 verify`: a port's tensors against the reference."""

import json

from ..dumps.reader import read_whole
from ..dumps.writing import write_text
from ..errors import UsageError
from .arguments import add_json, add_model

MAX_BYTES = 1 << 24  # of a map: a hundred bytes for each of a hundred thousand tensors

HELP = "say where a port parts from the original, by how much, and why"


def add_arguments(parser):
    add_model(parser)
    parser.add_argument(
        "port",
        metavar="PORT",
        help="the port's tensors: .npz, HDF5, .pt, .safetensors, a folder of .npy or .bin, text (.txt, .csv, .log, .h, .c: numbers, "
        "C's arrays, lines like NAME[0] = 1); or an .onnx file, which is run; or a quantised .tflite, .onnx, state dict or dump",
    )
    parser.add_argument(
        "tensors",
        metavar="TENSORS",
        nargs="?",
        help="of a quantised port: the integers that the device stored, in any of the forms of PORT",
    )
    parser.add_argument(
        "--kernels", metavar="NAME", help="of a quantised port: compare with this kernel set alone (default: with each)"
    )
    parser.add_argument(
        "--input", nargs="+", metavar="PICTURE|FILE.npy", help="what the port was given (default: its own input tensor)"
    )
    parser.add_argument(
        "--map", metavar="FILE", help='JSON {"port\'s tensor": "step" or null}, as --write-map writes it'
    )
    parser.add_argument(
        "--write-map", metavar="FILE", help="write the mapping found, to be edited and given back with --map"
    )
    parser.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "float32", "float16", "bfloat16", "int8"),
        help="the precision whose rounding passes (default auto: what the port's numbers look like)",
    )
    parser.add_argument(
        "--factor", type=float, metavar="F", help="errors up to F times that rounding pass (default 10)"
    )
    parser.add_argument("--no-explain", action="store_true", help="measure only, try no faults")
    add_json(parser, "the report as JSON")
    parser.add_argument("--junit", metavar="FILE", help="write JUnit XML")
    parser.add_argument("--html", metavar="FILE", help="write a page with plots (extra report)")


def run(args):
    from ..verification.quantized.port import is_quantized_port, refuse
    from ..verification.run import FACTOR, verify

    inputs = args.input[0] if args.input and len(args.input) == 1 else args.input
    quantized = is_quantized_port(args.port) or is_quantized_port(args.model)
    if quantized:
        _refuse_of_floats(args)
    elif args.tensors or args.kernels:
        refuse(args.port, "TENSORS" if args.tensors else "--kernels")
    if args.html:
        from ..evaluation.figures import check_html

        check_html()
    report = verify(
        args.model,
        args.port,
        inputs,
        weights=args.weights,
        map=_read_map(args.map),
        precision=args.precision,
        factor=FACTOR if args.factor is None else args.factor,
        explain=not args.no_explain,
        tensors=args.tensors,
        kernels=args.kernels,
    )
    if args.write_map:
        write_text(args.write_map, json.dumps(report.mapping(), indent=1, ensure_ascii=False) + "\n")
    if args.junit:
        write_text(args.junit, report.junit())
    if args.html:
        from ..verification.page import page as page_of_floats
        from ..verification.quantized.page import page as page_of_integers

        page = page_of_integers if quantized else page_of_floats
        write_text(args.html, page(report))
    print(json.dumps(report.as_json(), allow_nan=False) if args.json else report.text())
    return 0 if report.fine else 1


def _refuse_of_floats(args):
    """UsageError for options that are meaningless for integers, which are equal or not."""
    options = {
        "--map": args.map,
        "--write-map": args.write_map,
        "--factor": args.factor,
        "--precision": None if args.precision == "auto" else args.precision,
    }
    for option, value in options.items():
        if value is not None:
            raise UsageError(f"{option} is not for quantised ports, which are judged integer for integer")


def _read_map(path):
    from ..verification.port import read_json

    if path is None:
        return None
    mapping = read_json(path, read_whole(path, MAX_BYTES, "a map of tensors"))
    if not isinstance(mapping, dict) or not all(isinstance(step, (str, type(None))) for step in mapping.values()):
        raise UsageError(f'{path}: expected a JSON object {{"port\'s tensor": "step" or null, ...}}')
    return mapping
