"""Paddle's inference files, whose names are paddle's own: matched by the order in which the program uses the arrays."""

from ...network.forms import form_told
from ...network.plan import make_plan
from .composed import as_stored
from .fit import Fit, listed, stored_width_differences
from .namings import namings_of


def plausible(checkpoint, variant):
    return _naming(variant) is not None


def _naming(variant):
    """The naming of a variant whose arrays lie as paddle's do, None where there is none."""
    return next((n for n in namings_of(variant) if n.variant.source.layout == "paddle"), None)


def _in_form(variant, found):
    """The variant with the hidden layer that these arrays have."""
    if not variant.source.head_stored_as or len(found) < 4 or found[-2].ndim != 2:
        return variant
    takes = found[-2].shape[0]
    alone = len(_params(make_plan(variant._replace(head=0)))) == len(found)
    return variant._replace(head=0 if alone and takes == variant.last else takes)


def compare(checkpoint, variant):
    """How well the sequence of shapes fits a network; parameters and result as in `by_name.compare`."""
    found = list(checkpoint.arrays.values())
    tail = found[-1].shape if found else ()
    num_classes = tail[0] if len(tail) == 1 and tail[0] else variant.num_classes
    naming = _naming(variant)
    form = _in_form(naming.variant, found)
    variant = variant._replace(head=form.head)
    plan = make_plan(form, num_classes)
    params = _params(plan)
    wrong = [param for param, array in zip(params, found) if array.shape != param.shape]
    distance = len(wrong) + abs(len(found) - len(params))
    sentences = []
    if len(found) != len(params):
        sentences.append(f"{len(found)} arrays, expected {len(params)}")
    elif wrong:
        shapes = {param.name: array.shape for param, array in zip(params, found)}
        sentences += stored_width_differences(plan, shapes)
    if wrong and len(sentences) == (len(found) != len(params)):
        names = (f"{param.name} {param.shape}" for param in wrong)
        sentences.append(f"the order of shapes differs, at the places of {listed(names)}")
    notes = [f"named as {naming.title} names them"] if naming.title else []
    notes += [f"a form of its own: {form_told(variant)}"] if form_told(variant) else []
    share = 1 - min(1, distance / len(params))
    notes = () if sentences else tuple(notes)
    return Fit(
        variant,
        num_classes,
        False,
        tuple(sentences),
        distance,
        share=share,
        notes=notes,
        style=int(bool(form_told(variant))),
    )


def state(checkpoint, fit):
    """The arrays of a checkpoint that fits, under the source's names."""
    form = _naming(fit.variant).variant._replace(head=fit.variant.head)
    there = [param for param in _params(make_plan(fit.variant, fit.num_classes)) if param.role != "count"]
    here = _params(make_plan(form, fit.num_classes))
    return {
        param.name: as_stored(array, ours, param)
        for ours, param, array in zip(here, there, checkpoint.arrays.values(), strict=True)
    }


def _params(plan):
    return [param for step in plan for param in step.params]
