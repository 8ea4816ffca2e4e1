"""Quantised dumps: a network's integers, scales and steps in an .npz, simple enough to be written by another tool.

Attributes (JSON, as in a weight dump): format, version, input_shape [C, H, W], steps: a list of objects with name, op,
inputs, shape and what else an operation has (`network.integer_plan`); scheme, kernels, and a weight dump's attributes.
Arrays: TENSOR.scale () float32 and TENSOR.zero_point () of the tensor's own dtype, for "input" and each step; of layers
STEP.weight, STEP.bias, STEP.weight_scale, STEP.weight_zero_point, and STEP.bias_rest where the bias was floats.
"""

import json
import os
from dataclasses import MISSING, asdict, dataclass, field, fields

import numpy as np

from ..errors import UsageError, WeightsError
from ..network.integer_plan import INTEGER_OPS, IntegerPlan, IntegerStep
from ..network.spec import Preprocess, Variant
from ..network.steps import INPUT
from ..network.variants import get_variant
from ..ops.grids import Grid
from ..ops.kernel_sets import get_kernel_set
from .attributes import QUANTIZED, read_labels, read_preprocess
from .containers import open_container, write_container

VERSION = 1
MAX_STEPS = 2000
MAX_SIDE = 1 << 14
_DEFAULTS = {f.name: f.default for f in fields(IntegerStep) if f.default is not MISSING}


@dataclass(frozen=True)
class Quantized:
    """A quantised network.

    plan : IntegerPlan
    variant : Variant, or None where it is none of the known
    num_classes : int
    scheme : str, by what rules it was quantised: "tflite", "onnx", "symmetric", "pow2"
    kernels : str, name of the kernel set that it is meant for, "" where it is left open
    labels, preprocess, attributes : as in `Weights`
    """

    plan: IntegerPlan
    variant: Variant | None
    num_classes: int
    scheme: str = ""
    kernels: str = ""
    labels: tuple[str, ...] | str | None = None
    preprocess: Preprocess | None = None
    attributes: dict = field(default_factory=dict)


def check_out(path):
    """UsageError if a quantised dump cannot have this name."""
    if not os.fspath(path).endswith(".npz"):
        raise UsageError(f"a quantised network is written as .npz, found {os.fspath(path)!r}")


def write_quantized(path, quantized):
    """Write a quantised dump; the file appears whole or not at all.

    Parameters
    ----------
    path : str or os.PathLike, ends in .npz
    quantized : Quantized

    Raises
    ------
    UsageError, WriteError
    """
    check_out(path)
    plan, variant = quantized.plan, quantized.variant
    attributes = {
        **quantized.attributes,
        "format": QUANTIZED,
        "version": VERSION,
        "num_classes": quantized.num_classes,
        "scheme": quantized.scheme,
        "kernels": quantized.kernels,
        "input_shape": list(plan.input_shape),
        "steps": [_described(step) for step in plan.steps],
    }
    if variant is not None:
        attributes |= {"source": variant.source.name, "variant": variant.name}
    if quantized.labels:
        attributes["labels"] = quantized.labels if isinstance(quantized.labels, str) else list(quantized.labels)
    if quantized.preprocess is not None:
        attributes["preprocess"] = json.dumps(asdict(quantized.preprocess))
    arrays = {}
    for name, grid in plan.grids.items():
        arrays[f"{name}.scale"] = np.float32(grid.scale)
        arrays[f"{name}.zero_point"] = np.array(grid.zero_point, grid.dtype)
    rests = {f"{name}.bias_rest": rest for name, rest in plan.bias_rests.items()}
    write_container(path, arrays | dict(plan.arrays) | rests, attributes)


def _described(step):
    """A step's fields, without those at their defaults."""
    return {name: value for name, value in asdict(step).items() if name not in _DEFAULTS or value != _DEFAULTS[name]}


def read_quantized(path):
    """Read a quantised dump and check all of it.

    Returns
    -------
    Quantized

    Raises
    ------
    WeightsError
        Damaged, or something in it does not fit together; the message names the tensor.
    """
    path = os.fspath(path)
    with open_container(path) as (attributes, entries):
        if (attributes.get("format"), attributes.get("version")) != (QUANTIZED, VERSION):
            actual = f"{attributes.get('format')} version {attributes.get('version')}"
            raise WeightsError(f"{path}: is {actual}, expected {QUANTIZED} version {VERSION}")
        try:
            plan = _plan(attributes, entries)
        except (WeightsError, UsageError) as error:
            raise WeightsError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    return _quantized(path, attributes, plan)


