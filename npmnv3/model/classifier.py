"""What every network with weights can do: from a picture to its classes."""

import functools
import itertools
import os
from collections.abc import Iterable, Mapping

import numpy as np

from ..dumps import labels
from ..errors import PictureError, UsageError
from ..pictures import recipes

#: Pictures that `predict` hands to the engine at a time.
BATCH = 16


class Classifier:
    """A network with its weights.

    What is made of it sets `variant`, `num_classes`, `preprocess`, `in_channels`, `side`, `engine`, `dtype`, `_engine` and
    `label_source`, and has `plan_for(side)` and `_check_side(side)`, which raise UsageError where the network cannot take an
    input of (height, width) pixels.
    """

    #: The name of the kernel set whose integers a quantised network computes.
    kernels = None

    @property
    def name(self):
        """`source/variant`, as far as it is known."""
        return self.variant.full_name if self.variant else "an unknown network"

    @functools.cached_property
    def labels(self):
        return labels.class_names(self.label_source, self.num_classes)

    def __call__(self, x):
        """Logits.

        Parameters
        ----------
        x : (N, 3, H, W) floating array, preprocessed pictures; H and W from 32 up; one plane where the network takes gray

        Returns
        -------
        (N, classes), the model's dtype. A picture's logits are the same bits in any batch.

        Raises
        ------
        UsageError
        """
        return self._engine.run(self._input(x))

    def features(self, x):
        """What the classifier gets: the pooled head's output, (N, F), of x (N, 3, H, W).

        It is the input of the last linear layer, ppcls's constant 0.8 included: logits = features @ weight.T + bias.
        """
        return self._engine.features(self._input(x))

    def profile(self, x, rounds=20):
        """Where the time of one picture goes, in one thread.

        Parameters
        ----------
        x : (1, 3, H, W) floating array
        rounds : int, runs; each line is its quickest

        Returns
        -------
        list of LayerTime, in order of execution: name, op, milliseconds, macs, and share, of the multiply-adds a second
        that this core was measured to reach in the same run

        Raises
        ------
        UsageError
            Another engine than llvm, or not one picture.
        """
        if not hasattr(self._engine, "profile"):
            raise UsageError(f"the engine is {self.engine}; profile needs `engine='llvm'`")
        x = self._input(x)
        if len(x) != 1:
            raise UsageError(f"x has {len(x)} pictures, expected 1")
        if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
            raise UsageError(f"`rounds={rounds!r}`, expected a whole number from 1")
        return self._engine.profile(x, rounds)

    def predict(self, pictures, top=5):
        """Classify pictures.

        Parameters
        ----------
        pictures : iterable of pictures (path, bytes, PIL image, or (H, W, 3) uint8 array), or one of them; consumed as
            it goes, so that only a batch of them is in memory
        top : int, classes a picture

        Returns
        -------
        list, per picture a list of (index, label, probability), the most probable first

        Raises
        ------
        PictureError
        """
        results = []
        for result in self.predict_each(pictures, top):
            if isinstance(result, PictureError):
                raise result
            results.append(result)
        return results

    def predict_each(self, pictures, top=5):
        """As `predict`, but one after another, with a picture's PictureError in its place where it cannot be read."""
        if isinstance(top, bool) or not isinstance(top, int) or top < 1:
            raise UsageError(f"`top={top!r}`, expected a whole number from 1")
        stream = iter(_as_pictures(pictures))
        while batch := [self._read(picture) for picture in itertools.islice(stream, BATCH)]:
            good = [x for x in batch if not isinstance(x, PictureError)]
            rows = iter(self(np.stack(good))) if good else iter(())
            for x in batch:
                yield x if isinstance(x, PictureError) else labels.top_k(next(rows), top, self.labels)

    def _read(self, picture):
        try:
            return recipes.preprocess(picture, self.preprocess)
        except PictureError as error:
            return error

    def _input(self, x):
        x = np.asarray(x)
        planes = self.in_channels
        if x.ndim != 4 or x.shape[1] != planes:
            raise UsageError(f"x has the shape {x.shape}, expected (N, {planes}, H, W)")
        if x.dtype.kind != "f":
            raise UsageError(f"x is {x.dtype}, expected floats; npmnv3.preprocess turns pictures into them")
        self._check_side(x.shape[2:])
        return np.ascontiguousarray(x, self.dtype)


def _as_pictures(pictures):
    """`pictures` as an iterable, also where it is a single one."""
    single = isinstance(pictures, (str, os.PathLike, bytes, bytearray)) or hasattr(pictures, "convert")
    if single or (isinstance(pictures, np.ndarray) and pictures.ndim in (2, 3)):
        return [pictures]
    if isinstance(pictures, Mapping) or not isinstance(pictures, Iterable):
        raise UsageError(
            f"pictures is a {type(pictures).__name__}, expected pictures: paths, bytes, PIL images or arrays"
        )
    return pictures
