"""Checkpoints of the sources, read without their frameworks.

`read_checkpoint` takes torch's .pth (zip and legacy), .safetensors, paddle's .pdparams and .pdiparams, Keras's HDF5
files, ONNX, TensorFlow Lite, and a dict as np.save keeps it, recognised by content. Files may come from anybody:
nothing in them is run, and nothing is allocated that they do not hold.
"""

import contextlib
import os
import re
from dataclasses import replace

import numpy as np

from ...dumps.containers import read_any
from ...dumps.hdf5 import MAGIC as HDF5_MAGIC
from ...dumps.npy import MAGIC as NPY_MAGIC
from ...dumps.reader import Reader, naming
from ...errors import UsageError, WeightsError
from . import (
    keras,
    numpy_pickles,
    onnx_graph,
    onnx_kinds,
    paddle_inference,
    pickles,
    safetensors,
    shards,
    tflite,
    torch_legacy,
    torch_zip,
    zips,
)
from .card import read_card
from .ends import each_class
from .record import Checkpoint, Layer
from .states import choose
from .torch_pickles import KNOWN
from .torch_quantized import set_apart
from .wrappers import without_wrappers

__all__ = ["Checkpoint", "Layer", "only", "open_checkpoint", "read_checkpoint"]

_KNOWN_FORMATS = (
    "torch's .pth (zip or legacy), .safetensors, paddle's .pdparams or .pdiparams (with its .pdmodel or .json beside "
    "it), Keras's .keras, .h5 or .weights.h5, ONNX, TensorFlow Lite"
)

PICKLE_STARTS = (b"\x80", b"(", b"c", b"}", b"]")  # of protocol 2 and later, and what protocols 0 and 1 begin with
_PACKED = {
    b"\x1f\x8b": "compressed by gzip",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
}
_DEPLOYED = {
    b"7767517\n": "ncnn's graph",
    b"<?xml": "XML, such as OpenVINO's graph",
    b"ftrt": "a TensorRT engine",
    b"ptrt": "a TensorRT engine",
    b"RKNN": "Rockchip's RKNN",
    b"GGUF": "GGUF",
}
_DEPLOYED_BUFFERS = {b"ORTM": "ONNX Runtime's own format (.ort)", b"ET12": "ExecuTorch's program"}  # their bytes 4 to 8
_PAGES = re.compile(
    rb"(\xef\xbb\xbf)?(<\?xml[^>]*>|<!--((?!-->).)*-->|\s)*<(!doctype html|html|error>)", re.IGNORECASE | re.DOTALL
)
_BEGINNING = 1000  # bytes in which a page can be recognised as one
_SINGLE = (  # formats that hold one network: a test of the first 16 bytes, and the reader
    (lambda magic: magic.startswith(HDF5_MAGIC), keras.read),
    (lambda magic: magic == paddle_inference.MAGIC, paddle_inference.read),
    (lambda magic: magic[4:9] == b"\0\0\0\0{", safetensors.read),
    (lambda magic: magic[4:8] == tflite.MAGIC, tflite.read),
    (lambda magic: magic[:1] == onnx_graph.MAGIC, onnx_kinds.read),
)


def read_checkpoint(path_or_bytes, key=None):
    """Read a checkpoint file of any of the sources.

    Parameters
    ----------
    path_or_bytes : str, os.PathLike or bytes; .pdiparams only as a path, because its names are in the file beside it
    key : str, which state dict of a training checkpoint to take ("model_ema", ...); default the likeliest, see
        `Checkpoint.taken` and `Checkpoint.others`

    Returns
    -------
    Checkpoint

    Raises
    ------
    WeightsError
        No such file, not of these formats, damaged, cut off or hostile; the message says which name a pickle asked for.
    UsageError
        Nothing under `key`.
    """
    with open_checkpoint(path_or_bytes, key) as (name, checkpoint), naming(name):
        return replace(checkpoint, arrays={n: read_any(value) for n, value in checkpoint.arrays.items()})


@contextlib.contextmanager
def open_checkpoint(path_or_bytes, key=None):
    """`read_checkpoint` for as long as the file is open: torch's arrays, each an `Entry`, are only read when asked for.

    Yields
    ------
    (name, Checkpoint) : name is what errors call the file
    """
    # What a file holds may overflow where it is put together: what is not finite is named when the arrays are checked.
    with np.errstate(all="ignore"), Reader(path_or_bytes) as reader:
        with naming(reader.name, (WeightsError, UsageError)):
            if reader.path is not None:
                shards.refuse_part(reader.path)
                paddle_inference.refuse_program(reader.path)
            checkpoint = without_wrappers(set_apart(_with_card(_read(reader, key), reader.path)))
            checkpoint = _with_halves(_with_end(checkpoint))
            _check_names(checkpoint.arrays)
        yield reader.name, checkpoint


def _with_card(checkpoint, path):
    """With the claims and the card of a config.json beside the file, where hubs lay one."""
    name = os.path.basename(path or "")
    if checkpoint.format != "safetensors" and not name.startswith(("pytorch_model", "model.safetensors")):
        return checkpoint
    claims, card = read_card(path) if path else ((), {})
    return replace(checkpoint, claims=(*claims, *checkpoint.claims), card=checkpoint.card | card)


