"""Arguments that several commands share, and what is made of them."""

import difflib
import glob
import os
import sys
import urllib.parse

from ..errors import PictureError, UsageError
from ..network.variants import DEFAULT_MODEL
from ..ops.kernel_sets import KERNEL_SETS

#: As in `engines`, which loads NumPy.
ENGINES = ("auto", "llvm", "numba", "numpy")
WEIGHT_DTYPES = ("float32", "float16")
MAX_SIDE = 8192  # pixels, of the largest square picture that is read: the llvm engine's schedule grows with the rows


def add_model(parser):
    """MODEL and --weights."""
    add_network(parser, "model", metavar="MODEL")
    add_weights(parser)


def add_network(parser, name, help="a model's name, or a dump's path", **options):
    """An argument or option that names a network."""
    parser.add_argument(name, help=help, **options).completer = complete_model


def add_weights(parser):
    """--weights and --fetch."""
    parser.add_argument(
        "--weights", metavar="FILE", help="a weight dump, HDF5 or .npz, or a folder of them (default: NPMNV3_WEIGHTS)"
    )
    add_fetch(parser)


def add_fetch(parser):
    """--fetch; see `may_fetch`."""
    parser.add_argument("--fetch", action="store_true", help="fetch published weights that are not here")


def complete_model(prefix, **_):
    """Tab completion: the models' names that begin with a prefix, or, if there are none, files."""
    from ..network.variants import list_models

    names = list_models(f"{prefix}*")
    if names:
        return names
    from argcomplete.completers import FilesCompleter

    return FilesCompleter()(prefix)


def add_model_options(parser):
    """--model, --weights, --kernels, --engine and --weight-dtype, of commands that have a default network."""
    add_network(parser, "--model", f"a model's name, or a dump's path (default {DEFAULT_MODEL})", metavar="M")
    add_weights(parser)
    add_kernels(parser)
    add_engine(parser)
    add_weight_dtype(parser)


def add_engine(parser):
    """--engine."""
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="what computes (default auto)")


def add_weight_dtype(parser):
    """--weight-dtype."""
    parser.add_argument(
        "--weight-dtype",
        choices=WEIGHT_DTYPES,
        default="float32",
        help="what the engine llvm keeps the linear layers' weights in: float16 is quicker for one picture (default float32)",
    )


def add_kernels(parser, *names, text="of a quantised dump: whose kernels' integers", **options):
    """--kernels, or options of other names that name a kernel set."""
    parser.add_argument(
        *(names or ("--kernels",)),
        choices=tuple(KERNEL_SETS),
        metavar="NAME",
        help=f"{text} ({', '.join(KERNEL_SETS)})",
        **options,
    )


def add_recipe(parser):
    """The options of how a network is quantised; see `recipe`."""
    parser.add_argument("--per-tensor", action="store_true", help="one scale a weight, not one for each channel")
    parser.add_argument(
        "--ranges", default="minmax", metavar="R", help="minmax (default), percentile=99.99 or mse, of the tensors"
    )
    parser.add_argument("--wide", default="", metavar="PART,...", help="parts whose tensors are kept in 16 bits: stem")
    parser.add_argument("--correct-bias", action="store_true", help="move biases until every layer's mean is right")
    parser.add_argument("--cut", action="store_true", help="let ranges before a hard-swish end at -3")


def recipe(args):
    """The options of `add_recipe` as keywords of `npmnv3.quantize`."""
    wide = tuple(part for part in args.wide.split(",") if part)
    return {"wide": wide} | {name: getattr(args, name) for name in ("per_tensor", "ranges", "correct_bias", "cut")}


def add_side(parser):
    """--side; see `input_side`."""
    parser.add_argument("--side", type=int, nargs="+", metavar="PIXELS", help="input side, or height and width")


def add_json(parser, text="one JSON object"):
    """--json."""
    parser.add_argument("--json", action="store_true", help=text)


def load_model(args):
    """The model that --model, --weights, --kernels and --engine ask for; a dump alone may name its network."""
    from ..model import load

    options = {"engine": args.engine, "kernels": args.kernels, "weight_dtype": args.weight_dtype}
    if args.model is None and args.weights is not None:
        return load(args.weights, **options)
    return load(DEFAULT_MODEL if args.model is None else args.model, args.weights, **options)


