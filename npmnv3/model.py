"""Models: a network with its weights, from a picture to its classes."""

import functools
import itertools
import os
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

from .dumps import labels
from .dumps.dumps import load_weights
from .dumps.registry import REGISTRY, shipped_dump
from .engines import make_engine, tracing_engine
from .errors import MissingWeightsError, PictureError, UsageError
from .network.folding import canonical_arrays, fold_norms
from .network.plan import check_classes, check_side, make_plan
from .network.variants import get_variant
from .pictures import recipes

#: Pictures that `Model.predict` hands to the engine at a time.
BATCH = 16


def load(
    name_or_dump,
    weights=None,
    num_classes=None,
    engine="auto",
    dtype="float32",
    *,
    threads=None,
    rounded_constants=False,
    fetch=None,
):
    """Load a network with its weights.

    Parameters
    ----------
    name_or_dump : str, a model's name (`npmnv3.list_models()`), with "@tag" for further published weights of it, or the
        path of a dump that says which network it is
    weights : path of a dump (HDF5 or .npz), or mapping {source's name: array}; default the published weights, which
        ship with npmnv3 or are in the cache that `npmnv3 fetch` fills
    num_classes : int; default what the weights hold
    engine : "numpy" (the definitions), "numba" (the same as compiled loops), "llvm" (compiled kernels, float32 alone,
        the quickest) or "auto": llvm for float32 where llvmlite is, for float64 numba where its loops are compiled
        already (`npmnv3 warmup` does it), else numpy
    dtype : "float32" or "float64", of the arithmetic and of the results
    threads : int, of the llvm engine; default NPMNV3_THREADS or all cores
    rounded_constants : bool, gate slope, norm epsilon and head gain rounded to float32, as paddle has them even in
        float64
    fetch : bool, fetch published weights that are not here; default only if the environment variable NPMNV3_FETCH is 1

    Returns
    -------
    Model

    Raises
    ------
    UnknownModelError, MissingWeightsError, WeightsError, UsageError, MissingExtraError
    """
    variant, weights = _resolve(name_or_dump, weights, fetch)
    if num_classes is not None:
        check_classes(num_classes)
    checked = load_weights(weights, variant, num_classes)
    return Model(checked, engine, dtype, threads=threads, rounded_constants=rounded_constants)


def _resolve(name_or_dump, weights, fetch):
    """(variant or None, weights) of `load`'s arguments of these names."""
    if not isinstance(name_or_dump, (str, os.PathLike)):
        raise UsageError(f"expected a model's name or a dump's path, found a {type(name_or_dump).__name__}")
    if isinstance(name_or_dump, str) and name_or_dump in REGISTRY:
        entry = REGISTRY[name_or_dump]
        return get_variant(entry.model), _published(entry, fetch) if weights is None else weights
    if weights is None and os.path.exists(name_or_dump):
        return None, name_or_dump
    if isinstance(name_or_dump, os.PathLike) or pathlib.PurePath(name_or_dump).suffix in (".h5", ".hdf5", ".npz"):
        raise UsageError(
            f"{name_or_dump}: no such dump, and weights={weights!r}; give a model's name with weights=, or a dump alone"
        )
    return get_variant(name_or_dump), weights  # raises, with the nearest names


def _published(entry, fetch):
    """The dump of a published checkpoint: shipped, in the cache, or fetched if that is allowed."""
    shipped = shipped_dump(entry)
    if shipped:
        return shipped
    from . import fetching  # which loads the network's libraries

    fetch = os.environ.get("NPMNV3_FETCH", "0") not in ("", "0") if fetch is None else fetch
    wanted = fetch or not entry.url  # what should have shipped: `fetch` says so
    path = fetching.fetch(entry.name) if wanted else fetching.cached_dump(entry.name)
    if path is None:
        raise MissingWeightsError(
            f"the weights of {entry.name} are not here. Get the published ones, {entry.url}, with `npmnv3 fetch {entry.name}` "
            f"(or npmnv3.load(..., fetch=True), or NPMNV3_FETCH=1); or load a dump of your own: "
            f"npmnv3.load({entry.model!r}, weights=FILE), or --model {entry.model} --weights FILE on the command line"
        )
    return path


def param_shapes(name, num_classes=None):
    """The state dict that a network needs.

    Parameters
    ----------
    name : str, `source/variant`
    num_classes : int, default the published one

    Returns
    -------
    dict, ordered as the source orders it: {source's name: shape}
    """
    from .network.counts import plan_param_shapes

    return plan_param_shapes(make_plan(get_variant(name), num_classes))


def _plan(variant, num_classes, rounded_constants, folded, side=None):
    return make_plan(variant, num_classes, side, folded=folded, rounded_constants=rounded_constants)


class Model:
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
        self._label_source = weights.labels
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

    @functools.cached_property
    def labels(self):
        return labels.class_names(self._label_source, self.num_classes)

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
            raise UsageError(f"the engine is {self.engine}; profile needs engine='llvm'")
        x = self._input(x)
        if len(x) != 1:
            raise UsageError(f"x has {len(x)} pictures, expected 1")
        if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
            raise UsageError(f"rounds is {rounds!r}, expected a whole number from 1")
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
            raise UsageError(f"top is {top!r}, expected a whole number from 1")
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
        planes = self.variant.in_channels
        if x.ndim != 4 or x.shape[1] != planes:
            raise UsageError(f"x has the shape {x.shape}, expected (N, {planes}, H, W)")
        if x.dtype.kind != "f":
            raise UsageError(f"x is {x.dtype}, expected floats; npmnv3.preprocess turns pictures into them")
        check_side(self.variant, x.shape[2:])
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
