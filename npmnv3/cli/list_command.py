"""`npmnv3 list`: the table of networks, published figures beside true ones."""

import difflib
import json

from ..errors import UsageError
from ..network.counts import matching_rule, plan_counts
from ..network.plan import make_plan
from ..network.variants import get_variant, list_models
from .arguments import add_json
from .output import print_table

LEGEND = """
MFLOPs and Mparams are as published. True are the millions of multiply-accumulates of convolutions and linear
layers, and of learned parameters. rule: how the published MFLOPs count (MACs; A: norms, biases and pooling too;
B: A and linear biases; C: norms four times), or - if by no known rule."""

HELP = "list the models: source, accuracy, published and true operations and parameters, input"


def add_arguments(parser):
    parser.add_argument("pattern", nargs="?", default="*", metavar="PATTERN", help="shell wildcards, e.g. 'timm/*'")
    add_json(parser, "one JSON list, one object a model")


def run(args):
    rows = [describe(get_variant(name)) for name in list_models(args.pattern)]
    if not rows:
        raise UsageError(f"no model matches {args.pattern!r}; {_nearest(args.pattern)}")
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        _print(rows)
    return 0


def _nearest(pattern):
    """Where to go from a pattern that nothing matches: those that begin so, or have it in their names, or the whole list."""
    hints = [wider for wider in (f"{pattern}*", f"*{pattern}*") if pattern and list_models(wider)]
    if hints:
        return f"{hints[0]!r} matches {len(list_models(hints[0]))}"
    near = difflib.get_close_matches(pattern, list_models(), n=4, cutoff=0.4)
    return f"nearest: {', '.join(near)}" if near else "`npmnv3 list` prints them all"


def describe(variant):
    """All that is known of a row, as plain data."""
    counts = plan_counts(make_plan(variant), variant.source)
    published, checkpoint = variant.published, variant.checkpoint
    return {
        "model": variant.full_name,
        "source": variant.source.name,
        "licence": variant.source.licence,
        "input": list(variant.side),
        "preprocess": variant.preprocess,
        "num_classes": variant.num_classes,
        "top1": published.top1,
        "top5": published.top5,
        "published_mflops": published.mflops,
        "macs": counts.macs,
        "mflops_rule": matching_rule(published.mflops, counts) if published.mflops else None,
        "published_mparams": published.mparams,
        "params": counts.learned,
        "state_entries": counts.entries,
        "note": published.note,
        "checkpoint": checkpoint.url if checkpoint else None,
        "checkpoint_sha256_prefix": checkpoint.sha256_prefix or None if checkpoint else None,
    }


def _print(rows):
    notes = list(dict.fromkeys(row["note"] for row in rows if row["note"]))
    table = [
        (
            row["model"],
            _text(row["top1"], ".2f"),
            _text(row["top5"], ".2f"),
            _text(row["published_mflops"], "g"),
            f"{row['macs'] / 1e6:.2f}",
            row["mflops_rule"] or "-",
            _text(row["published_mparams"], "g"),
            f"{row['params'] / 1e6:.3f}",
            "x".join(map(str, row["input"])),
            f"[{notes.index(row['note']) + 1}]" if row["note"] else "",
        )
        for row in rows
    ]
    header = ("model", "top-1", "top-5", "MFLOPs", "true", "rule", "Mparams", "true", "input", "note")
    print_table(table, header, "<>>>><>><<")
    print(LEGEND)
    for number, note in enumerate(notes, 1):
        print(f"[{number}] {note}")


def _text(value, spec):
    return "-" if value is None else format(value, spec)
