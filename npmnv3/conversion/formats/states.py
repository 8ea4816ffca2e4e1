"""Which of the dicts in a checkpoint is the network's state, and the names that the file gives that network."""

import re

from ...dumps.containers import Entry
from ...errors import UsageError, WeightsError
from .foreign import Foreign
from .modules import AROUND, BESIDE, fields, is_module, module_settings, module_state
from .numpy_pickles import Array
from .record import Checkpoint
from .stand_ins import Stored
from .torch_pickles import Quantized
from .torch_quantized import unpacked

# Where training programs put the network, the likeliest first.
WRAPPERS = "state_dict model model_state_dict model_state net network module weights params".split()
PREFIXES = ("module.", "_orig_mod.", "model.")  # of wrapping modules: data parallel, compiled, lightning
COUNTERS = ("n_averaged",)  # of averaging wrappers
# Parts of the names of what is not the network as trained: averages, teachers, and what optimisers keep.
SECONDARY = set("ema optimizer optim optimizers teacher swa averaged momentum shadow target".split())
STRUCTURED = "StructuredToParameterName@@"  # paddle's: from these names to its internal ones
# Paddle's optimisers name what they keep of a parameter after it.
_KEPT_OF = re.compile(
    r"_(velocity|moment[12]?|moment2_max|momentum|beta[12]_pow_acc|inf_norm|mean_square|mean_grad|_avg_squared_grad|"
    r"_avg_squared_update|fp32_master)_\d+$"
)
# Under which names programs say which network it is, and in which dicts beside the outermost one.
NAMING = "arch architecture model_name model backbone net network variant encoder base_model".split()
SETTINGS = set(
    "args hyper_parameters hparams config cfg opt options params model_args model_config model_kwargs pretrained_cfg "
    "default_cfg training_args model_cfg meta dataset_meta".split()
)
# Under which names they keep the classes' names, and how they prepare pictures.
TOLD = (
    "classes class_names classnames CLASSES label_names class_to_idx label2id idx_to_class id2label mean std img_size image_size "
    "input_size crop_size val_crop_size resize_size val_resize_size crop_pct interpolation"
).split()
_SAVE_TORCH = ": torch.save(model.state_dict(), 'weights.pth')"
_SAVE = {"paddle": f"{_SAVE_TORCH}, or paddle.save(model.state_dict(), 'weights.pdparams')"}  # any bare pickle
UNNAMED = "arr_{}"  # the arrays of a list, as np.savez numbers them
MAX_DEPTH = 4
MAX_LIST = 1000  # items of a list that are looked into
MAX_RATIO = 4  # arrays may share bytes of the file, but not without end
MAX_NAME = 100  # characters of what a file says of itself


