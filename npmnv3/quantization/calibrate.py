"""The ranges of all stored tensors over pictures: two walks over them, one for the ends, one for the histograms."""

import copy
import os
from dataclasses import dataclass

import numpy as np

from ..errors import PictureError, UsageError, check_unmasked
from ..evaluation import open_dataset
from ..evaluation.files import read_picture, spread
from ..pictures.files import describe, is_one
from ..pictures.recipes import preprocess
from ..progress import progress_bar
from .ranges import BINS, Statistics
from .simulate import threads

KEPT = 64  # prepared pictures that stay in memory
AT_ONCE = 16  # pictures between two words of the progress bar


class Pictures:
    """Pictures for calibration, prepared as the model wants them when they are asked for.

    Parameters
    ----------
    given : folder or picture's path, iterable of them and of whatever else `npmnv3.preprocess` takes, or an array
        (N, 3, H, W) of floats that are prepared already
    model : Model

    Raises
    ------
    UsageError
        No pictures, or an array of another shape.
    """

    def __init__(self, given, model):
        self.recipe, self._kept = model.preprocess, {}
        self.shape = (len(self.recipe.channels), *self.recipe.side)
        if isinstance(given, np.ndarray) and given.dtype.kind == "f":
            if given.shape[1:] != self.shape:
                raise UsageError(
                    f"pictures has the shape {given.shape}, expected (N, {', '.join(map(str, self.shape))})"
                )
            self.sources = list(given)
        else:
            self.sources = [source for one in _listed(given) for source in _expanded(one)]
        if not self.sources:
            raise UsageError("no pictures to calibrate on: give a folder of them, files, or an array of one or more")

    def __len__(self):
        return len(self.sources)

    def __getitem__(self, index):
        """The (3, H, W) float32 of a picture; PictureError or UsageError where it cannot be had."""
        if index in self._kept:
            return self._kept[index]
        check_unmasked(self.sources[index], f"picture {index}")
        x = self._prepared(self.sources[index])
        if x.shape != self.shape:
            raise UsageError(f"picture {index} has the shape {x.shape}, expected {self.shape}")
        if not np.isfinite(x).all():
            raise UsageError(f"picture {index} has NaN or infinity in it; calibration needs finite numbers")
        if len(self._kept) < KEPT:
            self._kept[index] = x
        return x

    def _prepared(self, source):
        if isinstance(source, np.ndarray) and source.dtype.kind == "f":
            return np.ascontiguousarray(source, np.float32)
        if isinstance(source, tuple):
            root, picture = source
            try:
                return preprocess(read_picture(root, picture), self.recipe)
            except PictureError as error:
                raise PictureError(f"{describe(os.path.join(root, picture.file))}: {error}") from error
        return preprocess(source, self.recipe)

    def spread(self, count):
        """The indices of so many pictures, evenly spread over all of them."""
        return spread(len(self), count)

    def some(self, count):
        """Pictures that are so many of these, evenly spread."""
        part = copy.copy(self)
        part.sources, part._kept = [self.sources[i] for i in self.spread(count)], {}
        return part


def _listed(given):
    if given is None:
        raise UsageError("no pictures to calibrate on")
    if is_one(given):
        return [given]
    try:
        return list(given)
    except TypeError:
        raise UsageError(f"pictures is a {type(given).__name__}, expected a folder, pictures or an array") from None


def _expanded(one):
    """A folder's pictures, or the one picture."""
    if isinstance(one, (str, os.PathLike)) and os.path.isdir(one):
        dataset = open_dataset(one, labelled=False)
        return [(dataset.root, picture) for picture in dataset.pictures]
    return [one]


@dataclass(frozen=True)
class Calibration:
    """What was seen.

    statistics : {stored tensor's name: Statistics}
    means : {layer's name: (O,) float64}, of its sums, over all pixels and pictures
    pictures : int, how many
    """

    statistics: dict
    means: dict
    pictures: int


def calibrate(network, pictures, *, shown=None):
    """Collect the statistics of all stored tensors.

    Parameters
    ----------
    network : simulate.Network
    pictures : Pictures
    shown : bool, a progress bar; default on a terminal

    Returns
    -------
    Calibration, the same bits for any number of threads

    Raises
    ------
    PictureError
        A picture that cannot be read.
    UsageError
        NaN or infinity, in a picture or made by the network.
    """
    ends, sums, counts = {}, {}, {}
    with threads() as run, progress_bar(2 * len(pictures), title="calibrating", shown=shown) as tell:
        done = 0

        def over(function):
            nonlocal done
            for first in range(0, len(pictures), AT_ONCE):
                indices = range(first, min(first + AT_ONCE, len(pictures)))
                yield from run(lambda i: function(network, pictures[i]), indices)
                done += len(indices)
                tell(done)

        for found, means in over(_ends):
            for name, one in found.items():
                ends[name] = one if name not in ends else _wider(ends[name], one)
            for name, mean in means.items():
                sums[name] = sums.get(name, 0.0) + mean
        _check_finite(ends)
        for found in over(lambda net, x: _histograms(net, x, ends)):
            for name, one in found.items():
                counts[name] = counts.get(name, 0) + one
    statistics = {name: Statistics(*ends[name][:2], counts[name], *ends[name][2:]) for name in ends}
    return Calibration(statistics, {name: total / len(pictures) for name, total in sums.items()}, len(pictures))


def _ends(network, x):
    """({stored tensor: (low, high, lows, highs of its channels)}, {layer: mean of its channels}) of a picture."""
    found, means = {}, {}

    def visit(name, tensor):
        axes = tuple(range(1, tensor.ndim - 1))
        low, high = tensor[0].min(axes), tensor[0].max(axes)
        found[name] = float(low.min()), float(high.max()), low, high
        return tensor

    def layer(step, values):
        means[step.name] = channel_means(values[step.name])

    network.run(x, visit=visit, layer=layer)
    return found, means


def channel_means(tensor):
    """The mean of each channel of one picture's (1, C, H, W) or (1, C), (C,) float64."""
    return tensor[0].reshape(tensor.shape[1], -1).mean(1, dtype=np.float64)


def _wider(one, other):
    low, high = min(one[0], other[0]), max(one[1], other[1])
    return low, high, np.minimum(one[2], other[2]), np.maximum(one[3], other[3])


def _check_finite(ends):
    for name, (low, high, _, _) in ends.items():
        if not (np.isfinite(low) and np.isfinite(high)):
            raise UsageError(f"{name} ranges from {low} to {high} in floats already: nothing that could be quantised")


def _histograms(network, x, ends):
    """{stored tensor: (BINS,) int64} of a picture."""
    found = {}

    def visit(name, tensor):
        low, high = ends[name][:2]
        places = np.zeros(tensor.size, np.int32)
        if high > low:
            parts = (tensor - np.float32(low)) * np.float32(BINS / (high - low))
            places = np.minimum(parts, BINS - 1).astype(np.int32).ravel("K")
        found[name] = np.bincount(places, minlength=BINS)
        return tensor

    network.run(x, visit=visit)
    return found
