"""A network in floats with its weights."""

import functools

import numpy as np

from ..engines import make_engine, tracing_engine
from ..network.folding import canonical_arrays, fold_norms
from ..network.plan import check_side, make_plan
from ..pictures import recipes
from .classifier import Classifier


def _plan(variant, num_classes, rounded_constants, folded, side=None):
    return make_plan(variant, num_classes, side, folded=folded, rounded_constants=rounded_constants)


class Model(Classifier):
    """A network with its weights; made by `npmnv3.load`.

    Attributes
    ----------
    variant : Variant, the row of the table
    num_classes : int
    labels : tuple of str, one a class
    preprocess : Preprocess, how `predict` prepares pictures
    plan : tuple of Step, for the network's own input size
    params : {source's name: array as the source stores it}
    engine, dtype : what computes, and in what
    """

    def __init__(self, weights, engine="auto", dtype="float32", *, threads=None, rounded_constants=False):
        self._made_from = (weights, engine, dtype), {"threads": threads, "rounded_constants": rounded_constants}
        self.variant, self.num_classes, self.folded = weights.variant, weights.num_classes, weights.folded
        self.attributes = dict(weights.attributes)
        recipe = weights.preprocess or recipes.RECIPES[self.variant.preprocess]
        self.preprocess = recipes.for_planes(recipe, self.variant.in_channels)
        self.label_source = weights.labels
        self.params = weights.arrays
        self._network = self.variant, self.num_classes, rounded_constants
        # Not `self.plan_for`: an engine that knew its model would keep both in memory until the next collection.
        self._engine_plan = functools.partial(_plan, *self._network, self.folded)
        self._engine = make_engine(engine, self._engine_plan, self.params, dtype, threads=threads)
        self.engine, self.dtype = self._engine.name, self._engine.dtype

    def __repr__(self):
        return f"<npmnv3.Model {self.variant.full_name}, {self.num_classes} classes, {self.engine} {self.dtype}>"

    def plan_for(self, side=None, folded=None):
        """The steps for an input of (height, width) pixels, default the network's own; `folded` as its weights are."""
        return _plan(*self._network, self.folded if folded is None else folded, side)

    def __reduce__(self):
        """Pickled are the weights and how the model was loaded; compiled code and threads are made anew."""
        arguments, options = self._made_from
        state = {name: vars(self)[name] for name in ("attributes", "preprocess", "labels") if name in vars(self)}
        return functools.partial(Model, **options), arguments, state

    @property
    def plan(self):
        return self.plan_for()

    def arrays(self, dtype="float64", *, folded=None):
        """The parameters in the operations' layout.

        Parameters
        ----------
        dtype : of the arrays
        folded : bool, with batch norm folded into the layers, in float64; default as the weights are

        Returns
        -------
        dict {source's name: (O, I, KH, KW), (C, KH, KW), (O, I) or (C,)}, for the steps of `plan_for(folded=folded)`
        """
        if not folded or self.folded:
            return canonical_arrays(self.plan, self.params, dtype)
        arrays = canonical_arrays(self.plan, self.params, np.float64)
        arrays = fold_norms(self.plan, self.plan_for(folded=True), arrays)
        return {name: array.astype(dtype, copy=False) for name, array in arrays.items()}

    @functools.cached_property
    def _tracer(self):
        """The engine behind `trace`: llvm does not keep every step's tensor."""
        if self.engine != "llvm":
            return self._engine
        return make_engine(tracing_engine(self.dtype), self._engine_plan, self.params, self.dtype)

    def trace(self, x):
        """Every step's tensor.

        Parameters
        ----------
        x : (N, 3, H, W)

        Returns
        -------
        dict {step's name: (N, C, H, W) or (N, C)}, the model's dtype, in order of execution; "input" comes first. Step
        by step, batch norms apart; of a model on the engine llvm, which keeps no tensors, by numba where its loops are
        compiled already, else by numpy: these two differ in the last bits. Steps that only rename share their memory.
        """
        return self._tracer.trace(self._input(x))

    @property
    def in_channels(self):
        return self.variant.in_channels

    @property
    def side(self):
        """(height, width) of the network's own input, pixels."""
        return tuple(self.variant.side)

    def _check_side(self, side):
        check_side(self.variant, side)