def choose(kind, top, key, file_size):
    """Find the state dict in an unpickled object.

    Parameters
    ----------
    kind : str, the format
    top : the object
    key : dotted path of the dict to take, or the prefix of its names within one; None for the likeliest
    file_size : int, bytes

    Returns
    -------
    Checkpoint, its arrays as `Entry`

    Raises
    ------
    WeightsError, UsageError
        No dict of tensors anywhere, or several of which none is likelier; none under `key`.
    """
    states, all_claims, told, modules = _search(top)
    if not states:
        raise WeightsError(
            f"holds no dict of tensors, but {_describe(top)}; a state dict is expected{_SAVE.get(kind, _SAVE_TORCH)}"
        )
    paths = sorted(states, key=lambda path: _rank(path, states[path]))
    if key is None and all(_is_optimizers(states[path]) for path in paths):
        raise WeightsError(
            f"holds what an optimiser keeps ({_listed(list(states[paths[0]])[:2])}, ...), no network; give the file of the "
            "weights that was saved beside it (.pdparams)"
        )
    taken, state = _taken(states, paths, key)
    state = unpacked(state)
    stored = {name: value for name, value in state.items() if _is_array(value) and name not in COUNTERS}
    others = tuple(path for path in paths if path != taken)
    notes = [f"took {taken!r}" if taken else "took the outermost dict"] if taken or others else []
    if others:
        notes[0] += f"; the file also holds {_listed(others)}"
    unread = _unread(state)
    if unread and not stored:
        raise WeightsError("; ".join(unread))
    left_out = {name: item for name, item in state.items() if name not in stored and name != STRUCTURED}
    if left_out:
        notes.append(f"left out, being no parameters: {_listed(list(left_out))}")
    stored, prefix = _strip(stored)
    if prefix:
        notes.append(f"took {prefix!r} off every name")
    arrays = {name: item for name, item in stored.items() if kind == "paddle" and isinstance(item, Array)}
    widened = tuple(name for name, array in arrays.items() if array.as_bfloat16())
    if widened:
        notes.append(f"{len(widened)} arrays of uint16 are bfloat16, which paddle keeps so")
    structured = state.get(STRUCTURED)
    metadata = {STRUCTURED: structured} if isinstance(structured, dict) else {}
    claims = () if _is_secondary(taken) else tuple(all_claims)
    settings = _settings(modules[taken], prefix) if taken in modules else {}
    entries = as_entries(stored, file_size)
    quantized = {name: item for name, item in stored.items() if isinstance(item, Quantized)}
    details = {
        "settings": () if _is_secondary(taken) else tuple(told),
        "unread": unread,
        "left_out": left_out,
        "widened": widened,
        "quantized": quantized,
    }
    return Checkpoint(kind, entries, taken, others, tuple(notes), metadata, claims=claims, modules=settings, **details)


def _search(top):
    """({dotted path: state dict}, [(where, name)], [(where, setting)], {dotted path: module}): each dict is looked into once,
    a module as the state it holds."""
    states, claims, told, modules, queue, seen = {}, [], [], {}, [("", top, 0)], set()
    for path, value, depth in queue:
        if id(value) in seen or depth > MAX_DEPTH or not isinstance(value, (dict, list, tuple, Foreign)):
            continue
        seen.add(id(value))
        inner = fields(value, MAX_LIST)
        if is_module(value):
            states[path], modules[path] = module_state(value), value
            queue += [(_join(path, name), inner[name], depth) for name in SETTINGS & inner.keys()]
            continue
        named = {name: _unwrapped(item) for name, item in inner.items() if name and isinstance(name, str)}
        if isinstance(value, (list, tuple)) and not path and value and all(map(_is_array, value)):
            states[path] = {UNNAMED.format(i): item for i, item in enumerate(value)}
        elif not isinstance(value, (list, tuple)) and any(_is_array(item) or _why(item) for item in named.values()):
            states[path] = named
        if not path or path.rpartition(".")[2] in SETTINGS:
            claims += [(_join(path, name), named[name][:MAX_NAME]) for name in NAMING if _is_name(named.get(name))]
            told += [(_join(path, name), named[name]) for name in TOLD if name in named]
        queue += [(_join(path, name), item, depth + 1) for name, item in named.items()]
    return {path: state for path, state in states.items() if state}, claims, told, modules


def _settings(module, prefix):
    """{dotted name without the prefix: what a module is set to}. Names of modules around the network begin with `AROUND`, of
    others beside it with `BESIDE`."""
    renamed = {}
    for name, settings in module_settings(module).items():
        full = f"{name}." if name else ""
        mark = AROUND if prefix.startswith(full) else BESIDE
        renamed[full.removeprefix(prefix)[:-1] if full.startswith(prefix) else mark + name] = settings
    return renamed


def _join(path, name):
    return f"{path}.{name}" if path else name


def _is_name(value):
    return isinstance(value, str) and 4 <= len(value) and value.isprintable()


def _is_array(item):
    return isinstance(item, Stored) and item.is_numbers


def _why(item):
    return item.why if isinstance(item, Stored) else ""


