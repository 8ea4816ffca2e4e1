"""Which classes a network gets right, and what it takes the others for."""

import os
import warnings

from ..dumps.writing import replacing
from ..errors import UsageError, require
from .files import shown

NAMES = 3  # pictures named for each confusion
WORST = 12  # confusions shown


class Confusion:
    """Counts by class, and by pair of classes where the first answer is wrong.

    Attributes
    ----------
    classes : Classes
    counts : {class: [pictures, right]}
    wrong : {(class, answer): [pictures, names of the first of them]}
    """

    def __init__(self, classes):
        self.classes, self.counts, self.wrong = classes, {}, {}

    def add(self, row):
        """Count a `results.Row` that is an answer."""
        if row.error:
            return
        label, answer = int(row.label), int(row.top1)
        count = self.counts.setdefault(label, [0, 0])
        count[0] += 1
        count[1] += label == answer
        if label != answer:
            pair = self.wrong.setdefault((label, answer), [0, []])
            pair[0] += 1
            if len(pair[1]) < NAMES:
                pair[1].append(shown(os.path.basename(row.file)))

    def shares(self):
        """Percent right by class, the worst first: list of (percent, class)."""
        return sorted((100 * right / total, label) for label, (total, right) in self.counts.items())

    def worst(self, count=WORST):
        """The most frequent confusions: list of (pictures, class's name, answer's name, some pictures' names)."""
        order = sorted(self.wrong.items(), key=lambda item: (-item[1][0], item[0]))
        return [
            (pictures, self.classes.name(label), self.classes.name(answer), names)
            for (label, answer), (pictures, names) in order[:count]
        ]


def plot(path, confusions):
    """Draw the accuracy by class and the worst confusions of each model.

    Parameters
    ----------
    path : of the picture; its suffix says the format (.png, .svg, .pdf)
    confusions : {model's title: Confusion}

    Raises
    ------
    MissingExtraError, UsageError
    """
    figures = check_plot(path)
    figure = figures.Figure(figsize=(16, 5.5 * len(confusions)), layout="constrained")
    for axes, (title, confusion) in zip(figure.subplots(len(confusions), 2, squeeze=False), confusions.items()):
        _plot_classes(axes[0], title, confusion)
        _plot_worst(axes[1], confusion.worst())
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # of a name that the font cannot write
        figure.savefig(temporary, format=_format(path), dpi=100)


def check_plot(path):
    """matplotlib's figures, or the error that `plot` would raise after all the work."""
    figures = require("matplotlib.figure", "report", "a confusion plot")
    formats = figures.Figure().canvas.get_supported_filetypes()
    if _format(path) not in formats:
        raise UsageError(
            f"{path}: not a format that can be drawn; the suffix must be one of {', '.join(sorted(formats))}"
        )
    return figures


def _format(path):
    return os.path.splitext(path)[1][1:].lower()


def _plot_classes(axes, title, confusion):
    shares = confusion.shares()
    axes.bar(range(len(shares)), [share for share, _ in shares], width=1.0, color="tab:blue")
    axes.set(title=f"{title}: top-1 by class, sorted", xlabel=f"{len(shares):,} classes", ylabel="percent")
    axes.set(xlim=(-0.5, max(1, len(shares)) - 0.5), ylim=(0, 100), xticks=[])
    lines = [f"{share:5.1f}  {shown(confusion.classes.name(label))}" for share, label in shares[:WORST]]
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    style = {"va": "top", "family": "monospace", "size": 8, "bbox": box, "parse_math": False}
    axes.text(0.02, 0.98, "\n".join(["worst classes", *lines]), transform=axes.transAxes, **style)


def _plot_worst(axes, worst):
    places = range(len(worst))
    axes.barh(places, [pictures for pictures, *_ in worst], color="navajowhite")
    axes.set_yticks(places, [f"{shown(label)} → {shown(answer)}" for _, label, answer, _ in worst], parse_math=False)
    title = "worst confusions: class → answer, and some of the pictures" if worst else "no confusions"
    axes.set(title=title, xlabel="pictures", xlim=None if worst else (0, 1))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylim(WORST - 0.5, -0.5)  # the worst on top, bars as thick however many there are
    for place, (_, _, _, names) in zip(places, worst):
        axes.text(0.0, place, "  " + ", ".join(names), va="center", size=7, parse_math=False, clip_on=True)
