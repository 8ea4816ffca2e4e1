"""What an error looks like, where no known fault explains it."""

import numpy as np

from .tensors import correlation

HINT = 0.1  # share of an error's power that a hint may leave
COARSE = 14  # bits behind the point at most that are told as a grid: a fixed-point format's, or a table's
FEW = 16  # numbers from which that says something
TABLE = 4  # times as many different numbers as a table gives, where there is one
BARE = 1e-6  # share of the worst pixel's error below which a pixel has none


def symptom(found, expected, spatial=True, fixed=False):
    """A few words on how `found` differs from `expected`, both (N, C, H, W) or (N, C); "" if nothing stands out.

    spatial : bool, whether a kernel larger than 1x1 is among what may be wrong: else neither padding nor stride is
    fixed : bool, whether the port is known to be in fixed point
    """
    if not np.isfinite(found).all():
        return "not finite: an overflow, or a division by zero"
    if not found.any():
        return "all zeros: never written?"
    error = found - expected
    channels = np.square(error).sum(axis=(0, *range(2, error.ndim)))
    total = channels.sum()
    if not 0 < total < np.inf:  # nothing to see, or the reference itself overflows on the port's own tensors
        return ""
    words = []
    worst = np.argsort(-channels)
    few = int(np.searchsorted(np.cumsum(channels[worst]) / total, 0.9)) + 1
    if few <= max(1, len(channels) // 8):
        words.append(f"channel{'s' * (few > 1)} {_ranges(sorted(worst[:few].tolist()))}")
    if found.ndim == 4 and (place := _rectangle(error)):
        words.append(place)
    looks = _affine(found, expected) or (_of_map(found, expected, spatial) if found.ndim == 4 else "")
    levels = "" if fixed else _grid(found, expected) or _table(found, expected)
    return ": ".join(filter(None, [", ".join(words), ", ".join(filter(None, [looks, levels]))]))


def _grid(found, expected):
    """All numbers are multiples of a power of two, as the reference's are not: fixed point, or a table's entries."""
    scaled = ((2**bits * found % 1 == 0).all() for bits in range(COARSE + 1))
    bits = next((bits for bits, whole in enumerate(scaled) if whole), None) if found.size >= FEW else None
    if bits is None or (2**bits * expected % 1 == 0).all():
        return ""
    return f"all numbers are multiples of 2^-{bits}: fixed point?"


def _table(found, expected):
    """Few different numbers where the reference has many, and not one a channel of a map."""
    own, others = len(np.unique(found)), len(np.unique(expected))
    if own < FEW or TABLE * own > others or found.ndim == 4 and own <= found.shape[1]:
        return ""
    return f"only {own} different numbers of {others}: a look-up table?"


def _affine(found, expected):
    """The same numbers on another scale."""
    if abs(correlation(found.ravel(), expected.ravel())) < 0.9:
        return ""
    factor, offset = np.polyfit(expected.ravel(), found.ravel(), 1)
    if not _removes(found - expected, found - (factor * expected + offset)):
        return ""
    return f"looks like a scale: {factor:.4g} x the reference {offset:+.3g}"


def _removes(error, rest):
    """Whether what is left of an error is a small part of it: a hint that leaves most of it would mislead."""
    return float(np.square(rest).sum()) < HINT * float(np.square(error).sum())


def _rectangle(error):
    """The part of the map outside of which there is no error, if that is most of it: a tile, a row, a column."""
    pixels = np.square(error).sum(axis=(0, 1))
    rows, columns = (np.flatnonzero((pixels > BARE * pixels.max()).any(axis=axis)) for axis in (1, 0))
    (top, bottom), (left, right) = ((int(n[0]), int(n[-1])) for n in (rows, columns))
    if 2 * (bottom - top + 1) * (right - left + 1) > pixels.size:
        return ""
    tile = f"{bottom - top + 1} x {right - left + 1} of {pixels.shape[0]} x {pixels.shape[1]} pixels"
    return f"only in {tile}, from row {top}, column {left}"


def _of_map(found, expected, spatial):
    error = found - expected
    return _unwritten(found, error) or (_border(error) or _shift(found, expected) if spatial else "")


def _unwritten(found, error):
    """Where a map is off, each of its channels is one number: zero, or what a norm and an activation make of that."""
    off = np.abs(error) > BARE * np.abs(error).max()
    there = off.any(axis=(0, 1))
    if np.count_nonzero(there) < 2:
        return ""
    spread, of_errors = (np.ptp(a[:, off.any(axis=(0, 2, 3))][..., there], axis=2) for a in (found, error))
    return "one number a channel there: never written?" if of_errors.all() and not spread.any() else ""


def _border(error):
    """The error sits on the outermost pixels."""
    pixels = np.square(error).sum(axis=(0, 1))
    if min(pixels.shape) < 7:
        return ""
    inner = pixels[2:-2, 2:-2].mean()
    if not _removes(np.sqrt(pixels), np.sqrt(pixels[2:-2, 2:-2])):
        return ""
    rows, columns = pixels[:, 2:-2], pixels[2:-2]  # without the corners, which are of two sides
    edges = {"top": rows[:1], "bottom": rows[-1:], "left": columns[:, :1], "right": columns[:, -1:]}
    sides = [name for name, edge in edges.items() if edge.mean() > 20 * max(inner, 1e-300)]
    return f"looks like a border fault ({', '.join(sides)}): padding" if sides else ""


def _shift(found, expected):
    """The same picture, moved."""
    if min(found.shape[2:]) < 7:
        return ""
    centre = found[:, :, 2:-2, 2:-2]
    h, w = found.shape[2:]
    moves = [(dy, dx) for dy in (-2, -1, 0, 1, 2) for dx in (-2, -1, 0, 1, 2)]
    rests = {
        move: centre - expected[:, :, 2 + move[0] : h - 2 + move[0], 2 + move[1] : w - 2 + move[1]] for move in moves
    }
    best = min(moves, key=lambda move: float(np.square(rests[move]).sum()))
    if best == (0, 0) or not _removes(rests[0, 0], rests[best]):
        return ""
    return f"looks like a shift by {best} pixels: padding, stride or crop"


def _ranges(numbers):
    """1, 2, 3, 7 as "1-3, 7"; at most six ranges."""
    runs = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    texts = [str(a) if a == b else f"{a}-{b}" for a, b in runs]
    return ", ".join(texts[:6]) + (", ..." if len(texts) > 6 else "")
