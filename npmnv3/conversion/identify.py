"""Which network a checkpoint is, by its claims, names and shapes, with reasons."""

import os
import re
from dataclasses import dataclass

from ..network.plan import make_plan
from ..network.variants import get_variant, list_models
from .claims import read_claims
from .dumpfiles import is_dump, open_dump
from .formats import read_checkpoint
from .match import by_graph, by_name, by_order
from .match.fit import Fit
from .match.namings import not_ours, quantized_by_torch

_MATCHERS = {  # the other formats have names
    "onnx": by_graph,
    "tflite": by_graph,
    "paddle-inference": by_order,
    "torch-frozen": by_order,
}
_HOW = {
    by_graph: "the graph's layers fit in order, shape, stride, padding, activation and what they read",
    by_order: "{count} arrays fit in the program's order and in shape",
    by_name: "{count} arrays have {source}'s names and this network's shapes",
}
_NEAR = 0.3  # share of a network's entries that must be there to call it the nearest


@dataclass(frozen=True)
class Identification:
    """What a checkpoint was found to be.

    fit : Fit to the network, or to the nearest where it is none; None where none is near. It tells variant, num_classes
        (by the classifier's shape) and folded: whether batch norm is folded into the layers, or is to be
    also : names of other networks that the file fits as well
    reasons : sentences on why it is `variant` and not the next one
    contradictions : sentences on why it is not `variant`, none where it fits
    notes : what a user should know of the file and its conversion
    warnings : what may be otherwise, and is not said in the file: which of several networks it is
    """

    fit: Fit | None
    also: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def variant(self):
        """The network or the nearest, None where there is none."""
        return self.fit and self.fit.variant

    @property
    def num_classes(self):
        return self.fit.num_classes if self.fit else 0

    @property
    def folded(self):
        return bool(self.fit) and self.fit.folded

    @property
    def fits(self):
        """Whether it is the network `variant`."""
        return self.fit is not None and not self.contradictions

    @property
    def model(self):
        """The name of the network or the nearest, "" where there is none."""
        return self.variant.full_name if self.variant else ""


def matcher(checkpoint):
    """The module that knows how to compare checkpoints of this format with networks."""
    return _MATCHERS.get(checkpoint.format, by_name)


def identify_file(path, key=None):
    """`identify` for a file: any that `read_checkpoint` takes, and npmnv3's own dumps.

    Returns
    -------
    (Checkpoint, Identification)

    Raises
    ------
    WeightsError, UsageError, MissingExtraError
        As `read_checkpoint`.
    """
    if is_dump(path):
        with open_dump(path, key) as checkpoint:
            return checkpoint, identify(checkpoint, path)
    checkpoint = read_checkpoint(path, key)
    return checkpoint, identify(checkpoint, path)


def identify(checkpoint, path=""):
    """Find source, variant and number of classes of a Checkpoint, as an Identification.

    path : str or os.PathLike, of its file; a name in it decides between networks of equal names and shapes
    """
    fits = _all_fits(checkpoint)
    exact = [fit for fit in fits if not fit.differences]
    claims = read_claims(checkpoint.claims)
    if not exact:
        return _nearest(checkpoint, fits, claims)
    exact = [fit for fit in exact if not fit.secondary] or exact
    places = sorted({fit.prefix for fit in exact})
    if len(places) > 1:
        first = {place: next(fit for fit in exact if fit.prefix == place) for place in places}
        networks = "; ".join(f"{place!r} is {fit.variant.full_name}" for place, fit in first.items())
        return _refused(
            checkpoint, exact[0], f"the file holds several networks: {networks}; say which with --key (key=)"
        )
    allowed = [fit for fit in exact if all(claim.allows(fit.variant) for claim in claims)]
    if not allowed:
        claim = next(claim for claim in claims if not any(claim.allows(fit.variant) for fit in exact))
        contradiction = f"{claim}, but names and shapes are {exact[0].variant.full_name}'s; --model (model=) decides"
        return _refused(checkpoint, exact[0], contradiction)
    return _accepted(checkpoint, fits, allowed, exact, claims, os.fspath(path))


def _all_fits(checkpoint):
    match, variants = matcher(checkpoint), [get_variant(name) for name in list_models()]
    if match is by_name:  # where most networks need no close look
        return by_name.fits_to_any(checkpoint, variants)
    return [match.compare(checkpoint, variant) for variant in variants]


