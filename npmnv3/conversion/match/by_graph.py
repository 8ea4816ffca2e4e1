"""ONNX graphs, whose names are the exporter's: matched layer by layer, in `graph_order`'s order.

A graph holds more than its weights: strides, padding, the gates' slope, epsilons, what follows each layer. All of it
has to fit, or the dump would not be the function that the graph is. The form does not matter: a bias of zeros may be
left out, a norm be written as sums and products.
"""

import collections
import math

import numpy as np

from ...network.forms import CHANNELS, form_text
from ...network.plan import make_plan
from ..formats.tflite import GATE
from .composed import regained
from .fit import Fit, form_notes, gain_notes, layers_of, listed, norms_of, sides_for, width_differences
from .graph_functions import function_faults
from .graph_places import NOBODYS, classifier_gain, eps_of, find_places, plan_gain
from .graph_windows import window_faults

_OTHER_FORM = 1000  # of `Fit.style`: networks in their published form are likelier


def compare(checkpoint, variant):
    """How well the graph fits a network; parameters and result as in `by_name.compare`."""
    before, places = find_places(checkpoint.layers)
    num_classes = max(len(places[-1].weight), 1)
    variant = _in_form(variant, places)
    plan, sides = make_plan(variant, num_classes), sides_for(checkpoint, variant)
    steps, norms = layers_of(plan), norms_of(plan)
    if len(steps) != len(places):
        return _other_length(variant, num_classes, steps, places)
    pairs, apart, windows = list(zip(steps, places)), 0, []
    wrong = sum(place.weight.shape != step.param("weight").canonical for step, place in pairs)
    if wrong:
        sentences = width_differences(plan, {step.name: place.weight.shape for step, place in pairs})
        sentences = sentences or [_first_difference(pairs)]
    else:
        windows = window_faults(make_plan(variant, num_classes, sides), places)
        faults = (_strides(pairs), _padding(variant.source, pairs), _biases(pairs, norms), windows if sides else [])
        apart = sum(map(len, faults))
        sentences = [listed(names) for names in faults if names]
        sentences = sentences or function_faults(plan, checkpoint.layers, places, _folded_gates(plan, places))
    kept = not sentences and all(_is_kept(place, step, norms.get(step.name)) for step, place in pairs)
    return Fit(
        variant,
        num_classes,
        bool(norms) and not kept,
        tuple(sentences),
        distance=max(wrong, apart, len(sentences)),
        style=_style(checkpoint, variant, pairs, norms) + _OTHER_FORM * bool(form_text(variant)),
        share=1 - wrong / len(steps),
        notes=() if sentences else (*form_notes(variant), *_notes(plan, pairs, norms, kept)),
        warnings=() if sentences else (*_of_other_sizes(variant, windows), *_beside(before, places)),
    )


def _of_other_sizes(variant, windows):
    """Warnings of pools that are the network's for another size of pictures only, where the graph takes any."""
    usual = "x".join(map(str, variant.side))
    return tuple(f"{fault}, as it is for pictures of {usual}; the graph takes others too" for fault in windows)


def _in_form(variant, places):
    """The variant with the input channels and the head of the graph, where it could be one of its forms."""
    first, last = places[0].weight, places[-1].weight
    if first.ndim == 4 and first.shape[1] in CHANNELS:
        variant = variant._replace(in_channels=first.shape[1])
    if not variant.source.head_stored_as:
        return variant
    count = len(layers_of(make_plan(variant)))
    if len(places) == count - 1 and last.ndim == 2 and last.shape[1] == variant.last:
        return variant._replace(head=0)
    head = places[-2].weight if len(places) == count else last
    return variant._replace(head=head.shape[0]) if head.ndim == 2 and head.shape[1] == variant.last else variant


def state(checkpoint, fit):
    """The arrays of a graph that fits, under the source's names; folded in float64 where norms are gone."""
    _, places = find_places(checkpoint.layers)
    plan = make_plan(fit.variant, fit.num_classes, folded=fit.folded)
    arrays, norms, gates = {}, norms_of(plan), _folded_gates(plan, places)
    for step, place in zip(layers_of(plan), places):
        weight, bias = place.folded() if fit.folded else (place.weight, place.bias)
        if step.name in gates:
            weight, bias = (regained(part, gates[step.name]) for part in (weight, bias))
        if step.name == "logits":
            weight = regained(weight, classifier_gain(places) / plan_gain(plan))
        _store(arrays, step, {"weight": weight, "bias": bias})
        if step.name in norms:
            _store(arrays, norms[step.name], place.norms[0].params)
    return arrays


def _store(arrays, step, values):
    for param in step.params:
        if param.role != "count":
            value = values[param.role]
            arrays[param.name] = param.from_canonical(np.zeros(param.canonical, np.float32) if value is None else value)


def _other_length(variant, num_classes, steps, places):
    actual = collections.Counter(place.weight.shape for place in places)
    expected = collections.Counter(step.param("weight").canonical for step in steps)
    apart = sum(((actual - expected) + (expected - actual)).values())
    alike = sum((actual & expected).values())
    sentence = f"{len(places)} layers with weights, not {len(steps)}; {_first_difference(zip(steps, places))}"
    return Fit(variant, num_classes, False, (sentence,), len(steps) + apart, share=alike / len(steps))


