"""A network under test: a plan that may bear faults, and one way to run any of its steps.

Faults need operations that no published network has (a stride on a 1x1 convolution, a sigmoid for a hard one). They are
steps, too, with the operations of `operations.py`.
"""

import functools
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field, replace

import numpy as np

from ..network.padding import output_sides
from ..network.steps import INPUT, Step
from ..network.walk import apply
from ..ops import definitions
from .operations import FAULTY

PROBABILITIES = "probabilities"  # name of a step behind the logits


def with_probabilities(plan):
    """The plan and, last, the softmax that some ports end in."""
    return (*plan, Step(PROBABILITIES, "softmax", ("logits",), plan[-1].shape))


@dataclass(frozen=True, eq=False)
class Net:
    """A plan, and what it has beside the model's own parameters and input."""

    plan: tuple
    input_shape: tuple[int, int, int]
    arrays: Mapping = field(default_factory=dict)  # further parameters: {name: function (the model's arrays) -> array}
    pictures: np.ndarray | None = None  # another input (N, 3, H, W) than the reference's
    half: bool = False  # every number is a float16, sums included: see `half_step`
    known: InitVar[tuple] = ()  # a plan whose shapes are right

    def __post_init__(self, known):
        object.__setattr__(self, "plan", _with_shapes(self.plan, self.input_shape, known))

    @functools.cached_property
    def steps(self):
        """{name: Step}"""
        return {step.name: step for step in self.plan}

    def back_to(self, name, given):
        """Names of a step and of all that it is made of since the `given` tensors; INPUT too where it is reached: list."""
        found, stack = {}, [name]
        while stack:
            one = stack.pop()
            if one not in found:
                found[one] = None
                stack += [i for i in self.steps[one].inputs if i not in given] if one != INPUT else []
        return list(found)

    def with_arrays(self, arrays):
        """The model's arrays and the net's own: a mapping."""
        found = ChainMap({}, arrays)
        for name, make in self.arrays.items():  # in order: one fault's may be made of another's
            found[name] = make(found)
        return found

    def function(self):
        """What the net computes, without its names, steps that do nothing, and padding that nobody reads."""
        place, shapes, rows = {INPUT: "input"}, {INPUT: self.input_shape}, []
        for step in self.plan:
            inputs, shape = tuple(place[name] for name in step.inputs), shapes[step.inputs[0]]
            shapes[step.name], place[step.name] = step.shape, str(len(rows))
            if step.op == "identity":
                place[step.name] = inputs[0]
            else:
                rows.append(replace(step, name="", inputs=inputs, pad=_pad_read(step, shape)))
        return tuple(rows), None if self.pictures is None else id(self.pictures)

    def run(self, step, inputs, arrays):
        """What one of its steps makes of its inputs."""
        return half_step(step, inputs, arrays) if self.half else run_step(step, inputs, arrays)

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
                moved = not alias.keys().isdisjoint(one.inputs)
                plan.append(replace(one, inputs=tuple(alias.get(i, i) for i in one.inputs)) if moved else one)
            if new is None:
                alias[step.name] = alias.get(step.inputs[0], step.inputs[0])
        return replace(self, plan=tuple(plan), arrays={**self.arrays, **(arrays or {})}, known=self.plan)


def _pad_read(step, shape):
    """A convolution's padding, of which at the bottom and on the right only what its windows reach."""
    if step.op not in ("conv2d", "depthwise_conv2d"):
        return step.pad
    top, _, left, _ = step.pad
    down, right = ((out - 1) * s + step.kernel - n for out, s, n in zip(step.shape[1:], step.stride, shape[1:]))
    return top, down - top, left, right - left


@functools.lru_cache(maxsize=4096)
def block_of(name):
    """`blocks.3` of `blocks.3.se.squeeze`; elsewhere the first word: `stem`, `last`, `pool`, `head`, `logits`."""
    words = name.split(".")
    return ".".join(words[:2]) if words[0] == "blocks" else words[0]


