"""Faults with numbers that are solved for from what a step got and gave: a part of a residual, a hard-sigmoid's slope."""

import math
from dataclasses import replace

import numpy as np

from ...network.steps import INPUT
from ..operations import FAULTY
from .edits import Change, edited, set_field

FITS = 1e-6  # of the squared error, what may be left
NEAR = 1e-2  # of none, or all, of a channel's residual
ROUND = 1e-5  # how near a number is to three decimals to be meant so
KNOWN = (1 / 6, 0.2, 0.25)  # slopes that are tried anyway
BITS = 24  # of one number
AXES = {1: "channels", 2: "rows", 3: "columns"}


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
    if len(residuals) > 1:
        changes.append(_of_several(residuals))
    for slope in slopes[:1]:
        text, apply = f"hard-sigmoid slope {slope:.4g}", set_field("hard_sigmoid", slope=slope)
        changes.append(Change("hard_sigmoid_slope", text, apply, whole=True, unknowns=BITS))
    return changes


def _of_residuals(text, steps):
    def apply(net, where):
        return edited(net, {name: step for name, step in steps.items() if name in net.steps and where(name)})

    return Change("residual", text, apply, whole=True, unknowns=BITS * len(steps))


def _of_several(residuals):
    """What is wrong with one residual in one way, and with another in another: {text: {step's name: step}}."""
    steps = {name: step for of_text in reversed(residuals.values()) for name, step in of_text.items()}
    return _of_residuals(" and ".join(f"{text} in {', '.join(names)}" for text, names in residuals.items()), steps)


def _explained(found, made, expected):
    """Whether what was made is what was found, but for little of what was off."""
    return float(np.square(found - made).sum()) <= FITS * float(np.square(found - expected).sum())


def _parts(step, x, skip, found, expected):
    """[(text, step that adds so)]: the residual times a number, or without its first or last channels, rows or columns."""
    added = found - x
    factor = _rounded(float((added * skip).sum()) / max(float(np.square(skip).sum()), 1e-300))
    tried = [(f"the residual times {factor:.4g}", (1, 0, step.shape[0]), factor)] if abs(factor) > NEAR else []
    for axis, what in AXES.items():
        if (kept := _kept(added, skip, axis)) is not None:
            ends = [end for end, missing in (("first", kept[0] > 0), ("last", kept[1] < x.shape[axis])) if missing]
            tried.append((f"no residual in the {' and '.join(ends)} {what}", (axis, *kept), 1.0))
    for text, part, factor in tried:
        partly = replace(step, op="add_part", factor=factor, pad=(*part, 0))
        if _explained(found, FAULTY["add_part"](partly, x, skip), expected):
            yield text, partly


def _kept(added, skip, axis):
    """(first, behind the last) of the channels, rows or columns that have the residual; None if all have it, or none."""
    others = tuple(i for i in range(added.ndim) if i != axis)
    power = np.square(skip).sum(axis=others)
    share = (added * skip).sum(axis=others)[power > 0] / power[power > 0]
    kept = np.flatnonzero(power > 0)[np.abs(share - 1) < NEAR]
    if not len(kept) or len(kept) == len(share):
        return None
    return int(kept[0]), int(kept[-1]) + 1


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
