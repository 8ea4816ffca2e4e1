"""A quantised port's file, under the names of the network that it is."""

import os
from dataclasses import dataclass

from ...conversion.quantized import PartlyInFloats, is_quantized_model, read_quantized_model
from ...conversion.quantized.names import name_tensors
from ...dumps.dumps import is_quantized
from ...dumps.quantized import read_quantized
from ...errors import UsageError, WeightsError

_MODELS = (".tflite", ".onnx", ".pth", ".pt")


def has_integers(path):
    """Whether a port is a quantised .tflite, .onnx or state dict of PyTorch's, or a quantised dump."""
    if not isinstance(path, (str, os.PathLike)) or not os.path.isfile(path):
        return False
    named = os.fspath(path).lower().endswith((*_MODELS, ".npz"))
    return named and (is_quantized_model(path) or is_quantized(path))


def is_quantized_port(path):
    """Whether a port `has_integers`, and is judged integer for integer: an .onnx with floats between its integers, as NNCF
    makes them, is run here, and judged as floats."""
    if not has_integers(path):
        return False
    if os.fspath(path).lower().endswith(".onnx"):
        try:
            read_quantized_model(path)
        except PartlyInFloats:
            return False
        except WeightsError:
            return True  # said by whoever reads it next
    return True


def refuse(path, what):
    """Say why a port is not judged integer for integer, though `what` was given.

    Raises
    ------
    UsageError, or WeightsError of a damaged file
    """
    if isinstance(path, (str, os.PathLike)) and os.path.isfile(path) and os.fspath(path).lower().endswith(_MODELS):
        read_quantized_model(path)
    raise UsageError(
        f"{what} is for quantised ports, and {path} is no quantised .tflite, .onnx, state dict of PyTorch's or dump"
    )


@dataclass(frozen=True)
class Port:
    """A quantised port. plan : IntegerPlan under the network's names; aliases : {the file's name: step's}; kernels :
    what it is meant for, or ""; whole : bool, it does not end before the network does"""

    plan: object
    scheme: str
    kernels: str
    variant: object
    num_classes: int
    whole: bool
    aliases: dict
    also: tuple = ()


class OtherNetwork(WeightsError):
    """A port whose graph is not the network that it should be; the message says where they part."""


def read_port(path, variant):
    """The Port in a file; `variant` is the network that it should be, None where that is not said.

    Raises
    ------
    WeightsError
        Damaged; the message names the tensor. OtherNetwork where it is another network.
    """
    kernels = own = ""
    if is_quantized(path):
        quantized = read_quantized(path)
        plan, scheme, kernels = quantized.plan, quantized.scheme, quantized.kernels
        if quantized.variant is not None and variant in (None, quantized.variant):
            whole = plan.steps[-1].name in ("logits", "logits.flat")
            return Port(plan, scheme, kernels, quantized.variant, quantized.num_classes, whole, {})
    else:
        plan, scheme, own = read_quantized_model(path)
    try:
        named = name_tensors(plan, variant.full_name if variant else own or None)
    except WeightsError as error:
        instead = name_tensors(plan, own or None)
        other = f"; it is {instead.variant.full_name}" if instead.variant else ""
        raise OtherNetwork(f"{error}{other}") from error
    aliases = {old.name.split(":", 1)[-1]: new.name for old, new in zip(plan.steps, named.plan.steps)}
    return Port(named.plan, scheme, kernels, named.variant, named.num_classes, named.whole, aliases, named.also)