def _unread(state):
    """Sentences on the tensors whose numbers are not read."""
    names = {}
    for name, item in state.items():
        names.setdefault(_why(item), []).append(name)
    return tuple(f"not read: {_listed(group)}, being {why}" for why, group in names.items() if why)


def _unwrapped(item):
    """Paddle pickles a tensor in a dict within a dict as (its internal name, array)."""
    pair = isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str) and _is_array(item[1])
    return item[1] if pair else item


def _taken(states, paths, key):
    """(path, state) of the dict that is asked for or, failing that, the likeliest."""
    if key is None:
        return _likeliest(states, paths)
    if key in states:
        return key, states[key]
    for path in paths:
        inside = {
            name.removeprefix(f"{key}."): item for name, item in states[path].items() if name.startswith(f"{key}.")
        }
        if any(_is_array(item) for item in inside.values()):
            return key, inside
    raise UsageError(f"nothing to take under {key!r}; there are: {_listed(paths)}")


def _likeliest(states, paths):
    """The first in order, unless others are as likely: then the only one that begins as a network for pictures does."""
    alike = [path for path in paths if _rank(path, states[path])[:2] == _rank(paths[0], states[paths[0]])[:2]]
    begins = [path for path in alike if _takes_pictures(states[path])]
    if len(begins) > 1:
        raise WeightsError(
            f"holds several state dicts, of which none is likelier: {_listed(begins)}; say which with --key (key=)"
        )
    taken = begins[0] if begins else paths[0]
    return taken, states[taken]


def _takes_pictures(state):
    """Whether there is a 3x3 convolution of a picture."""
    for item in state.values():
        shape = getattr(item, "shape", ()) if _is_array(item) else ()
        if len(shape) == 4 and (shape[1:] in ((3, 3, 3), (1, 3, 3)) and shape[0] <= 64):
            return True
    return False


def _rank(path, state):
    """Likelihood as a sort key: plain before averaged weights, known wrappers first, then the largest."""
    name = path.rpartition(".")[2].lower()
    known = WRAPPERS.index(name) if name in WRAPPERS else len(WRAPPERS)
    count = sum(_is_array(item) for item in state.values())
    return 2 if not count else _is_secondary(path) or _is_optimizers(state), known, -count


def _is_secondary(path):
    return not SECONDARY.isdisjoint(path.lower().replace(".", "_").split("_"))


def _is_optimizers(state):
    """Whether most of the names are of what paddle's optimisers keep."""
    return 2 * sum(bool(_KEPT_OF.search(name)) for name in state) > len(state)


def _strip(stored):
    """Take wrapping modules' prefixes off, where all names have them."""
    taken_off = ""
    while prefix := next((p for p in PREFIXES if stored and all(name.startswith(p) for name in stored)), ""):
        stored = {name.removeprefix(prefix): value for name, value in stored.items()}
        taken_off += prefix
    return stored, taken_off


def stripped_names(state):
    """{name: name without the prefixes that are taken off all}"""
    stripped, prefix = _strip({name: None for name in state if name not in COUNTERS})
    return {prefix + name: name for name in stripped}


def as_entries(stored, file_size):
    """{name: Entry} of Stored values; WeightsError where they claim to be far larger than the file."""
    for value in stored.values():
        value.check()
    total = sum(value.nbytes for value in stored.values())
    if total > MAX_RATIO * file_size:
        raise WeightsError(f"the tensors would take {total} bytes, out of a file of {file_size}: refused")
    return {name: Entry(value.shape, value.dtype, value.read, name) for name, value in stored.items()}


def _listed(names):
    names = [repr(name[:100]) if name else "the outermost dict" for name in names]
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _describe(top):
    if isinstance(top, Foreign):
        return f"an object of {top.name[:100]}"
    if type(top) is not dict:
        return f"a {type(top).__name__}"
    keys = [str(name) for name in top]
    return f"a dict with {_listed(keys)}" if keys else "an empty dict"
