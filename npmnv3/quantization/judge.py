"""What simulated networks answer over pictures, beside the float network: all of them in one pass."""

import math
from dataclasses import dataclass

import numpy as np

from ..errors import PictureError, UsageError
from ..evaluation import Dataset
from ..evaluation.classes import Classes
from ..evaluation.files import counted, read_picture
from ..evaluation.files import shown as shown_name
from ..evaluation.statistics import percent_interval
from ..pictures.recipes import preprocess
from ..progress import progress_bar
from .simulate import snapping, threads

AT_ONCE = 16  # pictures between two words of the progress bar


@dataclass(frozen=True)
class Candidate:
    """A network to be simulated.

    title : str
    arrays : {parameter's name: float32 array}, which its weights and biases are rounded to already
    grids : {stored tensor's name: Grid} of the tensors that are rounded
    recipe : Recipe that gives it, None of one that is simulated to learn where the loss comes from
    layer : what changes layers' sums, as for `simulate.Network.run`; None for nothing
    """

    title: str
    arrays: dict
    grids: dict
    recipe: object = None
    layer: object = None


@dataclass(frozen=True)
class Outcome:
    """What a simulated network gave.

    pictures : int, that count
    top1 : float, percent of right answers; None without labels
    interval : (low, high) of that, 95%, percent; None without labels
    agreement : float, percent of pictures whose first answer is the float network's
    snr_db : float, of the logits: the float network's energy about their mean over that of the difference
    """

    pictures: int
    top1: float | None
    interval: tuple[float, float] | None
    agreement: float
    snr_db: float


@dataclass(frozen=True)
class Judgement:
    """The outcomes, in order; the first is the float network's own.

    data : str, what was judged on, for people
    left_out : tuple of str, for people: files that cannot be read, and labels that no class bears
    """

    outcomes: tuple
    data: str
    left_out: tuple = ()

    def parted(self):
        """(the float network's Outcome, the others'); UsageError where no picture counts."""
        exact, *others = self.outcomes
        if not exact.pictures:
            raise UsageError(f"no picture of {self.data} counts: unreadable, or of classes that it does not have")
        return exact, others


def judge(network, candidates, data, *, shown=None):
    """Simulate networks over pictures.

    Parameters
    ----------
    network : simulate.Network
    candidates : sequence of Candidate
    data : Pictures, or evaluation.Dataset with labels
    shown : bool, a progress bar; default on a terminal

    Returns
    -------
    Judgement, the same for any number of threads
    """

    def simulation(one):
        visit = snapping(one.grids)
        return lambda x: network.logits(x, one.arrays, visit, one.layer)

    return judge_with(network, [simulation(one) for one in candidates], data, shown=shown)


def judge_with(network, simulations, data, *, shown=None):
    """As `judge`, of callables (3, H, W) -> (classes,)."""
    labelled = isinstance(data, Dataset)
    items = data.pictures if labelled else range(len(data))
    classes, rows, unreadable, unknown = Classes(network.model.labels), [], [], {}

    def answer(item):
        try:
            x = preprocess(read_picture(data.root, item), network.model.preprocess) if labelled else data[item]
        except PictureError:
            if not labelled:
                raise
            return None
        return _answers(network, simulations, x)

    with threads() as run, progress_bar(len(items), title="simulating", shown=shown) as tell:
        for first in range(0, len(items), AT_ONCE):
            part = items[first : first + AT_ONCE]
            for item, found in zip(part, run(answer, part)):
                label = classes.find(item.label) if labelled else None
                if found is None:
                    unreadable.append(item.file)
                elif labelled and label is None:
                    unknown[item.label] = unknown.get(item.label, 0) + 1
                else:
                    rows.append((*found, None if label is None else label + classes.offset))
            tell(first + len(part))
    outcomes = tuple(_outcome(rows, number, labelled) for number in range(len(simulations) + 1))
    about = data.summary() if labelled else f"the {counted(len(data), 'calibration picture')}"
    left_out = [f"unreadable: {shown_name(file)}" for file in unreadable]
    left_out += [f"no class is called {label!r}: {counted(number, 'picture')}" for label, number in unknown.items()]
    return Judgement(outcomes, about, tuple(left_out))


def _answers(network, simulations, x):
    """(first answers, energies of the differences, the float logits' energy about their mean), of a picture."""
    logits = [network.logits(x)] + [one(x) for one in simulations]
    logits = np.stack(logits).astype(np.float64)
    noise = ((logits - logits[0]) ** 2).sum(1)
    return logits.argmax(1), noise, float(((logits[0] - logits[0].mean()) ** 2).sum())


def decibels(signal, noise):
    """10 log10 of the ratio of two energies; infinite where there is no noise."""
    return 10 * math.log10(signal / noise) if noise > 0 and signal > 0 else math.inf if noise == 0 else -math.inf


def _outcome(rows, number, labelled):
    total = len(rows)
    if not total:
        return Outcome(0, None, None, math.nan, math.nan)
    same = sum(int(tops[number] == tops[0]) for tops, _, _, _ in rows)
    right = sum(int(tops[number] == label) for tops, _, _, label in rows)
    snr = decibels(math.fsum(row[2] for row in rows), math.fsum(row[1][number] for row in rows))
    top1 = 100 * right / total if labelled else None
    interval = percent_interval(right, total) if labelled else None
    return Outcome(total, top1, interval, 100 * same / total, snr)
