"""Quantisation schemes as data: how ranges become grids, and which tensors an engine of that kind stores."""

import difflib
from dataclasses import dataclass

from ..errors import UsageError


@dataclass(frozen=True)
class Scheme:
    """One family of engines.

    name : str
    about : str, whose it is
    tool : "tflite" or "onnx", by whose rules ranges become scales, and weights and biases integers; "" by no tool's
    dtype, wide : str, of a stored tensor, and of one that is kept in 16 bits
    weights : str, dtype of the weights
    symmetric : bool, the zero point of 8-bit tensors is in the middle
    wide_symmetric : bool, the same of 16-bit ones
    power_of_two : bool, scales of tensors and weights are powers of two
    gate_in_layer : bool, a hard-sigmoid is the relu6 of the layer before it, times 1/6: as TFLite's converter has it
    open_hard_swish : bool, a hard-swish is a hard-sigmoid and a product, each stored: as ONNX Runtime has it
    """

    name: str
    about: str
    tool: str = ""
    dtype: str = "int8"
    wide: str = "int16"
    weights: str = "int8"
    symmetric: bool = False
    wide_symmetric: bool = True
    power_of_two: bool = False
    gate_in_layer: bool = False
    open_hard_swish: bool = False


#: Schemes of integers.
SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme("tflite", "TensorFlow Lite's converter: int8, full integer", "tflite", gate_in_layer=True),
        Scheme(
            "onnx",
            "ONNX Runtime's static quantisation: uint8 tensors, int8 weights",
            "onnx",
            dtype="uint8",
            wide="uint16",
            wide_symmetric=False,
            open_hard_swish=True,
        ),
        Scheme(
            "symmetric",
            "int8 with zero point 0, as ONNX Runtime's ActivationSymmetric stores it, and many NPUs",
            "onnx",
            symmetric=True,
            open_hard_swish=True,
        ),
        Scheme(
            "pow2",
            "int8, scales of powers of two, as AMD's DPU has it; a simulation",
            symmetric=True,
            power_of_two=True,
        ),
    )
}

#: Formats of floats: bits of the fraction, and largest exponent.
HALVES = {"fp16": (10, 15), "bf16": (7, 127)}

NAMES = (*SCHEMES, *HALVES)


def check_scheme(name, taken=NAMES):
    """The name of a scheme, or UsageError with those that are taken, and the nearest of them."""
    if name in NAMES:
        return name
    near = difflib.get_close_matches(str(name), taken, n=2)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    raise UsageError(f"no scheme is called {name!r}, expected one of {', '.join(taken)}{hint}")
