"""Networks by name or from a dump."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ..dumps.dumps import is_quantized, load_weights, not_quantized
from ..dumps.folders import VARIABLE, dump_in_folder, dump_stem, named_folder
from ..dumps.registry import REGISTRY, shipped_dump
from ..errors import MissingWeightsError, UsageError, check_arguments, install_line, missing_packages
from ..network.plan import check_classes, make_plan
from ..network.variants import get_variant, list_models
from .model import Model

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from ..network.spec import Variant
    from .quantized import QuantizedModel

    Path = str | os.PathLike[str]
    Arrays = Mapping[str, npt.NDArray[Any]]

#: Endings of files of weights; no model's name ends so.
ENDINGS = (
    *(".h5", ".hdf5", ".npz", ".npy", ".keras", ".onnx", ".tflite", ".safetensors"),
    *(".pt", ".pth", ".ckpt", ".pkl", ".bin", ".pdparams", ".pdiparams", ".pdmodel"),
)


@overload
def load(
    name_or_dump: Path,
    weights: Path | None = None,
    num_classes: int | None = None,
    engine: str = "auto",
    dtype: str = "float32",
    *,
    fetch: bool | None = None,
    kernels: str,
) -> QuantizedModel: ...


@overload
def load(
    name_or_dump: Path,
    weights: Path | Arrays | None = None,
    num_classes: int | None = None,
    engine: str = "auto",
    dtype: str = "float32",
    *,
    threads: int | None = None,
    rounded_constants: bool = False,
    weight_dtype: str = "float32",
    fetch: bool | None = None,
    kernels: None = None,
) -> Model | QuantizedModel: ...


def load(
    name_or_dump: Path,
    weights: Path | Arrays | None = None,
    num_classes: int | None = None,
    engine: str = "auto",
    dtype: str = "float32",
    *,
    threads: int | None = None,
    rounded_constants: bool = False,
    weight_dtype: str = "float32",
    fetch: bool | None = None,
    kernels: str | None = None,
) -> Model | QuantizedModel:
    """Load a network with its weights.

    Parameters
    ----------
    name_or_dump : str, a model's name (`npmnv3.list_models()`), with "@tag" for further published weights of it, or the
        path of a dump that says which network it is
    weights : path of a dump (HDF5 or .npz), or of a folder of them as `npmnv3 fetch --into` makes it, or mapping
        {source's name: array}; default the published weights, from such a folder that the environment variable
        NPMNV3_WEIGHTS names, or as they ship with npmnv3, or from the cache that `npmnv3 fetch` fills
    num_classes : int; default what the weights hold
    engine : "numpy" (the definitions), "numba" (the same as compiled loops), "llvm" (compiled kernels, float32 alone,
        the quickest) or "auto": llvm for float32 where llvmlite is, for float64 numba where its loops are compiled
        already (`npmnv3 warmup` does it), else numpy
    dtype : "float32" or "float64", of the arithmetic and of the results
    threads : int, of the llvm engine; default NPMNV3_THREADS, or the cores that the process may use
    rounded_constants : bool, gate slope, norm epsilon and head gain rounded to float32, as paddle has them even in
        float64
    weight_dtype : "float32", or "float16": the llvm engine keeps the weights of the classifier, the hidden layer before
        it and squeeze-and-excitation in 16 bits, half the bytes, for which one picture waits; `npmnv3 info MODEL
        --weight-dtype float16` tells how much the logits differ
    fetch : bool, fetch published weights that are not here; default only if the environment variable NPMNV3_FETCH is 1
    kernels : str, of a quantised dump: whose integers, one of `ops.kernel_sets.KERNEL_SETS`; default what the dump says

    Returns
    -------
    Model, or QuantizedModel of a quantised dump

    Raises
    ------
    UnknownModelError, MissingWeightsError, WeightsError, UsageError, MissingExtraError

    Examples
    --------
    >>> npmnv3.load("ppocr/text_direction", engine="numpy", dtype="float64")
    <npmnv3.Model ppocr/text_direction, 2 classes, numpy float64>
    >>> npmnv3.load("timm/mobilenetv3_rw", fetch=False)
    Traceback (most recent call last):
    npmnv3.errors.MissingWeightsError: the weights of timm/mobilenetv3_rw are not here. Get the published ones, ...
    """
    check_arguments("True or False", rounded_constants=rounded_constants)
    check_arguments("True or False", optional=True, fetch=fetch)
    variant, weights = _resolve(name_or_dump, weights, fetch)
    if isinstance(weights, (str, os.PathLike)) and is_quantized(weights):
        if weight_dtype != "float32" or rounded_constants:
            raise UsageError(f"`weight_dtype=` and `rounded_constants=` are for floats, but {weights} is quantised")
        return _load_quantized(weights, variant, num_classes, engine, dtype, kernels)
    if kernels is not None:
        file = weights if isinstance(weights, (str, os.PathLike)) else name_or_dump
        raise not_quantized(f"`kernels={kernels!r}`", file)
    if num_classes is not None:
        check_classes(num_classes)
    checked = load_weights(weights, variant, num_classes)
    return Model(
        checked, engine, dtype, threads=threads, rounded_constants=rounded_constants, weight_dtype=weight_dtype
    )


def _load_quantized(
    path: Path, variant: Variant | None, num_classes: int | None, engine: str, dtype: str, kernels: str | None
) -> QuantizedModel:
    """The QuantizedModel of a dump, checked against what was asked for."""
    from ..dumps.quantized import read_quantized
    from .quantized import QuantizedModel

    quantized = read_quantized(path)
    if variant is not None and quantized.variant != variant:
        title = quantized.variant.full_name if quantized.variant else "no network that is known"
        raise UsageError(f"{path} is {title}, quantised, but {variant.full_name} was asked for")
    if num_classes not in (None, quantized.num_classes):
        raise UsageError(f"{path} has {quantized.num_classes} classes, expected {num_classes}")
    if str(dtype) != "float32" and dtype is not np.float32:
        raise UsageError(f"dtype is {dtype!r}, but a quantised network gives float32 alone")
    return QuantizedModel(quantized, kernels, engine)


def _resolve(
    name_or_dump: Path, weights: Path | Arrays | None, fetch: bool | None
) -> tuple[Variant | None, Path | Arrays | None]:
    """(variant or None, weights) that `load`'s first arguments mean; the variant is None where the dump itself says it."""
    if not isinstance(name_or_dump, (str, os.PathLike)):
        raise UsageError(f"expected a model's name or a dump's path, found a {type(name_or_dump).__name__}")
    if isinstance(weights, (str, os.PathLike)) and os.path.isdir(weights):
        weights = _in_folder(weights, str(name_or_dump))
    if isinstance(name_or_dump, str) and name_or_dump in REGISTRY:
        entry = REGISTRY[name_or_dump]
        return get_variant(entry.model), _published(entry, fetch) if weights is None else weights
    if weights is None and os.path.exists(name_or_dump):
        return None, name_or_dump
    if weights is not None and _is_path(name_or_dump):
        raise UsageError(f"{name_or_dump}: a dump's path, expected a model's name beside `weights={weights}`")
    variant = named_variant(name_or_dump)
    if weights is None:
        raise MissingWeightsError(
            f"of {variant.full_name} no weights are published; give a dump of your own: `weights=FILE`"
        )
    return variant, weights


def named_variant(word: Path) -> Variant:
    """The variant of a model's name; an error with the nearest names, or for a dump's path, which leads to none."""
    if _is_path(word):
        raise UsageError(f"{word}: no such dump; give the path of one, or a model's name")
    return get_variant(word)


def _is_path(word: Path) -> bool:
    """Whether a word can only be a file's name, by its ending or its folder, even if there is no such file."""
    if isinstance(word, os.PathLike):
        return True
    folder = os.path.dirname(word)
    of_source = word.partition("/")[0] in {name.partition("/")[0] for name in list_models()}
    return os.path.normpath(word).lower().endswith(ENDINGS) or (os.path.isdir(folder) and not of_source)


def _in_folder(folder: Path, name: str) -> Path:
    """The dump of a model in the folder that was given as its weights."""
    if name not in REGISTRY:
        get_variant(name)  # raises, with the nearest names
    path = dump_in_folder(folder, name)
    if path is None:
        raise MissingWeightsError(
            f"{folder}: a folder without {dump_stem(name)}.h5 or .npz, the weights of {name}; "
            f"`npmnv3 fetch {name} --into {folder}` puts them there"
        )
    return path


def _published(entry: Any, fetch: bool | None) -> Path:
    """The dump of a published checkpoint: in NPMNV3_WEIGHTS, shipped, in the cache, or fetched if that is allowed."""
    folder = named_folder()
    found = (dump_in_folder(folder, entry.name) if folder else None) or shipped_dump(entry)
    if found:
        return found
    from .. import fetching  # which loads the network's libraries

    fetch = os.environ.get("NPMNV3_FETCH") == "1" if fetch is None else fetch
    wanted = fetch or not entry.url  # without a URL it should have shipped, and `fetch` says so
    path = fetching.fetch(entry.name) if wanted else fetching.cached_dump(entry.name)
    if path is None:
        nor = f" (nor in {folder}, which {VARIABLE} names)" if folder else ""
        lacking = f"; that takes {install_line('fetch')}" if missing_packages("fetch") else ""
        raise MissingWeightsError(
            f"the weights of {entry.name} are not here{nor}. Get the published ones, {entry.url}, about "
            f"{entry.about_bytes / 1e6:.0f} MB, with `npmnv3 fetch {entry.name}`, or `fetch=True`, or NPMNV3_FETCH=1 in the "
            f"environment{lacking}. Or give a dump of your own: `weights=FILE`",
            checkpoint=entry.name,
        )
    return path


def param_shapes(name: str, num_classes: int | None = None) -> dict[str, tuple[int, ...]]:
    """The state dict that a network needs.

    Parameters
    ----------
    name : str, `source/variant`
    num_classes : int, default the published one

    Returns
    -------
    dict, ordered as the source orders it: {source's name: shape}

    Raises
    ------
    UnknownModelError, UsageError

    Examples
    --------
    >>> shapes = npmnv3.param_shapes("torchvision/mobilenet_v3_small", num_classes=10)
    >>> shapes["features.0.0.weight"], shapes["classifier.3.weight"]
    ((16, 3, 3, 3), (10, 1024))
    """
    from ..network.counts import plan_param_shapes

    return plan_param_shapes(make_plan(get_variant(name), num_classes))
