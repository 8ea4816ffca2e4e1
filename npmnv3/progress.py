"""Progress bars: tqdm's on a terminal; in a pipe nothing, or a line now and then."""

import contextlib
import os
import shutil
import sys
import threading
import time

PATIENCE = 2.0  # seconds without a word on a terminal
SECONDS = 10.0  # between the lines where there is no terminal


@contextlib.contextmanager
def progress_bar(total=None, *, title=None, unit="picture", shown=None, lines=False, **options):
    """A bar for work that is told of as it comes.

    Parameters
    ----------
    total : int or None, how much there is to do
    title : str or None, what stands before the bar
    unit : str, what is counted
    shown : bool; default whether standard error is a terminal
    lines : bool, where that is none, say how far it is in a line every 10 seconds
    options : further ones of tqdm

    Yields
    ------
    callable (done, text="", total=None): how much is done by now, what to say beside it, how much there is to do. What
    is done at the first call, if anything, was done before, and does not count for the rate.
    """
    terminal = sys.stderr is not None and sys.stderr.isatty()
    bar = _make(total, title, unit, terminal if shown is None else shown, options)
    if bar is None and lines and shown is None and not terminal:
        yield _Lines(title, unit)
        return
    if bar is None:
        yield lambda done, text="", total=None: None
        return
    with bar:
        first = True

        def tell(done, text="", total=None):
            nonlocal first
            if first and done:
                bar.initial = bar.n = done
            first = False
            bar.total = total or bar.total
            if text:
                bar.set_postfix_str(text, refresh=False)
            bar.update(done - bar.n)

        yield tell


@contextlib.contextmanager
def above_bars():
    """Let what is printed meanwhile stand above the bar, where there is one."""
    if "tqdm" not in sys.modules:
        yield
        return
    from tqdm import tqdm

    with tqdm.external_write_mode():
        yield


@contextlib.contextmanager
def working(title):
    """On a terminal, a line with the seconds so far, for work of which nobody can say how much is left.

    It comes after two seconds, and goes when the work is done.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_tell_seconds, args=(title, done, sys.stderr), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _tell_seconds(title, done, stream):
    begun, line, pause = time.monotonic(), "", PATIENCE
    while not done.wait(pause):
        line, pause = f"{title}: {time.monotonic() - begun:.0f} s", 1.0
        print(f"\r{line}", end="", file=stream, flush=True)
    if line:
        print(f"\r{' ' * len(line)}\r", end="", file=stream, flush=True)


class _Lines:
    """A line on standard error every few seconds."""

    def __init__(self, title, unit):
        self.title, self.unit, self.printed = title, unit, time.monotonic()

    def __call__(self, done, text="", total=None):
        now = time.monotonic()
        if now - self.printed >= SECONDS:
            self.printed = now
            of = f" of {total:,}" if total else ""
            print(f"{self.title}: {done:,}{of} {self.unit} {text}".rstrip(), file=sys.stderr, flush=True)


def _make(total, title, unit, shown, options):
    if not shown:
        return None
    try:
        from tqdm import tqdm
    except ImportError:  # a Python with NumPy alone
        return None
    return tqdm(total=total, desc=title, unit=unit, **_size(), **options)


def _size():
    """tqdm's options for a terminal of no size, such as `script` makes; tqdm asks any other itself."""
    try:
        known = os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:  # no terminal of the system's
        return {}
    columns, lines = shutil.get_terminal_size()
    return {} if known else {"ncols": columns, "nrows": lines}
