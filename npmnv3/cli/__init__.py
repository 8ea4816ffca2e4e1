"""The command line. A command is a module with `HELP`, `add_arguments(parser)` and `run(args) -> exit code`.

Exit codes: 0 all well; 1 some input failed, the others are done; 2 the command cannot be done as it was given.
"""

import argparse
import importlib
import os
import sys

from .. import __version__
from ..errors import Npmnv3Error

# fmt: off
COMMANDS = (
    "list", "info", "predict", "evaluate", "agree",          # use
    "identify", "convert", "fetch", "export", "freeze",      # files
    "trace", "vectors", "verify", "profile", "warmup",       # ports, speed
)
# fmt: on


def main(argv=None):
    """Run `npmnv3 ARGV...` and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="npmnv3", description="MobileNetV3 of five sources, and Keras's, in plain NumPy."
    )
    parser.add_argument("--version", action="version", version=f"npmnv3 {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = {name: importlib.import_module(f".{name}_command", __name__) for name in COMMANDS}
    for name, module in modules.items():
        module.add_arguments(subparsers.add_parser(name, help=module.HELP, description=module.HELP))
    args = parser.parse_args(argv)
    _print_any_name()
    try:
        return modules[args.command].run(args)
    except Npmnv3Error as error:
        print(f"npmnv3 {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; keep Python from complaining when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _print_any_name():
    """Escape what the output's encoding does not have, such as a file's name that is no text, and do not fail."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
