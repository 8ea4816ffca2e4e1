"""torchvision's networks as PyTorch quantises them, in eager mode or with convert_fx, as an IntegerPlan: of the state
dict alone.

A state dict has no graph, so the operations are the network's that its names and shapes tell; its tensors bear the
names of the modules that give them.

Source: torchvision/models/quantization/mobilenetv3.py; torch/ao/nn/quantized/modules/
"""

import re

import numpy as np

from ...errors import WeightsError
from ...network.lowering import LOWERED, lower
from ...network.plan import make_plan
from ...network.steps import INPUT
from ...network.walk import readers
from ...ops.grids import Grid
from ..checkpoints import find_network
from ..formats import open_checkpoint
from ..formats.torch_pickles import Quantized
from ..formats.torch_quantized import is_trained
from .builder import FEW, Builder
from .torch_modules import Converted, Prepared

SCHEME = "torch"
GATE = Grid(1 / 256, 0, "uint8")  # of every hard-sigmoid
_SIDE = "no size of pictures is in it: the dump is for {} pixels"
_ENGINES = (
    "its biases, which are floats in it, are rounded to int32 as PyTorch's engine qnnpack does before a layer first runs; fbgemm, x86 "
    "and onednn leave them in floats: beside ties their integers may part from these by one, and those behind by more"
)
_QUANT = "quant"  # the module that makes integers of the picture
#: Operation -> (which of its inputs' modules tells its own, None for the layer behind it; how it does): torchvision's blocks.
_MODULES = {
    "hard_swish": (0, {r"classifier\.0$": "classifier.1", r"\.0$": ".2"}),
    "global_avg_pool": (None, {r"fc1$|classifier.*": "avgpool"}),
    "hard_sigmoid": (0, {r"fc2$": "scale_activation"}),
    "mul": (1, {r"scale_activation$": "skip_mul"}),
    "add": (0, {r"\.block\..*": ".skip_add"}),
}


def is_quantized(reader, key=None):
    """Whether a file of PyTorch's has a network's integers, or all that makes them."""
    with open_checkpoint(reader.path, key) as (_, checkpoint):
        return has_integers(checkpoint)


def has_integers(checkpoint):
    """`is_quantized` of a checkpoint that is open already."""
    return _holder(checkpoint) is not None


def _holder(checkpoint):
    """The class that reads a checkpoint's integers, None where it has none."""
    if any(isinstance(item, Quantized) for item in checkpoint.quantized.values()):
        return Converted
    return Prepared if is_trained(checkpoint.quantized) else None


def read(reader, key=None):
    """(IntegerPlan, the network's name) of a file, None where it is not quantised.

    Raises
    ------
    WeightsError
        It is no network of torchvision's, or lacks a scale; the message names the module.
    """
    with open_checkpoint(reader.path, key) as (_, checkpoint):
        if not has_integers(checkpoint):
            return None
        fit, _ = find_network(checkpoint, reader.path, None)
        variant = fit.variant
        if variant.source.name != "torchvision":
            raise WeightsError(
                f"is {variant.full_name}, quantised by PyTorch: of torchvision's own modules alone it is known here what they compute "
                "with; convert it to a float dump, -o NAME.h5, or give what torch.onnx.export makes of it"
            )
        plan, shape = make_plan(variant, fit.num_classes, folded=True), (variant.in_channels, *variant.side)
        steps, layers = lower(plan, LOWERED[SCHEME], shape)
        builder, holder = Builder(), _holder(checkpoint)(checkpoint, fit)
        builder.begin(INPUT, shape, holder.grid(_QUANT))
        names = {INPUT: INPUT} | _modules(steps, layers)
        for step in steps:
            _add(builder, step, names, holder, layers.get(step.name))
        builder.notes += [*holder.notes, _SIDE.format("x".join(map(str, variant.side))), _ENGINES]
        return builder.done(shape), variant.full_name


def _add(builder, step, names, holder, layer):
    name, inputs = names[step.name], [names[source] for source in step.inputs]
    arrays = ()
    if layer:
        arrays, builder.bias_rests[name] = _arrays(holder, name, layer, builder.grids[inputs[0]].scale)
    fields = {"act": step.act, "stride": step.stride, "pad": step.pad, "slope": step.slope, "offset": step.offset}
    grid = _fixed(step, builder.grids[inputs[0]]) or holder.grid(name)
    builder.add(name, step.op, inputs, step.shape, grid, arrays, **fields)


def _fixed(step, grid):
    """The grid of what PyTorch gives none of its own: a mean keeps its input's, a hard-sigmoid fills 0 to 1."""
    return {"global_avg_pool": grid, "hard_sigmoid": GATE}.get(step.op)


def _arrays(holder, name, layer, scale):
    """({role: array} of a layer, what its bias loses in integers)."""
    weight, weight_scale, zero, bias = holder.layer(name)
    product = scale * weight_scale.astype(np.float64)
    steps = bias_in_steps(name, bias, product)
    arrays = {
        "weight": layer.param("weight").to_canonical(weight),
        "bias": steps,
        "weight_scale": weight_scale,
        "weight_zero_point": zero.astype(np.int32),
    }
    return arrays, bias / product - steps


def bias_in_steps(name, bias, scale):
    """A bias in steps of a sum, as QNNPACK rounds it when a layer first runs: by the reciprocal of the scales' product.

    Source: pytorch aten/src/ATen/native/quantized/cpu/QnnpackUtils.h
    """
    with np.errstate(all="ignore"):
        steps = np.rint(bias.astype(np.float32) * (np.float32(1) / scale.astype(np.float32)))
    if not (np.abs(steps) < 2.0**31).all():
        raise WeightsError(
            f"{name[:FEW]!r} has a bias that int32 does not hold: up to {np.abs(bias).max():.6g} in steps of {scale.min():.6g}"
        )
    return steps.astype(np.int32)


def _modules(steps, layers):
    """{step: the module that gives its tensor}"""
    found = {name: layer.param("weight").name.removesuffix(".weight") for name, layer in layers.items()}
    after = readers(steps)
    for step in steps:
        if step.name not in found:
            place, names = _MODULES[step.op]
            near = found[after[step.name][0].name if place is None else step.inputs[place]]
            pattern = next(pattern for pattern in names if re.search(pattern, near))
            found[step.name] = re.sub(pattern, names[pattern], near)
    return found
