"""The networks that are measured: plans with random weights, the same for all engines."""

import functools

import numpy as np

from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant
from npmnv3.testing import random_params


class Network:
    """One network with random weights, or with those of a folder that `save` has filled.

    Attributes
    ----------
    name : str
    side : (height, width), pixels
    plan : tuple of Step
    params : {source's name: float32 array}
    """

    def __init__(self, name, seed=0, folder=None, side=None):
        self.name, self.variant, self._seed, self._folder = name, get_variant(name), seed, folder
        self.side = (side, side) if side else self.variant.side
        self.plan = make_plan(self.variant, side=self.side)

    @functools.cached_property
    def params(self):
        if self._folder:
            with np.load(self._folder / "weights.npz") as stored:
                return dict(stored)
        return random_params(self.plan, np.random.default_rng(self._seed))

    def save(self, folder):
        """Write weights and a graph for batch 1 into a folder."""
        (folder / "network.onnx").write_bytes(self.onnx(1))
        np.savez(folder / "weights.npz", **self.params)

    def pictures(self, batch, seed=1):
        """(batch, 3, H, W) float32."""
        return np.random.default_rng(seed).standard_normal((batch, 3, *self.side)).astype(np.float32)

    def plan_for(self, side=None, folded=False):
        return make_plan(self.variant, side=side, folded=folded)

    def onnx(self, batch):
        """The network as bytes of an ONNX file."""
        if self._folder:
            return (self._folder / "network.onnx").read_bytes()
        from npmnv3.export.onnx import plan_to_onnx
        from npmnv3.network.folding import canonical_arrays, fold_norms

        folded = self.plan_for(self.side, folded=True)
        arrays = fold_norms(self.plan, folded, canonical_arrays(self.plan, self.params, np.float64))
        return plan_to_onnx(folded, arrays, self.side, batch=batch).SerializeToString()
