"""Every step of a quantised network on the port's own integers, so that no step answers for the ones before it."""

import functools
from collections import ChainMap
from dataclasses import dataclass

import numpy as np

from ...engines.integer_engine import apply, rule_field, saturates
from ...network.integer_plan import INTEGER_OPS, LAYERS
from ...network.steps import INPUT
from ...ops import definitions, integers, saturation
from ...ops.grids import Grid
from ...ops.requantize import F32, I64

#: operation -> (the kernel set's rule that it goes by, what several of them are called)
KINDS = {
    **dict.fromkeys(LAYERS, ("layers", "layers")),
    "mul": ("mul", "products"),
    "scale": ("mul", "products"),
    "add": ("add", "sums"),
    "global_avg_pool": ("mean", "means"),
    "mean_to_vector": ("mean", "means"),
    "relu": ("relu", "relus"),
    "hard_swish": ("hard_swish", "hard-swishes"),
    "hard_sigmoid": ("hard_sigmoid", "gates"),
    "pad2d": ("pad2d", "paddings"),
    "max_pool2d": ("max_pool2d", "pools"),
    "identity": ("identity", "tensors passed on"),
    "fill": ("fill", "constants"),
}


@dataclass(frozen=True)
class Parts:
    """What `apply` reads of a plan: grids and arrays, which a change may lay others over."""

    grids: object
    arrays: object

    def params(self, step):
        return [self.arrays[f"{step.name}.{role}"] for role in INTEGER_OPS[step.op][0]]


@dataclass(eq=False)
class Case:
    """A step, what it got, and what the port has for it.

    plan : IntegerPlan or Parts
    inputs : the integers of its inputs; found : the port's, of the grid's dtype
    kernels : KernelSet that it is held against
    computed : names of the inputs that the port does not have
    """

    plan: object
    step: object
    inputs: list
    found: np.ndarray
    kernels: object
    computed: tuple = ()
    padded: object = None  # the pad2d step in front of it, where the port does not have that tensor

    @property
    def kind(self):
        return KINDS[self.step.op][0]

    @property
    def field(self):
        """The field of a KernelSet with the step's rule."""
        return rule_field(self.step, self.plan)

    def word(self, kernels):
        """A kernel set's word for the step's rule."""
        return getattr(kernels, self.field)

    @property
    def is_layer(self):
        return self.step.op in LAYERS

    @property
    def grids(self):
        """Of the inputs; a constant's last."""
        grids = [self.plan.grids[name] for name in self.step.inputs]
        if self.step.op == "scale":
            _, scale, zero = self.plan.params(self.step)
            grids.append(Grid(float(scale[0]), int(zero[0]), grids[0].dtype))
        return grids

    @property
    def out(self):
        return self.plan.grids[self.step.name]

    def equals(self, integers_):
        return np.array_equal(integers_, self.found)

    def run(self, *, grids=None, arrays=None, kernels=None, step=None, inputs=None):
        """The step's integers, with other grids {tensor: Grid}, arrays {role: array}, kernels, fields or inputs."""
        arrays = {f"{self.step.name}.{role}": value for role, value in (arrays or {}).items()}
        plan = Parts(ChainMap(grids or {}, self.plan.grids), ChainMap(arrays, self.plan.arrays))
        out = apply(step or self.step, inputs or self.inputs, plan, kernels or self.kernels)
        return out.reshape(self.found.shape)

    # A layer's, with a row for each place and a column for each channel

    @functools.cached_property
    def weight(self):
        return self.plan.arrays[f"{self.step.name}.weight"]

    @functools.cached_property
    def bias(self):
        return self.plan.arrays[f"{self.step.name}.bias"].astype(I64)

    @property
    def bias_rest(self):
        """What the bias has lost that was floats in the file, (channels,) in steps of the sum; 0 where it was integers."""
        return self.plan.bias_rests.get(self.step.name, 0.0)

    @functools.cached_property
    def weight_scale(self):
        return self.plan.arrays[f"{self.step.name}.weight_scale"]

    @functools.cached_property
    def weight_zero_point(self):
        return self.plan.arrays[f"{self.step.name}.weight_zero_point"]

    @property
    def space(self):
        fields = INTEGER_OPS[self.step.op][1]
        return {name: getattr(self.step, name) for name in ("stride", "pad") if name in fields}

    @functools.cached_property
    def rows(self):
        """The port's integers, (places, channels)."""
        return as_rows(self.found)

    def sums_of(self, x, weight, zero_point, weight_zero_point=0):
        """(places, channels) int64: the layer's sums of other integers, by products that float64 holds exactly."""
        weight = weight.astype(np.float64) - np.reshape(weight_zero_point, (-1, *(1,) * (weight.ndim - 1)))
        total = getattr(definitions, integers.LIKE.get(self.step.op, self.step.op))(
            x.astype(np.float64) - zero_point, weight, **self.space
        )
        return as_rows(total).astype(I64)

    @functools.cached_property
    def products(self):
        """(places, channels) int64: the sums of products, without the bias; what saturation loses is in it."""
        total = self.sums_of(self.inputs[0], self.weight, self.grids[0].zero_point, self.weight_zero_point)
        if saturates(self.step, self.plan, self.kernels):
            total = total + self.lost
        return total

    @functools.cached_property
    def lost(self):
        """(places, channels), or 0: what saturating pairs of products lose; the input as uint8, as such kernels take it."""
        pairs, x, zero = saturation.saturating_pairs(self.weight), self.inputs[0], self.grids[0].zero_point
        if pairs is None:
            return 0
        if x.dtype == np.int8:
            x, zero = (x.astype(np.int16) + 128).astype(np.uint8), zero + 128
        return as_rows(saturation.lost_to_saturation(x, pairs, zero, **self.space))

    @functools.cached_property
    def accumulated(self):
        """(places, channels) int64, before the factor: a layer's sums with its bias, or a product's."""
        if self.is_layer:
            return self.products + self.bias
        x = self.inputs[0]
        y = self.inputs[1] if self.step.op == "mul" else np.full((1,) * x.ndim, self.plan.params(self.step)[0])
        y = y.reshape(*y.shape, *(1,) * (x.ndim - y.ndim))
        grids = self.grids
        return as_rows((x.astype(I64) - grids[0].zero_point) * (y.astype(I64) - grids[1].zero_point))

    @property
    def factors(self):
        """Scales of the input and of the weights, (C,) or (1,); of a product, of both."""
        return F32(self.grids[0].scale), self.weight_scale if self.is_layer else np.array([self.grids[1].scale], F32)


