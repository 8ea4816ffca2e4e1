"""Where a process begins: `npmnv3` and `python -m npmnv3`. PYTHON_ARGCOMPLETE_OK

Nothing is imported before Ctrl-C is one line, and it stays one while the rest is imported. What else asks a process to
end, such as `timeout`, ends it as an exit does: what it began to write is removed.
"""

import gc
import signal
import sys

#: Objects made, beyond those gone, from which on the collector looks for circles. Imports make tens of thousands that
#: stay; by the collector's own number, 700, it would look through them over and over.
COLLECT_AFTER = 50_000

#: Signals that ask a process to end, where the system has them.
ENDING = ("SIGTERM", "SIGHUP")


def main():
    """Run the command line and return the exit code; 130 after Ctrl-C, whatever it met."""
    interrupted = []

    def interrupt(number, frame):
        interrupted.append(number)
        raise KeyboardInterrupt

    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else whoever started us wants it ignored
    if ours:
        signal.signal(signal.SIGINT, interrupt)
        sys.unraisablehook = _insist
    for name in ENDING:
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) is signal.SIG_DFL:  # else it is to be ignored, as `nohup` has it
            signal.signal(number, _end)
    gc.set_threshold(COLLECT_AFTER)
    try:
        from .cli import main as run

        code = run()
    except BaseException:
        # An import that is interrupted may fail with an error of its own.
        if not interrupted:
            raise
        print("npmnv3: interrupted", file=sys.stderr)
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # only to end is left: the next one ends it at once
        gc.freeze()  # what is left goes with the process: looking through it first takes a tenth of a short command
    return 130 if interrupted else code


def _end(number, frame):
    """Exit with the code that a shell gives for the signal; a second one ends it at once."""
    signal.signal(number, signal.SIG_DFL)
    sys.exit(128 + number)


def _insist(lost):
    """Interrupt once more where Python drops exceptions, with a traceback, such as in what runs when a lock is freed."""
    if not isinstance(lost.exc_value, KeyboardInterrupt):
        return sys.__unraisablehook__(lost)
    import _thread
    import threading

    threading.Timer(0.02, _thread.interrupt_main).start()


if __name__ == "__main__":
    sys.exit(main())
