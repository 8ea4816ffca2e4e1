"""Test vectors of a quantised network: stored integers, and everything that a port computes them with, bit for bit."""

import re
import zlib
from dataclasses import dataclass, field

import numpy as np

from ...engines.integer_engine import saturates
from ...errors import UsageError
from ...network.integer_plan import LAYERS
from ...network.steps import INPUT
from ...ops.integers import act_range
from ...ops.kernel_sets import get_kernel_set
from .formats import c_kind, c_place, c_shape, c_tables, pick_format
from .integer_constants import constants, rule_of
from .integer_words import OPERATIONS, RULES, TERMS
from .kit import LAYOUT, PAD, select

LAYOUTS = {
    "conv2d": "OIHW",
    "depthwise_conv2d": "CHW",
    "pointwise_conv2d": "OI",
    "linear": "OI",
    "fully_connected": "OI",
}
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,79}")


@dataclass
class IntegerVector:
    """One array: a tensor, a parameter or a constant.

    Attributes
    ----------
    key : str, unique: a step's label, or LABEL/ROLE
    array : of integers, or float32
    scale, zero_point : of integers that stand for real numbers, one or one a channel; else None
    """

    key: str
    array: np.ndarray
    scale: object = None
    zero_point: object = None

    @property
    def crc32(self):
        """Of its little-endian bytes."""
        return zlib.crc32(np.ascontiguousarray(self.array, self.array.dtype.newbyteorder("<")).tobytes())

    def described(self, file):
        """Its row of the manifest."""
        row = {"file": file, "shape": list(self.array.shape), "dtype": str(self.array.dtype), "crc32": self.crc32}
        if self.scale is not None:
            row |= {"scale": np.asarray(self.scale).tolist(), "zero_point": np.asarray(self.zero_point).tolist()}
        return row


@dataclass
class IntegerKit:
    """The vectors of a quantised network.

    Attributes
    ----------
    model : str
    kernels : KernelSet
    plan : IntegerPlan
    steps : tuple of IntegerStep, those asked for
    labels : {tensor's name: what keys, files and C call it}
    vectors : {key: IntegerVector}: the steps' inputs, parameters, constants and outputs, each once
    """

    model: str
    kernels: object
    plan: object
    steps: tuple
    labels: dict
    vectors: dict = field(default_factory=dict)
    checker = "check_integers.c"

    @property
    def dtype(self):
        return f"the integers of {self.kernels.name}"

    def manifest(self, format):
        """What the files are: a dict for JSON."""
        form = pick_format(format, self.vectors.values())
        used = {rule_of(step, self.plan, self.kernels) for step in self.steps} - {""}
        return {
            "format": "npmnv3-integer-vectors",
            "version": 1,
            "model": self.model,
            "kernels": self.kernels.name,
            "layout": LAYOUT,
            "pad": PAD,
            "value": "scale * (integer - zero_point)",
            "factor": "multiplier * 2^(shift - 31), where shift is e of the rules and multiplier m",
            "terms": TERMS,
            "rules": {rule: RULES[rule] for rule in RULES if rule in used},
            "operations": {step.op: OPERATIONS[step.op] for step in self.steps},
            "tensors": {key: vector.described(form.file(key)) for key, vector in self.vectors.items()},
            "steps": [self._described(step) for step in self.steps],
        }

    def _described(self, step):
        label = self.labels[step.name]
        row = {
            "name": step.name,
            "op": step.op,
            "inputs": [self.labels[name] for name in step.inputs],
            "output": label,
            "params": {role: f"{label}/{role}" for role in ROLES if f"{label}/{role}" in self.vectors},
            "rule": rule_of(step, self.plan, self.kernels),
            "clamp": list(act_range(step.act, self.plan.grids[step.name])),
            "act": step.act,
        }
        if step.op in LAYERS:
            row |= {"layout": LAYOUTS[step.op], "stride": list(step.stride), "pad": list(step.pad)}
            row["saturates"] = saturates(step, self.plan, self.kernels)
        if step.op == "pad2d":
            row["pad"] = list(step.pad)
        if step.op == "max_pool2d":
            row["kernel"] = step.kernel
        return row

    def c_tables(self, inline):
        """The tables of vectors.h, lines of C."""
        index = {key: i for i, key in enumerate(self.vectors)}
        tensors = [_c_tensor(vector, inline) for vector in self.vectors.values()]
        steps = [self._c_step(step, index) for step in self.steps]
        return c_tables(tensors, steps)

    def _c_step(self, step, index):
        label = self.labels[step.name]
        inputs = [index[self.labels[name]] for name in step.inputs] + [-1, -1]
        params = ", ".join(str(index.get(f"{label}/{role}", -1)) for role in ROLES)
        rule, (low, high) = rule_of(step, self.plan, self.kernels), act_range(step.act, self.plan.grids[step.name])
        head = f'"{label}", {step.op.upper()}, {(rule or "none").upper()}, {{{inputs[0]}, {inputs[1]}}}, {index[label]}'
        sides = f"{step.kernel}, {{{step.stride[0]}, {step.stride[1]}}}, {{{', '.join(map(str, step.pad))}}}"
        return f"    {{{head}, {{{params}}}, {sides}, {low}, {high}, {int(saturates(step, self.plan, self.kernels))}}},"


