"""Models: a network with its weights, from a picture to its classes."""

from .loading import load, param_shapes
from .model import Model

__all__ = ["Model", "load", "param_shapes"]
