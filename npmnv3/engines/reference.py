"""The reference engine: walks a plan with the NumPy operations, a picture at a time.

One picture at a time gives a picture the same bits whatever batch it comes in (a matrix product may sum in another order
for other shapes), and keeps its tensors in the cache.
"""

import functools

import numpy as np

from ..ops.reference import apply
from ..steps import INPUT
from .fold import canonical_arrays, fold_norms


class ReferenceEngine:
    """Runs a network in NumPy.

    Parameters
    ----------
    make_plan : callable (side, folded) -> tuple of Step
    params : {source's name: array as the source stores it}
    dtype : float32 or float64. In float32 `run` folds batch norm first, which is what makes it quick; float64 is the
        oracle and takes every step as the plan has it.
    folded : bool, the parameters themselves have no norms any more
    """

    name = "numpy"

    def __init__(self, make_plan, params, dtype, *, folded=False):
        self._make_plan, self.dtype, self._folded = make_plan, np.dtype(dtype), folded
        exact = canonical_arrays(make_plan(None, folded), params, np.float64)
        self._arrays = {name: array.astype(self.dtype, copy=False) for name, array in exact.items()}
        self._run_folded = folded or self.dtype == np.float32
        self._run_arrays = self._arrays
        if self._run_folded and not folded:
            quick = fold_norms(make_plan(None, False), make_plan(None, True), exact)
            self._run_arrays = {name: array.astype(self.dtype) for name, array in quick.items()}

    def run(self, x):
        """Logits (N, classes) of x (N, 3, H, W)."""
        return self._each(x, -1)

    def features(self, x):
        """What the classifier gets, (N, F), of x (N, 3, H, W)."""
        return self._each(x, -2)

    def trace(self, x):
        """{step's name: (N, ...)} in order of execution, the input first, of x (N, 3, H, W)."""
        plan = self._make_plan(x.shape[2:], self._folded)
        keep = frozenset(step.name for step in plan)
        tensors = {step.name: np.empty((len(x), *step.shape), self.dtype) for step in plan}
        for i in range(len(x)):
            run = _walk(plan, x[i : i + 1], self._arrays, keep)
            for name, tensor in tensors.items():
                tensor[i] = run[name][0]
        return {INPUT: x.copy(), **tensors}

    def _each(self, x, index):
        """The output of the plan's step of this index, a picture at a time."""
        plan = self._make_plan(x.shape[2:], self._run_folded)
        wanted = plan[index]
        out = np.empty((len(x), *wanted.shape), self.dtype)
        for i in range(len(x)):
            out[i] = _walk(plan, x[i : i + 1], self._run_arrays, frozenset([wanted.name]))[wanted.name][0]
        return out


@functools.lru_cache(maxsize=64)
def _last_uses(plan):
    """For each step, the tensors that nothing after it needs."""
    last = {name: index for index, step in enumerate(plan) for name in step.inputs}
    return tuple(tuple(name for name in set(step.inputs) if last[name] == index) for index, step in enumerate(plan))


def _walk(plan, x, arrays, keep):
    """Run a plan on x and give back the tensors in `keep` (and the input); the others are dropped after their last use."""
    tensors = {INPUT: x}
    with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN pass through, as in the frameworks
        for step, done in zip(plan, _last_uses(plan)):
            tensors[step.name] = apply(step, [tensors[name] for name in step.inputs], arrays)
            for name in done:
                if name not in keep and name != INPUT:
                    del tensors[name]
    return tensors
