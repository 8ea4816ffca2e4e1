"""Faults with numbers that are solved for from what a step got and gave: a part of a residual, a hard-sigmoid's slope."""

import math
from dataclasses import replace

import numpy as np

from ...network.steps import INPUT
from .edits import Change, edited, set_field

FITS = 1e-6  # of the squared error, what may be left
NEAR = 1e-2  # of none, or all, of a channel's residual
ROUND = 1e-5  # how near a number is to three decimals to be meant so
KNOWN = (1 / 6, 0.2, 0.25)  # slopes that are tried anyway
BITS = 24  # of one number


def fitted_changes(comparison):
    """Changes of the steps that are off whose inputs are known: list of Change."""
    net, residuals, slopes = comparison.net, {}, []
    for row in comparison.failing():
        step, view = net.steps.get(row.step), comparison.views[row.step]
        if step is None or view.finite is not None or step.name == INPUT:
            continue
        found, expected = view.data.astype(np.float64), comparison.local[step.name]
        inputs = [comparison.port_run.value(name).astype(np.float64) for name in step.inputs]
        if step.op == "add":
            for text, part in _parts(step, *inputs, found, expected):
                residuals.setdefault(text, {})[step.name] = part
        if step.op == "hard_sigmoid":
            slopes += _slope(step, *inputs, found, expected)
    changes = [_of_residuals(text, steps) for text, steps in residuals.items()]
    for slope in slopes[:1]:
        text, apply = f"hard-sigmoid slope {slope:.4g}", set_field("hard_sigmoid", slope=slope)
        changes.append(Change("hard_sigmoid_slope", text, apply, whole=True, unknowns=BITS))
    return changes


def _of_residuals(text, steps):
    def apply(net, where):
        return edited(net, {name: step for name, step in steps.items() if name in net.steps and where(name)})

    return Change("residual", text, apply, whole=True, unknowns=BITS * len(steps))


def _explained(found, made, expected):
    """Whether what was made is what was found, but for little of what was off."""
    return float(np.square(found - made).sum()) <= FITS * float(np.square(found - expected).sum())


def _parts(step, x, skip, found, expected):
    """[(text, step that adds so)]: the residual times a number, or its first rows or channels alone."""
    added, (channels, rows) = found - x, step.shape[:2]
    factor = _rounded(float((added * skip).sum()) / max(float(np.square(skip).sum()), 1e-300))
    tried = [(f"the residual times {factor:.4g}", channels, rows, factor)] if abs(factor) > NEAR else []
    if (channels_kept := _kept(added, skip, 1)) is not None:
        tried.append(("no residual in the last channels", channels_kept, rows, 1.0))
    if (rows_kept := _kept(added, skip, 2)) is not None:
        tried.append(("no residual in the last rows", channels, rows_kept, 1.0))
    for text, channels_kept, rows_kept, factor in tried:
        made = x.copy()
        made[:, :channels_kept, :rows_kept] += factor * skip[:, :channels_kept, :rows_kept]
        if _explained(found, made, expected):
            yield text, replace(step, op="add_part", factor=factor, pad=(0, rows_kept, 0, channels_kept))


def _kept(added, skip, axis):
    """How many channels, or rows, have the residual, the others behind them having none; None if that is not so."""
    others = tuple(i for i in range(added.ndim) if i != axis)
    power = np.square(skip).sum(axis=others)
    share = (added * skip).sum(axis=others)[power > 0] / power[power > 0]
    kept = np.flatnonzero(power > 0)[np.abs(share - 1) < NEAR]
    last = int(kept[-1]) + 1 if len(kept) else 0
    return last if 0 < last < added.shape[axis] else None


def _slope(step, x, found, expected):
    """[slope] of a hard-sigmoid, where another one gives what was found; [] if none does, or it is well known."""
    inner = (found > NEAR) & (found < 1 - NEAR)
    power = float(np.square(x[inner]).sum())
    slope = _rounded(float(((found - 0.5) * x)[inner].sum()) / power) if power else 0.0
    if not slope > 0 or any(math.isclose(slope, known, rel_tol=1e-4) for known in KNOWN):
        return []
    return [slope] if _explained(found, np.clip(slope * x + 0.5, 0, 1), expected) else []


def _rounded(number):
    return round(number, 3) if abs(number - round(number, 3)) < ROUND else number
