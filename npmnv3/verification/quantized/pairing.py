"""Which of several tensors is which of the steps of one shape: by their order, or by how like a run of the steps they are."""

import math

import numpy as np

SKETCH = 4096  # numbers of a tensor that likeness looks at
LIKE = 0.3  # likeness below which a tensor is not taken for a step's where there is a choice
SURE = 0.7  # the order is believed where other pairs are not even that much alike
MANY, UNLIKE, FEW_UNLIKE = 256, 0.05, 0.3  # or not by so much more than it: of tensors of many numbers, and of few
CLEAR = 0.05  # by how much tensors must be more alike to be out of order


def likeness(data, expected):
    """1 where equal, else the correlation of two tensors on a sketch, below 1."""
    if expected is None or data.shape != expected.shape:
        return 0.0
    data, expected = data.ravel(), expected.ravel()
    step = max(data.size // SKETCH, 1)
    a, b = data[::step].astype(np.float64), expected[::step].astype(np.float64)
    if np.array_equal(a, b):
        return 1.0
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt(np.square(a).sum() * np.square(b).sum())
    return min(float((a * b).sum() / scale), 0.9999) if scale else 0.0


def most_like(views, expected):
    """(likeness, view) of the view most like what is expected."""
    return max(((likeness(view[1], expected), view) for view in views), key=lambda pair: pair[0])


def match_group(found, steps, free, expected):
    """Match the steps of one shape; what is left of the tensors."""
    views = {(s, t.index): found.views(t, s) for s in steps for t in free}
    fits = [t for t in free if any(views[s, t.index] for s in steps)]
    if not fits:
        return free
    best = {
        key: most_like(found_views, expected and expected.get(key[0]))
        for key, found_views in views.items()
        if found_views
    }
    pairs, how = _in_order(steps, fits, best), "order"
    liked = _by_likeness(steps, fits, best) if expected else {}
    if liked and (not pairs or _tells(liked, pairs, best, math.prod(found.shapes[steps[0]]))):
        pairs, how = liked, "likeness"
    for step, tensor in pairs.items():
        found.put(step, tensor, how if len(steps) > 1 or len(fits) > 1 else "shape", best[step, tensor.index][1])
    taken = {id(tensor) for tensor in pairs.values()}
    return [tensor for tensor in free if id(tensor) not in taken]


def _tells(liked, pairs, best, size):
    """Whether likeness speaks clearly enough against the order."""
    liked, pairs = ([best[step, tensor.index][0] for step, tensor in found.items()] for found in (liked, pairs))
    if liked.count(1.0) > pairs.count(1.0):
        return True
    margin = UNLIKE if size >= MANY else FEW_UNLIKE
    return sum(liked) / len(pairs) > max(SURE, np.mean(pairs) + margin)  # a step without a tensor counts against it


def _in_order(steps, fits, best):
    """One after another, where there are as many of both."""
    pairs = dict(zip(steps, fits))
    return pairs if len(steps) == len(fits) and all((s, t.index) in best for s, t in pairs.items()) else {}


def _by_likeness(steps, fits, best):
    """The most alike first; of equals those of the nearest place in their order."""
    place = {t.index: i / len(fits) for i, t in enumerate(fits)}
    rows = sorted(
        (
            (-score, abs(place[index] - steps.index(step) / len(steps)), steps.index(step), index)
            for (step, index), (score, _) in best.items()
        )
    )
    pairs, taken, tensors = {}, set(), {t.index: t for t in fits}
    for score, _, number, index in rows:
        if steps[number] not in pairs and index not in taken and -score >= LIKE:
            pairs[steps[number]] = tensors[index]
            taken.add(index)
    return _put_in_order([step for step in steps if step in pairs], pairs, best)


def _put_in_order(steps, pairs, best):
    """The pairs with tensors exchanged that come in another order than their steps, where that is as likely."""
    for last in range(len(steps) - 1, 0, -1):
        for first, second in zip(steps[:last], steps[1 : last + 1]):
            a, b = pairs[first], pairs[second]
            if a.index > b.index and (first, b.index) in best and (second, a.index) in best:
                now = best[first, a.index][0], best[second, b.index][0]
                other = best[first, b.index][0], best[second, a.index][0]
                if sum(other) >= sum(now) - CLEAR and other.count(1.0) >= now.count(1.0):
                    pairs[first], pairs[second] = b, a
    return pairs
