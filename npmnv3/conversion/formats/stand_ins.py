"""What stands for things in a pickle: nothing of them is looked up, made or called."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Known:
    """A function or class that pickles may name, and what is called in its place."""

    name: str
    call: Callable
    least: int  # arguments
    most: int


class Opaque:
    """Stands for an object that nobody looks into: options, devices, counters."""

    def build(self, state):
        """Take the object's state from the pickle; here it is dropped."""


class Stored(Opaque):
    """An array that was found and not yet read.

    shape, dtype : of the array
    is_numbers : bool, whether it has numbers, as parameters have
    nbytes : int, what it takes once it is read
    why : str, why its numbers cannot be had, "" where they can
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    nbytes: int
    is_numbers, why = True, ""

    def check(self):
        """WeightsError if something of it is missing; before that shape and dtype may be, too."""
        raise NotImplementedError

    def read(self):
        """The array, read-only, a view of shared bytes where that can be."""
        raise NotImplementedError
