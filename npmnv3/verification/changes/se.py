"""Changes of squeeze-and-excitation, and of batch norms."""

from dataclasses import replace

import numpy as np

from ...network.steps import INPUT, Param, Step
from ..net import block_of
from .edits import ACTIVATIONS, edited, is_squeeze, without
from .weights import remade


def drop_bias(*suffixes):
    def apply(net, where):
        steps = [
            s for s in net.plan if s.op == "linear" and where(s.name) and s.name.endswith(suffixes) and s.param("bias")
        ]
        return edited(net, {s.name: without(s, "bias") for s in steps})

    return apply


def se_order(net, where):
    """Gate before the activation where it stood after it, and the other way round."""
    edits = {}
    for product in [s for s in net.plan if s.name.endswith(".se") and s.op == "mul" and where(s.name)]:
        block = block_of(product.name)
        late = net.steps.get(f"{block}.act")
        depthwise = net.steps[product.inputs[0]]
        if late is not None:  # showlo's: the activation moves to before the gate
            norm = replace(depthwise, name=f"{block}.depthwise.norm")
            edits |= {depthwise.name: [norm, Step(depthwise.name, late.op, (norm.name,), ())], late.name: None}
        elif depthwise.op in ACTIVATIONS:
            edits[depthwise.name] = replace(depthwise, op="identity")
            edits[product.name] = [
                replace(product, name=f"{product.name}.product"),
                Step(product.name, depthwise.op, (f"{product.name}.product",), ()),
            ]
    return edited(net, edits)


def se_width(rule):
    """Squeeze layers of another width: cut or filled up with zeros, as by a loader that does not check."""

    def apply(net, where):
        edits, arrays = {}, {}
        for step in net.plan:
            if not step.name.endswith((".se.squeeze", ".se.squeeze.fc")) or step.op != "linear" or not where(step.name):
                continue
            old, expand = step.param("weight").canonical
            new = rule(expand, _block_input(net, block_of(step.name)), old)
            if new == old or new < 1 or "@" in step.param("weight").name:
                continue
            chain = [s for s in net.plan if s.name.startswith(f"{block_of(step.name)}.se.") and s.params]
            for one in chain:
                axis = 1 if one.name.endswith(".excite") else 0
                edits[one.name] = replace(one, params=tuple(_resized(p, axis, new) for p in one.params))
                arrays |= {
                    _resized(p, axis, new).name: _resizing(p, axis, new) for p in one.params if axis < len(p.canonical)
                }
        return edited(net, edits, arrays)

    return apply


def _block_input(net, block):
    first = next(s for s in net.plan if block_of(s.name) == block)
    source = first.inputs[0]
    return net.input_shape[0] if source == INPUT else net.steps[source].shape[0]


def _resized(param, axis, new):
    if axis >= len(param.canonical):  # the excite layer's bias keeps its length
        return param
    shape = tuple(new if i == axis else n for i, n in enumerate(param.canonical))
    return Param(f"{param.name}@{new}", param.role, shape, shape)


def _resizing(param, axis, new):
    """What makes the array of a resized parameter: the model's own, cut or filled up with zeros along an axis."""

    def make(arrays):
        array = arrays[param.name]
        if axis >= array.ndim:
            return array
        cut = array.take(range(min(new, array.shape[axis])), axis)
        return np.pad(cut, [(0, new - cut.shape[axis] if i == axis else 0) for i in range(array.ndim)])

    return make


def drop_se_norm(net, where):
    steps = [s for s in net.plan if s.op == "batch_norm" and ".se." in s.name and where(s.name)]
    return edited(net, {s.name: replace(s, op="identity", params=()) for s in steps})


def add_se_norm(net, where):
    """Batch statistics in place of the squeeze layer's bias: a norm left in training mode."""
    edits = {}
    for step in net.plan:
        if step.name.endswith(".se.squeeze.fc") and step.op == "linear" and where(step.name):
            bare = replace(without(step, "bias"), name=f"{step.name}.bare")
            edits[step.name] = [bare, Step(step.name, "batch_statistics", (bare.name,), (), eps=1e-5)]
    return edited(net, edits)


def constant_gate(net, where):
    """Excite layers of zeros: whatever the squeeze layer gives, the gate is made of their bias alone."""
    steps = [s for s in net.plan if s.name.endswith(".se.excite") and s.param("bias") and where(s.name)]
    return remade(net, [(s, s.param("weight"), "zero", lambda w, all_: np.zeros_like(w)) for s in steps])


def dead_squeeze(net, where):
    """Squeeze layers that give zeros, in place of their activation."""
    found = {s.name: replace(s, op="zero", params=()) for s in net.plan if is_squeeze(s.name) and where(s.name)}
    return edited(net, found)


def no_gate(net, where):
    """Squeeze-and-excitation left out: a gate of one."""
    products = [s for s in net.plan if s.name.endswith(".se") and s.op == "mul" and where(s.name)]
    return edited(net, {s.name: replace(s, op="identity", inputs=s.inputs[:1]) for s in products})


def live_norms(net, where):
    """Batch norms with the batch's own statistics: left in training mode."""
    edits, arrays = {}, {}
    for step in net.plan:
        if step.op == "batch_norm" and where(step.name) and not step.inputs[0].endswith(".live"):
            live = Step(f"{step.name}.live", "batch_statistics", step.inputs, (), eps=step.eps)
            params = {p.role: p for p in step.params}
            for role, fill in (("mean", np.zeros_like), ("variance", np.ones_like)):
                known = params[role]
                params[role] = known._replace(name=f"{known.name}@{role}")
                arrays[params[role].name] = lambda all_, name=known.name, fill=fill: fill(all_[name])
            edits[step.name] = [live, replace(step, inputs=(live.name,), params=tuple(params.values()), eps=0.0)]
    return edited(net, edits, arrays)