def run_step(step, inputs, arrays):
    """Run a step of a plan, faulty or not; as `network.walk.apply`. Infinity and NaN pass through."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        if step.op in FAULTY:
            return FAULTY[step.op](step, *inputs)
        return apply(step, inputs, arrays, definitions)


def half_step(step, inputs, arrays):
    """A step as an engine does it that keeps float16 throughout: products are added one after another, each sum rounded.

    Parameters
    ----------
    step, inputs, arrays : as for `run_step`; the arrays are float32

    Returns
    -------
    float32 array of float16 numbers
    """
    weight = step.param("weight")
    with np.errstate(over="ignore", invalid="ignore"):
        if step.op in ("pointwise_conv2d", "linear"):
            bias = step.param("bias")
            found = _half_product(arrays[weight.name], inputs[0], arrays[bias.name] if bias else None)
        else:
            found = run_step(step, inputs, arrays)
        return found.astype(np.float16).astype(np.float32)


def _half_product(weight, x, bias):
    flat = x.reshape(*x.shape[:2], -1)[0].astype(np.float16)
    weight = weight.astype(np.float16)
    total = np.zeros((len(weight), flat.shape[1]), np.float16)
    for column, row in zip(weight.T, flat):
        total += column[:, None] * row
    if bias is not None:
        total += bias.astype(np.float16)[:, None]
    return total.astype(np.float32).reshape(1, len(weight), *x.shape[2:])


def unchanged(plan, before):
    """How many steps of a plan, from its start, are the very ones of another."""
    return next((i for i, (new, old) in enumerate(zip(plan, before)) if new is not old), len(before))


def _with_shapes(plan, input_shape, known):
    """The plan with every step's shape worked out; ValueError where two tensors do not fit."""
    same, before = unchanged(plan, known), {step.name: step for step in known}
    steps = list(plan[:same])
    shapes = {INPUT: input_shape} | {step.name: step.shape for step in steps}
    as_before = set(shapes)  # names of the tensors whose shapes are those of the known plan
    for step in plan[same:]:
        if not shapes.keys() >= set(step.inputs):
            raise ValueError(f"{step.name}: {step.inputs} are not all there")
        old = before.get(step.name)
        right = step is old and as_before.issuperset(step.inputs)
        shape = step.shape if right else _shape(step, [shapes[name] for name in step.inputs])
        shapes[step.name] = shape
        if old is not None and shape == old.shape:
            as_before.add(step.name)
        steps.append(step if shape == step.shape else replace(step, shape=shape))
    return tuple(steps)


def _shape(step, inputs):
    first = inputs[0]
    weight = step.param("weight")
    if step.op == "depthwise_conv2d" and weight.canonical[0] != first[0]:
        raise ValueError(f"{step.name}: {first} into {weight.canonical}")
    if step.op in ("conv2d", "depthwise_conv2d", "max_pool2d", "subsample"):
        sides = output_sides(first[1:], (max(step.kernel, 1),) * 2, step.stride, step.pad)
        return (weight.canonical[0] if step.op == "conv2d" else first[0], *sides)
    if weight is not None:
        if weight.canonical[1] != first[0]:
            raise ValueError(f"{step.name}: {first} into {weight.canonical}")
        return (weight.canonical[0], *first[1:])
    if step.op in ("global_avg_pool", "global_max_pool", "pool_short", "pool_scaled"):
        return first[:1]
    if step.op.startswith("border_"):
        return (first[0], first[1] + sum(step.pad[:2]), first[2] + sum(step.pad[2:]))
    if step.op == "pool_window" and min(first[1:]) < 1:
        raise ValueError(f"{step.name}: nothing to pool in {first}")
    if step.op == "pool_window":
        return first[:1]
    if step.op.startswith("background"):
        return (first[0] + 1,)
    if step.op == "add" and first != inputs[1] or step.op == "mul" and first[:1] != inputs[1]:
        raise ValueError(f"{step.name}: {first} and {inputs[1]}")
    return first
