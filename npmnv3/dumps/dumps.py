"""Weight dumps: a network's own state dict with a few attributes, in HDF5 or .npz; read strictly, written whole.

The format, which `weights/README.md` specifies for other programs: every entry of the state dict is a dataset whose path
is the entry's name, its array stored byte for byte as the source has it; attributes of the root say what it is.
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
from ..network.forms import form_in, form_of
from ..network.plan import check_side, make_plan
from ..network.spec import Preprocess, Variant
from ..network.variants import get_variant
from ..ops import pages
from ..pictures.recipes import RECIPES, find_recipe
from .containers import NPZ_MAGIC, open_container, write_container
from .labels import LABEL_SETS
from .mappings import mapping_entries
from .problems import is_folded, message, shape_problems, value_problem
from .reader import Reader

if TYPE_CHECKING:
    from collections.abc import Sequence

FORMAT, VERSION = "npmnv3-dump", 1
QUANTIZED = "npmnv3-quantized"  # the format of `dumps.quantized`
TRACE = "npmnv3-trace"  # that of `verification.trace`
FORM = ("in_channels", "head")  # attributes that tell a network's form


@dataclass(frozen=True)
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
    variant : Variant, needed where the dump does not say which it is
    num_classes : int; default what the dump says, or what its classifier's shape tells
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
        return _check("the mapping", {}, mapping_entries(weights), variant, num_classes, keep)
    if not isinstance(weights, (str, os.PathLike)):
        raise UsageError(f"weights is a {type(weights).__name__}, expected a dump's path or a mapping {{name: array}}")
    with open_container(weights) as (attributes, entries):
        return _check(os.fspath(weights), attributes, entries, variant, num_classes, keep)


def is_quantized(path):
    """Whether a file is a quantised dump; False where it cannot be read. They are all .npz: no HDF5 file is looked through."""
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
        **_form(variant),
    }
    if labels:
        attributes["labels"] = labels if isinstance(labels, str) else [str(label) for label in labels]
    read_labels("labels", attributes, variant, checked.num_classes)
    read_preprocess("preprocess", attributes, variant)
    stored = ((name, _stored(name, entry.read(), dtype)) for name, entry in checked.arrays.items())
    write_container(path, stored, attributes)


def _form(variant):
    """The attributes that set a network's form apart from the published one's."""
    own = get_variant(variant.full_name)
    return {name: getattr(variant, name) for name in FORM if getattr(variant, name) != getattr(own, name)}


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


def _check(where, attributes, entries, variant, num_classes, keep):
    variant = _in_form(where, attributes, entries, _variant(where, attributes, variant, num_classes))
    num_classes = _num_classes(where, attributes, entries, variant, num_classes)
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


def _variant(where, attributes, variant, num_classes):
    """The variant asked for or, failing that, the dump's own; an error where the two are different networks."""
    said, version = attributes.get("format", FORMAT), attributes.get("version", VERSION)
    if said == TRACE:
        raise WeightsError(
            f"{where}: is a trace, the tensors of a run as `npmnv3 trace` writes them, expected a weight dump; "
            "`npmnv3 verify MODEL FILE` takes it as a port's"
        )
    if said != FORMAT:
        raise WeightsError(f"{where}: its attribute format is {said!r}, expected {FORMAT!r}, or none")
    if version != VERSION:
        raise WeightsError(
            f"{where}: is {said} version {version}, expected version {VERSION}; a newer npmnv3 may read it"
        )
    if "source" not in attributes or "variant" not in attributes:
        if variant is None:
            raise WeightsError(
                f"{where}: does not say which network it is (no attributes source and variant); name it: "
                "a MODEL with `weights=FILE`"
            )
        return variant
    name = f"{attributes['source']}/{attributes['variant']}"
    try:
        said = get_variant(name)
    except UsageError as error:
        raise WeightsError(f"{where}: its attributes source and variant are not known: {error}") from error
    if variant is not None and make_plan(said, num_classes) != make_plan(variant, num_classes):
        raise WeightsError(
            f"{where}: says it is {name}, but {variant.full_name} was asked for, which is another network"
        )
    return variant or said


def _in_form(where, attributes, entries, variant):
    """The variant in the form that the dump says, or that its arrays' shapes tell."""
    said = {name: attributes[name] for name in FORM if name in attributes}
    try:
        variant = form_of(variant, **said)
    except ValueError as error:
        raise WeightsError(f"{where}: {error}") from error
    told = form_in(variant, {name: entry.shape for name, entry in entries.items()})
    return told._replace(**{name: getattr(variant, name) for name in said})


def _num_classes(where, attributes, entries, variant, num_classes):
    """As asked for, or as the dump says, or as its classifier's shape tells."""
    if num_classes is not None:
        return num_classes
    said = attributes.get("num_classes")
    if said is not None:
        if not isinstance(said, int) or not 1 <= said <= 10_000_000:
            raise WeightsError(f"{where}: num_classes is {said!r}, expected a whole number from 1")
        return said
    bias = entries.get(make_plan(variant, 1)[-1].param("bias").name)
    return bias.shape[0] if bias is not None and len(bias.shape) == 1 and bias.shape[0] else variant.num_classes


def read_labels(where, attributes, variant, num_classes):
    """The dump's labels; without them, those that the variant's classes have if their number fits one of the sets."""
    labels = attributes.get("labels")
    if labels is None:
        return None if variant.labels else ""
    if isinstance(labels, str):
        if labels and LABEL_SETS.get(labels) != num_classes:
            sets = ", ".join(f"{name} ({size} classes)" for name, size in LABEL_SETS.items())
            raise WeightsError(
                f"{where}: labels is {labels!r} with {num_classes} classes, expected a list or one of {sets}"
            )
        return labels
    if (
        not isinstance(labels, list)
        or not all(isinstance(label, str) for label in labels)
        or len(labels) != num_classes
    ):
        found = f"{len(labels)} entries" if isinstance(labels, list) else f"a {type(labels).__name__}"
        raise WeightsError(f"{where}: labels has {found}, expected {num_classes} texts, one a class")
    return tuple(labels)


def read_preprocess(where, attributes, variant=None):
    """The dump's own preprocessing, for that network if it is known: a recipe's name, or its fields as JSON, as text or as they are."""
    said = attributes.get("preprocess")
    if said is None:
        return None
    try:
        if isinstance(said, str) and said in RECIPES:
            return RECIPES[said]
        values = {name: tuple(v) if isinstance(v, list) else v for name, v in _fields(said).items()}
        recipe = find_recipe(Preprocess(**values))
        if variant is not None:
            check_side(variant, recipe.side)
        return recipe
    except (TypeError, ValueError, AttributeError) as error:
        raise WeightsError(
            f"{where}: preprocess is {said!r}, expected one of {', '.join(RECIPES)} or a recipe's fields as JSON ({error})"
        ) from error


def _fields(said):
    """A recipe's fields as a dict, of JSON text, or of the object that an .npz's attributes, which are JSON, can hold."""
    if isinstance(said, dict):
        return said
    import json  # which most dumps do without

    return json.loads(said)
