"""What a graph's layers read, as functions of what the layers before give: held against a plan's, number by number.

Exporters write one activation in many ways, so names decide nothing. Between two layers each number is worked on by
itself, but for means, and for sums and products of two layers' tensors. A tensor is what a layer or such a join gives, and
what was done to it since is known by what has become of some numbers.
"""

import operator
from typing import NamedTuple

import numpy as np

from ..formats.record import INFERRED
from .graph_places import classifier_gain, is_layout, is_weighted, plan_gain

#: What is put through; hard-swish and the gates bend at 2.5, 3 and their opposites.
NUMBERS = np.array([-9, -4, -2.9, -2.6, -1.5, -0.6, 0, 0.4, 1.1, 2.4, 2.8, 3.2, 5, 6.5, 11])

#: Of the largest result: constants in 16 bits are nearer.
TOLERANCE = 5e-3

_PASSED_ON = ("batch_norm", "identity")
_KINDS = {
    "GlobalAveragePool": "mean",
    "AveragePool": "mean",
    "ReduceMean": "mean",
    "global_avg_pool": "mean",
    "MaxPool": "maximum",
    "max_pool2d": "maximum",
    "mul": "Mul",
    "add": "Add",
    "Sum": "Add",
}
_ALONG = dict.fromkeys((3, -1), "the mean of each row") | dict.fromkeys((2, -2), "the mean of each column")  # by axis
_ODD_MEAN = "another mean"
_PIXELS = [2, 3], [1, 2]  # axes of height and width
_ARITHMETIC = {"Add": operator.add, "Sub": operator.sub, "Mul": operator.mul, "Div": operator.truediv}


class Value(NamedTuple):
    """A tensor: where it comes from, and what has become of `NUMBERS` there.

    origin : ("input",), ("layer", its number) or (operation, *Values that it works on)
    """

    origin: tuple
    numbers: np.ndarray

    @property
    def layer(self):
        """The number of the layer that it comes from alone, or None."""
        return self.origin[1] if self.origin[0] == "layer" else None

    def then(self, numbers):
        return Value(self.origin, numbers)


def function_faults(plan, layers, places, gates):
    """A sentence on the first layer that reads another function of the layers before than the network's, in a list.

    Parameters
    ----------
    plan : tuple of Step, with as many layers with weights as the graph
    layers : sequence of formats.record.Layer
    places : their Places
    gates : {step's name: what its weights are to be multiplied by}
    """
    wanted, names, clipped = _of_plan(plan, gates)
    wanted[-1] = wanted[-1].then(wanted[-1].numbers * (classifier_gain(places) / plan_gain(plan)))
    merged = {id(layer) for place in places for layer in (*place.affine, place.pad)}
    merged |= {id(layer) for layer in layers if is_layout(layer)}
    for place, actual, expected in zip(places, _of_graph(layers, merged, clipped), wanted):
        if not _alike(actual, expected):
            have, want = _description(actual, names), _description(expected, names)
            return [f"{place} reads {have if have != want else f'a multiple of {have}'}, expected {want}"]
    return []


def _of_plan(plan, gates):
    """(what each layer with weights reads, their names, the numbers of those that are followed by relu)."""
    values, reads, names, clipped = {}, [], [], set()
    for step in plan:
        inputs = [values.get(name, Value(("input",), NUMBERS)) for name in step.inputs]
        if step.param("weight"):
            values[step.name] = Value(("layer", len(reads)), NUMBERS * gates.get(step.name, 1.0))
            reads.append(inputs[0])
            names.append(step.name)
            continue
        if step.op == "relu":
            clipped.add(inputs[0].layer)
        values[step.name] = _operate(step.op, inputs, {"constant": np.array(step.factor)}, {"alpha": step.slope})
    return reads, names, clipped


def _of_graph(layers, merged, clipped):
    """What each layer with weights reads; `merged` are the ids of those that are part of another."""
    values, reads = [], []
    for layer in layers:
        inputs = [values[place] for place in layer.inputs if values[place] is not None]
        if is_weighted(layer):
            reads.append(inputs[0] if inputs else Value(("input",), NUMBERS))
            values.append(Value(("layer", len(reads) - 1), NUMBERS))
        elif not inputs:
            values.append(None)  # made of the input, or of sizes
        elif id(layer) in merged or layer.attributes.get(INFERRED) and inputs[0].layer not in clipped:
            values.append(inputs[0])
        else:
            values.append(_operate(layer.op, inputs, layer.params, layer.attributes))
    return reads


def _operate(op, inputs, params, attributes):
    """What an operation makes of some Values."""
    kind, (first, *others) = _KINDS.get(op, op), inputs
    if op in _PASSED_ON:
        return first
    if kind in _ACTIVATIONS and not others and all(constant.size == 1 for constant in params.values()):
        return first.then(_ACTIVATIONS[kind](first.numbers, params, attributes))
    if kind == "scale":
        return first.then(first.numbers * params["constant"])
    if kind in _ARITHMETIC and len(others) <= 1:
        return _arithmetic(kind, first, others, params.get("constant"), attributes)
    if kind == "Concat":
        kind = _along_axis(attributes.get("axis"))
    if kind == "ReduceSum" and not attributes.get("keepdims", 1) and _is_pair(first, attributes.get("axes")):
        return _operate("Add", list(first.origin[1:]), {}, {})
    if kind == "mean" and not others:
        return _mean(first, attributes.get("axes", (2, 3)), attributes.get("keepdims", 1), attributes.get("pads", ()))
    return Value((kind, *inputs), NUMBERS)


