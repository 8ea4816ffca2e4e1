"""Models: a network with its weights, from a picture to its classes."""

from .loading import load, param_shapes
from .model import Model
from .quantized import QuantizedModel

__all__ = ["Model", "QuantizedModel", "load", "param_shapes"]
