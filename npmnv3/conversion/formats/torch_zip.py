"""torch's zip files, of 1.6 and later: NAME/data.pkl, and the storages NAME/data/KEY.

TorchScript (torch.jit.save) is the same with code beside; exported programs (.pt2) have a list of their weights, and
their graph, in JSON.
"""

import functools
import json
import math
import re
from dataclasses import replace

from ...dumps.containers import Entry
from ...dumps.reader import Reader
from ...errors import UsageError, WeightsError
from . import pickles
from .arrays import BFLOAT16, check_shape, itemsize, numpy_dtype, shaped
from .modules import CODE, is_module, module_state
from .record import Checkpoint
from .states import choose, stripped_names
from .torch_code import program_of_code
from .torch_frozen import SAVE, read_frozen
from .torch_pickles import KNOWN, Storages, Tensor
from .torch_program import MAX_BYTES, read_program
from .zips import read_entry, unpacked_size

PICKLE = "/data.pkl"
EXPORTED = "/data/weights/model_weights_config.json"
PROGRAM = "/models/model.json"
MAX_LIST = 16 << 20  # bytes
_DTYPES = {1: "u1", 2: "i1", 3: "i2", 4: "i4", 5: "i8", 6: "f2", 7: "f4", 8: "f8", 12: "b1", 13: BFLOAT16}
MAX_CODE = 1 << 20  # bytes of a class
#: In the code of a class, where a batch norm is called: the last number, before cudnn's flag.
_EPSILON = re.compile(rb"running_var,[^()\n]*, (\d[\d.e+-]*)(?:, True)?,? ?\)")
_NOT_FOLLOWED = "its code is not followed{}: the order of its operations, its sums and products are not checked"


def read(reader, entries, key):
    """Read a zip that has NAME/data.pkl."""
    names = [name for name in entries if name.endswith(PICKLE)]
    if len(names) != 1:
        raise WeightsError(f"a zip file with {len(names)} entries NAME{PICKLE}, expected one")
    folder, size = names[0].removesuffix(PICKLE), unpacked_size(entries)
    order = entries.get(f"{folder}/byteorder")
    order = ">" if order and read_entry(reader, order) == b"big" else "<"
    storages = Storages(size)
    with Reader(read_entry(reader, entries[names[0]])) as stream:
        top = pickles.load(stream, KNOWN, storages.persistent)
    for storage in storages.by_key.values():
        entry = entries.get(f"{folder}/data/{storage.key}")
        if entry is None or entry.file_size < storage.nbytes:
            actual = "missing" if entry is None else f"{entry.file_size} bytes"
            raise WeightsError(f"storage {storage.key[:50]!r} is {actual}, expected {storage.nbytes} bytes")
        storage.order, storage.read = order, functools.partial(read_entry, reader, entry, storage.nbytes)
    frozen = is_module(top) and not module_state(top)
    if frozen and any(name.startswith(f"{folder}/constants/") for name in entries):
        code, constants = _code(reader, entries, folder), _constants(reader, entries, folder)
        return read_frozen(top, code, constants, size)
    checkpoint = _with_epsilons(choose("torch", top, key, size), reader, entries, folder)
    scripted = any(CODE in settings for settings in checkpoint.modules.values())
    return _with_operations(checkpoint, top, reader, entries, folder) if scripted else checkpoint


def _with_operations(checkpoint, top, reader, entries, folder):
    """Scripted and traced modules' operations, by their code."""
    code, constants = _code(reader, entries, folder), _constants(reader, entries, folder)
    names = stripped_names(module_state(top)) if is_module(top) else {}
    operations, reason = program_of_code(top, names, code, constants) if names else ((), "")
    note = "its code is compared" + ", as after eval()" * (names and top.state.get("training") is True)
    note = note if operations else _NOT_FOLLOWED.format(reason)
    return replace(checkpoint, program=operations, notes=(*checkpoint.notes, note))


def _code(reader, entries, folder):
    """A function of a file's name that gives its text, None where it is too long or missing."""

    def code(path):
        entry = entries.get(f"{folder}/code/{path}")
        return read_entry(reader, entry).decode() if entry and entry.file_size <= MAX_CODE else None

    return code


