"""A quantised network: exact integers by a named engine's kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..dumps.quantized import Quantized
from ..engines.integer_engine import make_integer_engine
from ..errors import UsageError, check_arguments
from ..network.integer_plan import IntegerStep
from ..network.plan import check_pair
from ..network.spec import Preprocess
from ..ops.kernel_sets import get_kernel_set
from ..pictures import recipes
from .classifier import Classifier

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    from ..errors import PictureError
    from ..pictures.recipes import Picture


class QuantizedModel(Classifier):
    """A quantised network with its integers; made by `npmnv3.load` of a quantised dump.

    Attributes
    ----------
    variant : Variant, or None where the network is none of the known
    num_classes : int
    labels : tuple of str, one a class
    preprocess : Preprocess, how `predict` prepares pictures, at the network's own input size
    plan : IntegerPlan
    kernels : str, whose integers
    side : (height, width) of the one input that it takes, pixels
    engine, dtype : "int8", float32

    Examples
    --------
    >>> model = npmnv3.load("text_direction.npz", kernels="tflite-reference")
    >>> model
    <npmnv3.QuantizedModel ppocr/text_direction, 2 classes, tflite-reference>
    >>> model.predict("weights/examples/sign_upside_down.png", top=1)
    [[(1, '180', 0.99...)]]
    """

    kernels: str

    def __init__(self, quantized: Quantized, kernels: str | None = None, engine: str = "auto") -> None:
        self._made_from = quantized, kernels, engine
        kernel_set = get_kernel_set(kernels or quantized.kernels or None)
        self.variant, self.num_classes, self.plan = quantized.variant, quantized.num_classes, quantized.plan
        self.attributes, self.label_source = dict(quantized.attributes), quantized.labels
        self.in_channels, *side = self.plan.input_shape
        self.side = side[0], side[1]
        self.preprocess = self._recipe(quantized.preprocess)
        self.kernels = kernel_set.name
        self._engine = make_integer_engine(self.plan, kernel_set, engine)
        self.engine, self.dtype = self._engine.name, self._engine.dtype

    def __repr__(self) -> str:
        return f"<npmnv3.QuantizedModel {self.name}, {self.num_classes} classes, {self.kernels}>"

    def _facts(self) -> list[tuple[str, object]]:
        grid, planes = self.plan.grids["input"], "x".join(map(str, self.plan.input_shape))
        recipe = self.preprocess.name if self.preprocess else "nobody says"
        return [
            ("model", self.name),
            ("classes", self.num_classes),
            (
                "input",
                f"{planes} {grid.dtype}, scale {grid.scale:.6g}, zero point {grid.zero_point}; prepared as {recipe}",
            ),
            ("integers of", self.kernels),
            *[
                (title, value)
                for title, key in (("licence", "licence"), ("weights from", "origin"))
                if (value := self.attributes.get(key))
            ],
        ]

    def _steps(self) -> tuple[tuple[str, ...], str, list[tuple[str, ...]]]:
        rows: list[tuple[str, ...]] = []
        for step in self.plan.steps:
            grid = self.plan.grids[step.name]
            shape = "x".join(map(str, step.shape))
            rows.append((step.name, step.op, shape, grid.dtype, f"{grid.scale:.6g}", f"{grid.zero_point}", step.act))
        return ("step", "operation", "output", "dtype", "scale", "zero point", "activation"), "<<<<>><", rows

    def __reduce__(self) -> tuple[Any, ...]:
        return QuantizedModel, self._made_from

    def _recipe(self, recipe: Preprocess | None) -> Preprocess | None:
        """The dump's, or the network's usual one, at the side that the integers are for; None where neither is known."""
        if recipe is None and self.variant is not None:
            usual = recipes.RECIPES[self.variant.preprocess]
            recipe = recipes.at_side(usual, self.plan.input_shape[1:])
        return None if recipe is None else recipes.for_planes(recipe, self.in_channels)

    def predict_each(
        self, pictures: Iterable[Picture] | Picture, top: int = 5
    ) -> Iterator[list[tuple[int, str, float]] | PictureError]:
        """As `Model.predict_each`; UsageError where nothing says how pictures are prepared.

        Examples
        --------
        >>> model = npmnv3.load("text_direction.npz", kernels="tflite-reference")
        >>> for result in model.predict_each(["weights/examples/sign_upright.png"], top=1):
        ...     print(result)
        [(0, '0', 0.99...)]
        """
        if self.preprocess is None:
            raise UsageError("nothing says how this network's pictures are prepared: give it arrays, model(x)")
        return super().predict_each(pictures, top)

    def trace(self, x: npt.ArrayLike, *, integers: bool = False) -> dict[str, npt.NDArray[np.generic]]:
        """Every stored tensor.

        Parameters
        ----------
        x : (N, C, H, W) floats, preprocessed pictures
        integers : bool, the stored integers, not what they stand for

        Returns
        -------
        dict {step's name: (N, C, H, W) or (N, C)}, float32 or the integers' dtype; "input" comes first

        Raises
        ------
        UsageError

        Examples
        --------
        >>> model = npmnv3.load("text_direction.npz", kernels="tflite-reference")
        >>> x = npmnv3.preprocess("weights/examples/sign_upside_down.png", model)[None]
        >>> model.trace(x, integers=True)["logits"]
        array([[...]], dtype=int8)
        """
        check_arguments("True or False", integers=integers)
        return self._engine.trace(self._input(x), integers=integers)

    def plan_for(self, side: tuple[int, int] | None = None) -> Sequence[IntegerStep]:
        """The integer steps for an input of (height, width) pixels, which can only be the network's own.

        Examples
        --------
        >>> model = npmnv3.load("text_direction.npz", kernels="tflite-reference")
        >>> model.plan_for()[-1].name
        'logits'
        """
        if side is not None:
            self._check_side(side)
        return self.plan.steps

    def _check_side(self, side: Sequence[int]) -> None:
        check_pair(side)
        if tuple(side) != self.side:
            raise UsageError(
                f"an input of {side[0]} x {side[1]} pixels; this quantised network takes "
                f"{self.plan.input_shape[1]} x {self.plan.input_shape[2]} (height x width) alone"
            )