def _mean(value, axes, kept, pads):
    """Over all pixels, at once or one axis after the other; anything else is a mean that no network here has.

    A mean that drops the one axis it is taken over counts as one of all pixels, which exporters may have laid along
    that axis.
    """
    if len(axes) != 1:
        whole = sorted(axis % 4 for axis in axes) in _PIXELS and not any(pads)
        return _join("mean", value) if whole else Value((_ODD_MEAN, value), NUMBERS)
    along, before = _ALONG.get(axes[0], _ODD_MEAN), value.origin[0]
    if before in _ALONG.values() and value.numbers is NUMBERS and (before != along or not kept):
        return _join("mean", value.origin[1])  # the second axis
    if before == "mean" and not kept:
        return value  # the second axis, where the first could have been all pixels
    if kept or axes[0] not in (2, -1):
        return Value((along, value), NUMBERS)
    return _join("mean", value)


def _arithmetic(op, first, others, constant, attributes):
    """With a constant, of one tensor with itself, or of two."""
    if not others and constant is not None and constant.size == 1:
        pair = first.numbers, float(constant.ravel()[0])
        with np.errstate(all="ignore"):
            return first.then(_ARITHMETIC[op](*(pair[::-1] if attributes.get("constant_first") else pair)))
    if others and _same_origin(first.origin, others[0].origin):
        with np.errstate(all="ignore"):
            return first.then(_ARITHMETIC[op](first.numbers, others[0].numbers))
    if op == "Mul" and others:
        return _join(op, first, others[0])
    return Value((op, first, *others), NUMBERS)


def _along_axis(axis):
    return f"the values along axis {axis}"


def _is_pair(value, axes):
    """Whether it is two tensors stacked along this axis: of two side by side along such an axis, which need not be the
    batch's, no layer could read the sum."""
    kind, *parts = value.origin
    return axes in ((0,), (1,)) and kind == _along_axis(axes[0]) and len(parts) == 2 and value.numbers is NUMBERS


def _join(op, *inputs):
    """A mean or a product: a constant factor of what it works on is its own, as some exporters move it."""
    peaks = [x.numbers[np.abs(x.numbers).argmax()] or 1.0 for x in inputs]
    return Value((op, *(x.then(x.numbers / peak) for x, peak in zip(inputs, peaks))), NUMBERS * np.prod(peaks))


def _same_origin(one, other):
    return one is other or (one[0] == "layer" and one == other)


def _clip(x, params, attributes):
    least, most = (params.get(name, attributes.get(old)) for name, old in (("least", "min"), ("most", "max")))
    x = x if least is None else np.maximum(x, float(np.ravel(least)[0]))
    return x if most is None else np.minimum(x, float(np.ravel(most)[0]))


def _hard_sigmoid(x, _, attributes):
    return np.clip(x * attributes.get("alpha", 0.2) + attributes.get("beta", 0.5), 0, 1)  # the defaults are ONNX's


def _hard_swish(x, *_):
    return x * np.clip(x + 3, 0, 6) / 6


def _relu(x, *_):
    return np.maximum(x, 0)


_ACTIVATIONS = {
    "Relu": _relu,
    "relu": _relu,
    "Clip": _clip,
    "Min": _clip,
    "Max": _clip,
    "HardSwish": _hard_swish,
    "hard_swish": _hard_swish,
    "HardSigmoid": _hard_sigmoid,
    "hard_sigmoid": _hard_sigmoid,
}


def _alike(one, other):
    """Whether two Values are one tensor; what a sum or a product joins has no order."""
    if not np.allclose(one.numbers, other.numbers, rtol=0, atol=TOLERANCE * np.abs(other.numbers).max()):
        return False
    (kind, *its), (wanted, *others) = one.origin, other.origin
    if kind != wanted or len(its) != len(others):
        return False
    if kind == "layer":
        return its == others
    orders = {tuple(map(id, order)): order for order in (others, others[::-1])}  # of the same twice there is one
    return any(all(map(_alike, its, order)) for order in orders.values())


def _description(value, names):
    """A tensor in words, but for constant factors."""
    kind, *inputs = value.origin
    if kind in ("layer", "input"):
        source = names[inputs[0]] if inputs else "the input"
    else:
        source = f"{_JOINS.get(kind, kind)} of {' and '.join(_description(x, names) for x in inputs)}"
    for name, its in _KNOWN.items():
        factor = value.numbers[-1] / its[-1]
        if np.allclose(value.numbers, its * factor, rtol=0, atol=TOLERANCE * np.abs(value.numbers).max()):
            return f"{name} of {source}" if name else source
    return f"another function of {source}"


_JOINS = {"Mul": "the product", "Add": "the sum", "mean": "the mean", "maximum": "the maximum"}
_KNOWN = {
    "": NUMBERS,
    "relu": _relu(NUMBERS),
    "relu6": np.clip(NUMBERS, 0, 6),
    "hard-swish": _hard_swish(NUMBERS),
    "the gate of slope 1/6": np.clip(NUMBERS / 6 + 0.5, 0, 1),
    "the gate of slope 0.2": np.clip(NUMBERS / 5 + 0.5, 0, 1),
}
