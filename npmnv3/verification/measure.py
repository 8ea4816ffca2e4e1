"""How far two tensors are apart, in the measures that people use, and in multiples of honest rounding."""

import math
from dataclasses import asdict, dataclass

import numpy as np

from .tensors import WORST, signal_power


@dataclass(frozen=True)
class Measure:
    """One tensor of a port against one prediction.

    Attributes
    ----------
    max_abs : largest absolute error
    place : tuple of int, where it is: (n, c, h, w) or (n, c)
    relative_l2 : root of the summed squared error over that of the reference
    cosine : of the two tensors as vectors
    snr_db : signal (the reference's variance) to error
    effective_bits : of a signal of that quality, (snr_db - 1.76) / 6.02
    ulp_max, ulp_p999 : error in units of the reference's last place in float32; the largest, and the 99.9th percentile
    worst_channel : int
    worst_channel_share : its share of the summed squared error
    noise_db : signal-to-noise of honest rounding at this tensor
    ratio : the error over that of honest rounding; in the worst channel, if that is larger
    non_finite : numbers that are NaN or infinite in the port alone
    channels : (C,) the error of each channel over that of honest rounding
    """

    max_abs: float
    place: tuple
    relative_l2: float
    cosine: float
    snr_db: float
    effective_bits: float
    ulp_max: float
    ulp_p999: float
    worst_channel: int
    worst_channel_share: float
    noise_db: float
    ratio: float
    non_finite: int
    channels: np.ndarray

    def as_json(self):
        """Plain numbers; what is not finite becomes None. The channels are left out."""
        return {k: plain(v) for k, v in asdict(self).items() if k != "channels"}


def plain(value):
    """A value for JSON: tuples as lists, what is not finite as None."""
    if isinstance(value, tuple):
        return list(value)
    return None if isinstance(value, float) and not np.isfinite(value) else value


