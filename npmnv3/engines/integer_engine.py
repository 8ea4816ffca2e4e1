"""The integer engine: walks a quantised network as a named engine's kernels would, integer for integer.

One picture at a time. The products are the float operations' (NumPy's, or Numba's where its loops are compiled), on
integers small enough to be exact; so the integers are the same whichever does them.
"""

import numpy as np

from ..errors import UsageError, require
from ..network.integer_plan import INTEGER_OPS, LAYERS, SAME_GRID
from ..network.steps import INPUT
from ..network.walk import walk
from ..ops import integers, saturation
from ..ops.compiled import compiled
from ..ops.grids import Grid
from ..ops.requantize import INTEGER_RULES


def make_integer_engine(plan, kernels, engine="auto"):
    """The IntegerEngine of a plan; engine "numpy", "numba" or "auto": numba where its loops are compiled already."""
    if engine not in ("auto", "numpy", "numba"):
        raise UsageError(f"engine is {engine!r}, but integers are computed by 'numpy' or 'numba' ('auto' chooses)")
    _check_sums(plan, kernels)
    if engine == "numba":
        require("numba", "jit", "the engine numba")
    if engine == "numba" or (engine == "auto" and compiled("float32") and compiled("float64")):
        from ..ops import integer_loops

        return IntegerEngine(plan, kernels, integer_loops)
    return IntegerEngine(plan, kernels)


def _check_sums(plan, kernels):
    """UsageError if tensors of 16 bits are added by rules whose factors leave no room for them."""
    sums = [step for step in plan.steps if step.op == "add"]
    wide = [step.name for step in sums if any(plan.grids[name].dtype.endswith("int16") for name in step.inputs)]
    if wide and kernels.add in INTEGER_RULES:
        raise UsageError(
            f"{wide[0]} adds tensors of 16 bits, for which {kernels.name} has no rule (8 bits alone); onnxruntime and xnnpack "
            "have one"
        )


class IntegerEngine:
    """Runs an IntegerPlan.

    Parameters
    ----------
    plan : IntegerPlan
    kernels : KernelSet
    twins : `ops.integer_loops`, whose compiled loops do what is hot; default the definitions
    """

    name = "int8"
    dtype = np.dtype(np.float32)

    def __init__(self, plan, kernels, twins=None):
        self.plan, self.kernels, self._twins = plan, kernels, twins
        layers = [step for step in plan.steps if step.op in LAYERS]
        self._prepared = {step.name: prepared(step, plan, kernels) for step in layers}

    def run(self, x):
        """Logits (N, classes), float32, of x (N, C, H, W) floats."""
        return self._each(x, self.plan.steps[-1])

    def features(self, x):
        """What the last layer gets, (N, F), float32."""
        last = next(step for step in reversed(self.plan.steps) if step.op in LAYERS)
        return self._each(x, next(step for step in self.plan.steps if step.name == last.inputs[0]))

    def trace(self, x, *, integers=False):
        """{step's name: (N, ...)} in order, the input first: real values in float32, or the stored integers."""
        rows = [self._integers(x[i : i + 1]) for i in range(len(x))]
        names = [INPUT, *(step.name for step in self.plan.steps)]
        stacked = {name: np.concatenate([row[name] for row in rows]) for name in names} if rows else {}
        return stacked if integers else {name: self.plan.grids[name].dequantize(q) for name, q in stacked.items()}

    def _integers(self, x):
        values = {INPUT: self._picture(x)}
        kept = dict(values)
        for step in walk(self.plan.steps, values, self.run_step):
            kept[step.name] = values[step.name]
        return kept

    def _picture(self, x):
        return self.plan.grids[INPUT].quantize(x, fused=self.kernels.fused_picture)

    def _each(self, x, wanted):
        """The real values of one step's integers, a picture at a time."""
        out = np.empty((len(x), *wanted.shape), np.float32)
        for i in range(len(x)):
            values = {INPUT: self._picture(x[i : i + 1])}
            for step in walk(self.plan.steps, values, self.run_step):
                if step is wanted:
                    break
            out[i] = self.plan.grids[wanted.name].dequantize(values[wanted.name][0])
        return out

    def run_step(self, step, inputs):
        """The integers of one step, (1, ...), of its inputs'."""
        return apply(step, inputs, self.plan, self.kernels, self._prepared.get(step.name), self._twins)


def prepared(step, plan, kernels):
    """A layer's weight as `apply` takes it: in the floats in which its sums are exact, and its Pairs that saturate or
    None."""
    weight, _, _, zero = plan.params(step)
    saturating = saturation.saturating_pairs(weight) if saturates(step, plan, kernels) else None
    return integers.exact_weight(weight, zero, plan.grids[step.inputs[0]]), saturating


def saturates(step, plan, kernels):
    """Whether a kernel set adds pairs of a step's products with saturation."""
    if step.op not in LAYERS:
        return False
    weight, grid = plan.arrays[f"{step.name}.weight"], plan.grids[step.inputs[0]]
    return saturation.saturates(step.op, weight, grid, plan.grids[step.name], kernels)


def rule_field(step, plan):
    """The field of a KernelSet with the rule of a step; "" if it has none."""
    if step.op in LAYERS:
        return integers.layer_field(step.op, plan.grids[step.inputs[0]].dtype)
    return integers.RULE_FIELDS.get(step.op, "")


def apply(step, inputs, plan, kernels, layer=None, twins=None):
    """The integers that one step of an IntegerPlan gives for its inputs' integers.

    layer : `prepared` of a layer, if it is at hand
    """
    grids, out = [plan.grids[name] for name in step.inputs], plan.grids[step.name]
    params, fields = plan.params(step), {name: getattr(step, name) for name in INTEGER_OPS[step.op][1]}
    if step.op in LAYERS:
        _, bias, scale, _ = params
        weight, fields["saturating"] = layer or prepared(step, plan, kernels)
        return integers.layer(
            step.op, *inputs, weight, bias, scale, grid=grids[0], out=out, kernels=kernels, twins=twins, **fields
        )
    if step.op == "fill":
        return np.full((1, *step.shape), *params, out.dtype)
    function = getattr(integers, step.op)
    if step.op == "scale":
        constant, scale, zero = params
        grids.append(Grid(float(scale[0]), int(zero[0]), grids[0].dtype))
        return function(*inputs, constant, grids=grids, out=out, kernels=kernels, **fields)
    if step.op in ("mul", "add"):
        return function(*inputs, grids=grids, out=out, kernels=kernels, **fields)
    if step.op in SAME_GRID:
        grid = {"grid": grids[0]} if step.op == "pad2d" else {}
        return function(*inputs, **grid, **fields).reshape(len(inputs[0]), *step.shape)
    return function(*inputs, grid=grids[0], out=out, kernels=kernels, **fields)