def _with_end(checkpoint):
    """With a warning where a graph ends in a sigmoid of several classes."""
    if not checkpoint.layers or checkpoint.layers[-1].op != "Sigmoid":
        return checkpoint
    counts = [len(layer.params["weight"]) for layer in checkpoint.layers if "weight" in layer.params]
    if not counts or counts[-1] == 1:
        return checkpoint
    warning = each_class("the graph", "sigmoid", counts[-1])
    return replace(checkpoint, warnings=(*checkpoint.warnings, warning))


def _with_halves(checkpoint):
    """With a note where a graph or a program is one of float16, whose values it rounds as well."""
    computes = (checkpoint.layers and checkpoint.format == "onnx") or checkpoint.program
    dtypes = {array.dtype for array in checkpoint.arrays.values() if array.dtype.kind == "f"}
    if not computes or dtypes != {np.dtype(np.float16)}:
        return checkpoint
    note = "its weights are float16, and its values too unless it casts them: the dump's are exact where it rounds, to 1e-3 or so"
    return replace(checkpoint, notes=(*checkpoint.notes, note))


def _read(reader, key):
    magic = reader.read(16)
    reader.seek(0)
    if magic.startswith(zips.MAGIC):
        return _read_zip(reader, key)
    if key is not None and magic[4:9] == b"\0\0\0\0{":
        return only(safetensors.read(reader), key)
    if magic[:1] == b"{" and reader.path is not None:
        return shards.read(reader, lambda part: _read(part, None))
    if magic.startswith(NPY_MAGIC):
        return choose("numpy", numpy_pickles.load_npy(reader, KNOWN), key, reader.size)
    single = next((read for known, read in _SINGLE if known(magic)), None)
    if single is None and magic[:1] in PICKLE_STARTS:
        return _read_pickle(reader, key)
    if single is None:
        packed = _packed(reader, magic) or (onnx_kinds.TENSORFLOW if onnx_kinds.is_tensorflows(reader) else "")
        raise WeightsError(packed or f"not a checkpoint (it begins with {magic!r}); known are: {_KNOWN_FORMATS}")
    _refuse_key(key)
    return single(reader)


def only(checkpoint, prefix):
    """The entries under a prefix alone."""
    start = prefix.rstrip(".") + "."
    inside = {name.removeprefix(start): array for name, array in checkpoint.arrays.items() if name.startswith(start)}
    if not inside:
        first = sorted({name.partition(".")[0] for name in checkpoint.arrays})
        raise UsageError(f"nothing to take under {prefix!r}; the names begin with {', '.join(first[:10])}")
    return replace(checkpoint, arrays=inside, taken=prefix)


def _read_zip(reader, key):
    """torch's files and Keras's .keras are zips, which differ in their entries."""
    entries = zips.read_entries(reader)
    if any(name.endswith(torch_zip.EXPORTED) for name in entries):
        return torch_zip.read_exported(reader, entries, key)
    if keras.WEIGHTS in entries:
        _refuse_key(key)
        return keras.read_archive(reader, entries)
    if any(name.endswith(torch_zip.PICKLE) for name in entries):
        return torch_zip.read(reader, entries, key)
    raise WeightsError(f"a zip file with no entry NAME{torch_zip.PICKLE}, as torch's have{_hint(entries)}")


def _hint(entries):
    if any(name.endswith(".npy") for name in entries):
        return "; this is an .npz, which npmnv3 loads as it is"
    inside = next((name for name in entries if name.endswith((".h5", ".pth", ".pt", ".pdparams", ".onnx"))), None)
    return f"; unpack it and give {inside[:200]}" if inside else ""


def _packed(reader, magic):
    """Advice for a file that is empty, packed, a web page, of another framework's or a pointer to another; else ""."""
    if not reader.size:
        return "the file is empty: the copy or the download went wrong"
    kind = next((kind for start, kind in _PACKED.items() if magic.startswith(start)), "")
    if not kind and reader.size > 512 and reader.take(257, 5, "the mark of a tar") == b"ustar":
        kind = "a tar archive"
    if kind:
        return f"{kind}: unpack it and give the checkpoint in it"
    if _PAGES.match(reader.take(0, min(reader.size, _BEGINNING), "the beginning")):
        return "a page of the web, not a checkpoint: the download went wrong"
    kind = next(
        (kind for start, kind in _DEPLOYED.items() if magic.startswith(start)), _DEPLOYED_BUFFERS.get(magic[4:8])
    )
    if kind:
        return f"{kind}, which is not read: give the file that it was made of, {_KNOWN_FORMATS}"
    if magic.startswith(b"version https:/"):
        return "a Git LFS pointer, not the file itself: get that with `git lfs pull`"
    return ""


def _refuse_key(key):
    if key is not None:
        raise UsageError(
            f"`key={key!r}` is for training checkpoints that hold several state dicts; this file holds one"
        )


def _read_pickle(reader, key):
    """Paddle's .pdparams is one pickle, as is what `pickle.dump` makes; torch's legacy file is several, the first of
    which is a number."""
    within = torch_legacy.Within(reader.size)
    top = pickles.load(reader, within.known)
    if top == torch_legacy.MAGIC:
        return torch_legacy.read(reader, key)
    if within.has_storage:
        return choose("torch-legacy", top, key, reader.size)
    return paddle_inference.in_programs_order(choose("paddle", top, key, reader.size), reader.path)


def _check_names(arrays):
    for name in arrays:
        if not name or not name.isprintable() or len(name) > 500:
            raise WeightsError(f"the name {name[:100]!r} is none that a parameter has")
