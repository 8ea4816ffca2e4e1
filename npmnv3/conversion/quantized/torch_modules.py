"""What a state dict says of the modules of a quantised network: the grids of their tensors, and their layers' integers.

A converted network has these as they are. One that is prepared for it (quantisation-aware training, as torchvision
publishes its own) has float weights and observed ranges, of which the integers are made here as
`torch.ao.quantization.convert` makes them.

Source: torch/ao/quantization/observer.py, fake_quantize.py; torch/ao/nn/quantized/modules/conv.py; torch/nn/utils/fusion.py
"""

import re

import numpy as np

from ...dumps.containers import read_any
from ...errors import WeightsError
from ..formats.torch_pickles import Quantized
from ..formats.torch_quantized import norm_name
from .builder import FEW, make_grid

F32 = np.float32
_AS_FLOATS = "not quantised throughout; convert it to a float dump, -o NAME.h5"
_FX = {"quant": "features_0_0_input"}
_AVERAGING = F32(0.01)  # of a range that is observed: the newest one's share
_BYTES = 255, 127  # steps between the ends of a tensor's integers; fewer where products must not saturate


class Converted:
    """A converted network's modules."""

    notes = ()

    def __init__(self, checkpoint, fit):
        self.checkpoint, self.prefix, self.eps = checkpoint, fit.prefix, F32(fit.variant.source.norm_eps)

    def grid(self, module):
        """The Grid of the tensor that a module gives."""
        own = f"{module}.{{}}"
        name = own if self.prefix + own.format("scale") in self.checkpoint.quantized else _of_fx(module)
        scale, zero = self.numbers(name.format("scale")), self.numbers(name.format("zero_point"), "iu")
        return make_grid(module, scale.astype(F32), zero, "uint8")

    def layer(self, module):
        """(integers, scales and zero points (C,) or (1,), bias (C,) float32) of a layer, output channels first."""
        weight = self.checkpoint.quantized.get(f"{self.prefix}{module}.weight")
        if not isinstance(weight, Quantized) or weight.axis not in (None, 0):
            raise WeightsError(
                f"{module[:FEW]!r} has a weight without integers, or with scales of no output channels: {_AS_FLOATS}"
            )
        integers = weight.integers()
        return integers, weight.scale(), weight.zero_point(), self.array(f"{module}.bias", len(integers))

    def array(self, name, count=0):
        """A float array; zeros where there may be none."""
        found = self.checkpoint.arrays.get(self.prefix + name)
        if found is None and count:
            return np.zeros(count, F32)
        return self._read(found, name).astype(F32)

    def numbers(self, name, kinds="f"):
        """A number or several, of such kinds of dtypes, of what quantisation has put beside the weights."""
        found = np.ravel(self._read(self.checkpoint.quantized.get(self.prefix + name), name))
        if not found.size or found.dtype.kind not in kinds:
            raise WeightsError(f"{name[:FEW]!r} has {found.size} numbers of {found.dtype}: damaged")
        return found

    def _read(self, found, name):
        if found is None:
            raise WeightsError(f"{name[:FEW]!r} is missing: {_AS_FLOATS}")
        return read_any(found)


def _of_fx(module):
    """What convert_fx calls a grid of what is no module of the float network: after the module that computes it."""
    owner = _FX.get(module, re.sub(r"\.skip_(add|mul)$", "", module).replace(".", "_"))
    return f"{owner}_{{}}_0"


class Prepared(Converted):
    """The modules of a network that was trained with its rounding, as they will be converted."""

    notes = (
        "prepared for quantisation, not converted: its integers are made here as torch.ao.quantization.convert makes them",
    )

    def grid(self, module):
        about = f"{module}.activation_post_process"
        low, high = self._range(about)
        low, high = min(low.min(), F32(0)), max(high.max(), F32(0))
        with np.errstate(all="ignore"):
            asked = (high - low) / self.numbers(f"{about}.scale")[0]
        steps = min(_BYTES, key=lambda steps: abs(steps - asked))
        scale = max((high - low) / F32(steps), self._least(about))
        zero = np.clip(-np.rint(low / scale), 0, steps) if scale > 0 else 0
        return make_grid(module, scale, zero, "uint8")

    def layer(self, module):
        weight, bias = self._folded(module)
        about = f"{module}.weight_fake_quant"
        low, high = self._range(about)
        if len(low) not in (1, len(weight)) or not np.isfinite(weight).all():
            raise WeightsError(
                f"{module[:FEW]!r} has {len(low)} ranges for {len(weight)} channels, or weights that are not finite"
            )
        if self.numbers(f"{about}.observer_enabled", "iu")[0] == 1:  # converting observes the weight once more
            each = weight.reshape(len(low) if len(low) > 1 else 1, -1)
            low, high = (old + _AVERAGING * (new - old) for old, new in ((low, each.min(1)), (high, each.max(1))))
        reach = np.maximum(-np.minimum(low, F32(0)), np.maximum(high, F32(0)))
        scale = np.maximum(reach / F32(127.5), self._least(about))
        along = (-1, *(1,) * (weight.ndim - 1))
        integers = np.clip(np.rint(weight * (F32(1) / scale).reshape(along)), -128, 127).astype(np.int8)
        return integers, scale, np.zeros(len(scale), np.int64), bias

    def _range(self, about):
        low, high = (self.numbers(f"{about}.activation_post_process.{end}") for end in ("min_val", "max_val"))
        if not (len(low) == len(high) > 0 and np.isfinite(low).all() and np.isfinite(high).all()):
            raise WeightsError(
                f"{about[:FEW]!r} has observed nothing: the network was prepared and neither trained nor calibrated"
            )
        return low.astype(F32), high.astype(F32)

    def _least(self, about):
        """The least scale, which older files leave out."""
        name = f"{about}.activation_post_process.eps"
        there = self.prefix + name in self.checkpoint.quantized
        return self.numbers(name)[0].astype(F32) if there else np.finfo(F32).eps

    def _folded(self, module):
        """(weight, bias) with the norm that stands in the layer's module, in float32 and in PyTorch's order."""
        weight = self.array(f"{module}.weight")
        if self.prefix + norm_name(module, "weight") not in self.checkpoint.arrays:
            return weight, self.array(f"{module}.bias", len(weight))
        roles = "weight", "bias", "running_mean", "running_var"
        gamma, beta, mean, variance = (self.array(norm_name(module, role)) for role in roles)
        inverse = F32(1) / np.sqrt(variance + self.eps)
        factor = (gamma * inverse).reshape(-1, *(1,) * (weight.ndim - 1))
        return weight * factor, (F32(0) - mean) * inverse * gamma + beta
