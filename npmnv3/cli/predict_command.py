"""`npmnv3 predict`: pictures to classes."""

import json
import os
import sys

from ..errors import PictureError, install_line, missing_packages, one_line
from ..network.variants import DEFAULT_MODEL
from ..progress import progress_bar
from .arguments import add_json, add_model_options, load_model, picture_files

HELP = "classify pictures"

#: Printed where the default model is taken, and where its answer makes no sense.
PURPOSE = f"{DEFAULT_MODEL}, the default, tells lines of text that are upright (0) from those upside down (180)"
OTHERS = "for ImageNet's 1000 classes: --model keras/MobileNetV3Small --fetch, or another of `npmnv3 fetch --list`"

SCHEMES = ("http://", "https://")  # of URLs

#: Width over height from which on a picture may be a line of text; few photographs are so wide.
LINE_ASPECT = 2.0


def add_arguments(parser):
    parser.add_argument(
        "pictures",
        nargs="+",
        metavar="PICTURE|FOLDER|URL|-",
        help="a folder stands for the pictures in it, - for one from standard input; a URL is fetched with --fetch",
    )
    add_model_options(parser)
    parser.add_argument("--top", type=int, default=5, metavar="K", help="classes to print (default 5)")
    add_json(parser, "one JSON object a line and picture")


def run(args):
    from ..pictures.decode import file_size

    model = load_model(args)
    reads_lines = args.model is None and args.weights is None  # the default model
    if reads_lines:
        print(f"npmnv3 predict: {PURPOSE}; --model takes another", file=sys.stderr)
    pictures = list(_pictures(args))
    results = model.predict_each((picture for _, picture, error in pictures if error is None), args.top)
    failed = no_lines = 0
    # On a terminal the answers themselves show how far it is.
    with progress_bar(len(pictures), shown=sys.stderr.isatty() and not sys.stdout.isatty()) as update:
        for done, (name, picture, error) in enumerate(pictures, 1):
            result = error or next(results)
            if isinstance(result, PictureError):
                failed += 1
            elif reads_lines and not _is_line(size := file_size(picture)):
                no_lines += 1
                if no_lines == 1:
                    _warn(name, size)
            _report(name, result, args.json)
            update(done)
    if no_lines > 1:
        print(f"npmnv3 predict: warning: by their shape {no_lines} pictures are no lines of text", file=sys.stderr)
    return 1 if failed else 0


def _pictures(args):
    """(name to print, path or bytes, None or PictureError) of each picture asked for."""
    for word in args.pictures:
        try:
            if word == "-":
                yield word, _from_standard_input(), None
            elif os.path.exists(word) or "://" not in word:
                yield from ((path, path, error) for path, error in picture_files([word]))
            elif not _is_url(word):
                raise PictureError(
                    f"{word}: neither a file nor a URL that is fetched: those are of http and https alone"
                )
            elif args.fetch:
                from ..fetching.pictures import fetch_picture  # which loads the network's libraries

                yield word, fetch_picture(word), None
            else:
                raise PictureError(f"{word}: a URL, which is fetched with --fetch alone")
        except PictureError as error:
            yield word, None, error


def _is_url(word):
    return word.lower().startswith(SCHEMES)


def _from_standard_input():
    data = sys.stdin.buffer.read() if sys.stdin is not None else b""
    if not data:
        raise PictureError("-: standard input is empty, expected a picture's bytes: npmnv3 predict - < picture.png")
    return data


def _is_line(size):
    """Whether a picture of this size, (width, height), may be a line of text."""
    width, height = size
    return width >= LINE_ASPECT * height


def _warn(name, size):
    """Say that a picture is no line of text."""
    lacking = f"; to fetch takes {install_line('fetch')}" if missing_packages("fetch") else ""
    print(
        f"npmnv3 predict: warning: {one_line(name)}: {size[0]} x {size[1]} pixels is not the shape of a line of text, of which "
        f"alone the answer would be true; {OTHERS}{lacking}",
        file=sys.stderr,
    )


def _report(name, result, as_json):
    if isinstance(result, PictureError):
        message, place = str(result), "standard input" if name == "-" else name
        if message.startswith("picture of") and (name == "-" or _is_url(name)):  # of bytes, which have no name
            message = f"{place}, {message}"
        if as_json:
            print(json.dumps({"file": name, "error": message}), flush=True)
        print(f"npmnv3 predict: {message}", file=sys.stderr)
    elif as_json:
        predictions = [{"index": i, "label": label, "probability": p} for i, label, p in result]
        print(json.dumps({"file": name, "predictions": predictions}), flush=True)
    else:
        print(one_line(name))
        for index, label, probability in result:
            print(f"  {probability:9.4%}  {index:4d}  {one_line(label)}")
