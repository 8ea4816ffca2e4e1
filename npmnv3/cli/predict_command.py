"""`npmnv3 predict`: pictures to classes."""

import json
import os
import sys

from ..errors import PictureError
from ..evaluation.files import counted, some
from ..network.variants import DEFAULT_MODEL
from ..pictures.decode import SUFFIXES, is_picture
from ..progress import progress_bar

HELP = "classify pictures"


def add_arguments(parser):
    parser.add_argument("pictures", nargs="+", metavar="PICTURE|FOLDER", help="a folder stands for the pictures in it")
    add_model_arguments(parser)
    parser.add_argument("--top", type=int, default=5, metavar="K", help="classes to print (default 5)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line and picture")


def add_model_arguments(parser, default=DEFAULT_MODEL):
    """--model, --weights and --engine, as every command that runs a network takes them."""
    parser.add_argument(
        "--model", metavar="M", default=None, help=f"a model's name, or a dump's path (default {default})"
    )
    parser.add_argument("--weights", metavar="FILE", help="a weight dump, HDF5 or .npz")
    parser.add_argument(
        "--engine", choices=("auto", "numba", "numpy"), default="auto", help="what computes (default auto)"
    )


def load_model(args):
    """The model that --model, --weights and --engine ask for; a dump alone may say itself which network it is."""
    from ..model import load

    if args.model is None and args.weights is not None:
        return load(args.weights, engine=args.engine)
    return load(args.model or DEFAULT_MODEL, args.weights, engine=args.engine)


def run(args):
    model = load_model(args)
    files = list(_files(args.pictures))
    results = model.predict_each((path for path, error in files if error is None), args.top)
    failed = 0
    # On a terminal the answers themselves show how far it is.
    with progress_bar(len(files), shown=sys.stderr.isatty() and not sys.stdout.isatty()) as tell:
        for done, (path, error) in enumerate(files, 1):
            result = error or next(results)
            failed += isinstance(result, PictureError)
            _report(path, result, args.json)
            tell(done)
    return 1 if failed else 0


def _files(arguments):
    """(path, None) for each picture asked for, or (path, PictureError) where there is none; what a folder holds besides
    is named."""
    for argument in arguments:
        if not os.path.isdir(argument):
            yield argument, None
            continue
        paths = sorted(os.path.join(folder, name) for folder, _, names in os.walk(argument) for name in names)
        found = [path for path in paths if is_picture(path)]
        others = [os.path.relpath(path, argument) for path in paths if not is_picture(path)]
        if others:
            left = f"{counted(len(others), 'file')}, no picture by name: {some(others)}"
            print(f"{argument}: left out: {left}", file=sys.stderr)
        if not found:
            yield argument, PictureError(f"{argument}: a folder without pictures ({', '.join(SUFFIXES)})")
        yield from ((path, None) for path in found)


def _report(path, result, as_json):
    if isinstance(result, PictureError):
        if as_json:
            print(json.dumps({"file": path, "error": str(result)}), flush=True)
        print(f"npmnv3 predict: {result}", file=sys.stderr)
    elif as_json:
        predictions = [{"index": i, "label": label, "probability": p} for i, label, p in result]
        print(json.dumps({"file": path, "predictions": predictions}), flush=True)
    else:
        print(path)
        for index, label, probability in result:
            print(f"  {probability:9.4%}  {index:4d}  {label}")
