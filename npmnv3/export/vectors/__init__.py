"""Test vectors: each step of a network with its inputs, parameters and expected output, for ports in C, HDL, ..."""

from .integer_kit import IntegerKit, make_integer_kit
from .kit import Kit, kit_size, make_kit, write_kit

__all__ = ["IntegerKit", "Kit", "kit_size", "make_integer_kit", "make_kit", "write_kit"]
