"""Run the command line inside the test's own process."""

from npmnv3.cli import main


def run(capsys, *argv):
    """(exit code, standard output, standard error) of `npmnv3 ARGV...`."""
    try:
        code = main([str(a) for a in argv])
    except SystemExit as stop:
        code = stop.code
    out = capsys.readouterr()
    return code, out.out, out.err