def as_rows(array):
    """(N, C, ...) -> (N * places, C)."""
    return np.moveaxis(array, 1, -1).reshape(-1, array.shape[1])


@dataclass
class Fit:
    """How a kernel set fits. exact : {step's name: bool} in order of execution; inputs : {step's name: what it got}"""

    kernels: object
    exact: dict
    inputs: dict

    @property
    def count(self):
        return sum(self.exact.values())

    @property
    def whole(self):
        return bool(self.exact) and all(self.exact.values())

    @property
    def first(self):
        return next((name for name, exact in self.exact.items() if not exact), None)


class Forced:
    """The steps of a plan on the port's integers where it has them, else on what the kernels computed.

    values : {step's name or INPUT: (N, ...) integers of the port}
    """

    def __init__(self, plan, values):
        self.plan, self.values, self._kept = plan, values, {}
        self.steps = {step.name: step for step in plan.steps}

    def fit(self, kernels):
        """The Fit of a kernel set: what of the port's tensors is exactly its."""
        run, exact, inputs = {INPUT: self.values.get(INPUT)}, {}, {}
        for step in self.plan.steps:
            given = [self.values.get(name, run.get(name)) for name in step.inputs]
            if any(value is None for value in given):
                continue
            run[step.name] = self._run(step, given, kernels)
            if step.name in self.values:
                inputs[step.name] = given
                exact[step.name] = np.array_equal(run[step.name], self.values[step.name])
        return Fit(kernels, exact, inputs)

    def _run(self, step, given, kernels):
        if any(name not in self.values for name in step.inputs):
            return apply(step, given, self.plan, kernels)
        field = rule_field(step, self.plan)
        fields = [name for name in (field, integers.FACTOR_FIELDS.get(field)) if name]
        key = step.name, *(getattr(kernels, name) for name in fields), saturates(step, self.plan, kernels)
        if key not in self._kept:
            self._kept[key] = apply(step, given, self.plan, kernels)
        return self._kept[key]

    def different(self, name, fit):
        """How many numbers of a step's tensor are not the kernel set's."""
        return int(np.count_nonzero(self._run(self.steps[name], fit.inputs[name], fit.kernels) != self.values[name]))

    def case(self, name, fit):
        """The Case of a step that a fit has judged."""
        step = self.steps[name]
        computed = tuple(source for source in step.inputs if source not in self.values)
        before = self.steps.get(step.inputs[0]) if step.inputs else None
        padded = before if before is not None and before.op == "pad2d" and before.name in computed else None
        return Case(self.plan, step, fit.inputs[name], self.values[name], fit.kernels, computed, padded)