#: In the order in which `check_integers.c` has them.
ROLES = (
    "weight", "bias", "weight_zero_point", "constant", "multiplier", "shift", "factor", "offset", "table",
    "scales",
)  # fmt: skip


def _c_tensor(vector, inline):
    file, data = c_place(vector.key, vector, inline)
    zero = vector.zero_point if np.ndim(vector.zero_point) == 0 and vector.zero_point is not None else 0
    numbers = f"{vector.array.size}L, {int(zero)}, {vector.crc32:#x}u"
    return f'    {{"{vector.key}", {file}, {c_kind(vector)}, {{{c_shape(vector.array)}}}, {numbers}, {data}}},'


def make_integer_kit(model, x=None, *, only="*"):
    """The vectors of a quantised network: what its steps store for one input, and what they compute with.

    Parameters
    ----------
    model : QuantizedModel
    x : (1, C, H, W) float32; default standard normal numbers
    only : str, shell-style pattern of step names, several parted by commas

    Returns
    -------
    IntegerKit

    Raises
    ------
    UsageError
    """
    plan, kernels = model.plan, get_kernel_set(model.kernels)
    wanted = select([step.name for step in plan.steps], only)
    if x is None:
        x = np.random.default_rng(0).standard_normal((1, *plan.input_shape)).astype(np.float32)
    if len(x) != 1:
        raise UsageError(f"x has {len(x)} pictures, expected 1")
    tensors = model.trace(x, integers=True)
    steps = tuple(step for step in plan.steps if step.name in wanted)
    kit = IntegerKit(model.name, kernels, plan, steps, _labels([INPUT, *(step.name for step in plan.steps)]))
    for step in steps:
        for tensor in (*step.inputs, step.name):
            grid, key = plan.grids[tensor], kit.labels[tensor]
            kit.vectors[key] = IntegerVector(key, tensors[tensor][0], grid.scale, grid.zero_point)
        for vector in _params(step, kit):
            kit.vectors[vector.key] = vector
    return kit


def _params(step, kit):
    """A step's weights and constants."""
    plan, label = kit.plan, kit.labels[step.name]
    if step.op in LAYERS:
        weight, bias, scale, zero = plan.params(step)
        same = len(np.unique(zero)) == 1
        yield IntegerVector(f"{label}/weight", weight, _one(scale), int(zero.flat[0]) if same else zero)
        yield IntegerVector(f"{label}/bias", bias, _bias_scale(plan.grids[step.inputs[0]], scale), 0)
        if not same:
            yield IntegerVector(f"{label}/weight_zero_point", zero.astype(np.int32))
    if step.op == "scale":
        constant, scale, zero = plan.params(step)
        yield IntegerVector(f"{label}/constant", constant.reshape(1).astype(np.int32), float(scale[0]), int(zero[0]))
    if step.op == "fill":
        grid = plan.grids[step.name]
        constant = plan.params(step)[0].reshape(1).astype(np.int32)
        yield IntegerVector(f"{label}/constant", constant, grid.scale, grid.zero_point)
    for role, array in constants(step, plan, kit.kernels).items():
        yield IntegerVector(f"{label}/{role}", array)


def _one(scale):
    return float(scale[0]) if len(scale) == 1 else scale


def _bias_scale(grid, scale):
    return _one(np.float32(grid.scale) * scale)


def _labels(names):
    """{name: itself, where files and C can be called so; else a number}: another tool's tensors may have any names."""
    distinct = {re.sub(r"\W", "_", name.lower()) for name in names}
    plain = all(_PLAIN.fullmatch(name) for name in names) and len(distinct) == len(names)
    return {name: name if plain else f"t{number:03d}" for number, name in enumerate(names)}
