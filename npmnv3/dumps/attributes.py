"""The attributes of a dump: which network it is, in which form, with which labels and preprocessing."""

from ..errors import UsageError, WeightsError
from ..network.forms import form_in, form_of
from ..network.plan import check_side, make_plan
from ..network.spec import Preprocess
from ..network.variants import get_variant
from ..pictures.recipes import RECIPES, find_recipe
from .labels import LABEL_SETS

FORMAT, VERSION = "npmnv3-dump", 1
QUANTIZED = "npmnv3-quantized"  # the format of `dumps.quantized`
TRACE = "npmnv3-trace"  # that of `verification.trace`
FORM = ("in_channels", "head")  # attributes of a network's form


def form_attributes(variant):
    """The attributes that set a network's form apart from the published one's."""
    published = get_variant(variant.full_name)
    return {name: getattr(variant, name) for name in FORM if getattr(variant, name) != getattr(published, name)}


def stated_variant(where, attributes, variant, num_classes):
    """The variant asked for or, failing that, the dump's own; an error where the two are different networks."""
    kind, version = attributes.get("format", FORMAT), attributes.get("version", VERSION)
    if kind == TRACE:
        raise WeightsError(
            f"{where}: is a trace, the tensors of a run as `npmnv3 trace` writes them, expected a weight dump; "
            "`npmnv3 verify MODEL FILE` takes it as a port's"
        )
    if kind != FORMAT:
        raise WeightsError(f"{where}: its attribute format is {kind!r}, expected {FORMAT!r}, or none")
    if version != VERSION:
        raise WeightsError(
            f"{where}: is {kind} version {version}, expected version {VERSION}; a newer npmnv3 may read it"
        )
    if "source" not in attributes or "variant" not in attributes:
        if variant is None:
            raise WeightsError(
                f"{where}: does not say which network it is (no attributes source and variant); name it: "
                "a MODEL with `weights=FILE`; or let `npmnv3 convert FILE` find it out"
            )
        return variant
    name = f"{attributes['source']}/{attributes['variant']}"
    try:
        stated = get_variant(name)
    except UsageError as error:
        raise WeightsError(f"{where}: its attributes source and variant are not known: {error}") from error
    if variant is not None and make_plan(stated, num_classes) != make_plan(variant, num_classes):
        raise WeightsError(
            f"{where}: says it is {name}, but {variant.full_name} was asked for, which is another network"
        )
    return variant or stated


def in_stated_form(where, attributes, entries, variant):
    """The variant in the form of the dump's attributes or, where they state none, of its arrays' shapes."""
    stated = {name: attributes[name] for name in FORM if name in attributes}
    try:
        variant = form_of(variant, **stated)
    except ValueError as error:
        raise WeightsError(f"{where}: {error}") from error
    inferred = form_in(variant, {name: entry.shape for name, entry in entries.items()})
    return inferred._replace(**{name: getattr(variant, name) for name in stated})


def stated_num_classes(where, attributes, entries, variant, num_classes):
    """As asked for or, failing that, by the dump's attribute or its classifier's shape."""
    if num_classes is not None:
        return num_classes
    stated = attributes.get("num_classes")
    if stated is not None:
        if not isinstance(stated, int) or not 1 <= stated <= 10_000_000:
            raise WeightsError(f"{where}: num_classes is {stated!r}, expected a whole number from 1")
        return stated
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
        actual = f"{len(labels)} entries" if isinstance(labels, list) else f"a {type(labels).__name__}"
        raise WeightsError(f"{where}: labels has {actual}, expected {num_classes} texts, one a class")
    return tuple(labels)


def read_preprocess(where, attributes, variant=None):
    """The dump's own preprocessing: a recipe's name, or its fields, as an object or as JSON text. None where it has none."""
    stated = attributes.get("preprocess")
    if stated is None:
        return None
    try:
        if isinstance(stated, str) and stated in RECIPES:
            return RECIPES[stated]
        values = {name: tuple(v) if isinstance(v, list) else v for name, v in _fields(stated).items()}
        recipe = find_recipe(Preprocess(**values))
        if variant is not None:
            check_side(variant, recipe.side)
        return recipe
    except (TypeError, ValueError, AttributeError) as error:
        raise WeightsError(
            f"{where}: preprocess is {stated!r}, expected one of {', '.join(RECIPES)} or a recipe's fields as JSON ({error})"
        ) from error


def _fields(stated):
    """A recipe's fields as a dict, of JSON text, or of the object that an .npz's attributes, which are JSON, can hold."""
    if isinstance(stated, dict):
        return stated
    import json  # which most dumps do without

    return json.loads(stated)
