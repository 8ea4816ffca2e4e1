"""The command line. A command is a module with `HELP`, `add_arguments(parser)` and `run(args) -> exit code`.

Exit codes: 0 all well; 1 some input failed, the others are done, or a file cannot be written, or memory is short; 2 the
command cannot be done as it was given; 130 interrupted; 141 the reader of its output has gone, as `head` does.
"""

import argparse
import contextlib
import functools
import importlib
import logging
import os
import sys

from .. import __version__
from ..errors import MissingWeightsError, Npmnv3Error, WriteError, install_line, require
from .arguments import may_fetch
from .output import Messages, PlainStream, as_options, check_written
from .parser import CommandParser, Parser

# fmt: off
COMMANDS = (
    "list", "info", "predict", "evaluate", "agree",          # use
    "identify", "convert", "fetch", "export", "freeze",      # files
    "quantize", "trace", "vectors", "verify",                # ports
    "profile", "warmup",                                     # speed
)
# fmt: on

CLOSED_PIPE = 128 + 13  # SIGPIPE, which Windows has no name for

EPILOG = f"""exit codes: 0 all is well; 1 some input failed, a file cannot be written, or a port diverges; 2 wrong use

tab completion, once its package is there ({install_line("complete")}); the line to type, or to put into:
  ~/.bashrc                    eval "$(register-python-argcomplete npmnv3)"
  ~/.zshrc                     autoload -Uz compinit && compinit && eval "$(register-python-argcomplete npmnv3)"
  ~/.config/fish/config.fish   register-python-argcomplete --shell fish npmnv3 | source"""


def main(argv=None):
    """Run `npmnv3 ARGV...` and return the exit code."""
    words = sys.argv[1:] if argv is None else argv
    command = f"npmnv3 {words[0]}" if words and words[0] in COMMANDS else "npmnv3"
    with _plain_streams(words):
        return _answer(words, command)


def _answer(words, command):
    """The exit code of a run; what goes wrong is printed in one line."""
    try:
        try:
            return _run(words)
        except Npmnv3Error as error:
            print(f"{command}: {as_options(error)}", file=sys.stderr)
            return 1 if isinstance(error, WriteError) else 2
        except MemoryError as error:
            print(f"{command}: there is not enough memory: {error}".rstrip(": "), file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(f"{command}: interrupted", file=sys.stderr)
            return 130
        finally:
            sys.stdout.flush()
    except OSError as error:  # what reads and writes files has errors of its own: this is a printed line
        return _failed_output(command, error)


@contextlib.contextmanager
def _plain_streams(words):
    """Make standard output and error plain; one that is closed drops what it gets, and no file gets its descriptor."""
    with contextlib.ExitStack() as stack:
        if sys.stdin is None:
            stack.enter_context(open(os.devnull, encoding="utf-8"))
        lost = functools.partial(open, os.devnull, "w", encoding="utf-8")
        out, err = (stack.enter_context(lost()) if s is None else s for s in (sys.stdout, sys.stderr))
        messages = stack.enter_context(contextlib.redirect_stderr(Messages(err, words)))
        stack.callback(messages.flush)
        with contextlib.redirect_stdout(PlainStream(out, words)):
            yield


def _run(words):
    parser, modules = _parser()
    _complete(parser)
    args = parser.parse_args(words)
    check_written(args)
    _print_any_name()
    # A cache of fonts that matplotlib cannot write costs a second of the next run: no word among a command's own.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    run = modules[args.command].run
    try:
        return run(args)
    except MissingWeightsError as error:
        if error.checkpoint is None or not may_fetch(error.checkpoint, args):
            raise
        from ..fetching import fetch

        fetch(error.checkpoint)
    return run(args)  # every command loads its weights first: nothing was done yet


def _parser():
    """(parser of all commands, {name: module})."""
    parser = Parser(
        prog="npmnv3",
        description="MobileNetV3 of five sources, and Keras's, in plain NumPy.\n`npmnv3 list` names the networks, "
        "`npmnv3 predict` classifies pictures,\n`npmnv3 COMMAND --help` has a command's options.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"npmnv3 {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=CommandParser)
    modules = {name: importlib.import_module(f".{name}_command", __name__) for name in COMMANDS}
    for name, module in modules.items():
        module.add_arguments(subparsers.add_parser(name, help=module.HELP, description=module.HELP))
    return parser, modules


def _complete(parser):
    """If a shell asks for completions, print them and exit."""
    if "_ARGCOMPLETE" in os.environ:
        require("argcomplete", "complete", "tab completion").autocomplete(parser)


def _failed_output(command, error):
    """Say in one line that standard output, or a file that the error names, cannot be written or read; exit code 1.

    A pipe that nobody reads any more is no failure: nothing is printed, and the code is the one that a shell gives to a
    program that SIGPIPE ended.
    """
    with contextlib.suppress(OSError, ValueError):
        # What is left in the buffer would fail once more when Python closes the stream, with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError) and error.filename is None:
        return CLOSED_PIPE
    print(f"{command}: {error.filename or 'standard output'}: {error.strerror or error}", file=sys.stderr)
    return 1


def _print_any_name():
    """Print escapes, and do not fail, where the output's encoding lacks a character, as of a file's name that is no text."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