def _accepted(checkpoint, fits, allowed, exact, claims, path):
    """The Identification of the network to take among those that fit and that the file may mean."""
    least = min(fit.style for fit in allowed)
    best = sorted((fit for fit in allowed if fit.style == least), key=lambda fit: fit.variant.name.startswith("tf_"))
    stated = checkpoint.metadata.get("variant") if checkpoint.format == "dump" else None
    taken, why = _between(best, (stated or "", os.path.basename(path), os.path.dirname(path)))
    others = [fit for fit in best if fit is not taken]
    denied = [fit for fit in exact if fit not in allowed]
    why = [f"{claims[0]}: not {denied[0].variant.full_name}, which has the same names and shapes"] if denied else why
    reasons = [_fit_reason(checkpoint, taken), *why, *_why_not([fit for fit in fits if fit.differences])]
    same, differ = _twins(checkpoint, taken, others)
    return Identification(
        taken,
        tuple(fit.variant.full_name for fit in others),
        tuple(reasons),
        notes=(*checkpoint.notes, *taken.notes, *same, *(differ if why else ()), *_background(taken)),
        warnings=(*checkpoint.warnings, *taken.warnings, *(() if why else differ)),
    )


def _refused(checkpoint, fit, *contradictions):
    return Identification(fit, contradictions=contradictions, notes=checkpoint.notes)


def _nearest(checkpoint, fits, claims):
    foreign = not_ours(checkpoint.arrays) or quantized_by_torch([*checkpoint.arrays, *checkpoint.quantized])
    if foreign:
        return _refused(checkpoint, None, foreign)
    meant = [fit for fit in fits if claims and all(claim.allows(fit.variant) for claim in claims)]
    fit = min(meant or fits, key=lambda fit: fit.distance, default=None)
    if fit is not None and fit.share >= _NEAR:
        return _refused(checkpoint, fit, *fit.differences, *checkpoint.unread)
    shown = ", ".join(list(checkpoint.arrays)[:3])
    summary = f"{len(checkpoint.arrays)} arrays ({shown}, ...): no known network has these names and shapes"
    other_families = (f"{claim}, which is not known here" for claim in claims if claim.other)
    return _refused(checkpoint, None, summary, *checkpoint.unread, *other_families)


def _between(best, texts):
    """(the fit to take, reasons): the one that the first text with any name names; else the first, plainer network."""
    for text in texts if len(best) > 1 else ():
        named = max(best, key=lambda fit: _names_it(fit.variant, text))
        if _names_it(named.variant, text):
            return named, [f"of the networks with these names and shapes, {text!r} names {named.variant.name}"]
    return best[0], []


def _names_it(variant, text):
    """How clearly a text names a variant: the length of the name in it, 0 if none."""
    if variant.checkpoint and variant.checkpoint.file in text:
        return len(text)
    is_named = variant.name.lower() in text.lower()
    marked = variant.name.startswith("tf_") and re.search(r"(^|[^a-z])tf_", text.lower())
    return len(variant.name) if is_named else len("tf_") if marked else 0


def _fit_reason(checkpoint, fit):
    how = _HOW[matcher(checkpoint)].format(count=len(checkpoint.arrays), source=fit.variant.source.name)
    return f"{how}; {fit.num_classes} class{'es' if fit.num_classes > 1 else ''} by the classifier's shape"


def _why_not(others):
    """Reasons against the next best network."""
    near = min(others, key=lambda fit: fit.distance, default=None)
    return [] if near is None or near.share < _NEAR else [f"not {near.variant.full_name}: {near.differences[0]}"]


def _twins(checkpoint, taken, others):
    """(notes, warnings) on the other networks that fit as well: those that compute the same, and those that do not."""
    same, differ = [], []
    for fit in others:
        # What fits a graph computes what it does.
        alike = matcher(checkpoint) is by_graph or _function(fit) == _function(taken)
        (same if alike else differ).append(fit.variant.full_name)
    notes = (f"it could as well be called {', '.join(same)}: that computes the same",) if same else ()
    warning = f"fits {', '.join(differ)} as well: same names and shapes, other padding or epsilon; "
    warning += f"taken for {taken.variant.full_name}; if it is the other, name it with --model (model=)"
    return notes, (warning,) if differ else ()


def _function(fit):
    """What a network computes, whatever its parameters are called."""
    plan = make_plan(fit.variant, fit.num_classes, folded=fit.folded)
    return [(s.op, s.inputs, s.shape, s.kernel, s.stride, s.pad, s.eps, s.slope, s.factor) for s in plan]


def has_background(fit):
    """Whether the classes are taken for ImageNet's with a background class before them."""
    return fit.num_classes == 1001 and fit.variant.labels == "imagenet"


def _background(fit):
    return ("1001 classes: taken for ImageNet's with a background class before them",) if has_background(fit) else ()
