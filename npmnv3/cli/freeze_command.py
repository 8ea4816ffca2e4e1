"""`npmnv3 freeze`: a model as one file that needs only NumPy."""

import os

from .arguments import add_model, picture_files

HELP = "write a model as one file that classifies pictures with Python and NumPy alone"


def add_arguments(parser):
    add_model(parser)
    parser.add_argument(
        "--dtype",
        choices=("float16", "float32", "int8-weights"),
        default="float16",
        help="how the weights are stored (default float16); computed is always in float32",
    )
    parser.add_argument("--labels", action="store_true", help="put ImageNet's names in; a dump's own names always are")
    parser.add_argument(
        "--pictures",
        nargs="+",
        metavar="PICTURE|FOLDER",
        help="measure on these what the storage costs in accuracy (default: made-up pictures, the same for all)",
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="classifier.pyz, or classifier.py for a small model"
    )


def run(args):
    from ..freezing import accuracy_cost, freeze, standard_inputs
    from ..model import load
    from ..pictures.recipes import preprocess

    model = load(args.model, args.weights, engine="numpy")
    pictures = list(picture_files(args.pictures or ()))
    inputs = [preprocess(_sound(*picture), model) for picture in pictures] or list(standard_inputs(model))
    found = []  # measured before the file is there: an interrupt leaves nothing
    freeze(
        model,
        args.output,
        args.dtype,
        names=args.labels,
        check=lambda path: found.extend([accuracy_cost(model, path, inputs), os.path.getsize(path)]),
    )
    cost, size = found
    print(f"{args.output}: {size:,} bytes, {model.variant.full_name}, weights in {args.dtype}")
    which = "pictures" if pictures else "made-up pictures (--pictures takes real ones)"
    print(f"beside the model in float32, on {cost.pictures} {which}:")
    print(f"  first answers the same {cost.same_first} of {cost.pictures}")
    print(f"  logits differ by {cost.worst:.3g} at most, rms {cost.rms:.3g}; they spread over {cost.spread:.3g}")
    return 0


def _sound(path, error):
    if error is not None:
        raise error
    return path
