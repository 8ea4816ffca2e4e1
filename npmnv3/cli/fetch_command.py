"""`npmnv3 fetch`: published weights into the cache."""

import os
import sys

from ..errors import MissingWeightsError, UsageError, WeightsError
from ..progress import above_bars, progress_bar
from .output import as_options, print_table

HELP = "fetch published weights, check them, and keep them as dumps in the cache"


def add_arguments(parser):
    parser.add_argument(
        "names", nargs="*", metavar="MODEL|PATTERN", help="a checkpoint's name (--list), or quoted wildcards: 'timm/*'"
    ).completer = _complete
    parser.add_argument(
        "--base-url", metavar="URL", help="fetch URL/FILE, from a mirror (default: NPMNV3_BASE_URL, or the publisher)"
    )
    parser.add_argument("--cache", metavar="DIR", help="the cache folder (default: NPMNV3_CACHE, or the user's)")
    parser.add_argument(
        "--into",
        metavar="DIR",
        help="put the dumps into this folder, not into the cache, SHA256SUMS beside them, for --weights DIR or "
        "NPMNV3_WEIGHTS",
    )
    parser.add_argument("--list", action="store_true", help="print what there is, and what is here already")


def run(args):
    from ..dumps.registry import find_published, list_published

    if not args.names and not args.list:
        raise UsageError("name a model or a pattern; `npmnv3 fetch --list` prints them all")
    names = []
    for name in args.names or ["*"]:
        if not list_published(name) and os.path.exists(name):
            raise UsageError(
                f"{name} is a file, not a checkpoint's name; quote a pattern, which the shell expands: '*'"
            )
        names += list_published(name) or [find_published(name).name]
    names = list(dict.fromkeys(names))
    return _list(names, args.cache) if args.list else _fetch(names, args)


def _complete(prefix, **_):
    """Names that a word which begins so may become, for tab completion."""
    from ..dumps.registry import list_published

    return list_published(f"{prefix}*")


def _fetch(names, args):
    """Fetch all of them under one bar: of bytes, as nearly as their number is known."""
    from ..dumps.registry import REGISTRY
    from ..fetching.into import prepare

    here = prepare(args.into, names) if args.into else {}
    sizes = {name: REGISTRY[name].about_bytes for name in names}
    fetched, failures = [], _Failures()
    with progress_bar(sum(sizes.values()), title="fetching", unit="B", lines=True, unit_scale=True) as update:
        before = 0

        def progress(done, total):
            sizes[name] = total or max(sizes[name], done)
            update(before + done, name, total=sum(sizes.values()))

        for name in names:
            try:
                path = here.get(name) or _get(name, args, progress)
                fetched.append(name)
                with above_bars():
                    print(f"{name}  {path}", flush=True)
            except WeightsError as error:
                with above_bars():
                    failures.report(name, error)
                sizes[name] = 0
            before += sizes[name]
            update(before, name, total=sum(sizes.values()))
    failures.end()
    _print_licences([REGISTRY[name] for name in fetched])
    return 1 if failures.by_reason else 0


class _Failures:
    """What could not be fetched, on standard error: each reason once, then the names for which it is the same."""

    def __init__(self):
        self.by_reason, self._advised = {}, False  # {reason: names}

    def report(self, name, error):
        # What to do where a file does not come stands behind its cause; it is printed once, whatever the causes.
        came_not = error.__cause__ if isinstance(error.__cause__, MissingWeightsError) else None
        reason = str(came_not or error).rpartition(" cannot be fetched: ")[2]
        names = self.by_reason.setdefault(reason, [])
        names.append(name)
        if len(names) == 1:
            message = came_not if came_not and self._advised else error
            self._advised |= came_not is not None
            print(f"npmnv3 fetch: {name}: {as_options(message)}", file=sys.stderr)

    def end(self):
        for reason, (_, *others) in self.by_reason.items():
            if others:
                print(f"npmnv3 fetch: not fetched for the same reason ({reason}): {', '.join(others)}", file=sys.stderr)


def _get(name, args, progress):
    """The path of a checkpoint's dump, in the cache or in the folder that --into names."""
    from ..fetching import cached_dump, fetch
    from ..fetching.into import put_into

    if not args.into:
        return fetch(name, base_url=args.base_url, cache=args.cache, progress=progress)
    kept = cached_dump(name, args.cache)
    dump = kept or fetch(name, base_url=args.base_url, cache=args.cache, progress=progress)
    return put_into(args.into, name, dump, keep=kept is not None)


def _print_licences(entries):
    """Each source's licence, on standard error."""
    licences = {entry.model.partition("/")[0]: entry.licence for entry in entries}
    if licences:
        listing = ", ".join(f"{source} {licence}" for source, licence in licences.items())
        print(f"npmnv3 fetch: licences of the weights: {listing}", file=sys.stderr)


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
