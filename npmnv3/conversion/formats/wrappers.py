"""Modules that wrap others within a network: what they put into the middle of names comes out again."""

import os
from dataclasses import replace

# Of compilation, sharding, checkpointed activations, and data parallelism around a part of a network.
_WRAPPERS = frozenset(
    ("_orig_mod", "_fsdp_wrapped_module", "_fpw_module", "_checkpoint_wrapped_module", "_forward_module", "module")
)


def without_wrappers(checkpoint):
    """The checkpoint with its names as they were before; itself where nothing is wrapped or names would meet.

    What stands before all names is left alone: it is a prefix as any other.
    """
    split = [name.split(".")[:-1] for name in checkpoint.arrays]
    shared = max(1, len(os.path.commonprefix(split)))
    names = {name: _unwrapped(name, shared) for name in checkpoint.arrays}
    if len(set(names.values())) < len(names) or all(name == plain for name, plain in names.items()):
        return checkpoint
    wrappers = sorted({part for parts in split for part in parts[shared:] if part in _WRAPPERS})
    note = f"took {', '.join(map(repr, wrappers))} out of the names"
    return replace(checkpoint.renamed(lambda name: _unwrapped(name, shared)), notes=(*checkpoint.notes, note))


def _unwrapped(name, shared):
    parts = name.split(".")
    inner = [part for part in parts[shared:-1] if part not in _WRAPPERS]
    return ".".join(parts[:shared] + inner + parts[max(shared, len(parts) - 1) :])
