"""A network, its weights and the code that they need as one file, which needs only NumPy."""

from .cost import accuracy_cost, standard_inputs
from .freeze import freeze

__all__ = ["accuracy_cost", "freeze", "standard_inputs"]
