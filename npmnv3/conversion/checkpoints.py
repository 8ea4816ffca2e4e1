"""A checkpoint's arrays under the names of the network that it is found to be, or that was asked for."""

from __future__ import annotations

import logging
import os
from dataclasses import replace

from ..dumps.dumps import Weights, load_weights
from ..dumps.folders import file_hash
from ..dumps.reader import naming
from ..errors import WeightsError
from ..network.spec import Variant
from .claims import read_claims
from .formats import open_checkpoint
from .identify import has_background, identify, matcher
from .training import class_names, preparation


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


def load_checkpoint(
    path: str | os.PathLike[str], variant: Variant | None = None, num_classes: int | None = None, key: str | None = None
) -> Weights:
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
    with open_checkpoint(path, key) as (name, checkpoint), naming(name):
        fit, findings = find_network(checkpoint, path, variant)
        if num_classes not in (None, fit.num_classes):
            raise WeightsError(f"has {fit.num_classes} classes, expected {num_classes}")
        weights = load_weights(matcher(checkpoint).state(checkpoint, fit), fit.variant, fit.num_classes)
        written, findings = about(checkpoint, fit, path, findings)
    for sentence in findings["warnings"]:
        logging.getLogger("npmnv3").warning("%s %s", path, sentence)
    attributes = {name: written.pop(name) for name in ("origin", "licence")}
    return replace(weights, attributes=attributes, **{name: value for name, value in written.items() if value})


def find_network(checkpoint, path, variant):
    """(Fit, {"reasons", "notes", "warnings": sentences}): to this network, or, where it is None, to the one that the
    checkpoint is found to be."""
    if variant:
        fit = _fit(checkpoint, variant)
        contradicting = [f"{claim}" for claim in read_claims(checkpoint.claims) if not claim.allows(variant)]
        denied = (
            (f"{'; '.join(contradicting)}; taken for {variant.full_name}, as was asked for",) if contradicting else ()
        )
        warnings = (*checkpoint.warnings, *fit.warnings, *denied)
        return fit, {"reasons": (), "notes": (*checkpoint.notes, *fit.notes), "warnings": warnings}
    identification = identify(checkpoint, path)
    fit = _identified(identification)
    return fit, {"reasons": identification.reasons, "notes": identification.notes, "warnings": identification.warnings}


def about(checkpoint, fit, path, findings):
    """(attributes, findings): a dump's origin, licence, and labels and preprocess where they are not the network's usual
    ones; and what was found, with what there is to say of these."""
    card = checkpoint.card
    labels = card.get("labels")
    if labels is not None and len(labels) != fit.num_classes:
        raise WeightsError(
            f"its metadata, or config.json beside it, has {len(labels)} label_names for {fit.num_classes} classes"
        )
    labels, of_names = (labels, ()) if labels else class_names(checkpoint, fit.num_classes)
    recipe, of_pictures, doubts = preparation(checkpoint, fit.variant)
    attributes = {
        "origin": origin_of(path),
        "licence": card.get("licence") or fit.variant.source.licence,
        "labels": labels or ("imagenet-background" if has_background(fit) else None),
        "preprocess": card.get("preprocess") or recipe,
    }
    notes, warnings = (*findings["notes"], *of_names, *of_pictures), (*findings["warnings"], *doubts)
    return attributes, {**findings, "notes": notes, "warnings": warnings}


def _fit(checkpoint, variant):
    """The checkpoint's Fit to this network, or WeightsError with what differs, and what it is instead."""
    fit = matcher(checkpoint).compare(checkpoint, variant)
    if fit.differences:
        identification = identify(checkpoint)
        instead = (
            f"is {identification.model}, not {variant.full_name}"
            if identification.fits
            else f"is not {variant.full_name}"
        )
        raise WeightsError("\n  ".join([f"{instead}:", *fit.differences, *checkpoint.unread]))
    return fit


def _identified(identification):
    """The Fit of an Identification, or WeightsError with what contradicts it."""
    if not identification.fits:
        head = (
            f"fits no network; the nearest is {identification.model}:" if identification.variant else "fits no network:"
        )
        raise WeightsError("\n  ".join([head, *identification.contradictions]))
    return identification.fit


def origin_of(path):
    """The file's name and hash."""
    return f"{os.path.basename(os.fspath(path))} (sha256 {file_hash(path)})"
