"""Readings of a port's tensor that depend on what it should be: raw integers rescaled, channels put in order, by place."""

import numpy as np

from .net import block_of
from .tensors import sketch

FEW = 16  # pixels a channel, with fewer two channels look alike too easily
INNER = (".conv", ".norm", ".fc", ".add")  # steps behind which a layer goes on


def fitted(view, expected):
    """(view, squared relative error on the sketch); of raw integers with the scale and offset that fit best.

    Parameters
    ----------
    view : View
    expected : (K,) sketch of what it should be
    """
    if not view.tensor.is_raw_integer:
        return view, view.quick_error(expected)
    found = view.sketch
    if np.ptp(found) == 0 or not np.isfinite(expected).all():
        return view, np.inf
    factor, offset = np.polyfit(found, expected, 1)
    error = np.square(found * factor + offset - expected).sum() / max(
        np.square(expected - expected.mean()).sum(), 1e-30
    )
    return (view.rescaled(factor, offset) if error < 0.5 else view), float(error)


def permuted(view, predicted, limit):
    """The view with its channels put in the order of the prediction's, if that makes the two agree; else None."""
    if view.finite is not None or view.tensor.is_raw_integer:
        return None
    if predicted.ndim != 4 or predicted.shape[1] < 3 or np.prod(predicted.shape[2:]) < FEW:
        return None
    order = channel_order(view.data, predicted)
    if order is None or (order == np.arange(len(order))).all():
        return None
    candidate = view.permuted(order)
    return candidate if candidate.quick_error(sketch(predicted)) < limit else None


def channel_order(found, predicted):
    """For each channel of `found` (1, C, ...) the one of `predicted` that runs alike; None if two share one."""
    c = predicted.shape[1]
    a, b = (_unit_rows(array.swapaxes(0, 1).reshape(c, -1)) for array in (found, predicted))
    order = np.argmax(a @ b.T, axis=1)
    return order if len(set(order.tolist())) == c else None


def _unit_rows(rows):
    """Each row's deviation from its mean, at most 256 numbers of it, of length 1."""
    rows = rows[:, :: max(1, rows.shape[1] // 256)]
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)


def place_by_order(net, matching, sure=False):
    """Free tensors that stand, in the port's own order, between two matched ones where steps of their shape lie open.

    Where there are as many as blocks, or as layers, of that shape, each is one's; else, unless that must be `sure`, the first
    is the last step's: of a layer, its norm and its activation that is given most often.

    Parameters
    ----------
    net : Net
    matching : Matching

    Returns
    -------
    {step's name: View}
    """
    place = {step.name: i for i, step in enumerate(net.plan)}
    known = sorted((view.tensor.index, place[name]) for name, view in matching.views.items() if name in place)
    gaps = {}
    for tensor in sorted(matching.free, key=lambda t: t.index):
        before = max((at for index, at in known if index < tensor.index), default=-1)
        after = min((at for index, at in known if index > tensor.index), default=len(net.plan))
        steps = [s for s in net.plan[before + 1 : after] if s.name not in matching.views]
        views = {s.name: v for s in steps for v in tensor.views(s.shape, 1)}
        if views:
            gaps.setdefault(tuple(views), []).append(views)
    found = {}
    for names, tensors in gaps.items():
        whole = [name for name in names if name == block_of(name)]
        units = [name for name in names if not name.endswith(INNER)]
        last = [name for name in names if net.steps[name].op != "identity" and not sure]
        places = next((level for level in (whole, units) if len(level) == len(tensors)), last[-1:])
        for name, views in zip(places, tensors):
            found.setdefault(name, views[name])
    return found


def thinning(step, shape):
    """Which pixels do to know a step by: every `n`-th, of what works on each pixel by itself."""
    if len(shape) == 3 and step.op in ("pointwise_conv2d", "batch_norm") and shape[1] * shape[2] > 256:
        return max(1, min(shape[1:]) // 8)
    return 1


class Readings:
    """Views of one shape, held against a prediction all at once.

    Parameters
    ----------
    views : list of View
    by : int, every `by`-th pixel of them is looked at
    """

    def __init__(self, views, by):
        self.views = [view.thinned(by) for view in views]
        self.sketches = np.stack([view.sketch for view in self.views]) if views else None
        self.powers = np.array([view.sketch_power for view in self.views])
        self.owners = views

    def near(self, predicted, limit):
        """The views whose squared relative error, on sketches, is below `limit`: see `View.quick_error`."""
        if not self.views:
            return []
        expected = sketch(predicted)
        with np.errstate(over="ignore", invalid="ignore"):
            difference = np.subtract(self.sketches, expected, dtype=np.float64)
            errors = np.einsum("ij,ij->i", difference, difference)
        near = errors < limit * self.powers
        for i in np.flatnonzero(~np.isfinite(errors)):
            near[i] = self.views[i].quick_error(expected) < limit
        return [self.owners[i] for i in np.flatnonzero(near)]
