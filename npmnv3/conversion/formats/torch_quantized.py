"""What PyTorch's quantisation puts into a state dict, in eager mode or with convert_fx: taken apart from the weights,
whose names are as before."""

import re
from dataclasses import replace

from .stand_ins import Stored

_PACKED = "._packed_params._packed_params"  # of a linear layer: (weight, bias)
_PACKED_DTYPE = "._packed_params.dtype"
#: Scales and zero points: of a module, and, as convert_fx names them, of an operation that is no module of its own.
_GRIDS = re.compile(r"(.*\.|.*_)?(scale|zero_point)((?:_\d+)?)")
#: Of modules that were prepared: what observes a tensor or rounds a weight.
_OBSERVED = re.compile(r"(^|\.)(activation_post_process|weight_fake_quant)\.")
#: Of a network that was trained with its rounding, and whose picture becomes integers in a module of its own, as
#: torchvision's does.
_TRAINED = re.compile(r"(^|\.)quant\.activation_post_process\.fake_quant_enabled")
_NORM = re.compile(r"(^|\.)(\d+)\.bn\.(\w+)$")  # within the layer before it, whose place is one before its own
_CONVERTED = (
    "PyTorch quantised it: its weights are taken as what their integers stand for; of torchvision's networks -o NAME.npz keeps "
    "the integers"
)
_PARTLY = (
    "PyTorch quantised it in part: {} of its {} layers have integers, which are taken as what they stand for; what such a layer reads "
    "becomes integers when the model runs (quantize_dynamic), which the dump does not do, so its logits are other than those"
)
_PREPARED = (
    "left out, observed by PyTorch, which prepared it for quantisation; its weights are floats: {!r} and {} more"
)


def unpacked(state):
    """A state dict with the weights and biases of packed linear layers as entries of their own."""
    packed = {name: pair for name, pair in state.items() if name.endswith(_PACKED) and type(pair) is tuple}
    if not packed:
        return state
    plain = {name: item for name, item in state.items() if name not in packed and not name.endswith(_PACKED_DTYPE)}
    for name, pair in packed.items():
        layer = name.removesuffix(_PACKED)
        plain |= {f"{layer}.{role}": item for role, item in zip(("weight", "bias"), pair) if isinstance(item, Stored)}
    return plain


def set_apart(checkpoint):
    """The checkpoint with scales, zero points and observed ranges in `quantized`, and norms where they were before they
    were fused with a layer; itself where PyTorch did not quantise."""
    beside = {name: array for name, array in checkpoint.arrays.items() if _is_beside(name, checkpoint.arrays)}
    if not beside and not checkpoint.quantized:
        return checkpoint
    note = _note(checkpoint) if checkpoint.quantized else _PREPARED.format(next(iter(beside))[:100], len(beside) - 1)
    names = {name: _plain(name) for name in checkpoint.arrays if name not in beside}
    if len(set(names.values())) < len(names):
        names = {name: name for name in names}
    arrays = {plain: checkpoint.arrays[name] for name, plain in names.items()}
    return replace(checkpoint, arrays=arrays, quantized=checkpoint.quantized | beside, notes=(*checkpoint.notes, note))


def _note(checkpoint):
    layers = [name for name, array in checkpoint.arrays.items() if len(array.shape) > 1]
    count = sum(name in checkpoint.quantized for name in layers)
    return _CONVERTED if count == len(layers) else _PARTLY.format(count, len(layers))


def _is_beside(name, names):
    """Whether an entry is what quantisation keeps beside the weights: a scale has a zero point beside it."""
    found = _GRIDS.fullmatch(name)
    pair = [f"{found[1] or ''}{role}{found[3]}" for role in ("scale", "zero_point")] if found else [None]
    return bool(_OBSERVED.search(name)) or all(other in names for other in pair)


def is_trained(names):
    """Whether these are a network's that was trained with its rounding, all of which is among them."""
    return any(_TRAINED.fullmatch(name) for name in names)


def norm_name(layer, role):
    """The name of a norm's array that was fused with a layer."""
    return _plain(f"{layer}.bn.{role}")


def _plain(name):
    return _NORM.sub(lambda found: f"{found[1]}{int(found[2]) + 1}.{found[3]}", name)