def _first_difference(pairs):
    for step, place in pairs:
        actual, expected = place.weight.shape, step.param("weight").canonical
        if actual != expected:
            return f"the first that differs is {place}, {actual} at the place of {step.name} {expected}"
    return "the first ones are alike"


def _strides(pairs):
    wrong = []
    for step, place in pairs:
        strides = place.layer.attributes.get("strides", (1, 1))
        if strides != step.stride and step.op != "linear":  # which has one pixel
            wrong.append(f"{place} has strides {strides}, expected {step.stride}")
        if step.kernel and any(n != 1 for n in place.layer.attributes.get("dilations") or ()):
            wrong.append(f"{place} has dilations {place.layer.attributes['dilations']}, expected none")
    return wrong


def _padding(source, pairs):
    wrong, asymmetric = [], False
    for step, place in pairs:
        pads = place.pads(step)
        asymmetric |= pads is None or pads[:2] != pads[2:]
        if pads and not all(_allowed(source.padding, step, *pair) for pair in zip(pads[:2], pads[2:])):
            how = "otherwise than with zeros" if pads == NOBODYS else f"{pads} (top, left, bottom, right)"
            wrong.append(f"{place} pads {how}, expected {source.padding!r} padding")
    if not wrong and asymmetric != (source.padding == "same"):
        wrong.append(f"{'asymmetric' if asymmetric else 'symmetric'} padding, expected {source.padding!r}")
    return wrong


def _allowed(padding, step, before, after):
    """Whether an axis may be padded so; "same" depends on the side being even or odd."""
    side = step.kernel // 2
    if padding == "symmetric" or step.stride == (1, 1):
        return (before, after) == (side, side)
    return (before, after) in ((side - 1, side), (side, side))


def _folded_gates(plan, places):
    """{name of the layer before a gate: what its weights are multiplied by}, where the graph has another slope's share in
    them: TensorFlow Lite's gates all have 1/6."""
    gates = [step for step in plan if step.op == "hard_sigmoid"]
    factors = {gate.inputs[0]: 1 / 6 / gate.slope for gate in gates}
    layers = {step.name: place.layer for step, place in zip(layers_of(plan), places)}
    return {name: factor for name, factor in factors.items() if name in layers and GATE in layers[name].attributes}


def _biases(pairs, norms):
    """Sentences on layers with a bias where the plan has none."""
    wrong = []
    for step, place in pairs:
        bias = None if step.name in norms or step.param("bias") else place.folded()[1]
        if bias is not None and bias.any():
            wrong.append(f"{place} has a bias, none expected")
    return wrong


def _is_kept(place, step, norm):
    """Whether the graph has the plan's layer and norm, or no norm, as they are, so that nothing need be folded."""
    if norm is None:
        return not place.affine
    alone = len(place.affine) == len(place.norms) == 1 and (place.bias is None) == (step.param("bias") is None)
    return alone and _same_eps(place.norms[0], norm)


def _same_eps(layer, norm):
    return math.isclose(eps_of(layer), norm.eps, rel_tol=1e-5)


def _style(checkpoint, variant, pairs, norms):
    """How many layers have another name, kind (on pooled channels), bias or epsilon than the source would write."""
    if checkpoint.format == "tflite":  # where every layer is as the converter has it, and most models are Keras's
        return int(variant.source.layout != "keras")
    count, names = 0, checkpoint.arrays
    for step, place in pairs:
        weight, norm = step.param("weight"), norms.get(step.name)
        count += weight.name not in names
        count += place.layer.op not in (("Conv",) if len(weight.shape) == 4 else ("Gemm", "MatMul"))
        if norm is None:
            count += step.param("bias") is not None and place.bias is None and not place.affine
        else:
            count += not all(_same_eps(layer, norm) for layer in place.norms)
    return count


def _beside(before, places):
    """Warnings of what the graph does before its first layer and behind its classifier, and the dump does not."""
    prepared = [
        " ".join([x.op, *(str(c.ravel()[:3].tolist()) for r, c in x.params.items() if r == "constant")]) for x in before
    ]
    warnings = []
    if prepared and not places[0].computed_pad:
        warnings.append(f"the graph prepares its input itself ({listed(prepared)}); the dump's network does not")
    more = [layer.op for layer in places[-1].after if layer.op != "Softmax"]
    if more:
        warnings.append(f"behind the classifier the graph has {listed(more)}; the dump ends with the logits")
    return warnings


def _notes(plan, pairs, norms, kept):
    notes, places = [], [place for _, place in pairs]
    if norms and not kept:
        left = sum(bool(place.affine) for step, place in pairs if step.name in norms)
        notes.append(f"batch norm is folded into the layers ({left} of {len(norms)} by npmnv3), so the dump is too")
    return notes + gain_notes("graph", classifier_gain(places), plan_gain(plan))
