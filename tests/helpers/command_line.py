"""Run the command line inside the test's own process, and read what it said to a terminal."""

import contextlib
import os

from npmnv3.cli import main


def run(capsys, *argv):
    """(exit code, standard output, standard error) of `npmnv3 ARGV...`."""
    try:
        code = main([str(a) for a in argv])
    except SystemExit as stop:
        code = stop.code
    out = capsys.readouterr()
    return code, out.out, out.err


def all_of(terminal):
    """What was written to a terminal that nobody writes to any more, as text; a read gives what has come so far."""
    parts = []
    with contextlib.suppress(OSError):  # how a terminal says that this was all
        while part := os.read(terminal, 1 << 16):
            parts.append(part)
    os.close(terminal)
    return b"".join(parts).decode()