def may_fetch(checkpoint, args):
    """Whether to fetch published weights that are not here: yes with --fetch; else the user is asked, at a terminal."""
    from ..dumps.registry import find_published
    from ..errors import missing_packages
    from ..fetching import download_url

    if getattr(args, "fetch", False):
        return True
    at_terminal = all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))
    if not at_terminal or missing_packages("fetch"):
        return False
    entry = find_published(checkpoint)
    place = urllib.parse.urlsplit(download_url(entry)).hostname
    question = f"fetch {entry.about_bytes / 1e6:.0f} MB from {place} (licence: {entry.licence})? [Y/n] "
    print(f"the weights of {checkpoint} are not here: {question}", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    return answer.strip().lower() in ("", "y", "yes") and answer != ""


def refuse_quantized(args, why):
    """UsageError where a command for floats is given a quantised dump."""
    from ..dumps.dumps import is_quantized

    if is_quantized(dump := args.weights or args.model):
        raise UsageError(f"{dump} is quantised: {why}")


def kernels_of_quantized(kernels, models, weights):
    """The kernel set of each of several models: the one given for it, or None if the model is not quantised.

    Parameters
    ----------
    kernels : list, one for each model or None
    models, weights : of each, as `npmnv3.load` takes them

    Raises
    ------
    UsageError
        Kernel sets are named, and nothing is quantised.
    """
    from ..dumps.dumps import is_quantized, not_quantized

    quantized = [os.path.isfile(file or model) and is_quantized(file or model) for model, file in zip(models, weights)]
    if any(kernels) and not any(quantized):
        raise not_quantized("--kernels", *(file or model for model, file in zip(models, weights)))
    return [name if one else None for name, one in zip(kernels, quantized)]


def input_side(numbers, default):
    """(height, width) that --side asks for: one number, or two, or none for the network's own."""
    if numbers is None:
        return default
    if len(numbers) > 2:
        raise UsageError(f"--side takes a side, or height and width, found {len(numbers)} numbers")
    if max(numbers) > MAX_SIDE:
        raise UsageError(f"--side {max(numbers)}, expected at most {MAX_SIDE} pixels, as pictures that are read have")
    return tuple((numbers * 2)[:2])


def picture_files(arguments):
    """(path, None) for each picture asked for, or (path, PictureError) where there is none.

    A folder stands for the pictures in it; what it holds besides is named on standard error. A pattern stands for what
    matches it.
    """
    for argument in arguments:
        if os.path.isdir(argument):
            yield from _pictures_in(argument)
        elif os.path.lexists(argument):
            yield argument, None
        elif matching := glob.glob(argument):  # Windows's shells leave patterns to the program
            yield from picture_files(sorted(matching))
        else:
            yield argument, PictureError(f"{argument}: cannot be opened (No such file or directory){_meant(argument)}")


def _meant(path):
    """What a path that leads nowhere was probably meant to be, or where it was looked for."""
    from ..network.variants import list_models

    if list_models(glob.escape(path)):
        return f"; a model is named with --model {path}"
    folder, name = os.path.split(path)
    if folder and not os.path.isdir(folder):
        return f"; there is no folder {folder}"
    try:
        known = {entry.casefold(): entry for entry in os.listdir(folder or ".")}
        near = difflib.get_close_matches(name.strip(" '\"").casefold(), known, n=1, cutoff=0.75)
        if near:
            return f"; did you mean {os.path.join(folder, known[near[0]])}?"
        return f"; looked in {folder or os.getcwd()}"
    except OSError:  # it cannot be listed, or is there no more
        return ""


def _pictures_in(folder):
    from ..evaluation.files import asides, counted, is_aside, some  # a room that takes a while to import
    from ..pictures.files import SUFFIXES, is_picture

    paths, aside, unlisted = [], [], []
    for above, inner, names in os.walk(folder, onerror=unlisted.append):
        paths += [os.path.join(above, name) for name in names]
        aside += [os.path.relpath(os.path.join(above, name), folder) for name in inner if is_aside(name)]
        inner[:] = [name for name in inner if not is_aside(name)]
    paths.sort()
    pictures = [path for path in paths if is_picture(path)]
    others = [os.path.relpath(path, folder) for path in paths if not is_picture(path)]
    if others:
        left = f"{counted(len(others), 'file')}, no picture by name: {some(others)}"
        print(f"{folder}: left out: {left}", file=sys.stderr)
    for note in asides(sorted(aside)):
        print(f"{folder}: {note}", file=sys.stderr)
    for error in unlisted:
        yield error.filename, PictureError(f"{error.filename}: cannot be listed: {error.strerror or error}")
    if not pictures and not unlisted:
        yield folder, PictureError(f"{folder}: a folder without pictures ({', '.join(SUFFIXES)})")
    yield from ((path, None) for path in pictures)