def measure(found, expected, noise, floor, detailed=True):
    """Compare.

    Parameters
    ----------
    found : (N, C, ...), the port's
    expected : the reference's, float64
    noise : (C,) mean squared error of honest rounding, a channel
    floor : least mean squared error to hold against the port
    detailed : bool, whether the error in units of the last place is wanted: most of the work, and no verdict needs it
    """
    found, expected, bad = _finite(found, expected)
    non_finite = int(bad.sum())
    error = found - expected
    size = np.abs(error)
    place = np.unravel_index(int(np.argmax(bad if non_finite else size)), error.shape)
    squares = np.square(error)
    channels = squares.sum(axis=(0, *range(2, error.ndim)))
    by_channel = channels / max(error.size // len(channels), 1)
    total, power = float(channels.sum()), _energy(expected)
    largest_ulp, typical_ulp = _ulps(size, expected) if detailed else (0.0, 0.0)
    snr = _db(signal_power(expected) / total) if total else np.inf
    worst = int(np.argmax(channels))
    return Measure(
        max_abs=float(size.max(initial=0.0)),
        place=tuple(int(i) for i in place),
        relative_l2=float(np.sqrt(total / power)) if power else (0.0 if not total else np.inf),
        cosine=_cosine(_energy(found), power, total),
        snr_db=snr,
        effective_bits=(snr - 1.76) / 6.02,
        ulp_max=largest_ulp,
        ulp_p999=typical_ulp,
        worst_channel=worst,
        worst_channel_share=float(channels[worst] / total) if total else 0.0,
        noise_db=_db(signal_power(expected) / max(float(noise.mean()), floor) / max(error.size, 1)),
        ratio=np.inf if non_finite else _ratio(by_channel, noise, floor, error, expected),
        non_finite=non_finite,
        channels=np.sqrt(by_channel / np.maximum(noise, floor)),
    )


def _ratio(channels, noise, floor, error, expected):
    """Of root mean squares; over the channels one by one too, where a channel has pixels enough to tell.

    Of a channel of large numbers the last place is worth more than of the others: where the reference happens to be exact,
    as a saturated hard-swish is, an engine that divides by 6 afterwards is not.
    """
    typical = max(float(noise.mean()), floor)
    ratio = np.sqrt(channels.mean() / typical)
    if error.size // len(channels) >= 16:
        power = np.square(expected).mean(axis=(0, *range(2, expected.ndim)))
        last_place = floor * power / max(float(power.mean()), np.finfo(np.float64).tiny)
        ratio = max(ratio, np.sqrt((channels / np.maximum(np.maximum(noise, typical), last_place)).max()))
    return float(ratio)


def _finite(found, expected):
    """Both with zeros where one of them is not finite, and where only `found` is not."""
    good = np.isfinite(found)
    bad = np.zeros(found.shape, bool)
    if not good.all():
        bad = ~good & np.isfinite(expected)
    good &= np.isfinite(expected)
    if good.all():
        return found, expected, bad
    return np.where(good, found, 0.0), np.where(good, expected, 0.0), bad


def _energy(x):
    flat = x.reshape(-1)
    return float(np.einsum("i,i->", flat, flat))  # not BLAS: its threads cost more than they bring here


def _cosine(a, b, error):
    """From the energies of two vectors and of their difference; of two zero vectors 1."""
    if not a or not b:
        return float(a == b)
    return (a + b - error) / (2 * float(np.sqrt(a * b)))


def _ulps(size, expected):
    """Errors in units of the reference's last place: the largest, and the 99.9th percentile of a quarter million."""
    ulps = size / np.spacing(np.maximum(np.abs(expected), np.finfo(np.float32).tiny).astype(np.float32))
    flat = ulps.reshape(-1)
    typical = float(np.percentile(flat[:: max(1, flat.size // 250_000)], 99.9)) if flat.size else 0.0
    return float(ulps.max(initial=0.0)), typical


def share(db):
    """The power of an error over that of the signal, of so many decibels; at most WORST."""
    return 10 ** min(-db / 10, math.log10(WORST))


def _db(ratio):
    return float(10 * np.log10(ratio)) if ratio > 0 else -np.inf


def decisions(found, expected, top=5):
    """What a port's logits decide against the reference's.

    Parameters
    ----------
    found, expected : (N, classes)

    Returns
    -------
    dict: pictures, top1_agree, top5_agree, flipped (indices of pictures whose first class differs), close (indices of
    those where the largest error of two logits could flip it), least_margin, largest_error, text
    """
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(found).all(axis=1)
        first, other = np.argmax(expected, axis=1), np.argmax(np.where(np.isfinite(found), found, -np.inf), axis=1)
        k = min(top, found.shape[1])
        sets = [np.argsort(-a, axis=1, kind="stable")[:, :k] for a in (np.nan_to_num(found, nan=-np.inf), expected)]
        errors = np.where(finite, np.abs(np.where(finite[:, None], found - expected, 0)).max(axis=1), np.inf)
    ordered = np.sort(expected, axis=1)
    margins = ordered[:, -1] - ordered[:, -2] if expected.shape[1] > 1 else np.full(len(expected), np.inf)
    flipped = [int(i) for i in np.flatnonzero((first != other) | ~finite)]
    close = [int(i) for i in np.flatnonzero(2 * errors >= margins) if int(i) not in flipped]
    n = len(expected)
    pictures = f"{n} pictures" if n > 1 else "1 picture"
    if flipped:
        text = f"decides otherwise on {len(flipped)} of {pictures}: {', '.join(map(str, flipped[:10]))}"
    elif close:
        many = f" on all of {pictures}; {len(close)}" if n > 1 else ","
        text = f"decides the same{many} with a margin below twice the error"
    else:
        text = f"cannot flip any of {pictures}: the error is {errors.max():.3g}, the least margin {margins.min():.3g}"
    return {
        "pictures": n,
        "top1_agree": n - len(flipped),
        "top5_agree": int(sum(set(a.tolist()) == set(b.tolist()) for a, b in zip(*sets))),
        "flipped": flipped,
        "close": close,
        "least_margin": plain(float(margins.min())),
        "largest_error": plain(float(errors.max())),
        "text": text,
    }
