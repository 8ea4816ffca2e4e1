"""State dicts given as mappings, of arrays or of frameworks' tensors."""

import numpy as np

from ..errors import WeightsError, check_unmasked
from .containers import Entry


def mapping_entries(mapping):
    """{name: Entry} of a mapping {name: array, a framework's tensor, or `Entry`}; WeightsError for anything else."""
    entries = {}
    for name, value in mapping.items():
        if isinstance(value, Entry):
            entries[name] = value
            continue
        array = _as_array(name, value)
        entries[name] = Entry(array.shape, array.dtype, lambda array=array: array)
    return entries


def _as_array(name, value):
    """A value of a mapping as an array: a framework's tensor without its gradient, bfloat16 widened."""
    check_unmasked(value, f"the mapping: {name}", WeightsError)
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            value = value.float() if "bfloat16" in str(value.dtype) and hasattr(value, "float") else value
            value = value.astype("float32") if "bfloat16" in str(value.dtype) else value
        array = np.asarray(value)
        return array.astype(np.float32) if array.dtype.name == "bfloat16" else array
    except (TypeError, ValueError, RuntimeError, AttributeError, NotImplementedError) as error:
        told = str(error).partition("\n")[0]
        raise WeightsError(f"the mapping: {name} is a {type(value).__name__} that is no array: {told}") from error
