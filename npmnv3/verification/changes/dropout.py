"""A dropout left on before the classifier: which features it set to zero is seen in a tensor, or solved for from the
logits."""

import numpy as np

from .edits import Change
from .weights import masked

FITS = 1e-3  # squared relative error of a tensor that shows the mask
PASSES, FLIPS = 5, 100
SLACK = 0.1  # between the share of zeros and what a dropout's factor says it is
GAINS = tuple(1 / (1 - p) for p in (0.2, 0.5, 0.1, 0.3, 0.25, 0.4, 0.05, 0.15))


def dropouts(comparison):
    """Changes, one or none: a mask of what the classifier gets.

    Parameters
    ----------
    comparison : Comparison, its logits or what they are made of off

    Returns
    -------
    list of Change
    """
    step = comparison.net.steps["logits"]
    source = step.inputs[0]
    if step.op != "linear":
        return []
    features = comparison.local.get(source, comparison.port_run.value(source))[0].astype(np.float64)
    seen = (_mask_seen(features, v.data[0]) for t in comparison.tensors for v in t.views(features.shape, 1))
    mask, gain = next((found for found in seen if found), (None, 0.0))
    if mask is None:
        mask, gain = _mask_from_logits(comparison, step, features)
    if mask is None:
        return []
    text = f"dropout left on before the classifier ({1 - mask.mean():.0%} of {len(mask)} features are zero)"
    return [Change("dropout_on", text, masked("logits", mask, gain), whole=True, unknowns=float(len(mask)))]


def _mask_seen(features, found):
    """(mask, gain) if a tensor is the features, some of them zero and the others times one number; else None."""
    on = found != 0
    if not 0 < np.count_nonzero(on & (features != 0)) < np.count_nonzero(features):
        return None
    gain = float(found[on] @ features[on] / np.square(features[on]).sum())
    mask = np.where(features == 0, 1.0, on)  # of what is zero by itself nobody knows
    error = np.square(found - gain * mask * features).sum()
    return (mask, gain) if error < FITS * np.square(found).sum() and _is_dropout(on[features != 0], gain) else None


def _is_dropout(mask, gain):
    """Whether as many are zero as the factor says; a factor alone, or zeros alone, are no dropout."""
    return bool(abs(mask.mean() - 1 / gain) <= SLACK and max(mask.mean(), 1 / gain) <= 1 - SLACK / 3)


def _mask_from_logits(comparison, step, features):
    """(mask, gain) with which the classifier gives the port's logits; (None, 0) if that says nothing."""
    view, bias = comparison.views.get("logits"), step.param("bias")
    if view is None or view.finite is not None:
        return None, 0.0
    arrays = comparison.net.with_arrays(comparison.arrays)
    weight = arrays[step.param("weight").name].astype(np.float64)
    rest = view.data[0] - (arrays[bias.name].astype(np.float64) if bias else 0)
    return (None, 0.0) if len(weight) < 0.5 * len(features) else _mask_of(weight * features, rest)


def _flipped(mask, part, rest):
    """The mask with single features put right, the one that helps most first."""
    size = np.square(part).sum(axis=0)
    for _ in range(FLIPS):
        error = rest - part @ mask
        sign = 1 - 2 * mask
        gains = 2 * sign * (part.T @ error) - size
        best = int(np.argmax(gains))
        if gains[best] <= 0:
            break
        mask[best] = 1 - mask[best]
    return mask


def _mask_of(part, rest):
    """(mask, gain) such that part @ (mask * gain) is nearest to rest; (None, 0) if that says nothing.

    There are fewer logits than features, so those that are surely on or off are settled first, and the others again.
    """
    size = np.linalg.norm(part, axis=0)
    share, gain, open_ = np.ones(len(size)), None, np.arange(len(size))
    for _ in range(PASSES):
        some = part[:, open_]
        left = rest - part @ np.where(np.isin(np.arange(len(size)), open_), 0, share) - some.sum(axis=1)
        gram = some.T @ some
        gram[np.diag_indices_from(gram)] += 1e-9 * np.square(size).mean()
        share[open_] = 1 + np.linalg.solve(gram, some.T @ left)
        if gain is None:
            large = share[np.argsort(-size)[: max(16, len(size) // 10)]]
            gain = min(GAINS, key=lambda g: np.minimum(np.abs(large), np.abs(large - g)).mean())
        sure = np.minimum(np.abs(share[open_]), np.abs(share[open_] - gain)) < 0.15 * gain
        share[open_[sure]] = np.where(share[open_[sure]] > gain / 2, gain, 0)
        if sure.all() or not sure.any():
            break
        open_ = open_[~sure]
    mask = _flipped((share > gain / 2).astype(np.float64), part * gain, rest)
    if not _is_dropout(mask, gain):
        return None, 0.0
    error = np.square(part @ mask * gain - rest).sum()
    if error > 0.01 * np.square(part.sum(axis=1) - rest).sum():
        return None, 0.0
    return mask, gain
