"""The parser of a command: its errors are short, speak of the command, and name what was probably meant."""

import argparse
import difflib
import os
import re

from .output import option_of

_OPTION = r"\[-(?:[^\[\]]|\[[^\[\]]*\])*\]"  # in a usage, with what it takes


class Parser(argparse.ArgumentParser):
    """argparse's, whose errors show the usage without the options."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.color = False  # Python 3.14 would colour what `output.PlainStream` prints as it is

    def error(self, message):
        usage = " ".join(re.sub(_OPTION, "", self.format_usage()).split())
        usage = usage.replace(self.prog, f"{self.prog} [OPTIONS]", 1)
        self.exit(2, f"{usage}\n{self.prog}: {message}.{self._meant(message)} See `{self.prog} --help`\n")

    def _meant(self, message):
        """The choice or the option that is like a wrong one; of a picture, the command for it."""
        choice = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)$", message)
        if choice and message.startswith("argument COMMAND:") and os.path.exists(choice[1]):
            return f" Did you mean {self.prog} predict {choice[1]}?"
        if choice:
            return _nearest(choice[1], re.findall(r"[\w.-]+", choice[2]))
        wrong = re.search(r"^unrecognized arguments:.*?(--[\w-]+)", message)
        return _nearest(wrong[1], re.findall(r"--[a-z][a-z-]*", self.format_usage())) if wrong else ""


class CommandParser(Parser):
    """The parser of one command: it refuses what it does not know, rather than leave that to the parser above it."""

    def parse_known_args(self, args=None, namespace=None):
        parsed, left = super().parse_known_args(args, namespace)
        if left and "_ARGCOMPLETE" not in os.environ:
            self.error(f"unrecognized arguments: {' '.join(left)}")
        self._refuse_empty(parsed)
        return parsed, left

    def _refuse_empty(self, parsed):
        """Refuse an empty argument, such as a shell makes of an unset variable: it does not mean the default."""
        for name, value in vars(parsed).items():
            if value == "" != self.get_default(name):
                option = option_of(name)
                typed = option if option in self.format_help() else name.upper()
                self.error(f"argument {typed}: is empty, expected a value")


def _nearest(word, known):
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.7)
    return f" Did you mean {near[0]}?" if near else ""
