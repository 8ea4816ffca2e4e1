"""`npmnv3 predict`: pictures to classes."""

import json
import sys

from ..errors import PictureError
from ..progress import progress_bar
from .arguments import add_json, add_model_options, load_model, picture_files

HELP = "classify pictures"


def add_arguments(parser):
    parser.add_argument("pictures", nargs="+", metavar="PICTURE|FOLDER", help="a folder stands for the pictures in it")
    add_model_options(parser)
    parser.add_argument("--top", type=int, default=5, metavar="K", help="classes to print (default 5)")
    add_json(parser, "one JSON object a line and picture")


def run(args):
    model = load_model(args)
    files = list(picture_files(args.pictures))
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
