"""Which of a pickle's dicts is the network's state."""

from ...dumps.containers import Entry
from ...errors import UsageError, WeightsError
from .pickles import Stored
from .record import Checkpoint

# Where training programs put the network, the likeliest first.
WRAPPERS = ("state_dict", "model", "model_state_dict", "model_state", "net", "network", "module", "weights", "params")
PREFIXES = ("module.", "_orig_mod.", "model.")  # of wrapping modules: data parallel, compiled, lightning
COUNTERS = ("n_averaged",)  # of averaging wrappers
SECONDARY = {"ema", "optimizer", "optim"}  # parts of the names of what is not the network as trained
STRUCTURED = "StructuredToParameterName@@"  # paddle's: from these names to its internal ones
MAX_DEPTH = 3
MAX_RATIO = 4  # arrays may share bytes of the file, but not without end


def choose(kind, top, key, file_size):
    """Find the state dict in an unpickled object.

    Parameters
    ----------
    kind : str, the format
    top : the object
    key : dotted path of the dict to take, or None for the likeliest
    file_size : int, bytes

    Returns
    -------
    Checkpoint, its arrays as `Entry`

    Raises
    ------
    WeightsError
        No dict of tensors anywhere.
    UsageError
        None under `key`.
    """
    found = _candidates(top)
    if not found:
        raise WeightsError(f"holds no dict of tensors, but {_describe(top)}; a state dict is expected")
    paths = sorted(found, key=lambda path: _rank(path, found[path]))
    if key is not None and key not in found:
        raise UsageError(f"nothing to take under {key!r}; there are: {_listed(paths)}")
    taken = paths[0] if key is None else key
    stored = {name: value for name, value in found[taken].items() if isinstance(value, Stored) and name not in COUNTERS}
    others = tuple(path for path in paths if path != taken)
    notes = [f"took {taken!r}" if taken else "took the outermost dict"] if taken or others else []
    if others:
        notes[0] += f"; the file also holds {_listed(others)}"
    left_out = [name for name in found[taken] if name not in stored and name != STRUCTURED]
    if left_out:
        notes.append(f"left out, being no parameters: {_listed(left_out)}")
    stored, prefix = _strip(stored)
    if prefix:
        notes.append(f"took {prefix!r} off every name")
    structured = found[taken].get(STRUCTURED)
    metadata = {STRUCTURED: structured} if isinstance(structured, dict) else {}
    return Checkpoint(kind, _entries(stored, file_size), taken, others, tuple(notes), metadata)


def _candidates(top):
    """{dotted path: dict} of all dicts that hold tensors under names; each dict is looked into once."""
    found, queue, seen = {}, [("", top, 0)], set()
    for path, value, depth in queue:
        if type(value) is not dict or id(value) in seen or depth > MAX_DEPTH:
            continue
        seen.add(id(value))
        named = {name: item for name, item in value.items() if name and isinstance(name, str)}
        if any(isinstance(item, Stored) for item in named.values()):
            found[path] = named
        queue += [(f"{path}.{name}" if path else name, item, depth + 1) for name, item in named.items()]
    return found


def _rank(path, state):
    """Likelihood as a sort key: plain before averaged weights, known wrappers first, then the largest."""
    name = path.rpartition(".")[2].lower()
    known = WRAPPERS.index(name) if name in WRAPPERS else len(WRAPPERS)
    secondary = not SECONDARY.isdisjoint(path.lower().replace(".", "_").split("_"))
    return secondary, known, -sum(isinstance(item, Stored) for item in state.values())


def _strip(stored):
    """Take wrapping modules' prefixes off, where all names have them."""
    taken_off = ""
    while prefix := next((p for p in PREFIXES if stored and all(name.startswith(p) for name in stored)), ""):
        stored = {name.removeprefix(prefix): value for name, value in stored.items()}
        taken_off += prefix
    return stored, taken_off


def _entries(stored, file_size):
    for value in stored.values():
        value.check()
    total = sum(value.nbytes for value in stored.values())
    if total > MAX_RATIO * file_size:
        raise WeightsError(f"the tensors would take {total} bytes, out of a file of {file_size}: refused")
    return {name: Entry(value.shape, value.dtype, value.read, name) for name, value in stored.items()}


def _listed(names):
    names = [repr(name[:100]) for name in names]
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _describe(top):
    if type(top) is not dict:
        return f"a {type(top).__name__}"
    keys = [str(name) for name in top]
    return f"a dict with {_listed(keys)}" if keys else "an empty dict"
