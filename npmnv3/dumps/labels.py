"""From logits to named classes: softmax, the best k, and the names of ImageNet's classes."""

import operator
from functools import cache
from typing import NamedTuple

import numpy as np

from ..errors import UsageError
from .mappings import as_array

LABEL_SETS = {"imagenet": 1000, "imagenet-background": 1001}  # name -> number of classes


class Label(NamedTuple):
    """A class: its index in the logits, WordNet synset id, short name, and all its names, comma separated."""

    index: int
    synset: str
    name: str
    lemma: str


def label_set(name):
    """The classes of a label set, in the order of the logits.

    Parameters
    ----------
    name : "imagenet" (the 1000 classes of ILSVRC 2012, by synset id) or "imagenet-background" (the 1001 of
        TensorFlow-Slim: a background class before the others)

    Returns
    -------
    tuple of Label

    Raises
    ------
    UsageError : no such label set

    Source: dumps/data/imagenet.csv; the README.md beside it says where it comes from
    """
    if not isinstance(name, str) or name not in LABEL_SETS:
        raise UsageError(
            f"labels: no label set {name!r}, only {' and '.join(LABEL_SETS)}; other names can be given as a list"
        )
    return _imagenet() if name == "imagenet" else _imagenet_background()


def class_names(labels, num_classes):
    """A name for each class.

    Parameters
    ----------
    labels : the name of a label set ("imagenet" with 1001 classes has the background first); a sequence of names; ""
        for the indices as text; or None: the label set that has this many classes, else the indices as text
    num_classes : int

    Returns
    -------
    tuple of str, `num_classes` long

    Raises
    ------
    UsageError : an unknown label set, or another number of names than of classes
    """
    if labels is None:
        labels = next((name for name, size in LABEL_SETS.items() if size == num_classes), "")
    if isinstance(labels, str):
        labels = "imagenet-background" if (labels, num_classes) == ("imagenet", 1001) else labels
        names = _set_names(labels) if labels else tuple(map(str, range(num_classes)))
    else:
        names = tuple(map(str, _as_names(labels)))
    if len(names) != num_classes:
        raise UsageError(
            f"labels: found {len(names)} names for {num_classes} classes; give one name a class, or '' for indices"
        )
    return names


def softmax(logits, axis=-1):
    """Probabilities from logits, without overflow, computed in float64 whatever the logits' type.

    Parameters
    ----------
    logits : array of real numbers, any shape
    axis : int, the axis of the classes

    Returns
    -------
    float64 array of the logits' shape, non-negative, sum 1 along `axis`. Where the largest logit is infinite the
    entries that equal it share the probability; where a logit is NaN all probabilities along `axis` are NaN.

    Raises
    ------
    UsageError : not real numbers, or no classes
    """
    logits = _as_logits(logits)
    if not -logits.ndim <= axis < logits.ndim or not logits.shape[axis]:
        raise UsageError(f"logits: shape {logits.shape} has no classes along axis {axis}")
    peak = logits.max(axis=axis, keepdims=True)
    # infinity minus infinity happens only where the entry is the peak itself, and a difference beyond float64 weighs 0
    with np.errstate(invalid="ignore", over="ignore"):
        weights = np.where(logits == peak, 1.0, np.exp(logits - peak))
    return weights / weights.sum(axis=axis, keepdims=True)


def sigmoid(logits):
    """Probabilities of yes from single logits, as networks with one class are trained: 1 / (1 + exp(-x)), in float64."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-_as_logits(logits)))


def top_k(logits, k=5, labels=None):
    """The k most probable classes, best first. The probability of a single class is the sigmoid of its logit.

    Parameters
    ----------
    logits : (N, classes) or (classes,) real numbers, before softmax
    k : int, at least 1; more than there are classes means all of them
    labels : as for `class_names`

    Returns
    -------
    For (classes,) a list of (index, label, probability) as int, str, float; for (N, classes) a list of N such lists.
    Equal logits come in the order of their indices. A row with a NaN has NaN for every probability, and its NaNs come
    last.

    Raises
    ------
    UsageError : another number of axes, not real numbers, no classes, k below 1, or labels that do not fit
    """
    logits = _as_logits(logits)
    if logits.ndim not in (1, 2):
        raise UsageError(f"logits: expected shape (N, classes) or (classes,), found {logits.shape}")
    names, k = class_names(labels, logits.shape[-1]), _as_count(k)
    rows = np.atleast_2d(logits)
    probabilities = sigmoid(rows) if rows.shape[-1] == 1 else softmax(rows)
    order = np.argsort(-rows, axis=-1, kind="stable")[:, :k]
    best = [[(i, names[i], float(p[i])) for i in indices.tolist()] for indices, p in zip(order, probabilities)]
    return best[0] if logits.ndim == 1 else best


@cache
def _imagenet():
    import csv
    from importlib import resources  # slow to import, and most runs never need a name

    with (resources.files("npmnv3") / "dumps" / "data" / "imagenet.csv").open(encoding="utf-8", newline="") as file:
        return tuple(Label(int(row["index"]), row["synset"], row["name"], row["lemma"]) for row in csv.DictReader(file))


@cache
def _imagenet_background():
    imagenet = (label._replace(index=label.index + 1) for label in _imagenet())
    return (Label(0, "", "background", "background"), *imagenet)


@cache
def _set_names(name):
    return tuple(label.name for label in label_set(name))


def _as_names(labels):
    try:
        names = list(labels)
    except TypeError:
        names = [None]
    if not all(isinstance(name, str) for name in names):
        raise UsageError(f"labels: expected the name of a label set or a sequence of str, found {labels!r:.80}")
    return names


def _as_logits(logits):
    """A C-ordered float64 array: the order of the sums, so their last bit, must not depend on the caller's strides."""
    array = as_array(logits, "logits")
    if array.dtype.kind not in "fiu":
        raise UsageError(f"logits: expected an array of real numbers, found dtype {array.dtype}")
    return np.array(array, dtype=np.float64, order="C")


def _as_count(k):
    try:
        count = operator.index(k)
    except TypeError:
        count = 0
    if count < 1 or isinstance(k, bool):
        raise UsageError(f"k: expected a whole number of at least 1, found {k!r}")
    return count
