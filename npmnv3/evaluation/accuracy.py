"""Top-1 and top-5 accuracy of networks in one pass over a dataset, kept in a CSV that can be gone on from."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .classes import Classes
from .confusion import Confusion, plot
from .files import some
from .pools import pieces_of, prepare_workers, start_workers
from .results import Row, Writer, take_over
from .statistics import Tally, verdict
from .work import identify, load_all, published, top_answers

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from .datasets import Dataset
    from .work import Network

    Path = str | os.PathLike[str]


class Contender:
    """A network under evaluation: what its answers mean, and what they add up to."""

    def __init__(self, network, model, job, confusion):
        self.title, self.job, self.classes = network.title, job, Classes(model.labels)
        self.published = published(network, model) if self.classes.imagenet else (None, None)
        self.quantized = model.kernels is not None
        self.tally, self.confusion = Tally(), Confusion(self.classes) if confusion else None

    def row(self, picture, answer):
        """The Row of a picture, given the network's answer or why there is none."""
        index = self.classes.find(picture.label)
        label = picture.label if index is None else str(index)
        if isinstance(answer, str):
            return Row(picture.file, label, self.title, "", "", "", answer, self.job)
        best = [str(self.classes.shown(own)) for own, _, _ in answer]
        # Six digits: what float32 logits carry.
        probabilities = " ".join(f"{probability:.6g}" for _, _, probability in answer)
        error = f"unknown label {picture.label!r}" if index is None else ""
        return Row(picture.file, label, self.title, best[0], " ".join(best), probabilities, error, self.job)

    def add(self, row):
        self.tally.add(row)
        if self.confusion:
            self.confusion.add(row)

    def report(self, seconds):
        """What `evaluate` returns for it."""
        tally = self.tally
        return {
            "model": self.title,
            "pictures": tally.pictures,
            "top1": tally.share(tally.top1),
            "top5": tally.share(tally.top5),
            "interval": {"top1": tally.interval(tally.top1), "top5": tally.interval(tally.top5)},
            "published": self._published(),
            "unreadable": tally.unreadable,
            "unknown_labels": dict(sorted(tally.unknown.items())),
            "seconds": round(seconds, 3),
        }

    def _published(self):
        top1, top5 = self.published
        if top1 is None:
            return None
        figures, tally = {"top1": top1, "top5": top5}, self.tally
        if tally.pictures:
            share, interval = tally.share(tally.top1), tally.interval(tally.top1)
            figures["consistent"], figures["verdict"] = verdict(top1, share, interval, self.quantized)
        return figures


def evaluate(
    networks: Sequence[Network | str],
    dataset: Dataset,
    *,
    batch: int | None = None,
    workers: int | None = None,
    csv: Path | None = None,
    resume: bool = False,
    scheduler: str | None = None,
    confusion: Path | None = None,
    progress: Callable[[int, list[Tally]], object] | None = None,
) -> list[dict[str, Any]]:
    """Run networks over a dataset.

    Parameters
    ----------
    networks : sequence of Network, or of models' names
    dataset : Dataset, see `open_dataset`
    batch : int, pictures a worker takes at a time; default 32
    workers : int, threads; default one more than there are cores, or than NPMNV3_THREADS says
    csv : path, optional, of the results picture by picture (`results.Row`); replaced unless `resume`
    resume : bool, go on from the rows that `csv` has
    scheduler : str, optional, a dask scheduler that has the work done, see `pools.start_workers`
    confusion : path, optional, of a plot of the accuracy by class and the worst confusions (needs the extra `report`)
    progress : callable (pictures done, list of Tally), optional, called whenever there is news

    Returns
    -------
    list of dict, one a network:
        model : str
        pictures : int, that count
        top1, top5 : float, percent; None of nothing
        interval : {"top1": (low, high), "top5": ...}, 95%
        published : {"top1", "top5", "consistent", "verdict"} or None; of a quantised network the float network's, and
            consistent is None
        unreadable : list of files
        unknown_labels : {label: pictures}
        seconds : float, of this run

    Raises
    ------
    UsageError, MissingExtraError, WeightsError. The results are the same bits for any batch, number of workers or
    scheduler, and so is the CSV, however often it was interrupted and resumed.
    """
    start = time.perf_counter()
    if resume and csv is None:
        raise UsageError("there is nothing to resume without a CSV; name it with --csv")
    prepare_workers(scheduler)
    networks = identify(networks)
    contenders = _contenders(networks, dataset.fingerprint(), confusion)
    _check_labels({picture.label for picture in dataset.pictures}, contenders.values())
    tallies = [contender.tally for contender in contenders.values()]
    function = functools.partial(top_answers, networks, dataset.root)
    with start_workers(workers, scheduler) as run:
        done = _resume(csv, dataset, contenders) if resume else 0
        pieces = pieces_of(dataset.pictures[done:], batch)
        with Writer(csv, fresh=not resume) as writer:
            if progress:
                progress(done, tallies)
            for pictures, answers in run(function, pieces):
                _take(pictures, answers, contenders.values(), writer)
                done += len(pictures)
                if progress:
                    progress(done, tallies)
    if confusion:
        plot(confusion, {title: contender.confusion for title, contender in contenders.items()})
    return [contender.report(time.perf_counter() - start) for contender in contenders.values()]


def _contenders(networks, data, confusion):
    """{title: Contender} of identified networks and the data's fingerprint."""
    titles = [network.title for network in networks]
    if len(set(titles)) < len(titles):
        raise UsageError(f"the same model twice: {', '.join(titles)}")
    return {
        network.title: Contender(network, model, f"{network.fingerprint}-{data}", confusion)
        for network, model in zip(networks, load_all(networks))
    }


def _check_labels(labels, contenders):
    """Refuse data of whose classes a network has none, or one too many, before all the work is done for nothing."""
    for contender in contenders:
        count = len(contender.classes.names)
        if str(count) in labels and "0" not in labels and all(map(str.isdigit, labels)) and count > 1:
            raise UsageError(
                f"the labels are numbers up to {count}, without 0: they count from 1, but the {count} classes of "
                f"{contender.title} are numbered from 0; take 1 off each"
            )
        if all(contender.classes.find(label) is None for label in labels):
            raise UsageError(
                f"{contender.title} has none of the data's classes: these are {some(sorted(labels))}, its own are "
                f"{some(contender.classes.names)}; a labels file (--labels) can say which is which"
            )


def _resume(csv, dataset, contenders):
    """Take over what a CSV has; the number of pictures that are done."""
    jobs = {title: contender.job for title, contender in contenders.items()}
    return take_over(csv, dataset.pictures, jobs, lambda row: contenders[row.model].add(row))


def _take(pictures, answers, contenders, writer):
    """Write down and count the answers on a batch of pictures."""
    answered = [(c, c.row(p, answer)) for p, of_all in zip(pictures, answers) for c, answer in zip(contenders, of_all)]
    writer.write(b"".join(row.line() for _, row in answered))
    for contender, row in answered:
        contender.add(row)
