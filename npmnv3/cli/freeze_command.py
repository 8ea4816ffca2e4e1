"""`npmnv3 freeze`: a model as one file that needs only NumPy."""

import os

from ..errors import Npmnv3Error
from ..progress import progress_bar
from .arguments import add_kernels, add_model, picture_files

HELP = "write a model as one file that classifies pictures with Python and NumPy alone"


def add_arguments(parser):
    add_model(parser)
    add_kernels(parser)
    parser.add_argument(
        "--dtype",
        choices=("float16", "float32", "int8-weights"),
        help="how the weights are stored (default float16), computed in float32; a quantised dump's are bytes, and "
        "computed in integers",
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
    from ..evaluation.files import counted
    from ..freezing import accuracy_cost, check_recipe, freeze, standard_inputs
    from ..model import load
    from ..pictures.recipes import preprocess

    model = load(args.model, args.weights, engine="numpy", kernels=args.kernels)
    check_recipe(model)
    pictures = list(picture_files(args.pictures or ()))
    inputs = [preprocess(_sound(*picture), model) for picture in pictures] or list(standard_inputs(model))
    measured = []  # measured before the file is there: an interrupt leaves nothing

    def check(path):
        with progress_bar(len(inputs), title="measuring") as update:
            measured.extend([accuracy_cost(model, path, _reporting(inputs, update)), os.path.getsize(path)])
        if model.kernels and measured[0].worst:
            raise Npmnv3Error(f"{args.output}: not the model's integers: a logit differs by {measured[0].worst:.6g}")

    freeze(model, args.output, args.dtype, names=args.labels, check=check)
    cost, size = measured
    made_up = counted(cost.pictures, "made-up picture") + " (--pictures takes real ones)"
    which = counted(cost.pictures, "picture") if pictures else made_up
    if model.kernels:
        print(f"{args.output}: {size:,} bytes, {model.name}, integers of {model.kernels}")
        print(f"the same logits as the model's, bit for bit, on {which}")
        return 0
    print(f"{args.output}: {size:,} bytes, {model.name}, weights in {args.dtype or 'float16'}")
    print(f"beside the model in float32, on {which}:")
    print(f"  first answers the same {cost.same_first} of {cost.pictures}")
    print(f"  logits differ by {cost.worst:.3g} at most, rms {cost.rms:.3g}; they spread over {cost.spread:.3g}")
    return 0


def _reporting(inputs, update):
    """Each of them, saying how many are done when the next is asked for."""
    for done, value in enumerate(inputs):
        update(done)
        yield value
    update(len(inputs))


def _sound(path, error):
    if error is not None:
        raise error
    return path
