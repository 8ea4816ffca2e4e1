"""Where a process begins: `npmnv3` and `python -m npmnv3`. PYTHON_ARGCOMPLETE_OK

Nothing is imported before Ctrl-C is one line, and it stays one while the rest is imported.
"""

import signal
import sys


def main():
    """Run the command line and return the exit code; 130 after Ctrl-C, whatever it met."""
    interrupted = []

    def interrupt(number, frame):
        interrupted.append(number)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        from .cli import main as run

        code = run()
    except BaseException:
        # An import that is interrupted may fail with an error of its own.
        if not interrupted:
            raise
        print("npmnv3: interrupted", file=sys.stderr)
        code = 130
    if interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # what is left is to end: the next one ends it at once
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
