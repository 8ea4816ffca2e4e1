"""Weight dumps: a network's own state dict with a few attributes, in HDF5 or .npz; read strictly, written whole.

The format, which `weights/README.md` specifies for other programs: every entry of the state dict is a dataset whose path
is the entry's name, its array stored byte for byte as the source has it; attributes of the root name its network.
"""

from __future__ import annotations

import contextlib
import os
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError, WeightsError, check_arguments
from ..network.plan import make_plan
from ..network.spec import Preprocess, Variant
from ..network.variants import get_variant
from ..ops import pages
from .attributes import (
    FORMAT,
    QUANTIZED,
    VERSION,
    form_attributes,
    in_stated_form,
    read_labels,
    read_preprocess,
    stated_num_classes,
    stated_variant,
)
from .containers import NPZ_MAGIC, open_container, write_container
from .mappings import mapping_entries
from .problems import is_folded, message, shape_problems, value_problem
from .reader import Reader

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, eq=False)
class Weights:
    """A network's parameters, checked against its plan."""

    variant: Variant
    num_classes: int
    folded: bool  # batch norm is folded into the layers
    arrays: dict[str, Any]  # as the source stores them; `Entry` where they were not kept
    labels: tuple[str, ...] | str | None = None  # as `labels.class_names` takes them
    preprocess: Preprocess | None = None  # None: the variant's own
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def side(self) -> tuple[int, int]:
        """(height, width) of the input that pictures are prepared for, pixels."""
        return self.preprocess.side if self.preprocess else self.variant.side


def load_weights(
    weights: str | os.PathLike[str] | Mapping[str, Any] | None,
    variant: Variant | None = None,
    num_classes: int | None = None,
    *,
    keep: bool = True,
) -> Weights:
    """Read a dump, or take a mapping, and check it against the network's plan, entry by entry.

    Parameters
    ----------
    weights : path of a dump (HDF5 or .npz), or mapping {source's name: array}
    variant : Variant, needed where the dump's attributes name none
    num_classes : int; default the dump's attribute, or by its classifier's shape
    keep : bool, keep the arrays; if not, each is let go once it was checked, and stays an `Entry`, to be read again

    Returns
    -------
    Weights

    Raises
    ------
    WeightsError
        One error lists every missing, extra, misshapen, wrongly typed and non-finite entry, or names the network that the
        dump is of instead.
    """
    if isinstance(weights, Mapping):
        return checked_weights("the mapping", {}, mapping_entries(weights), variant, num_classes, keep)
    if not isinstance(weights, (str, os.PathLike)):
        raise UsageError(f"weights is a {type(weights).__name__}, expected a dump's path or a mapping {{name: array}}")
    with open_container(weights) as (attributes, entries):
        return checked_weights(os.fspath(weights), attributes, entries, variant, num_classes, keep)


def not_quantized(option, *names):
    """The UsageError of a kernel set that is named for what is not quantised, whose name or path is told."""
    missing = next((name for name in names if str(name).endswith(".npz") and not os.path.exists(name)), None)
    if missing is not None:
        return UsageError(f"{missing}: no such dump")
    return UsageError(
        f"{option} is for quantised dumps, which {' and '.join(map(str, dict.fromkeys(names)))} is not; of a quantised .tflite, .onnx "
        "or state dict `npmnv3 convert FILE -o q.npz` makes one, of a float dump `npmnv3 quantize`"
    )


def is_quantized(path):
    """Whether a file is a quantised dump; False where it cannot be read. They are all .npz: no HDF5 file is looked
    through."""
    try:
        with Reader(os.fspath(path)) as reader:
            if reader.read(len(NPZ_MAGIC)) != NPZ_MAGIC:
                return False
        with open_container(path) as (attributes, _):
            return attributes.get("format") == QUANTIZED
    except WeightsError:
        return False


