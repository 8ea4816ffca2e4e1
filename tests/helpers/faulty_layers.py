"""Ports with one fault each in a single layer, or behind the last, made without the verifier's own table of faults."""

from dataclasses import replace

import numpy as np

from npmnv3.network.walk import apply
from npmnv3.ops import definitions


def layer_faults(maker):
    """{fault: function (rounding) -> tensors}: something wrong with one layer, or with what is behind the last."""
    steps, weight = {s.name: s for s in maker.plan}, lambda name: _param(maker, name, "weight")
    rng = np.random.default_rng(11)

    def with_weight(name, make):
        return maker.of(maker.plan, {weight(name): make(maker.arrays[weight(name)])})

    def grid(w):
        return np.round(w / np.abs(w).max() * 127) * np.abs(w).max() / 127

    def without(name, role):
        return maker.of(maker.plan, {_param(maker, name, role): np.zeros_like(maker.arrays[_param(maker, name, role)])})

    deep, conv = "blocks.6.depthwise.conv", "blocks.4.expand.conv"
    product = steps["blocks.5.se"]
    logits = maker.arrays[weight("logits")]
    return {
        "weight_layout": with_weight(deep, lambda w: w[:, ::-1, ::-1]),
        "weight_order": with_weight(conv, lambda w: w[rng.permutation(len(w))]),
        "quantized_layer": with_weight(conv, grid),
        "bias_missing": without("blocks.7.expand.norm", "beta"),
        "weights_swapped": _exchanged(maker, "blocks.9", "blocks.10"),
        "se_missing": maker.edit({product.name: [replace(product, op="identity", inputs=product.inputs[:1])]}),
        "other_classifier": with_weight("logits", lambda w: rng.standard_normal(logits.shape) * logits.std()),
        "train_mode": _trained(maker),
        "log_softmax": _ending(maker, lambda x: x - x.max() - np.log(np.exp(x - x.max()).sum())),
        "dropout_on": _dropped(maker, rng),
    }


def _param(maker, name, role):
    return next(s.param(role).name for s in maker.plan if s.name == name)


def _exchanged(maker, a, b):
    """Every parameter of two blocks of one shape exchanged."""
    steps, arrays = {s.name: s for s in maker.plan}, {}
    for one, other in ((a, b), (b, a)):
        for step in maker.plan:
            if step.name.startswith((f"{one}.", f"{one} ")):
                twin = steps[step.name.replace(one, other, 1)]
                arrays |= {p.name: maker.arrays[twin.param(p.role).name] for p in step.params if p.role != "count"}
    return maker.of(maker.plan, arrays)


def _trained(maker):
    """Norms with the statistics of what they get, and their own epsilon."""

    def make(rounding):
        arrays = {name: rounding(a.astype(np.float32)) for name, a in maker.arrays.items()}
        tensors = {"input": rounding(maker.x)}
        for step in maker.plan:
            inputs = [tensors[i] for i in step.inputs]
            own = arrays
            if step.op == "batch_norm":
                axes = (0, *range(2, inputs[0].ndim))
                own = arrays | {
                    step.param("mean").name: inputs[0].mean(axis=axes),
                    step.param("variance").name: inputs[0].var(axis=axes),
                }
            tensors[step.name] = rounding(apply(step, inputs, own, definitions))
        return tensors

    return make


def _ending(maker, function):
    """Something done to the logits at the very end; they themselves are there too."""

    def make(rounding):
        tensors = maker.clean(rounding)
        return tensors | {"last": rounding(function(tensors["logits"]))}

    return make


def _dropped(maker, rng):
    """A dropout of 0.2 on what the classifier gets."""
    logits = maker.plan[-1]

    def make(rounding):
        tensors = maker.clean(rounding)
        source = tensors[logits.inputs[0]]
        kept = (rng.random(source.shape) > 0.2) / np.float32(0.8)
        arrays = {name: rounding(a.astype(np.float32)) for name, a in maker.arrays.items()}
        found = apply(logits, [(source * kept).astype(np.float32)], arrays, definitions)
        return tensors | {"logits": rounding(found)}

    return make
