"""The reference engine: walks a plan with the NumPy operations, a picture at a time.

One picture at a time gives a picture the same bits whatever batch it comes in (a matrix product may sum in another order
for other shapes), and keeps its tensors in the cache. No weight is copied: a step sees the parameters as the model holds
them, or in the run's dtype for as long as the step takes. With the tensors freed after their last use that makes the
weights and about three of the largest tensors all that is ever held (`counts.peak_bytes`).
"""

import functools

import numpy as np

from ..network.folding import norm_line
from ..network.steps import INPUT
from ..ops.definitions import apply, plan_room


class PlanEngine:
    """Runs a network in NumPy.

    Parameters
    ----------
    make_plan : callable (side, folded) -> tuple of Step
    params : {source's name: array as the source stores it}; kept, not copied
    dtype : float32 or float64. In float32 `run` takes a batch norm as one factor and one offset a channel, in place,
        which is what makes it quick; float64 is the oracle and takes every step as the plan has it.
    folded : bool, the parameters themselves have no norms any more
    """

    name = "numpy"

    def __init__(self, make_plan, params, dtype, *, folded=False):
        self._make_plan, self.dtype, self._folded = make_plan, np.dtype(dtype), folded
        plan = make_plan(None, folded)
        self._arrays = {
            param.name: param.to_canonical(np.asarray(params[param.name]))
            for step in plan
            for param in step.params
            if param.role != "count"
        }
        self._norms = _norms(plan, self._arrays) if self.dtype == np.float32 else {}

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
            run = self._walk(plan, x[i : i + 1], keep, {})
            for name, tensor in tensors.items():
                tensor[i] = run[name][0]
        return {INPUT: x.copy(), **tensors}

    def _each(self, x, index):
        """The output of the plan's step of this index, a picture at a time."""
        plan = self._make_plan(x.shape[2:], self._folded)
        wanted = plan[index]
        out = np.empty((len(x), *wanted.shape), self.dtype)
        for i in range(len(x)):
            out[i] = self._walk(plan, x[i : i + 1], frozenset([wanted.name]), self._norms)[wanted.name][0]
        return out

    def _walk(self, plan, x, keep, norms):
        """Run a plan on x and give back the tensors in `keep` (and the input); the others are dropped after their last use."""
        tensors, room = {INPUT: x}, plan_room(plan)
        with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN pass through, as in the frameworks
            for step, done in zip(plan, _last_uses(plan)):
                inputs = [tensors[name] for name in step.inputs]
                if step.name in norms:
                    tensors[step.name] = _rescale(*inputs, *norms[step.name])
                else:
                    params = {
                        p.name: np.asarray(self._arrays[p.name], self.dtype)
                        for p in step.params
                        if p.name in self._arrays
                    }
                    tensors[step.name] = apply(step, inputs, params, room)
                for name in done:
                    if name not in keep and name != INPUT:
                        del tensors[name]
        return tensors


@functools.lru_cache(maxsize=64)
def _last_uses(plan):
    """For each step, the tensors that nothing after it needs."""
    last = {name: index for index, step in enumerate(plan) for name in step.inputs}
    return tuple(tuple(name for name in set(step.inputs) if last[name] == index) for index, step in enumerate(plan))


def _norms(plan, arrays):
    """{batch norm's name: (factor, offset)}, a float32 a channel, computed in float64."""
    lines = {step.name: norm_line(step, arrays) for step in plan if step.op == "batch_norm"}
    return {name: tuple(values.astype(np.float32) for values in line) for name, line in lines.items()}


def _rescale(x, factor, offset):
    """x * factor + offset, a channel at a time, in place: nothing but the norm needs the layer's own output."""
    axes = (-1, *(1,) * (x.ndim - 2))
    x *= factor.reshape(axes)
    x += offset.reshape(axes)
    return x