def _quantized(path, attributes, plan):
    """The Quantized of a plan and of the dump's attributes."""
    variant = None
    if "source" in attributes or "variant" in attributes:
        try:
            variant = get_variant(f"{attributes.get('source')}/{attributes.get('variant')}")
        except UsageError as error:
            raise WeightsError(f"{path}: {error}") from error
    kernels, count = attributes.get("kernels", ""), plan.steps[-1].shape[0]
    if kernels:
        try:
            get_kernel_set(kernels)
        except (UsageError, TypeError) as error:
            raise WeightsError(f"{path}: {error}") from error
    if attributes.get("num_classes", count) != count:
        raise WeightsError(f"{path}: says {attributes['num_classes']!r} classes, but its last step gives {count}")
    labels = read_labels(path, attributes, variant, count) if variant is not None or "labels" in attributes else ""
    scheme = attributes.get("scheme", "")
    return Quantized(
        plan,
        variant,
        count,
        scheme if isinstance(scheme, str) else "",
        kernels,
        labels,
        read_preprocess(path, attributes),
        {name: value for name, value in attributes.items() if name != "steps"},
    )


def _plan(attributes, entries):
    shape, steps = attributes.get("input_shape"), attributes.get("steps")
    if not _ints(shape) or len(shape) != 3 or not all(1 <= n <= MAX_SIDE for n in shape):
        raise WeightsError(f"input_shape is {shape!r}, expected [channels, height, width]")
    if not isinstance(steps, list) or not 0 < len(steps) <= MAX_STEPS:
        raise WeightsError(f"steps is {str(steps)[:100]}, expected a list of 1 to {MAX_STEPS} objects")
    steps = tuple(_step(settings, index) for index, settings in enumerate(steps))
    grids = {name: _grid(entries, name) for name in (INPUT, *(step.name for step in steps))}
    wanted = [f"{step.name}.{role}" for step in steps for role in INTEGER_OPS.get(step.op, ((),))[0]]
    arrays = {name: entries[name].read() for name in wanted if name in entries}
    layers = [step.name for step in steps if f"{step.name}.bias" in arrays]
    rests = {name: entries[f"{name}.bias_rest"].read() for name in layers if f"{name}.bias_rest" in entries}
    return IntegerPlan(steps, grids, arrays, tuple(shape), bias_rests=rests)


def _ints(value):
    return isinstance(value, list) and all(isinstance(n, int) and not isinstance(n, bool) for n in value)


def _step(settings, index):
    """An IntegerStep of its JSON object."""
    names = {f.name for f in fields(IntegerStep)}
    if not isinstance(settings, dict) or not {"name", "op", "inputs", "shape"} <= settings.keys() <= names:
        raise WeightsError(
            f"step {index} is {str(settings)[:100]}, expected name, op, inputs, shape, maybe {', '.join(_DEFAULTS)}"
        )
    what = f"step {index}, {str(settings['name'])[:100]!r}"
    for name in ("name", "op", "act"):
        if not isinstance(settings.get(name, ""), str):
            raise WeightsError(f"{what}: {name} is {settings[name]!r}, expected a text")
    for name, length in (("shape", None), ("stride", 2), ("pad", 4)):
        value = settings.get(name, list(_DEFAULTS.get(name, ())))
        if not _ints(value) or length not in (None, len(value)) or any(abs(n) > 1 << 20 for n in value):
            raise WeightsError(f"{what}: {name} is {str(value)[:100]}, expected whole numbers")
    for name in ("kernel", "slope", "offset"):
        if isinstance(settings.get(name, 0), bool) or not isinstance(settings.get(name, 0), (int, float)):
            raise WeightsError(f"{what}: {name} is {settings[name]!r}, expected a number")
    if not isinstance(settings["inputs"], list) or not all(isinstance(name, str) for name in settings["inputs"]):
        raise WeightsError(f"{what}: inputs is {str(settings['inputs'])[:100]}, expected names")
    return IntegerStep(**{name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()})


def _grid(entries, name):
    scale, zero = (entries.get(f"{name}.{part}") for part in ("scale", "zero_point"))
    if scale is None or zero is None:
        raise WeightsError(f"the tensor {name[:100]!r} has no scale or no zero point ({name[:100]}.scale, .zero_point)")
    if scale.shape != () or scale.dtype != np.float32 or zero.shape != ():
        raise WeightsError(
            f"the tensor {name[:100]!r} has a scale {scale.dtype} {scale.shape} and a zero point {zero.dtype} {zero.shape}, "
            "expected one float32 and one integer of the tensor's dtype"
        )
    try:
        return Grid(float(scale.read()), int(zero.read()), zero.dtype.name)
    except UsageError as error:
        raise WeightsError(f"the tensor {name[:100]!r}: {error}") from error
