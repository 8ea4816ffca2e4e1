"""Paddle's inference files, whose names are paddle's own: matched by the order in which the program uses the arrays."""

from ...network.plan import make_plan
from .fit import Fit, listed, stored_width_differences


def plausible(checkpoint, variant):
    return variant.source.layout == "paddle"


def compare(checkpoint, variant):
    """How well the sequence of shapes fits a network; parameters and result as in `by_name.compare`."""
    found = list(checkpoint.arrays.values())
    tail = found[-1].shape if found else ()
    num_classes = tail[0] if len(tail) == 1 and tail[0] else variant.num_classes
    plan = make_plan(variant, num_classes)
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
    return Fit(variant, num_classes, False, tuple(sentences), distance, share=1 - min(1, distance / len(params)))


def state(checkpoint, fit):
    """The arrays of a checkpoint that fits, under the source's names."""
    return {
        param.name: array
        for param, array in zip(_params(make_plan(fit.variant, fit.num_classes)), checkpoint.arrays.values())
    }


def _params(plan):
    return [param for step in plan for param in step.params]
