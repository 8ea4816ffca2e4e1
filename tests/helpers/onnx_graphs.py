"""ONNX graphs of networks, made by hand as exporters write them: their layers, in order, with random weights."""

import dataclasses

import numpy as np
from states import random_state

from npmnv3.conversion.formats import Checkpoint, Layer
from npmnv3.conversion.match.fit import layers_of, norms_of
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant

SIZES = "sizes"  # name of a layer that reads no other


def tame_state(model, num_classes):
    """A random state dict with which activations neither grow nor vanish."""
    rng, state = np.random.default_rng(9), random_state(model, num_classes, seed=9)
    for step in layers_of(make_plan(get_variant(model), num_classes)):
        weight = step.param("weight")
        spread = np.sqrt(2 / np.prod(weight.canonical[1:]))
        state[weight.name] = (spread * rng.standard_normal(weight.shape)).astype(np.float32)
    return state


def graph(model, num_classes=7, *, norms="folded", gain="kept", eps=None, pads=True, decomposed=False, pooled_as=None):
    """(Checkpoint of an ONNX graph, the state dict it was made of).

    norms : "folded" into the layers, "kept", "mixed" (every third one kept) or "affine" (kept as Mul and Add)
    gain : "kept" or "folded" into the classifier
    """
    plan, state = make_plan(get_variant(model), num_classes), tame_state(model, num_classes)
    weighted, following, layers, places = layers_of(plan), norms_of(plan), [], {}
    normed = {norm.name for norm in following.values()}
    for step in plan:
        params = {p.role: p.to_canonical(state[p.name]).astype(np.float64) for p in step.params}
        if step in weighted:
            norm = following.get(step.name)
            if step.name == "logits" and gain == "folded" and any(s.op == "scale" for s in plan):
                params["weight"] = params["weight"] * 0.8
            affine = []
            if norm is not None:
                n = {p.role: state[p.name].astype(np.float64) for p in norm.params}
                factor = n["gamma"] / np.sqrt(n["variance"] + (eps or norm.eps))
                shift = n["beta"] - n["mean"] * factor
                if norms == "folded" or (norms == "mixed" and weighted.index(step) % 3):
                    shape = (-1, *(1,) * (params["weight"].ndim - 1))
                    params = {
                        "weight": params["weight"] * factor.reshape(shape),
                        "bias": params.get("bias", 0) * factor + shift,
                    }
                elif norms == "affine":
                    affine = [
                        Layer("Mul", "m", {"constant": factor.reshape(1, -1, 1, 1)}),
                        Layer("Add", "a", {"constant": shift}),
                    ]
                else:
                    roles = ("gamma", "beta", "mean", "variance")
                    affine = [Layer("BatchNormalization", "n", {r: n[r] for r in roles}, {"epsilon": eps or norm.eps})]
            made = [*layer(step, params, pads, pooled_as), *affine]
        else:
            nothing = step.name in normed or (step.op == "scale" and gain == "folded")
            made = [] if nothing else other(step, decomposed)
        sources = tuple(places[name] for name in step.inputs if name in places)
        layers += chained(made, sources, len(layers))
        places[step.name] = len(layers) - 1 if made else sources[0]
    return Checkpoint("onnx", {}, layers=tuple(single(x) for x in layers)), state


def chained(layers, sources, start):
    """The layers, from place `start` on, each reading the one before; a product of two also what the first reads, as
    does padding that is computed."""
    found = []
    for place, layer in enumerate(layers, start):
        before = () if place == start else (place - 1,)
        of_two = layer.op == "Pad" or (layer.op == "Mul" and "constant" not in layer.params)
        inputs = () if layer.name == SIZES else (*sources, *before) if of_two else before or sources
        found.append(dataclasses.replace(layer, inputs=inputs))
    return found


def single(layer):
    return dataclasses.replace(layer, params={k: np.asarray(v, np.float32) for k, v in layer.params.items()})


def layer(step, params, pads, pooled_as):
    weight, attributes = params["weight"], {}
    if step.op == "linear":
        op = pooled_as or ("Conv" if len(step.param("weight").shape) == 4 else "Gemm")
        weight = weight[:, :, None, None] if op == "Conv" else weight
        return [Layer(op, step.name, {**params, "weight": weight}, attributes)]
    if step.op == "depthwise_conv2d":
        weight, attributes["group"] = weight[:, None], len(weight)
    elif step.op == "pointwise_conv2d":
        weight = weight[:, :, None, None]
    top, bottom, left, right = step.pad
    before = []
    if pads or (top, left) == (bottom, right):
        attributes["pads"] = (top, left, bottom, right)
    else:
        before = [Layer("Pad", step.name + ".pad")]
    return [*before, Layer("Conv", step.name, {**params, "weight": weight}, {**attributes, "strides": step.stride})]


def other(step, decomposed):
    """An operation without weights as nodes."""

    def constant(op, value):
        return Layer(op, step.name, {"constant": np.array([value])})

    def clip(most):
        return Layer("Clip", "", {"least": np.array(0.0), "most": np.array(most)})

    if step.op == "hard_swish":
        nodes = [Layer("HardSwish", step.name)]
        return [constant("Add", 3.0), clip(6), Layer("Mul", ""), constant("Div", 6.0)] if decomposed else nodes
    if step.op == "hard_sigmoid":
        if decomposed:
            return [constant("Mul", step.slope), constant("Add", 0.5), clip(1)]
        return [Layer("HardSigmoid", step.name, {}, {"alpha": step.slope})]
    names = {
        "relu": "Relu",
        "global_avg_pool": "GlobalAveragePool",
        "mul": "Mul",
        "add": "Add",
        "max_pool2d": "MaxPool",
    }
    if step.op == "scale":
        return [constant("Mul", step.factor)]
    return [Layer(names[step.op], step.name)] if step.op in names else []
