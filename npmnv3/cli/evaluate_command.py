"""`npmnv3 evaluate`: accuracy on labelled pictures."""

import sys

from ..errors import UsageError
from ..progress import progress_bar
from .arguments import add_engine, add_fetch, add_json, add_kernels, add_network, add_weight_dtype, kernels_of_quantized
from .output import print_json, print_table

HELP = "measure top-1 and top-5 accuracy on labelled pictures, beside the published figures"


def add_arguments(parser):
    add_network(parser, "models", nargs="+", metavar="MODEL")
    add_data_arguments(parser)
    parser.add_argument(
        "--weights", action="append", metavar="FILE", help="a weight dump; one for each MODEL, in order"
    )
    add_kernels(
        parser,
        action="append",
        text="of quantised dumps: whose kernels' integers; one for all, or one for each MODEL, in order",
    )
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="CSV with columns file and label; lines `file label`; the devkit's ground truth; or the class folders in order",
    )
    add_weight_dtype(parser)
    parser.add_argument("--csv", metavar="OUT", help="write the result of each picture here")
    parser.add_argument("--resume", action="store_true", help="go on from the CSV of an interrupted run")
    parser.add_argument(
        "--confusion", metavar="PLOT", help="draw accuracy by class and the worst confusions (.png, .svg, .pdf)"
    )
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="dask scheduler, tcp://host:8786, or local:N for N processes"
    )


def add_data_arguments(parser, flat="a flat folder with --labels"):
    """What `evaluate` and `agree` share: the pictures, and how they are worked through."""
    parser.add_argument("data", metavar="DATA", help=f"class folders, {flat}, or tar shards")
    add_engine(parser)
    parser.add_argument("--batch", type=int, metavar="N", help="pictures a worker takes at a time (default 32)")
    parser.add_argument("--workers", type=int, metavar="N", help="threads (default one more than there are cores)")
    parser.add_argument("--limit", type=int, metavar="N", help="only N pictures, evenly spread over all")
    add_fetch(parser)
    add_json(parser, "the result as JSON")


def run(args):
    from ..evaluation import Network, evaluate, open_dataset
    from ..evaluation.confusion import check_plot

    weights = _weights_of(args)
    if args.confusion:
        check_plot(args.confusion)
    kernels = kernels_of_quantized(_kernels_of(args), args.models, weights)
    networks = [
        Network(model, file, args.engine, kernels=name, weight_dtype=args.weight_dtype)
        for model, file, name in zip(args.models, weights, kernels)
    ]
    dataset = open_dataset(args.data, args.labels, args.limit)
    show_dataset(dataset, args.json)
    counts = []  # of pictures done, the first as the CSV had them
    with progress_bar(len(dataset.pictures)) as update:

        def progress(done, tallies):
            counts.append(done)
            update(done, _running(tallies))

        results = evaluate(
            networks,
            dataset,
            batch=args.batch,
            workers=args.workers,
            csv=args.csv,
            resume=args.resume,
            scheduler=args.scheduler,
            confusion=args.confusion,
            progress=progress,
        )
    if args.json:
        print_json(results)
    else:
        _print(results, counts[-1] - counts[0], counts[0])
    return _report_failures(results)


def _weights_of(args):
    """The file of weights, or None, of each model."""
    weights, count = args.weights or [None] * len(args.models), len(args.models)
    if len(weights) != count:
        raise UsageError(f"{len(weights)} --weights for {count} models, expected one for each, in order, or none")
    return weights


def _kernels_of(args):
    """The kernel set, or None, of each model."""
    kernels, count = args.kernels or [None], len(args.models)
    if len(kernels) not in (1, count):
        raise UsageError(f"{len(kernels)} --kernels for {count} models, expected one, or one for each, in order")
    return kernels * count if len(kernels) == 1 else kernels


def show_dataset(dataset, as_json):
    """Counts and class balance, and what was left out; standard output stays JSON alone where it is asked for."""
    stream = sys.stderr if as_json else sys.stdout
    print(dataset.summary(), file=stream, flush=True)
    for note in dataset.notes:
        print(note, file=stream, flush=True)


def _running(tallies):
    shares = [tally.share(tally.top1) for tally in tallies]
    return "top-1 " + ", ".join("-" if share is None else f"{share:.2f}%" for share in shares)


def _print(results, new, old):
    from ..evaluation.files import counted

    print()
    rows = [(r["model"], f"{r['pictures']:,}", *_figures(r, "top1"), *_figures(r, "top5")) for r in results]
    print_table(rows, ("model", "pictures", "top-1 %", "95%", "top-5 %", "95%"), "<>>>>>")
    for result in results:
        if result["published"] and result["pictures"]:
            print(f"{result['model']}: top-1 {result['published']['verdict']}")
        lost, unknown = len(result["unreadable"]), sum(result["unknown_labels"].values())
        if lost or unknown:
            print(f"{result['model']}: left out: {lost:,} unreadable, {unknown:,} of unknown label")
    seconds = results[0]["seconds"]
    resumed = f"; {old:,} were done before" if old else ""
    print(f"{counted(new, 'picture')} in {seconds:.1f} s, {new / seconds:.1f} a second{resumed}")


def _figures(result, which):
    if result[which] is None:
        return "-", "-"
    low, high = result["interval"][which]
    return f"{result[which]:.2f}", f"{low:.2f}..{high:.2f}"


def _report_failures(results):
    """Name what does not count, and the exit code."""
    from ..evaluation.files import counted, shown

    for file in dict.fromkeys(file for result in results for file in result["unreadable"]):
        print(f"npmnv3 evaluate: unreadable: {shown(file)}", file=sys.stderr)
    for result in results:
        for label, pictures in result["unknown_labels"].items():
            what = f"{result['model']} has no class {label!r}" if label else "nothing says the class"
            print(f"npmnv3 evaluate: {what}: {counted(pictures, 'picture')} left out", file=sys.stderr)
    return int(any(result["unreadable"] or result["unknown_labels"] for result in results))
