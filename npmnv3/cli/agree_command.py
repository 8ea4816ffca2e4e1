"""`npmnv3 agree`: two networks on the same pictures."""

import sys

from ..errors import UsageError
from ..progress import progress_bar
from .arguments import add_kernels, add_network, kernels_of_quantized
from .evaluate_command import add_data_arguments, show_dataset
from .output import print_json

HELP = "compare two models on pictures: agreement of the first answers, margins, largest logit difference"

SHOWN = 10  # disagreements printed


def add_arguments(parser):
    add_network(parser, "model_a", "the original: a model's name, or a dump's path", metavar="MODEL_A")
    add_network(parser, "model_b", "what is compared with it, e.g. its quantised dump", metavar="MODEL_B")
    add_data_arguments(parser, "any folder of pictures")
    parser.add_argument("--weights-a", metavar="FILE", help="weight dump of MODEL_A")
    parser.add_argument("--weights-b", metavar="FILE", help="weight dump of MODEL_B")
    add_kernels(parser)
    add_kernels(parser, "--kernels-a", text="of MODEL_A alone")
    add_kernels(parser, "--kernels-b", text="of MODEL_B alone")


def run(args):
    from ..evaluation import Network, agree, open_dataset
    from ..evaluation.files import shown

    models, weights = (args.model_a, args.model_b), (args.weights_a, args.weights_b)
    kernels = [args.kernels_a or args.kernels, args.kernels_b or args.kernels]
    kernels = kernels_of_quantized(kernels, models, weights)
    for letter, option, name in zip("ab", (args.kernels_a, args.kernels_b), kernels):
        if option and not name:
            raise UsageError(f"--kernels-{letter}: MODEL_{letter.upper()} is not quantised; leave it out")
    a, b = (Network(*one, args.engine, kernels=name) for *one, name in zip(models, weights, kernels))
    dataset = open_dataset(args.data, limit=args.limit, labelled=False)
    show_dataset(dataset, args.json)
    with progress_bar(len(dataset.pictures)) as update:
        result = agree(
            a,
            b,
            dataset,
            batch=args.batch,
            workers=args.workers,
            progress=lambda done, agreement: update(done, f"{len(agreement.disagreements)} apart"),
        )
    if args.json:
        print_json(result)
    else:
        _print(result)
    for file in result["unreadable"]:
        print(f"npmnv3 agree: unreadable: {shown(file)}", file=sys.stderr)
    return int(bool(result["unreadable"]))


def _print(result):
    from ..evaluation.files import counted, shown

    print(f"A {result['model_a']}\nB {result['model_b']}\n")
    if not result["pictures"]:
        print("no picture could be compared")
        return
    pictures, (low, high) = result["pictures"], result["interval"]
    margin, largest = result["margin"], result["largest_difference"]
    print(
        f"first answers agree on {result['agreement']:.2f}% of {counted(pictures, 'picture')} (95%: {low:.2f}..{high:.2f})"
    )
    print(f"A's margin, first logit minus second: median {margin['median']:.4g}, smallest {margin['smallest']:.4g}")
    print(f"largest logit difference {largest['value']:.4g}: {shown(largest['file'])}, class {largest['class']}")
    print(f"rms logit difference {result['rms_difference']:.4g}; {pictures / result['seconds']:.1f} pictures a second")
    for entry in result["disagreements"][:SHOWN]:
        print(f"  {shown(entry['file'])}: A {entry['a']}, B {entry['b']} (A's margin {entry['margin']:.4g})")
    if len(result["disagreements"]) > SHOWN:
        print(f"  ... and {len(result['disagreements']) - SHOWN:,} more")