def write_dump(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    *,
    model: str,
    labels: Sequence[str] | str | None = None,
    preprocess: str | Preprocess | None = None,
    origin: str = "",
    licence: str = "",
    dtype: str | None = None,
) -> None:
    """Write a dump.

    Parameters
    ----------
    path : str or os.PathLike; .npz gives that format, anything else HDF5
    arrays : mapping {source's name: array, or `Entry`}; checked as `load_weights` does
    model : str, the network's name, `source/variant`
    labels : sequence of str, one a class, or the name of a label set
    preprocess : name of a recipe, or Preprocess; default the variant's
    origin, licence : str, where the weights come from, under which licence
    dtype : "float16", "float32" or "float64", to store floating arrays in; default as they are

    Raises
    ------
    WeightsError, UsageError, WriteError

    Examples
    --------
    >>> shapes = npmnv3.param_shapes("timm/mobilenetv3_small_050", num_classes=2)
    >>> arrays = {name: np.ones(shape, np.float32) for name, shape in shapes.items() if shape}
    >>> npmnv3.write_dump("ones.h5", arrays, model="timm/mobilenetv3_small_050", labels=["cat", "dog"])
    >>> npmnv3.load("ones.h5").labels
    ('cat', 'dog')
    """
    import json

    check_arguments("a path", path=path)
    check_arguments("a text", origin=origin, licence=licence)
    if labels is not None and not isinstance(labels, (str, list, tuple)):
        raise UsageError(f"`labels={reprlib.repr(labels)}`, expected a sequence of texts, a label set's name or None")
    if preprocess is not None and not isinstance(preprocess, (str, Preprocess)):
        raise UsageError(f"`preprocess={reprlib.repr(preprocess)}`, expected a recipe's name, a Preprocess or None")
    checked = load_weights(arrays, get_variant(model), keep=False)
    variant = checked.variant
    attributes = {
        "format": FORMAT,
        "version": VERSION,
        "source": variant.source.name,
        "variant": variant.name,
        "num_classes": checked.num_classes,
        "preprocess": json.dumps(asdict(preprocess))
        if isinstance(preprocess, Preprocess)
        else preprocess or variant.preprocess,
        "origin": origin,
        "licence": licence,
        **form_attributes(variant),
    }
    if labels:
        attributes["labels"] = labels if isinstance(labels, str) else [str(label) for label in labels]
    read_labels("labels", attributes, variant, checked.num_classes)
    read_preprocess("preprocess", attributes, variant)
    stored = ((name, _stored(name, entry.read(), dtype)) for name, entry in checked.arrays.items())
    write_container(path, stored, attributes)


def _stored(name, array, dtype):
    if dtype is None or array.dtype.kind != "f":
        return array
    if dtype not in ("float16", "float32", "float64"):
        raise UsageError(f"dtype is {dtype!r}, expected 'float16', 'float32' or 'float64'")
    with np.errstate(over="ignore"):
        stored = array.astype(dtype)
    if not np.isfinite(stored).all():
        raise WeightsError(
            f"{name} has values beyond {dtype}'s range (largest {np.abs(array).max():.4g}); use a wider dtype"
        )
    return stored


def checked_weights(where, attributes, entries, variant, num_classes=None, keep=True):
    """`load_weights` of attributes and {name: Entry}, which errors call `where`."""
    variant = in_stated_form(where, attributes, entries, stated_variant(where, attributes, variant, num_classes))
    num_classes = stated_num_classes(where, attributes, entries, variant, num_classes)
    plan, folded = make_plan(variant, num_classes), False
    if is_folded(plan, entries):
        plan, folded = make_plan(variant, num_classes, folded=True), True
    params = {param.name: param for step in plan for param in step.params}
    problems = shape_problems(params, entries)
    # Only what has its expected shape is read, so a hostile file cannot make us allocate more than the network needs.
    arrays = {}
    with pages.side_by_side() if keep else contextlib.nullcontext():
        for name in (name for name in params if name in entries and name not in problems):
            array = entries[name].read()
            arrays[name] = array if keep else entries[name]
            if problem := value_problem(name, array, params[name].role):
                problems[name] = problem
    if problems:
        raise WeightsError(message(where, variant, num_classes, problems, entries))
    return Weights(
        variant,
        num_classes,
        folded,
        arrays,
        read_labels(where, attributes, variant, num_classes),
        read_preprocess(where, attributes, variant),
        attributes,
    )
