"""The plan engine: walks a plan with one set of operations, NumPy's definitions or their Numba twins.

Pictures are run one at a time: so a picture has the same bits in any batch (a matrix product may sum in another order
for other shapes), and its tensors stay in the cache. With NumPy no weight is copied: a step gets the parameters as the
model holds them, or in the run's dtype for as long as it takes. Tensors are freed after their last use. So no more is held
at a time than the weights and about three of the largest tensors (`memory.peak_bytes`).
"""

import contextlib

import numpy as np

from ..network.folding import activations_of_norms, canonical_arrays, norm_line
from ..network.steps import INPUT
from ..network.walk import apply, walk
from ..ops import definitions


class PlanEngine:
    """Runs a network step by step.

    Parameters
    ----------
    plan_for : callable (side or None) -> tuple of Step for an input of (height, width) pixels
    params : {source's name: array as the source stores it}; NumPy keeps them, Numba its own copies in `dtype`
    dtype : float32 or float64
    name : "numpy" or "numba", whose operations

    `run` does a batch norm and the activation after it in one pass, in place, as a factor and an offset for each channel:
    that makes it quick. NumPy's float64 is the oracle, and does every step as the plan has it.
    """

    def __init__(self, plan_for, params, dtype, *, name="numpy"):
        self._plan_for, self.name, self.dtype = plan_for, name, np.dtype(dtype)
        plan = plan_for(None)
        if name == "numba":
            from ..ops import loops, pages

            self._operations, self._side_by_side = loops, pages.Blocks().side_by_side
            ops = {param.name: step.op for step in plan for param in step.params}
            arrays = canonical_arrays(plan, params, self.dtype)
            self._arrays = {name: loops.in_loop_order(ops[name], array) for name, array in arrays.items()}
        else:
            self._operations, self._side_by_side = definitions, contextlib.nullcontext
            self._arrays = canonical_arrays(plan, params)
        oracle = name == "numpy" and self.dtype == np.float64
        self._norms = {} if oracle else _norms(plan, self._arrays, self.dtype)
        self._done = frozenset() if oracle else frozenset(activations_of_norms(plan).values())

    def run(self, x):
        """Logits (N, classes) of x (N, 3, H, W)."""
        return self._each(x, -1)

    def features(self, x):
        """What the classifier gets, (N, F), of x (N, 3, H, W)."""
        return self._each(x, -2)

    def trace(self, x):
        """{step's name: (N, ...)} in order of execution, the input first, of x (N, 3, H, W)."""
        plan, n = self._plan_for(x.shape[2:]), len(x)
        tensors = {INPUT: x.copy()} | {step.name: np.empty((n, *step.shape), self.dtype) for step in plan if n != 1}
        keeping = self._side_by_side if n == 1 else contextlib.nullcontext
        for i in range(n):
            values = {INPUT: x[i : i + 1]}
            with _quiet(), keeping():
                for step in walk(plan, values, self._run_step):
                    value = values[step.name]
                    if n == 1:
                        tensors[step.name] = value
                    else:
                        tensors[step.name][i] = value[0]
        return tensors

    def _each(self, x, index):
        """The output of the plan's step at this index, a picture at a time."""
        plan = self._plan_for(x.shape[2:])
        wanted = plan[index]
        out = np.empty((len(x), *wanted.shape), self.dtype)
        for i in range(len(x)):
            values = {INPUT: x[i : i + 1]}
            with _quiet():
                for step in walk(plan, values, self._run_quickly):
                    if step is wanted:
                        break
            out[i] = values[wanted.name][0]
        return out

    def _run_step(self, step, inputs):
        arrays = {p.name: np.asarray(self._arrays[p.name], self.dtype) for p in step.params if p.name in self._arrays}
        return apply(step, inputs, arrays, self._operations)

    def _run_quickly(self, step, inputs):
        """The same, but a norm also does its activation's work, and overwrites its input: nobody looks at the tensors
        between."""
        if step.name in self._norms:
            factor, offset, act = self._norms[step.name]
            return self._operations.norm_act(inputs[0], factor, offset, act=act)
        if step.name in self._done:
            return inputs[0]
        return self._run_step(step, inputs)


def _quiet():
    """Infinity and NaN pass through, as in the frameworks."""
    return np.errstate(over="ignore", invalid="ignore")


def _norms(plan, arrays, dtype):
    """{batch norm's name: (factor, offset, activation)}: a number a channel, computed in float64."""
    ops = {step.name: step.op for step in plan}
    acts = {norm: ops[name] for norm, name in activations_of_norms(plan).items()}
    return {
        step.name: (*(values.astype(dtype) for values in norm_line(step, arrays)), acts.get(step.name, ""))
        for step in plan
        if step.op == "batch_norm"
    }
