"""How sure a fault is: certain only where its numbers cannot agree by chance, and nothing else gives them."""

import math

import numpy as np

from .explain import CLEAN

ALIKE = 1.0  # dB between two faults that these tensors cannot tell apart
CLEARLY = 1.5  # times the gain of the next best from which a fault may be certain
NEAR = 4.0  # times honest rounding up to which a fault may be called certain
RISE = 10.0  # dB, the least rise of a certain one
DB_A_BIT = 20 * math.log10(2)
MARGIN = 20.0  # bits beyond what a search finds by chance: once in a million times


def certainties(found, sizes):
    """How sure each fault of a Diagnosis is, in words: list of str.

    Parameters
    ----------
    found : Diagnosis
    sizes : {port tensor's name: how many numbers it has}
    """
    return [_certainty(trial, found, sizes) for trial in found.chain]


def _certainty(trial, found, sizes):
    rival = next((t for t in trial.rivals if _is_rival(t, trial)), None)
    if rival is not None and _is_as_good(rival, trial):
        return f"cannot be told from {rival.fault} ({rival.change.text}) by these tensors"
    spare = spare_bits(trial, sizes, found.tried)
    if spare < 0:
        return f"a guess: too few numbers, of {found.tried} faults tried one agrees so well by chance"
    told_apart = rival is None or trial.gain >= CLEARLY * rival.gain
    sure = trial.reached and spare >= MARGIN and told_apart and _is_near(trial, found.cleared)
    return "certain" if sure and found.coarse is None else "likely"


def spare_bits(trial, sizes, tried):
    """By how many bits a fault agrees better than the best of a search would by chance.

    A number whose error falls to a half agrees by one bit more, down to rounding; beforehand at most nothing is known of it,
    so that an error as large as the tensor itself is where this begins. Of `tried` faults none of which is there, the best
    agrees by log2(tried) bits, and one of which the port's own numbers were solved for by as many more as they took. Two
    logits are nearly each other's negative, so a tensor's first number is not counted where it has others. A tensor that
    fitted no step counts if it comes down to rounding.
    """
    bits, floors = 0.0, trial.floors
    fits = {name for name, e in trial.errors.items() if name in floors and e <= CLEAN * floors[name] < trial.base[name]}
    for name in trial.touched | fits:
        before, after = (10 * math.log10(min(max(e[name], floors[name]), 1.0)) for e in (trial.base, trial.errors))
        bits += bits_nearer(sizes.get(name, 1), before, after)
    return bits - math.log2(max(tried, 1)) - trial.change.unknowns


def bits_nearer(size, before, after):
    """By how many bits a tensor of so many numbers agrees better: its error, in dB, before and after."""
    return max(size - 1, 1) * (before - after) / DB_A_BIT


def _is_near(trial, cleared):
    """Whether what it explains comes down to honest rounding, and rises by enough."""
    ratios = [row.local.ratio for row in cleared.rows if row.port in trial.touched] if cleared else []
    return bool(ratios) and np.median(ratios) <= NEAR and trial.snr_db - trial.before_db > RISE


def _is_rival(other, trial):
    """Whether another fault is believed too, and not the same network by another name."""
    kin = trial.change.kin and other.change.kin == trial.change.kin and other.change is not trial.change
    if not other.believed or other is trial or other.fault == trial.fault and not kin:
        return False
    return other.errors != trial.errors or other.net.function() != trial.net.function()


def _is_as_good(rival, trial):
    """Whether what two faults leave differs by no more than rounding does."""
    if trial.gain - rival.gain < ALIKE:
        return True
    most = {name: CLEAN * max(trial.errors[name], trial.floors[name]) for name in trial.touched | rival.touched}
    return all(rival.errors[name] <= limit for name, limit in most.items())
