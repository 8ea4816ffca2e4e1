"""`npmnv3 profile`: where the llvm engine's time goes."""

import json

from ..network.variants import DEFAULT_MODEL
from .arguments import add_fetch, add_json, add_network, add_side, add_weight_dtype, input_side, refuse_quantized
from .output import print_table

HELP = "show where the llvm engine's time goes, layer by layer, beside the processor's peak"


def add_arguments(parser):
    add_network(parser, "model", nargs="?", default=DEFAULT_MODEL, metavar="MODEL")
    parser.add_argument(
        "--weights", metavar="FILE", help="a weight dump (default: random ones: they do not change the time)"
    )
    add_fetch(parser)
    add_side(parser)
    add_weight_dtype(parser)
    parser.add_argument(
        "--rounds", type=int, default=50, metavar="N", help="runs, the quickest of which counts (default 50)"
    )
    add_json(parser, "a list of JSON objects")


def run(args):
    import numpy as np

    model = load_any(args)
    shape = (1, model.in_channels, *input_side(args.side, model.side))
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    rows = model.profile(x, args.rounds)
    if args.json:
        print(json.dumps([row._asdict() for row in rows], indent=1))
        return 0
    table = [_line(row) for row in rows]
    total = sum(row.milliseconds for row in rows)
    macs = sum(row.macs for row in rows)
    print_table(table, ("layers", "us", "MMACs", "of peak"), "<>>>")
    print()
    peak = sum(row.share * row.milliseconds for row in rows) / total
    print(f"{model.variant.full_name}: {total:.3f} ms, {macs / 1e6:.2f} MMACs, {peak:.0%} of one core's peak rate")
    return 0


def _line(row):
    return row.name, f"{1e3 * row.milliseconds:.1f}", f"{row.macs / 1e6:.2f}", f"{row.share:.0%}"


def load_any(args):
    """The model asked for, on the llvm engine; a known name without weights gets random ones."""
    import numpy as np

    from ..model import load
    from ..network.plan import make_plan
    from ..network.variants import get_variant, list_models
    from ..testing import random_params

    weights = args.weights
    refuse_quantized(args, "the engine llvm, whose time is shown, computes floats")
    if weights is None and args.model in list_models():
        weights = random_params(make_plan(get_variant(args.model)), np.random.default_rng(0))
    return load(args.model, weights, engine="llvm", weight_dtype=args.weight_dtype)
