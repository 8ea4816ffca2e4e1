"""Whose memory an array shows."""

import numpy as np


def owner(array):
    """The array that holds an array's numbers: what its views lead to, or itself."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
