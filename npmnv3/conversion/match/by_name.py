"""Checkpoints whose entries have names: torch's, safetensors, paddle's .pdparams, Keras's, and dumps.

The network may be anywhere in a file: under any prefix, with entries of others beside it, with another repository's
names for the same parameters. What is looked for is the one place where all of a network's entries are.
"""

from dataclasses import replace

from ...network.variants import timm, torchvision
from .children import naming_note, source_beginnings, source_name, torn_warnings
from .composed import compose
from .fit import Fit
from .keras_names import by_source_name
from .lost_names import restored_names
from .name_places import File, Place
from .namings import namings_of

MAX_PREFIXES = 8  # of one naming that are tried
_ENDS = (  # of whose networks any width can be built, and the names of the first and the last convolution, which give it
    (timm, "conv_stem.weight", "conv_head.weight"),
    (torchvision, "features.0.0.weight", "classifier.0.weight"),
)


def fits_to_any(checkpoint, variants):
    """The Fits of those networks of which anything is there; where none of them fits, those of other widths are tried too."""
    fits = [_compare(checkpoint, variant) for variant in variants]
    fits = [fit for fit in fits if fit]
    if all(fit.differences for fit in fits):
        known = {variant.name for variant in variants}
        fits += [compare(checkpoint, variant) for variant in _of_other_widths(checkpoint, known)]
    return fits


def compare(checkpoint, variant):
    """The Fit of names and shapes to a network, with the arrays under the source's names."""
    return _compare(checkpoint, variant) or _as_named(checkpoint, variant)


def _compare(checkpoint, variant):
    """`compare`, None where nothing of the network is there: neither its first nor its last layer under any name."""
    names, note = restored_names(checkpoint.arrays, variant)
    if names:
        fit = _renamed(checkpoint, variant, names)
        return replace(fit, notes=(note, *fit.notes))
    as_named = _as_named(checkpoint, variant) if _is_there(checkpoint, variant) else None
    if as_named and not as_named.differences:
        return as_named
    beginnings = source_beginnings(checkpoint, variant)
    if not beginnings:
        return as_named
    fit = _renamed(checkpoint, variant, {source_name(name, beginnings): name for name in checkpoint.arrays})
    if fit.differences:
        return fit
    compared = checkpoint.modules or checkpoint.program
    doubts = () if compared else torn_warnings(beginnings)
    return replace(fit, notes=(naming_note(beginnings), *fit.notes), warnings=(*fit.warnings, *doubts))


def _renamed(checkpoint, variant, names):
    """`compare` under other names; names : {the source's name: the name in the file}"""
    arrays = {param: checkpoint.arrays[name] for param, name in names.items()}
    return _as_named(replace(checkpoint, arrays=arrays), variant, names)


def _is_there(checkpoint, variant):
    """Whether the first or the last layer is there, under a prefix or another repository's name."""
    names = by_source_name(compose(checkpoint.arrays)[0], variant)
    classifier = variant.source.param_name("classifier", None, "weight")
    return classifier in names or any(_prefixes(names, naming) for naming in namings_of(variant))


def _as_named(checkpoint, variant, called=None):
    """`compare` by the names as they are; called : {name: what it was called in the file} where parts were renamed"""
    arrays, notes = compose(checkpoint.arrays)
    file = File(checkpoint, by_source_name(arrays, variant), notes, called or {})
    fits = []
    for naming in namings_of(variant):
        places = _prefixes(file.arrays, naming) or ([] if naming.title else [("", "")])
        prefixes = [prefix for prefix, _ in places]
        fits += [Place(file, naming, variant, prefix, root, prefixes).fit() for prefix, root in places]
    whole = [fit for fit in fits if not fit.differences]
    first = [fit for fit in whole if not fit.secondary] or whole
    if len(first) > 1 and len({fit.prefix for fit in first}) > 1:
        listing = ", ".join(repr(fit.prefix) for fit in first)
        return _several(first[0], listing)
    return min(fits, key=lambda fit: (bool(fit.differences), fit.secondary, fit.distance))


def state(checkpoint, fit):
    """The arrays of a checkpoint that fits, under the source's names."""
    return fit.arrays


def _of_other_widths(checkpoint, known):
    """The networks of widths that have no name of their own in `known`, by their first and last convolutions."""
    shapes, variants = {name: array.shape for name, array in compose(checkpoint.arrays)[0].items()}, []
    for source, stem, head in _ENDS:
        first = [shape[0] for name, shape in shapes.items() if name.endswith(stem) and len(shape) == 4]
        takes = [shape[1] for name, shape in shapes.items() if name.endswith(head) and len(shape) in (2, 4)]
        if first and takes:
            variants += source.with_ends(first[-1], takes[-1])
    return [variant for variant in variants if variant.name not in known]


def _several(fit, prefixes):
    sentence = f"the file holds the network several times, under {prefixes}; say which with --key (key=)"
    return Fit(fit.variant, fit.num_classes, fit.folded, (sentence,), share=fit.share, prefix=fit.prefix)


def _prefixes(names, naming):
    """[(prefix, root)] of the places where the stem of a network is: ("net.", "") where the source's names follow
    "net.", and ("backbone.", "features.") where "backbone." stands for the source's own "features."."""
    stem = naming.variant.source.param_name("stem", None, "weight")
    places = [(name.removesuffix(stem), "") for name in names if name == stem or name.endswith(f".{stem}")]
    if not places:
        first, dot, rest = stem.partition(".")
        inner = rest if "." in rest else ""  # conv_stem.weight has no root
        ending = [name for name in names if inner and (name == inner or name.endswith(f".{inner}"))]
        places = [(name.removesuffix(inner), first + dot) for name in ending if len(names[name].shape) == 4]
    return places[:MAX_PREFIXES]
