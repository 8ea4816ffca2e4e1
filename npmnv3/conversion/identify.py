"""Which network a checkpoint is, from its names and shapes alone, with reasons."""

import os
import re
from dataclasses import dataclass

from ..network.plan import make_plan
from ..network.variants import get_variant, list_models
from .dumpfiles import is_dump, read_dump_shapes
from .formats import read_checkpoint
from .match import by_graph, by_name, by_order
from .match.fit import Fit

_MATCHERS = {"onnx": by_graph, "paddle-inference": by_order}  # the other formats have names
_NEAR = 0.3  # share of a network's entries that must be there to call it the nearest


@dataclass(frozen=True)
class Identification:
    """What a checkpoint was found to be.

    fits : whether it is the network `variant`; if not, that is the nearest, or None where none is near
    num_classes : int, from the classifier's shape
    folded : batch norm is folded into the layers, or is to be
    also : names of other networks that the file fits as well
    reasons : sentences on why it is `variant` and not the next one
    contradictions : sentences on why it is not `variant`, none where it fits
    notes : what a user should know of the file and its conversion
    """

    variant: object  # Variant or None
    num_classes: int
    folded: bool
    also: tuple[str, ...]
    reasons: tuple[str, ...]
    contradictions: tuple[str, ...]
    notes: tuple[str, ...]
    fit: Fit | None = None

    @property
    def fits(self):
        return self.variant is not None and not self.contradictions

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
    checkpoint = read_dump_shapes(path, key) if is_dump(path) else read_checkpoint(path, key)
    return checkpoint, identify(checkpoint, path)


def identify(checkpoint, path=""):
    """Tell source, variant and number of classes.

    Parameters
    ----------
    checkpoint : Checkpoint
    path : str or os.PathLike, of its file; a name in it decides between networks of equal names and shapes

    Returns
    -------
    Identification
    """
    match = matcher(checkpoint)
    variants = [get_variant(name) for name in list_models()]
    fits = [match.compare(checkpoint, variant) for variant in variants if match.plausible(checkpoint, variant)]
    exact = [fit for fit in fits if not fit.differences]
    if not exact:
        return _nearest(checkpoint, fits)
    least = min(fit.style for fit in exact)
    best = [fit for fit in exact if fit.style == least]
    path = os.fspath(path)
    said = checkpoint.metadata.get("variant") if checkpoint.format == "dump" else None
    taken, why = _between(best, (said or "", os.path.basename(path), os.path.dirname(path)))
    others = [fit for fit in best if fit is not taken]
    reasons = [_what_fits(checkpoint, taken), *why, *_why_not([fit for fit in fits if fit.differences])]
    also = tuple(fit.variant.full_name for fit in others)
    return Identification(
        taken.variant,
        taken.num_classes,
        taken.folded,
        also,
        tuple(reasons),
        (),
        (*checkpoint.notes, *taken.notes, *_twins(checkpoint, taken, others), *_background(taken)),
        taken,
    )


def _nearest(checkpoint, fits):
    fit = min(fits, key=lambda fit: fit.distance, default=None)
    if fit is None or fit.share < _NEAR:
        shown = ", ".join(list(checkpoint.arrays)[:3])
        told = f"{len(checkpoint.arrays)} arrays ({shown}, ...): no known network has these names and shapes"
        return Identification(None, 0, False, (), (), (told,), checkpoint.notes)
    return Identification(fit.variant, fit.num_classes, fit.folded, (), (), fit.differences, checkpoint.notes, fit)


def _between(best, texts):
    """(the fit to take, reasons): by a name in the texts, the first that has one; else the first, plainer network."""
    for text in texts if len(best) > 1 else ():
        named = max(best, key=lambda fit: _names_it(fit.variant, text))
        if _names_it(named.variant, text):
            return named, [f"of the networks with these names and shapes, {text!r} names {named.variant.name}"]
    return best[0], []


def _names_it(variant, text):
    """How clearly a text names a variant: the length of what was found, 0 if nothing."""
    if variant.checkpoint and variant.checkpoint.file in text:
        return len(text)
    found = variant.name.lower() in text.lower()
    marked = variant.name.startswith("tf_") and re.search(r"(^|[^a-z])tf_", text.lower())
    return len(variant.name) if found else len("tf_") if marked else 0


def _what_fits(checkpoint, fit):
    variant, count = fit.variant, fit.num_classes
    classes = f"{count} class{'es' if count > 1 else ''} by the classifier's shape"
    if checkpoint.format == "onnx":
        how = "the graph's layers fit in order, shape, stride, padding and activation"
    elif checkpoint.format == "paddle-inference":
        how = f"{len(checkpoint.arrays)} arrays fit in the program's order and in shape"
    else:
        how = f"{len(checkpoint.arrays)} arrays have {variant.source.name}'s names and this network's shapes"
    return f"{how}; {classes}"


def _why_not(others):
    """Why it is not the next one."""
    near = min(others, key=lambda fit: fit.distance, default=None)
    return [] if near is None or near.share < _NEAR else [f"not {near.variant.full_name}: {near.differences[0]}"]


def _twins(checkpoint, taken, others):
    """Notes on the other networks that fit as well."""
    plan = make_plan(taken.variant, taken.num_classes)
    same, differ = [], []
    for fit in others:
        # What fits a graph computes what it does.
        alike = checkpoint.format == "onnx" or _functions_agree(make_plan(fit.variant, fit.num_classes), plan)
        (same if alike else differ).append(fit.variant.full_name)
    notes = [f"it could as well be called {', '.join(same)}: that computes the same"] if same else []
    if differ:
        notes.append(
            f"fits {', '.join(differ)} as well: same names and shapes, other padding or epsilon; "
            f"taken for {taken.variant.full_name}; if it is the other, name it with --model"
        )
    return tuple(notes)


def _functions_agree(a, b):
    """Whether two plans compute the same, whatever the parameters are called."""
    return [_unnamed(step) for step in a] == [_unnamed(step) for step in b]


def _unnamed(step):
    return step.op, step.inputs, step.shape, step.kernel, step.stride, step.pad, step.eps, step.slope, step.factor


def has_background(fit):
    """Whether the classes are taken for ImageNet's with a background class before them."""
    return fit.num_classes == 1001 and fit.variant.labels == "imagenet"


def _background(fit):
    return ("1001 classes: taken for ImageNet's with a background class before them",) if has_background(fit) else ()
