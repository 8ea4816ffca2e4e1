"""Paddle's inference files and frozen TorchScript, whose names are the program's own: matched by the order in which the
program uses the arrays, and then by what it computes of them."""

from ...network.forms import CHANNELS, form_text
from ...network.plan import make_plan
from .by_wiring import Wiring
from .composed import as_stored, regained
from .fit import Fit, form_notes, gain_notes, listed, stored_width_differences
from .namings import namings_of

_LAYOUTS = {"paddle-inference": "paddle", "torch-frozen": "torch"}


def _naming(checkpoint, variant):
    """The naming of a variant in the framework's layout, None where there is none. Of several, which may make the head
    of other layers, the one whose shapes are the most like the file's."""
    layout, arrays = _LAYOUTS[checkpoint.format], list(checkpoint.arrays.values())

    def unlike(naming):
        params = _params(make_plan(_in_form(naming.variant, arrays), folded=_is_folded(checkpoint)))
        return sum(param.shape != array.shape for param, array in zip(params, arrays))

    alike = [naming for naming in namings_of(variant) if naming.variant.source.layout == layout]
    return min(alike, key=unlike, default=None)


def _in_form(variant, arrays):
    """The variant with the input channels and the hidden layer that these arrays have."""
    if arrays and len(arrays[0].shape) == 4 and arrays[0].shape[1] in CHANNELS:
        variant = variant._replace(in_channels=arrays[0].shape[1])
    if not variant.source.head_stored_as or len(arrays) < 4 or len(arrays[-2].shape) != 2:
        return variant
    in_features = arrays[-2].shape[variant.source.layout == "torch"]  # where torch has what comes in
    alone = any(len(_params(make_plan(variant._replace(head=0), folded=folded))) == len(arrays) for folded in (0, 1))
    return variant._replace(head=0 if alone and in_features == variant.last else in_features)


def compare(checkpoint, variant):
    """How well the sequence of shapes fits a network; parameters and result as in `by_name.compare`."""
    arrays = list(checkpoint.arrays.values())
    tail = arrays[-1].shape if arrays else ()
    num_classes = tail[0] if len(tail) == 1 and tail[0] else variant.num_classes
    naming = _naming(checkpoint, variant)
    if naming is None:
        sentence = f"its arrays lie as {_LAYOUTS[checkpoint.format]} has them, in which layout no form of this network is known"
        return Fit(variant, num_classes, differences=(sentence,), distance=2 * len(arrays), share=0)
    form, folded = _in_form(naming.variant, arrays), _is_folded(checkpoint)
    variant = variant._replace(in_channels=form.in_channels, head=form.head)
    plan = make_plan(form, num_classes, folded=folded)
    count = len(_params(plan))
    sentences, distance = _shape_differences(plan, arrays)
    notes, warnings = _form_notes(naming, variant, folded), ()
    if not sentences and checkpoint.program:
        wiring = _wiring(checkpoint, plan)
        sentences, warnings = wiring.differences, wiring.warnings
        notes += [*wiring.notes, *gain_notes("program", wiring.gain, wiring.expected_gain)]
        distance = int(bool(sentences))  # the arrays are this network's: nearer than any other
    return Fit(
        variant,
        num_classes,
        folded,
        tuple(sentences),
        distance,
        share=1 - min(1, distance / count),
        notes=() if sentences else tuple(notes),
        warnings=() if sentences else tuple(warnings),
        style=int(bool(form_text(variant))),
    )


def _shape_differences(plan, arrays):
    """(sentences on how the arrays' shapes differ from the plan's, in order; how many differ, are missing or too many)."""
    params = _params(plan)
    wrong = [param for param, array in zip(params, arrays) if array.shape != param.shape]
    other_count, sentences = abs(len(arrays) - len(params)), []
    if other_count:
        sentences.append(f"{len(arrays)} arrays, expected {len(params)}")
    elif wrong:
        sentences += stored_width_differences(plan, {param.name: array.shape for param, array in zip(params, arrays)})
    if wrong and (other_count or not sentences):
        names = (f"{param.name} {param.shape}" for param in wrong)
        sentences.append(f"the order of shapes differs, at the places of {listed(names)}")
    return sentences, len(wrong) + other_count


def _form_notes(naming, variant, folded):
    notes = [f"named as {naming.title} names them"] if naming.title else []
    notes += form_notes(variant)
    return notes + ["batch norm is folded into the layers, so the dump is too"] * folded


def state(checkpoint, fit):
    """The arrays of a checkpoint that fits, under the source's names."""
    form = _naming(checkpoint, fit.variant).variant._replace(in_channels=fit.variant.in_channels, head=fit.variant.head)
    plans = [make_plan(variant, fit.num_classes, folded=fit.folded) for variant in (fit.variant, form)]
    there, here = map(_params, plans)
    arrays = {
        param.name: as_stored(array, ours, param)
        for ours, param, array in zip(here, there, checkpoint.arrays.values(), strict=True)
    }
    weight = plans[0][-1].param("weight").name
    factor = _wiring(checkpoint, plans[1]).factor if checkpoint.program else 1.0
    return arrays | {weight: regained(arrays[weight], factor)}


def _wiring(checkpoint, plan):
    names = dict(zip((param.name for param in _params(plan)), checkpoint.arrays))
    return Wiring(plan, names, checkpoint.program, checkpoint.arrays)


def _is_folded(checkpoint):
    return bool(checkpoint.program) and all(made.kind != "batch_norm" for made in checkpoint.program)


def _params(plan):
    return [param for step in plan for param in step.params if param.role != "count"]
