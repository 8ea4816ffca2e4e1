"""A network in floats with its weights."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dumps.dumps import Weights
from ..engines import make_engine, tracing_engine
from ..errors import UsageError, check_arguments
from ..network.counts import plan_counts, step_macs
from ..network.folding import canonical_arrays, fold_norms
from ..network.plan import check_side, make_plan
from ..network.spec import Preprocess, Variant
from ..network.steps import Step
from ..pictures import recipes
from .classifier import Classifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


def _plan(
    variant: Variant, num_classes: int, rounded_constants: bool, folded: bool, side: tuple[int, int] | None = None
) -> tuple[Step, ...]:
    return make_plan(variant, num_classes, side, folded=folded, rounded_constants=rounded_constants)


def _floating(dtype: object) -> npt.DTypeLike:
    """A dtype of floats, by any of its names; UsageError for anything else."""
    with contextlib.suppress(TypeError, ValueError):
        if dtype is not None and np.dtype(dtype).kind == "f":  # type: ignore[call-overload]
            return np.dtype(dtype)  # type: ignore[call-overload]
    raise UsageError(f"`dtype={dtype!r}`, expected one of floats, such as 'float64' or 'float32'")


class Model(Classifier):
    """A network with its weights; made by `npmnv3.load`.

    Attributes
    ----------
    variant : Variant, the row of the table
    num_classes : int
    labels : tuple of str, one a class
    preprocess : Preprocess, how `predict` prepares pictures
    plan : tuple of Step, for an input of `side`
    params : {source's name: array as the source stores it}
    side : (height, width) of the input that pictures are prepared for, pixels; `run` takes others too
    in_channels : int, planes of the input
    engine, dtype : what computes, and in what
    weight_dtype : "float32" or "float16", what the llvm engine keeps the linear layers' weights in

    Examples
    --------
    >>> model = npmnv3.load("ppocr/text_direction", engine="numpy")
    >>> model
    <npmnv3.Model ppocr/text_direction, 2 classes, numpy float32>
    >>> model.name, model.side, model.labels, model.preprocess.name
    ('ppocr/text_direction', (48, 192), ('0', '180'), 'ppocr')
    >>> model.plan[0]
    Step(name='stem.conv', op='conv2d', inputs=('input',), shape=(8, 24, 96), ...)
    """

    variant: Variant
    preprocess: Preprocess

    def __init__(
        self,
        weights: Weights,
        engine: str = "auto",
        dtype: str = "float32",
        *,
        threads: int | None = None,
        rounded_constants: bool = False,
        weight_dtype: str = "float32",
    ) -> None:
        self._made_from: tuple[tuple[Any, ...], dict[str, Any]] = (
            (weights, engine, dtype),
            {"threads": threads, "rounded_constants": rounded_constants, "weight_dtype": weight_dtype},
        )
        self.variant, self.num_classes, self.folded = weights.variant, weights.num_classes, weights.folded
        self.attributes = dict(weights.attributes)
        recipe = weights.preprocess or recipes.RECIPES[self.variant.preprocess]
        self.preprocess = recipes.for_planes(recipe, self.variant.in_channels)
        self.label_source = weights.labels
        self.params = weights.arrays
        self.in_channels, self.side = self.variant.in_channels, weights.side
        self._network = self.variant, self.num_classes, rounded_constants
        # Not `self.plan_for`: the engine would refer to its model, and the cycle stay in memory until it is collected.
        self._engine_plan = functools.partial(_plan, *self._network, self.folded)
        self._engine = make_engine(
            engine, self._engine_plan, self.params, dtype, threads=threads, weight_dtype=weight_dtype
        )
        self.engine, self.dtype, self.weight_dtype = self._engine.name, self._engine.dtype, weight_dtype

    def __repr__(self) -> str:
        return f"<npmnv3.Model {self.variant.full_name}, {self.num_classes} classes, {self._computes()}>"

    def _computes(self) -> str:
        """The engine and its numbers: "llvm float32", "llvm float32, float16 weights"."""
        narrow = f", {self.weight_dtype} weights" if self.weight_dtype != "float32" else ""
        return f"{self.engine} {self.dtype}{narrow}"

    def _facts(self) -> list[tuple[str, object]]:
        counts = plan_counts(self.plan_for(folded=False), self.variant.source)
        origin, licence = (self.attributes.get(key) for key in ("origin", "licence"))
        return [
            ("model", self.name),
            ("classes", self.num_classes),
            ("input", f"{self.in_channels}x{self.side[0]}x{self.side[1]}, prepared as {self.preprocess.name}"),
            ("engine", self._computes()),
            ("multiply-adds", f"{counts.macs:,} a picture"),
            ("parameters", f"{counts.learned:,}"),
            ("licence", licence or self.variant.source.licence),
            *([("weights from", origin)] if origin else []),
        ]

    def _steps(self) -> tuple[tuple[str, ...], str, list[tuple[str, ...]]]:
        rows: list[tuple[str, ...]] = [
            (step.name, step.op, "x".join(map(str, step.shape)), f"{step_macs(step):,}" if step_macs(step) else "")
            for step in self.plan
        ]
        return ("step", "operation", "output", "MACs"), "<<<>", rows

    def plan_for(self, side: tuple[int, int] | None = None, folded: bool | None = None) -> tuple[Step, ...]:
        """The steps for an input of another size.

        Parameters
        ----------
        side : (height, width) in pixels, default the model's own
        folded : bool, without batch norms; default as the weights are

        Raises
        ------
        UsageError
            The network cannot take such an input.

        Examples
        --------
        >>> model = npmnv3.load("ppocr/text_direction")
        >>> model.plan_for((48, 96))[0].shape
        (8, 24, 48)
        """
        check_arguments("True or False", optional=True, folded=folded)
        return _plan(*self._network, self.folded if folded is None else folded, self.side if side is None else side)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled are the weights and how the model was loaded; compiled code and threads are made anew."""
        arguments, options = self._made_from
        state = {name: vars(self)[name] for name in ("attributes", "preprocess", "labels") if name in vars(self)}
        return functools.partial(Model, **options), arguments, state

    @property
    def plan(self) -> tuple[Step, ...]:
        """The steps for an input of `side`."""
        return self.plan_for()

    def arrays(
        self, dtype: npt.DTypeLike = "float64", *, folded: bool | None = None
    ) -> dict[str, npt.NDArray[np.floating]]:
        """The parameters in the operations' layout.

        Parameters
        ----------
        dtype : of the arrays
        folded : bool, with batch norm folded into the layers, in float64; default as the weights are

        Returns
        -------
        dict {source's name: (O, I, KH, KW), (C, KH, KW), (O, I) or (C,)}, for the steps of `plan_for(folded=folded)`

        Raises
        ------
        UsageError

        Examples
        --------
        >>> model = npmnv3.load("ppocr/text_direction")
        >>> weight = model.plan[0].param("weight")
        >>> weight.name, model.arrays()[weight.name].shape
        ('conv1_weights', (8, 3, 3, 3))
        """
        check_arguments("True or False", optional=True, folded=folded)
        dtype = _floating(dtype)
        if not folded or self.folded:
            return canonical_arrays(self.plan, self.params, dtype)
        arrays = canonical_arrays(self.plan, self.params, np.float64)
        arrays = fold_norms(self.plan, self.plan_for(folded=True), arrays)
        return {name: array.astype(dtype, copy=False) for name, array in arrays.items()}

    @functools.cached_property
    def _tracer(self) -> Any:
        """The engine behind `trace`: llvm keeps no tensors."""
        if self.engine != "llvm":
            return self._engine
        return make_engine(tracing_engine(self.dtype), self._engine_plan, self.params, self.dtype)

    def trace(self, x: npt.ArrayLike) -> dict[str, npt.NDArray[np.floating]]:
        """Every step's tensor.

        Parameters
        ----------
        x : (N, 3, H, W)

        Returns
        -------
        dict {step's name: (N, C, H, W) or (N, C)}, the model's dtype, in order of execution; "input" comes first. Every step
        has its tensor, batch norms too; steps that only rename share their memory.

        The engine llvm keeps no tensors: a model on it is traced by numba where its loops are compiled already, else by
        numpy, which differs in the last bits. Both take the weights as they were loaded, not rounded to `weight_dtype`.

        Numba's tensors of one picture lie in blocks of 8 MiB, and a block lives as long as any tensor in it: copy a tensor
        that is to stay alone. Blocks without tensors are kept for the next trace, up to 128 MiB.

        Raises
        ------
        UsageError

        Examples
        --------
        >>> model = npmnv3.load("ppocr/text_direction", engine="numpy")
        >>> x = npmnv3.preprocess("weights/examples/sign_upside_down.png", model)[None]
        >>> {name: tensor.shape for name, tensor in model.trace(x).items()}
        {'input': (1, 3, 48, 192), 'stem.conv': (1, 8, 24, 96), ..., 'logits': (1, 2)}
        """
        return self._tracer.trace(self._input(x))

    def _check_side(self, side: Sequence[int]) -> None:
        check_side(self.variant, side)
