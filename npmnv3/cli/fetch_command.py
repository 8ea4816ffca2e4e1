"""`npmnv3 fetch`: published weights into the cache."""

import sys

from ..errors import UsageError, WeightsError
from .output import print_table

HELP = "fetch published weights, check them, and keep them as dumps in the cache"


def add_arguments(parser):
    parser.add_argument(
        "names", nargs="*", metavar="MODEL|PATTERN", help="a checkpoint's name (--list), or wildcards: 'timm/*'"
    )
    parser.add_argument(
        "--base-url", metavar="URL", help="fetch URL/FILE, from a mirror (default: NPMNV3_BASE_URL, or the publisher)"
    )
    parser.add_argument("--cache", metavar="DIR", help="the cache folder (default: NPMNV3_CACHE, or the user's)")
    parser.add_argument("--list", action="store_true", help="print what there is, and what is here already")


def run(args):
    from ..dumps.registry import find_published, list_published

    if not args.names and not args.list:
        raise UsageError("name a model or a pattern; `npmnv3 fetch --list` prints them all")
    names = []
    for name in args.names or ["*"]:
        names += list_published(name) or [find_published(name).name]
    names = list(dict.fromkeys(names))
    return _list(names, args.cache) if args.list else _fetch(names, args)


def _fetch(names, args):
    from ..fetching import fetch

    failed = 0
    for name in names:
        try:
            print(f"{name}  {fetch(name, base_url=args.base_url, cache=args.cache)}", flush=True)
        except WeightsError as error:
            failed += 1
            print(f"npmnv3 fetch: {name}: {error}", file=sys.stderr)
    return 1 if failed else 0


def _list(names, cache):
    from ..dumps.registry import REGISTRY
    from ..fetching import cache_folder, cached_dump

    entries = [REGISTRY[name] for name in names]
    rows = [
        (entry.name, entry.file, _checked_by(entry), "yes" if cached_dump(entry.name, cache) else "", entry.licence)
        for entry in entries
    ]
    print_table(rows, ("checkpoint", "published file", "checked by", "here", "licence"), "<<<<<")
    print()
    print(
        f"The cache is {cache_folder(cache)}. First download: no hash is published; that of the first download counts."
    )
    return 0


def _checked_by(entry):
    """What a download is compared with."""
    if not entry.url:
        return "(shipped)"
    if entry.sha256:
        return "sha256" if len(entry.sha256) == 64 else f"sha256 {entry.sha256}..."
    return "MD5" if entry.md5 else "first download"
