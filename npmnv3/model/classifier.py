"""What every network with weights can do: from a picture to its classes."""

from __future__ import annotations

import abc
import functools
import itertools
import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dumps import labels
from ..dumps.mappings import as_array
from ..errors import PictureError, UsageError
from ..network.spec import Preprocess, Variant
from ..pictures import recipes
from ..pictures.files import is_one

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..engines.llvm.profile import LayerTime
    from ..pictures.recipes import Picture

#: Pictures that `predict` hands to the engine at a time.
BATCH = 16


class Classifier(abc.ABC):
    """A network with its weights.

    Subclasses set the attributes below. Their `plan_for(side)` and `_check_side(side)` raise UsageError if the network cannot
    take an input of (height, width) pixels.
    """

    variant: Variant | None
    num_classes: int
    preprocess: Preprocess | None
    engine: str
    dtype: str
    attributes: dict[str, Any]
    label_source: Any
    in_channels: int
    side: tuple[int, int]  # (height, width) of its own input, pixels
    _engine: Any

    #: The name of the kernel set whose integers a quantised network computes.
    kernels: str | None = None

    @abc.abstractmethod
    def plan_for(self, side: tuple[int, int] | None = None) -> Sequence[Any]: ...

    @abc.abstractmethod
    def _check_side(self, side: Sequence[int]) -> None: ...

    @abc.abstractmethod
    def _facts(self) -> list[tuple[str, object]]:
        """For `_repr_html_`: (title, text) of each fact about the model."""

    @abc.abstractmethod
    def _steps(self) -> tuple[tuple[str, ...], str, list[tuple[str, ...]]]:
        """For `_repr_html_`: (titles, alignment, rows) of the table of its steps."""

    @property
    def name(self) -> str:
        """`source/variant`, as far as it is known."""
        return self.variant.full_name if self.variant else "an unknown network"

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """The classes' names, one a class."""
        return labels.class_names(self.label_source, self.num_classes)

    def __call__(self, x: npt.ArrayLike) -> npt.NDArray[np.floating]:
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

        Examples
        --------
        >>> model = npmnv3.load("ppocr/text_direction")
        >>> x = npmnv3.preprocess("weights/examples/sign_upside_down.png", model)[None]
        >>> model(x).round(1)
        array([[-10.4,   9.9]], dtype=float32)
        """
        return self._engine.run(self._input(x))

    def features(self, x: npt.ArrayLike) -> npt.NDArray[np.floating]:
        """What the classifier gets: the pooled head's output.

        Parameters
        ----------
        x : (N, 3, H, W) floating array, as for a call

        Returns
        -------
        (N, F), the model's dtype: the input of the last linear layer, ppcls's constant 0.8 included, so that
        logits = features @ weight.T + bias

        Raises
        ------
        UsageError

        Examples
        --------
        >>> model = npmnv3.load("ppocr/text_direction")
        >>> x = npmnv3.preprocess("weights/examples/sign_upside_down.png", model)[None]
        >>> model.features(x).shape
        (1, 200)
        """
        return self._engine.features(self._input(x))

    def profile(self, x: npt.ArrayLike, rounds: int = 20) -> list[LayerTime]:
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

        Examples
        --------
        >>> model = npmnv3.load("ppocr/text_direction", engine="llvm")
        >>> x = npmnv3.preprocess("weights/examples/sign_upside_down.png", model)[None]
        >>> lines = model.profile(x, rounds=3)
        >>> max(lines, key=lambda line: line.milliseconds)
        LayerTime(name=..., op=..., milliseconds=..., macs=..., share=...)
        """
        if not hasattr(self._engine, "profile"):
            raise UsageError(f"the engine is {self.engine}; profile needs `engine='llvm'`")
        x = self._input(x)
        if len(x) != 1:
            raise UsageError(f"x has {len(x)} pictures, expected 1")
        _check_count("rounds", rounds)
        return self._engine.profile(x, rounds)

    def predict(self, pictures: Iterable[Picture] | Picture, top: int = 5) -> list[list[tuple[int, str, float]]]:
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
        PictureError, UsageError

        Examples
        --------
        >>> model = npmnv3.load("ppocr/text_direction")
        >>> model.predict("weights/examples/sign_upside_down.png", top=1)
        [[(1, '180', 0.99...)]]
        """
        results = []
        for result in self.predict_each(pictures, top):
            if isinstance(result, PictureError):
                raise result
            results.append(result)
        return results

    def predict_each(
        self, pictures: Iterable[Picture] | Picture, top: int = 5
    ) -> Iterator[list[tuple[int, str, float]] | PictureError]:
        """As `predict`, but one after another, with a picture's PictureError in its place where it cannot be read.

        Examples
        --------
        >>> model = npmnv3.load("ppocr/text_direction")
        >>> for result in model.predict_each(["weights/examples/sign_upright.png", "nowhere.png"], top=1):
        ...     print(result)
        [(0, '0', 0.99...)]
        nowhere.png: ...
        """
        _check_count("top", top)  # before the first answer is asked for
        return self._each(iter(_as_pictures(pictures)), top)

    def _each(self, stream: Iterator[Picture], top: int) -> Iterator[list[tuple[int, str, float]] | PictureError]:
        while batch := [self._read(picture) for picture in itertools.islice(stream, BATCH)]:
            good = [x for x in batch if not isinstance(x, PictureError)]
            rows = iter(self(np.stack(good))) if good else iter(())
            for x in batch:
                yield x if isinstance(x, PictureError) else labels.top_k(next(rows), top, self.labels)

    def _repr_html_(self) -> str:
        """For notebooks: facts about the model, and its steps."""
        from .html import details, table

        header, align, rows = self._steps()
        return table(self._facts(), align="<<") + details(f"{len(rows)} steps", table(rows, header, align))

    def _read(self, picture: Picture) -> npt.NDArray[np.float32] | PictureError:
        try:
            return recipes.preprocess(picture, self)
        except PictureError as error:
            return error

    def _input(self, x: npt.ArrayLike) -> npt.NDArray[np.floating]:
        array, planes = as_array(x, "x"), self.in_channels
        if array.ndim != 4 or array.shape[1] != planes:
            raise UsageError(f"x has the shape {array.shape}, expected (N, {planes}, H, W)")
        if array.dtype.kind != "f":
            raise UsageError(f"x is {array.dtype}, expected floats; npmnv3.preprocess turns pictures into them")
        self._check_side(array.shape[2:])
        with np.errstate(over="ignore"):  # what the dtype does not hold is infinite
            return np.ascontiguousarray(array, self.dtype)


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise UsageError(f"`{name}={value!r}`, expected a whole number from 1")


def _as_pictures(pictures: Any) -> Iterable[Picture]:
    """`pictures` as an iterable, also where it is a single one."""
    if is_one(pictures):
        return [pictures]
    if isinstance(pictures, Mapping) or not isinstance(pictures, Iterable):
        raise UsageError(
            f"pictures is a {type(pictures).__name__}, expected pictures: paths, bytes, PIL images or arrays"
        )
    return pictures


def check_model(model: object) -> None:
    """UsageError if it is no model of `npmnv3.load`."""
    if not isinstance(model, Classifier):
        raise UsageError(f"model is a {type(model).__name__}, expected a Model, as npmnv3.load gives")
