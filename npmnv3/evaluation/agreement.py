"""How far two networks agree on pictures: a quantised or converted dump against its original."""

from __future__ import annotations

import functools
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from .classes import Classes
from .pools import pieces_of, start_workers
from .statistics import percent_interval
from .work import both_logits, identify, load_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from .datasets import Dataset
    from .work import Network


class Agreement:
    """What the logits of two networks on the same pictures add up to. `a` is the original."""

    def __init__(self, a, b):
        self.a, self.b = a, b
        if a.names != b.names and not (len(a.names) == len(b.names) and (_unnamed(a) or _unnamed(b))):
            raise UsageError(
                f"the models' classes differ ({len(a.names)} and {len(b.names)} of them): nothing to compare"
            )
        self.same = 0
        self.margins, self.disagreements, self.unreadable = [], [], []
        self.largest = (-1.0, "", 0)  # difference, picture, class
        self._squares = 0.0

    def add(self, picture, answers):
        """Count a picture, given the logits (classes,) of both or why there are none."""
        if isinstance(answers[0], str) or isinstance(answers[1], str):
            self.unreadable.append(picture.file)
            return
        logits = [row[c.offset :].astype(np.float64) for row, c in zip(answers, (self.a, self.b))]
        first, second = (int(np.argmax(row)) for row in logits)
        margin = _margin(logits[0])
        self.margins.append(margin)
        self.same += first == second
        if first != second:
            names = {"a": self.a.name(first), "b": self.b.name(second)}
            self.disagreements.append({"file": picture.file, **names, "margin": margin})
        difference = np.abs(logits[0] - logits[1])
        at = int(np.argmax(difference))
        if not difference[at] <= self.largest[0]:  # a NaN, too, is worth telling
            self.largest = (float(difference[at]), picture.file, at)
        self._squares += float(np.mean(difference * difference))

    def report(self):
        """What `agree` returns, without the models' names."""
        pictures = len(self.margins)
        value, file, at = self.largest
        apart = sorted(self.disagreements, key=lambda entry: -entry["margin"])
        return {
            "pictures": pictures,
            "agreement": 100 * self.same / pictures if pictures else None,
            "interval": percent_interval(self.same, pictures),
            "margin": {
                "smallest": min(self.margins, default=None),
                "median": float(np.median(self.margins)) if pictures else None,
                "largest_apart": apart[0]["margin"] if apart else None,
            },
            "largest_difference": {"value": value, "file": file, "class": self.a.name(at)} if pictures else None,
            "rms_difference": math.sqrt(self._squares / pictures) if pictures else None,
            "disagreements": apart,
            "unreadable": self.unreadable,
        }


def _unnamed(classes):
    """Whether the classes are called by their indices alone, as in a file that no names came with."""
    return classes.names == tuple(map(str, range(len(classes.names))))


def _margin(logits):
    """The largest logit minus the second largest."""
    if len(logits) < 2:
        return math.inf
    second, first = np.partition(logits, -2)[-2:]
    return float(first - second)


def agree(
    network_a: Network | str,
    network_b: Network | str,
    dataset: Dataset,
    *,
    batch: int | None = None,
    workers: int | None = None,
    progress: Callable[[int, Agreement], object] | None = None,
) -> dict[str, Any]:
    """Compare two networks picture by picture. The labels play no part.

    Parameters
    ----------
    network_a, network_b : Network or a model's name; the first is the original
    dataset : Dataset, see `open_dataset`
    batch, workers : as for `evaluate`
    progress : callable (pictures done, Agreement), optional

    Returns
    -------
    dict: model_a, model_b, pictures (compared), agreement of the first answers (percent) with its 95% interval, margin
    (the original's largest logit minus its second: the smallest, the median, the largest where the two part),
    largest_difference of a logit (value, file, class), rms_difference, disagreements (list of {file, a, b, margin}, the
    surest first), unreadable (files), seconds

    Raises
    ------
    UsageError
        The models' classes differ. Classes that are only numbered differ from no others, and a background class before
        ImageNet's is left out.
    """
    start = time.perf_counter()
    networks = identify((network_a, network_b))
    agreement = Agreement(*(Classes(model.labels) for model in load_all(networks)))
    done = 0
    function = functools.partial(both_logits, networks, dataset.root)
    with start_workers(workers) as run:
        for piece, answers in run(function, pieces_of(dataset.pictures, batch)):
            for picture, of_both in zip(piece, answers):
                agreement.add(picture, of_both)
            done += len(piece)
            if progress:
                progress(done, agreement)
    a, b = (network.title for network in networks)
    return {"model_a": a, "model_b": b, **agreement.report(), "seconds": round(time.perf_counter() - start, 3)}
