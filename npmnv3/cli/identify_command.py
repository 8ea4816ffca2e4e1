"""`npmnv3 identify`: which network a checkpoint file is."""

import json

from ..progress import working
from .arguments import add_json
from .output import counted_classes

HELP = "tell which network a checkpoint is, from names and shapes, with reasons"


def add_arguments(parser):
    parser.add_argument("file", metavar="FILE", help="a checkpoint of any source, or a dump")
    parser.add_argument("--key", metavar="K", help="state dict of a training checkpoint to look at, e.g. model_ema")
    add_json(parser)


def run(args):
    from ..conversion import identify_file

    with working("reading"):
        checkpoint, found = identify_file(args.file, args.key)
    if args.json:
        print(json.dumps(_describe(args.file, checkpoint, found), indent=1))
    else:
        _print(args.file, checkpoint, found)
    return 0 if found.fits else 1


def _describe(file, checkpoint, found):
    return {
        "file": file,
        "format": checkpoint.format,
        "fits": found.fits,
        "model": found.model or None,
        "source": found.variant.source.name if found.variant else None,
        "variant": found.variant.name if found.variant else None,
        "num_classes": found.num_classes if found.variant else None,
        "folded": found.folded,
        "also": list(found.also),
        "reasons": list(found.reasons),
        "contradictions": list(found.contradictions),
        "notes": list(found.notes),
        "warnings": list(found.warnings),
        "taken": checkpoint.taken,
        "others": list(checkpoint.others),
    }


def _print(file, checkpoint, found):
    if found.fits:
        print(f"{file}: {found.model}, {counted_classes(found.num_classes)} ({checkpoint.format})")
    else:
        nearest = f"; the nearest is {found.model}, with {found.num_classes} classes" if found.model else ""
        print(f"{file}: none of the known networks ({checkpoint.format}){nearest}")
    told = (("because", found.reasons), ("against", found.contradictions), ("also", found.also), ("note", found.notes))
    for title, sentences in (*told, ("warning", found.warnings)):
        for sentence in sentences:
            print(f"  {title:7s}  {sentence}")
