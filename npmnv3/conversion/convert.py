"""Checkpoints to dumps."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..dumps.dumps import checked_weights, write_dump
from ..dumps.mappings import mapping_entries
from ..dumps.quantized import Quantized, write_quantized
from ..dumps.reader import naming
from ..dumps.writing import check_folder
from ..errors import UsageError, check_arguments
from ..network.variants import get_variant
from ..ops.kernel_sets import get_kernel_set
from .checkpoints import about, find_network, origin_of
from .dumpfiles import is_dump, names_its_network, open_dump
from .formats import open_checkpoint
from .identify import matcher
from .quantized import is_quantized_graph, read_quantized_model
from .quantized.names import name_tensors
from .quantized.preparation import preparation
from .quantized.torch import has_integers

SUFFIXES = (".h5", ".hdf5", ".npz")
# Taken off for the dump's name, the first that fits.
_ENDINGS = (
    ".weights.h5 .safetensors.index.json .safetensors .pdiparams .pdparams .pth.tar .hdf5 .tflite .keras .onnx .ckpt .npz "
    ".npy .pth .bin .pkl .tar .h5 .pt2 .pt"
).split()


@dataclass(frozen=True)
class Converted:
    """What `convert` wrote.

    path : str, of the dump
    model : str, `source/variant`
    num_classes : int
    folded : bool, batch norm is folded into the layers
    origin : str, as the dump has it: the input's name and hash
    reasons, notes, warnings : sentences, as in `Identification`
    """

    path: str
    model: str
    num_classes: int
    folded: bool
    origin: str
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def convert(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    model: str | None = None,
    key: str | None = None,
    dtype: str | None = None,
    kernels: str | None = None,
) -> Converted:
    """Turn a checkpoint file of any source, or a dump, into a dump.

    Parameters
    ----------
    path : str or os.PathLike, see `read_checkpoint`; or a dump, to be written in the other format or another dtype
    out : path of the dump, HDF5 or, ending in .npz, .npz; default the input's name with .h5, in the current folder
    model : str, the network's name; default what the file is found to be
    key : str, which state dict of a training checkpoint to take
    dtype : "float16", "float32" or "float64", to store floating arrays in; default as they are
    kernels : str, for which kernel set the integers of a quantised model are meant; default it is said when they are loaded

    A quantised model becomes, as .npz, a quantised dump with its integers as they are; as HDF5 a dump of what its weights
    stand for.

    Returns
    -------
    Converted

    Raises
    ------
    WeightsError, UsageError, MissingExtraError, WriteError
        Nothing is written then.

    Examples
    --------
    >>> done = npmnv3.convert("text_direction.tflite", "integers.npz", kernels="tflite-reference")
    >>> done.path, done.model, done.num_classes
    ('integers.npz', 'ppocr/text_direction', 2)
    """
    if not isinstance(path, (str, os.PathLike)):
        raise UsageError(f"a checkpoint is given as a path, not as a {type(path).__name__}")
    check_arguments("a path", optional=True, out=out)
    variant = None if model is None else get_variant(model)
    out = _out(path, out)
    keeps_integers = out.endswith(".npz")
    if keeps_integers and is_quantized_graph(path):
        return _convert_quantized(path, out, model, key, dtype, kernels)
    if is_dump(path):
        _refuse_kernels(kernels)
        return _convert_dump(path, out, variant, key, dtype)
    # Array by array from file to file: never are all of them in memory, where the format allows that.
    with open_checkpoint(path, key) as (name, checkpoint), naming(name):
        if not (keeps_integers and has_integers(checkpoint)):
            _refuse_kernels(kernels)
            fit, findings = find_network(checkpoint, path, variant)
            arrays = matcher(checkpoint).state(checkpoint, fit)
            attributes, findings = about(checkpoint, fit, path, findings)
            return _write(out, arrays, fit, dtype, findings, **attributes)
    return _convert_quantized(path, out, model, key, dtype, kernels)


def _refuse_kernels(kernels):
    if kernels is not None:
        raise UsageError(
            f"`kernels={kernels!r}` is for quantised models (.tflite, .onnx, PyTorch's) that become an .npz"
        )


def _convert_dump(path, out, variant, key, dtype):
    """Write a dump in the other format, or in another dtype, with its attributes. A state dict in such a file, whose
    attributes name no network, is identified as a checkpoint is."""
    with open_dump(path, key) as checkpoint:
        arrays, findings = checkpoint.arrays, {}
        if not names_its_network(checkpoint):
            with naming(os.fspath(path)):
                fit, findings = find_network(checkpoint, path, variant)
                variant, arrays = fit.variant, matcher(checkpoint).state(checkpoint, fit)
        weights = checked_weights(os.fspath(path), checkpoint.metadata, mapping_entries(arrays), variant)
        about_dump = {
            "origin": weights.attributes.get("origin") or origin_of(path),
            "licence": weights.attributes.get("licence") or weights.variant.source.licence,
            "labels": weights.labels,
            "preprocess": weights.attributes.get("preprocess"),
        }
        return _write(out, weights.arrays, weights, dtype, findings, **about_dump)


def _convert_quantized(path, out, model, key, dtype, kernels):
    """Write a quantised model's integers as a quantised dump, under the names of the network that it is."""
    if dtype is not None:
        raise UsageError(f"`dtype={dtype!r}` is not for a quantised model, whose integers are kept as they are")
    kernels = get_kernel_set(kernels).name if kernels else ""
    plan, scheme, own = read_quantized_model(path, key)
    with naming(os.fspath(path)):
        named = name_tensors(plan, model or own or None)
    variant, notes, warnings = named.variant, list(plan.notes), list(plan.warnings)
    title = variant.full_name if variant else ""
    notes.append(
        f"quantised: {len(named.plan.grids)} tensors of integers ({scheme}); load it with a kernel set, `kernels=NAME`"
    )
    if variant is None:
        warnings.append(
            "is no network that is known: its tensors keep the file's names, and nothing says how pictures are prepared"
        )
    elif named.also:
        warnings.append(f"fits {', '.join(named.also)} as well; taken for {title}; --model says which it is")
    if variant is not None and not named.whole:
        warnings.append(f"ends at {named.plan.steps[-1].name}: it is the beginning of {title}")
    prepared = preparation(named.plan)
    of_bytes, remark = prepared.description()
    if remark:
        (notes if of_bytes else warnings).append(remark)
    recipe = prepared.recipe(variant, named.plan.input_shape[1:]) if of_bytes and variant else None
    attributes = {"origin": origin_of(path), "licence": variant.source.licence if variant else ""}
    fields = {"preprocess": recipe, "attributes": attributes}
    write_quantized(out, Quantized(named.plan, variant, named.num_classes, scheme, kernels, **fields))
    reasons = (f"its operations, shapes, strides and padding are those of {title}",) if variant else ()
    return Converted(out, title, named.num_classes, True, attributes["origin"], reasons, tuple(notes), tuple(warnings))


def _write(out, arrays, network, dtype, findings, **about):
    """Write the dump of a network: anything with its variant, num_classes and folded."""
    model = network.variant.full_name
    write_dump(out, arrays, model=model, dtype=dtype, **about)
    return Converted(out, model, network.num_classes, network.folded, about["origin"], **findings)


def _out(path: str | os.PathLike[str], out: str | os.PathLike[str] | None) -> str:
    """Where to write, in a folder that takes files: never over the input, and over another file that is no dump only
    where it is named."""
    default = out is None
    if out is None:
        name = os.path.basename(os.fspath(path))
        out = next((name.removesuffix(end) for end in _ENDINGS if name.endswith(end)), name) + ".h5"
    out = os.fspath(out)
    if not out.endswith(SUFFIXES):
        raise UsageError(
            f"--output (out=) is {out!r}, expected a name that ends in {', '.join(SUFFIXES)}: -o weights.h5"
        )
    if os.path.exists(out):
        if os.path.exists(path) and os.path.samefile(path, out):
            raise UsageError(f"{out} is the input itself; name another file for the dump (-o OUT)")
        if default and not is_dump(out):
            raise UsageError(f"{out} is there already and is no dump; name a file for the dump (-o OUT)")
    check_folder(out)
    return out
