"""A network under test: a plan that may bear faults, and one way to run any of its steps.

Faults need operations that no published network has (a stride on a 1x1 convolution, a sigmoid for a hard one). They are
steps like all others, with the operations below.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ..network.steps import INPUT
from ..network.walk import apply
from ..ops import definitions


@dataclass(frozen=True)
class Net:
    """A plan, and what it has beside the model's own parameters and input."""

    plan: tuple
    input_shape: tuple[int, int, int]
    arrays: Mapping = field(default_factory=dict)  # further parameters: {name: function (the model's arrays) -> array}
    pictures: np.ndarray | None = None  # another input (N, 3, H, W) than the reference's

    def __post_init__(self):
        object.__setattr__(self, "plan", _with_shapes(self.plan, self.input_shape))

    @functools.cached_property
    def steps(self):
        """{name: Step}"""
        return {step.name: step for step in self.plan}

    def edit(self, edits, arrays=None):
        """The net with some steps changed.

        Parameters
        ----------
        edits : {name: Step, list of Step, or None to drop the step}; who used a dropped step gets its first input
        arrays : further parameters, as the field
        """
        plan, alias = [], {}
        for step in self.plan:
            new = edits.get(step.name, step)
            for one in new if isinstance(new, (list, tuple)) else [new] if new else []:
                plan.append(replace(one, inputs=tuple(alias.get(i, i) for i in one.inputs)) if alias else one)
            if new is None:
                alias[step.name] = alias.get(step.inputs[0], step.inputs[0])
        return replace(self, plan=tuple(plan), arrays={**self.arrays, **(arrays or {})})


@functools.lru_cache(maxsize=4096)
def block_of(name):
    """`blocks.3` of `blocks.3.se.squeeze`; elsewhere the first word: `stem`, `last`, `pool`, `head`, `logits`."""
    words = name.split(".")
    return ".".join(words[:2]) if words[0] == "blocks" else words[0]


# ---------------------------------------------------------------------------------------------------- operations


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _erf(x):
    """Abramowitz and Stegun 7.1.26, to 1.5e-7."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.sign(x) * (1 - series * np.exp(-x * x))


def softmax(x):
    """exp(x) over its sum, along the last axis, without overflow."""
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _border(mode):
    def pad(step, x):
        top, bottom, left, right = step.pad
        return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), mode=mode)

    return pad


def _batch_statistics(step, x):
    """A norm in training mode, without its affine part."""
    axes = (0, *range(2, x.ndim))
    return (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, keepdims=True) + 1e-5)


#: Operations of faulty networks: name -> function (step, *inputs), in the inputs' dtype.
EXTRA = {
    "relu6": lambda step, x: np.clip(x, 0, 6),
    "sigmoid": lambda step, x: _sigmoid(x),
    "swish": lambda step, x: x * _sigmoid(x),
    "gelu": lambda step, x: (x * (1 + _erf(x / np.sqrt(2).astype(x.dtype))) / 2).astype(x.dtype, copy=False),
    "leaky_relu": lambda step, x: np.where(x > 0, x, x * x.dtype.type(0.01)),
    "sloped_swish": lambda step, x: x * np.clip(x * x.dtype.type(step.slope) + x.dtype.type(0.5), 0, 1),
    "softmax": lambda step, x: softmax(x),
    "subsample": lambda step, x: x[:, :, :: step.stride[0], :: step.stride[1]],
    "border_edge": _border("edge"),
    "border_reflect": _border("reflect"),
    "batch_statistics": _batch_statistics,
    "roll": lambda step, x: np.roll(x, int(step.factor), axis=1),
    "background": lambda step, x: np.pad(x, ((0, 0), (1, 0)), constant_values=np.nan),  # nobody knows that logit
    "background_last": lambda step, x: np.pad(x, ((0, 0), (0, 1)), constant_values=np.nan),
}


def run_step(step, inputs, arrays):
    """Run a step of a plan, faulty or not; as `network.walk.apply`. Infinity and NaN pass through."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if step.op in EXTRA:
            return EXTRA[step.op](step, *inputs)
        return apply(step, inputs, arrays, definitions)


def _with_shapes(plan, input_shape):
    """The plan with every step's shape worked out; ValueError where two tensors do not fit."""
    shapes, steps = {INPUT: input_shape}, []
    for step in plan:
        if not shapes.keys() >= set(step.inputs):
            raise ValueError(f"{step.name}: {step.inputs} are not all there")
        shape = _shape(step, [shapes[name] for name in step.inputs])
        shapes[step.name] = shape
        steps.append(step if shape == step.shape else replace(step, shape=shape))
    return tuple(steps)


def _shape(step, inputs):
    first = inputs[0]
    weight = step.param("weight")
    if step.op == "depthwise_conv2d" and weight.canonical[0] != first[0]:
        raise ValueError(f"{step.name}: {first} into {weight.canonical}")
    if step.op in ("conv2d", "depthwise_conv2d", "max_pool2d", "subsample"):
        kernel = max(step.kernel, 1)
        sides = zip(first[1:], (sum(step.pad[:2]), sum(step.pad[2:])), step.stride)
        sides = tuple((n + pad - kernel) // s + 1 for n, pad, s in sides)
        return (weight.canonical[0] if step.op == "conv2d" else first[0], *sides)
    if weight is not None:
        if weight.canonical[1] != first[0]:
            raise ValueError(f"{step.name}: {first} into {weight.canonical}")
        return (weight.canonical[0], *first[1:])
    if step.op == "global_avg_pool":
        return first[:1]
    if step.op.startswith("border_"):
        return (first[0], first[1] + sum(step.pad[:2]), first[2] + sum(step.pad[2:]))
    if step.op.startswith("background"):
        return (first[0] + 1,)
    if step.op == "add" and first != inputs[1] or step.op == "mul" and first[:1] != inputs[1]:
        raise ValueError(f"{step.name}: {first} and {inputs[1]}")
    return first
