"""Test vectors: each step of a network with its inputs, parameters and expected output, for ports in C, HDL, ..."""

from .kit import Kit, make_kit, write_kit

__all__ = ["Kit", "make_kit", "write_kit"]
