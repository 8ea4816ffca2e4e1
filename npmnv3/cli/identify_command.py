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
        checkpoint, identification = identify_file(args.file, args.key)
    if args.json:
        print(json.dumps(_describe(args.file, checkpoint, identification), indent=1))
    else:
        _print(args.file, checkpoint, identification)
    return 0 if identification.fits else 1


def _describe(file, checkpoint, identification):
    return {
        "file": file,
        "format": checkpoint.format,
        "fits": identification.fits,
        "model": identification.model or None,
        "source": identification.variant.source.name if identification.variant else None,
        "variant": identification.variant.name if identification.variant else None,
        "num_classes": identification.num_classes if identification.variant else None,
        "folded": identification.folded,
        "also": list(identification.also),
        "reasons": list(identification.reasons),
        "contradictions": list(identification.contradictions),
        "notes": list(identification.notes),
        "warnings": list(identification.warnings),
        "taken": checkpoint.taken,
        "others": list(checkpoint.others),
    }


def _print(file, checkpoint, identification):
    if identification.fits:
        print(f"{file}: {identification.model}, {counted_classes(identification.num_classes)} ({checkpoint.format})")
    else:
        nearest = (
            f"; the nearest is {identification.model}, with {identification.num_classes} classes"
            if identification.model
            else ""
        )
        print(f"{file}: none of the known networks ({checkpoint.format}){nearest}")
    sections = {
        "because": identification.reasons,
        "against": identification.contradictions,
        "also": identification.also,
        "note": identification.notes,
        "warning": identification.warnings,
    }
    for title, sentences in sections.items():
        for sentence in sentences:
            print(f"  {title:7s}  {sentence}")
