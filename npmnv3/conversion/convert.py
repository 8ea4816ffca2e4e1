"""Checkpoints to dumps."""

import hashlib
import os
from dataclasses import dataclass, replace

from ..checkpoints import read_checkpoint
from ..dumps import load_weights, write_dump
from ..errors import UsageError, WeightsError
from ..variants import get_variant
from .dumpfiles import is_dump, read_dump_shapes
from .identify import has_background, identify, matcher

SUFFIXES = (".h5", ".hdf5", ".npz")
_ENDINGS = (  # taken off for the dump's name, the first that fits
    ".weights.h5", ".safetensors", ".pdiparams", ".pdparams", ".pth.tar", ".hdf5", ".onnx", ".ckpt", ".npz", ".pth",
    ".bin", ".tar", ".h5", ".pt",
)  # fmt: skip
_HASHED = 1 << 20  # bytes at a time


@dataclass(frozen=True)
class Converted:
    """What `convert` wrote.

    path : str, of the dump
    model : str, `source/variant`
    num_classes : int
    folded : bool, batch norm is folded into the layers
    origin : str, as the dump has it: the input's name and hash
    reasons, notes : sentences, as in `Identification`
    """

    path: str
    model: str
    num_classes: int
    folded: bool
    origin: str
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def convert_state(checkpoint, variant, num_classes=None):
    """A checkpoint's arrays under the source's own names.

    Parameters
    ----------
    checkpoint : Checkpoint
    variant : Variant
    num_classes : int, to insist on; default what the checkpoint holds

    Returns
    -------
    dict {source's name: array}, in the plan's order; the folded form where the checkpoint has no norms (ONNX). Counters
    that the checkpoint lacks are left out.

    Raises
    ------
    WeightsError
        The checkpoint is not this network's, or has another number of classes; the message says what differs.
    """
    fit = _fit(checkpoint, variant)
    if num_classes is not None and fit.num_classes != num_classes:
        raise WeightsError(f"the checkpoint has {fit.num_classes} classes, expected {num_classes}")
    return matcher(checkpoint).state(checkpoint, fit)


def convert(path, out=None, model=None, key=None, dtype=None):
    """Turn a checkpoint file of any source, or a dump, into a dump.

    Parameters
    ----------
    path : str or os.PathLike, see `read_checkpoint`; or a dump, to be written in the other format or another dtype
    out : path of the dump, HDF5 or, ending in .npz, .npz; default the input's name with .h5, in the current folder
    model : str, the network's name; default what the file is found to be
    key : str, which state dict of a training checkpoint to take
    dtype : "float16", "float32" or "float64", to store floating arrays in; default as they are

    Returns
    -------
    Converted

    Raises
    ------
    WeightsError, UsageError, MissingExtraError
        Nothing is written then.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise UsageError(f"a checkpoint is given as a path, not as a {type(path).__name__}")
    variant = None if model is None else get_variant(model)
    out = _out(path, out)
    if is_dump(path):
        return _convert_dump(path, out, variant, key, dtype)
    weights, reasons, notes = _load(path, variant, key)
    about = {name: weights.attributes[name] for name in ("origin", "licence")}
    return _write(out, weights, dtype, reasons, notes, labels=weights.labels, **about)


def load_checkpoint(path, variant=None, num_classes=None, key=None):
    """A checkpoint file's arrays without a dump in between, checked as `load_weights` does.

    Parameters
    ----------
    path : str or os.PathLike, see `read_checkpoint`
    variant : Variant; default what the file is found to be
    num_classes : int, to insist on; default what the file holds
    key : str, which state dict of a training checkpoint to take

    Returns
    -------
    Weights, with the attributes origin (the file's name and hash) and licence

    Raises
    ------
    WeightsError, UsageError
    """
    weights, _, _ = _load(path, variant, key)
    if num_classes not in (None, weights.num_classes):
        raise WeightsError(f"{os.fspath(path)}: has {weights.num_classes} classes, expected {num_classes}")
    return weights


def _load(path, variant, key):
    """(Weights, reasons, notes) of a checkpoint file."""
    checkpoint = read_checkpoint(path, key)
    try:
        found = None if variant else identify(checkpoint, path)
        fit = _fit(checkpoint, variant) if variant else _identified(found)
        weights = load_weights(matcher(checkpoint).state(checkpoint, fit), fit.variant, fit.num_classes)
    except WeightsError as error:
        raise WeightsError(f"{os.fspath(path)}: {error}") from error
    weights = replace(
        weights,
        labels="imagenet-background" if has_background(fit) else weights.labels,
        attributes={"origin": _origin(path), "licence": fit.variant.source.licence},
    )
    return (weights, found.reasons, found.notes) if found else (weights, (), (*checkpoint.notes, *fit.notes))


def _convert_dump(path, out, variant, key, dtype):
    """Write a dump in the other format, or in another dtype, with what it says of itself."""
    checkpoint, reasons, notes = read_dump_shapes(path, key), (), ()
    if variant is None and not {"source", "variant"} <= checkpoint.metadata.keys():
        found = identify(checkpoint, path)
        try:
            variant, reasons, notes = _identified(found).variant, found.reasons, found.notes
        except WeightsError as error:
            raise WeightsError(f"{os.fspath(path)}: {error}") from error
    weights = load_weights(path, variant)
    about = weights.attributes
    return _write(
        out, weights, dtype, reasons, notes, origin=about.get("origin") or _origin(path), labels=weights.labels,
        licence=about.get("licence") or weights.variant.source.licence, preprocess=about.get("preprocess"),
    )  # fmt: skip


def _write(out, weights, dtype, reasons, notes, **about):
    model = weights.variant.full_name
    write_dump(out, weights.arrays, model=model, dtype=dtype, **about)
    return Converted(out, model, weights.num_classes, weights.folded, about["origin"], reasons, notes)


def _fit(checkpoint, variant):
    """The checkpoint's Fit to this network, or WeightsError with what differs, and what it is instead."""
    fit = matcher(checkpoint).compare(checkpoint, variant)
    if fit.differences:
        found = identify(checkpoint)
        instead = f"is {found.model}, not {variant.full_name}" if found.fits else f"is not {variant.full_name}"
        raise WeightsError("\n  ".join([f"{instead}:", *fit.differences]))
    return fit


def _identified(found):
    """The Fit of an Identification, or WeightsError with what contradicts it."""
    if not found.fits:
        head = f"fits no network; the nearest is {found.model}:" if found.variant else "fits no network:"
        raise WeightsError("\n  ".join([head, *found.contradictions]))
    return found.fit


def _out(path, out):
    """Where to write: never over the input, and over another file that is no dump only where it is named."""
    default, name = out is None, os.path.basename(os.fspath(path))
    if default:
        out = next((name.removesuffix(end) for end in _ENDINGS if name.endswith(end)), name) + ".h5"
    out = os.fspath(out)
    if not out.endswith(SUFFIXES):
        raise UsageError(f"out is {out!r}, expected a name that ends in {', '.join(SUFFIXES)}")
    if os.path.exists(out):
        if os.path.exists(path) and os.path.samefile(path, out):
            raise UsageError(f"{out} is the input itself; name another file for the dump (-o OUT)")
        if default and not is_dump(out):
            raise UsageError(f"{out} is there already and is no dump; name a file for the dump (-o OUT)")
    return out


def _origin(path):
    """The file's name and hash."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_HASHED):
            digest.update(piece)
    return f"{os.path.basename(os.fspath(path))} (sha256 {digest.hexdigest()})"
