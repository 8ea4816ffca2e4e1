"""A network, its weights and the code that they need as one file, which needs only NumPy."""

from .cost import accuracy_cost, standard_inputs
from .freeze import check_recipe, freeze

__all__ = ["accuracy_cost", "check_recipe", "freeze", "standard_inputs"]