def _constants(reader, entries, folder):
    """What code calls CONSTANTS.c0 ...: numbers, tensors, None in place of anything else."""
    name = f"{folder}/constants.pkl"
    if name not in entries or entries[name].file_size > MAX_CODE:
        return []
    storages = Storages(unpacked_size(entries))
    try:
        with Reader(read_entry(reader, entries[name])) as stream:
            loaded = pickles.load(stream, KNOWN, storages.persistent)
    except WeightsError:  # code that uses something else than tensors is not followed
        return []
    for storage in storages.by_key.values():
        entry = entries.get(f"{folder}/constants/{storage.key}")
        if entry is not None and entry.file_size >= storage.nbytes:
            storage.read = functools.partial(read_entry, reader, entry, storage.nbytes)
    items = loaded if isinstance(loaded, (tuple, list)) else ()
    return [_constant(item) for item in items]


def _constant(item):
    known = isinstance(item, Tensor) and item.storage.read is not None
    return None if not known else item if item.shape else item.read().item()


def _with_epsilons(checkpoint, reader, entries, folder):
    """Scripted modules' settings, with the epsilons of batch norms, which only their code holds."""
    codes = {settings[CODE] for settings in checkpoint.modules.values() if CODE in settings}
    epsilons = {code: _epsilon(reader, entries.get(f"{folder}/code/{code}")) for code in codes}
    modules = {name: settings | epsilons.get(settings.get(CODE), {}) for name, settings in checkpoint.modules.items()}
    return replace(checkpoint, modules=modules)


def _epsilon(reader, code):
    """{"eps": number} of the classes in a file of code, if they have one and the same."""
    if code is None or code.file_size > MAX_CODE:
        return {}
    epsilons = set(_EPSILON.findall(read_entry(reader, code)))
    try:
        return {"eps": float(epsilons.pop())} if len(epsilons) == 1 else {}
    except ValueError:
        return {}


def read_exported(reader, entries, key):
    """Read an exported program (torch.export.save): a JSON list has each tensor's place."""
    listing = next(name for name in entries if name.endswith(EXPORTED))
    if key is not None:
        raise UsageError(f"`key={key!r}` is for training checkpoints that hold several state dicts; this is a program")
    folder = listing.rpartition("/")[0]
    text = read_entry(reader, entries[listing], MAX_LIST)
    try:
        config = json.loads(text)["config"]
        arrays = {name: _exported(reader, entries, folder, name, about) for name, about in config.items()}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"not a list of weights: {listing[:100]} ({type(error).__name__}: {error})") from error
    program = listing.removesuffix(EXPORTED) + PROGRAM
    settings, operations, notes = {}, (), ("it has no graph here: nothing but names and shapes is compared",)
    if program in entries:
        settings, operations, notes = read_program(_program(reader, entries[program]), program[:100])
    compared = ", and its graph compared" if operations else ""
    notes = (f"an exported program: its weights are taken{compared}", *notes)
    return Checkpoint("torch", arrays, notes=notes, modules=settings, program=operations)


def _program(reader, entry):
    if entry.file_size > MAX_BYTES:
        raise WeightsError(f"its program has {entry.file_size} bytes, more than {MAX_BYTES}")
    return read_entry(reader, entry)


def _exported(reader, entries, folder, name, about):
    meta, entry = about["tensor_meta"], entries.get(f"{folder}/{about['path_name']}")
    if about.get("use_pickle") or entry is None:
        raise WeightsError(f"the weight {name[:100]} is not in the file as it is; give the state dict, {SAVE}")
    shape = check_shape([size["as_int"] for size in meta["sizes"]], name[:100])
    strides = check_shape([step["as_int"] for step in meta["strides"]], f"the strides of {name[:100]}")
    dtype = _DTYPES.get(meta["dtype"])
    in_order = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))  # strides of an array in C order
    plain = in_order == strides or 0 in shape
    if dtype is None or not plain or meta["storage_offset"]["as_int"]:
        raise WeightsError(f"the weight {name[:100]} is not stored plainly (dtype {meta['dtype']}, strides {strides})")
    if entry.file_size != itemsize(dtype) * max(1, math.prod(shape)):
        raise WeightsError(f"the weight {name[:100]} {shape} has {entry.file_size} bytes")
    return Entry(shape, numpy_dtype(dtype), lambda: shaped(read_entry(reader, entry), dtype, shape, name[:100]), name)
