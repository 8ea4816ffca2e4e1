"""What a tensor's numbers were over the calibration pictures, and which range of them is to be kept."""

from dataclasses import dataclass

import numpy as np

from ..errors import UsageError

BINS = 2048  # of a tensor's histogram
SATURATION = -3.0  # hard-swish is 0 from here down: nothing below it need be told apart

#: Parts of the range that the search for the least square error tries at either end.
SHRINK = np.concatenate([np.arange(1.0, 0.3, -0.05), [0.25, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03]])


def channel_ratio(reach):
    """The largest of the channels' magnitudes, (C,), over the median one, of those that have any; 1 where none has."""
    living = reach[reach > 0]
    return float(living.max() / np.median(living)) if living.size else 1.0


@dataclass(frozen=True)
class Statistics:
    """One stored tensor over all calibration pictures.

    low, high : float, the smallest and the largest number
    counts : (BINS,) int64, how many numbers in each of as many equal parts from low to high
    channel_low, channel_high : (C,) float32
    """

    low: float
    high: float
    counts: np.ndarray
    channel_low: np.ndarray
    channel_high: np.ndarray

    @property
    def reach(self):
        """Largest magnitude of each channel, (C,)."""
        return np.maximum(np.abs(self.channel_low), np.abs(self.channel_high))

    @property
    def dead(self):
        """How many channels were 0 on every picture."""
        return int(np.count_nonzero(self.reach == 0))

    @property
    def ratio(self):
        """See `channel_ratio`."""
        return channel_ratio(self.reach)

    @property
    def edges(self):
        """(BINS + 1,) ends of the histogram's parts."""
        return np.linspace(self.low, self.high, BINS + 1)

    def within(self, low, high):
        """Share of the numbers that a range keeps, to a part of the histogram."""
        middles = (self.edges[1:] + self.edges[:-1]) / 2
        return float(self.counts[(middles >= low) & (middles <= high)].sum() / self.counts.sum())


@dataclass(frozen=True)
class Ranges:
    """A way to choose ranges: "minmax", "percentile" (with `percent`) or "mse"."""

    method: str = "minmax"
    percent: float = 100.0

    def __str__(self):
        return f"percentile={self.percent:g}" if self.method == "percentile" else self.method

    def of(self, statistics):
        """(low, high) to be kept of a tensor, 0 among it."""
        low, high = statistics.low, statistics.high
        if self.method == "percentile" and high > low:
            low, high = _percentile(statistics, self.percent / 100)
        elif self.method == "mse" and high > low:
            low, high = _least_squares(statistics)
        return min(low, 0.0), max(high, 0.0)


def parse_ranges(text):
    """`minmax`, `percentile=99.99` or `mse` as Ranges.

    Raises
    ------
    UsageError
        Another word, or a percentile that is not above 50 and at most 100.
    """
    if isinstance(text, Ranges):
        return text
    method, given, number = str(text).partition("=")
    if method in ("minmax", "mse") and not given:
        return Ranges(method)
    if method != "percentile":
        raise UsageError(f"`ranges={text!r}`, expected minmax, percentile=99.99 or mse")
    try:
        percent = float(number or 99.99)
    except ValueError:
        percent = float("nan")
    if not 50 < percent <= 100:
        raise UsageError(f"`ranges={text!r}`, expected a percentile above 50 and at most 100, such as percentile=99.99")
    return Ranges("percentile", percent)


def _percentile(statistics, share):
    """The ends that leave out 1 - share of the numbers on either side, to a part of the histogram."""
    below = np.cumsum(statistics.counts) / statistics.counts.sum()
    edges = statistics.edges
    first = np.searchsorted(below, 1 - share)
    last = np.searchsorted(below, share)
    return float(edges[min(first, BINS - 1)]), float(edges[min(last + 1, BINS)])


def _least_squares(statistics):
    """The ends of an 8-bit range with the least square error over the histogram."""
    used = np.flatnonzero(statistics.counts)
    middles = ((statistics.edges[1:] + statistics.edges[:-1]) / 2)[used]
    counts = statistics.counts[used].astype(np.float64)
    low, high = min(statistics.low, 0.0), max(statistics.high, 0.0)
    lows = low * SHRINK if low < 0 else np.zeros(1)
    highs = high * SHRINK if high > 0 else np.zeros(1)
    best = (np.inf, low, high)
    for a in lows:
        steps = (highs - a)[:, None] / 255
        kept = np.clip(np.rint((middles - a) / steps), 0, 255) * steps + a
        errors = (counts * (middles - kept) ** 2).sum(1)
        at = int(np.argmin(errors))
        best = min(best, (float(errors[at]), float(a), float(highs[at])))
    return best[1:]
