"""Arrays, or frameworks' tensors, as somebody hands them over, alone or as a mapping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Npmnv3Error, UsageError, WeightsError, check_unmasked
from .containers import Entry

if TYPE_CHECKING:
    import numpy.typing as npt


def mapping_entries(mapping):
    """{name: Entry} of a mapping {name: array, a framework's tensor, or `Entry`}; WeightsError for anything else."""
    entries = {}
    for name, value in mapping.items():
        if isinstance(value, Entry):
            entries[name] = value
            continue
        array = as_array(value, f"the mapping: {name}", WeightsError)
        entries[name] = Entry(array.shape, array.dtype, lambda array=array: array)
    return entries


def as_array(value: object, what: str, error: type[Npmnv3Error] = UsageError) -> npt.NDArray[Any]:
    """What stands for an array as one: a framework's tensor too, without its gradient, bfloat16 widened.

    Parameters
    ----------
    value : object
    what : str, the value's name in messages
    error : type of error

    Raises
    ------
    error
        It is none, such as lists of unequal lengths, or has masked numbers.
    """
    check_unmasked(value, what, error)
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            value = value.float() if "bfloat16" in str(value.dtype) and hasattr(value, "float") else value
            value = value.astype("float32") if "bfloat16" in str(value.dtype) else value
        array = np.asarray(value)
        return array.astype(np.float32) if array.dtype.name == "bfloat16" else array
    except MemoryError:
        raise
    except Exception as refused:  # an object's own `__array__` may raise anything
        cause = str(refused).partition("\n")[0]
        raise error(f"{what} is a {type(value).__name__} that is no array: {cause}") from refused
