"""What an operation of a program is set to, beside the plan's step in whose place it is."""

import math

from .fit import pair
from .program_values import parameters_of

_CONVOLUTIONS = ("conv2d", "depthwise_conv2d")
LAYERS = (*_CONVOLUTIONS, "matmul")
KINDS = {  # of the program's operations, by the plan's
    "conv2d": _CONVOLUTIONS,
    "depthwise_conv2d": _CONVOLUTIONS,
    "pointwise_conv2d": _CONVOLUTIONS,
    "linear": LAYERS,
    "batch_norm": ("batch_norm",),
    "relu": ("relu", "relu_"),
    "hard_swish": ("hardswish",),
    "hard_sigmoid": ("hardsigmoid",),
    "global_avg_pool": ("pool2d", "mean"),
    "max_pool2d": ("pool2d",),
    "mul": ("multiply",),
    "add": ("add",),
}
_CLOSE = 1e-5  # relative: programs keep numbers in float32


def differences_at(step, value, bias, names):
    """Sentences on what is set otherwise in a Value of a kind that the step may have.

    bias : str, name of the parameter that is added to it, or None
    names : {parameter's name in the plan: its name in the program}
    """
    differences = []
    if step.params:
        expected = {names.get(param.name) for param in step.params} - {None}
        parameters = set(parameters_of(value)) | ({bias} if bias else set())
        if parameters != expected:
            differences.append("the program uses other parameters than their order tells")
    attributes = value.attributes
    if attributes.get("data_format", "NCHW") not in ("NCHW", "AnyLayout", "", None):
        differences.append(f"the program keeps channels as {attributes['data_format']!r}, expected 'NCHW'")
    return differences + list(_OF_KIND.get(value.kind, _nothing)(step, value, attributes))


def _nothing(step, value, attributes):
    return ()


def _convolution(step, value, attributes):
    strides, pads = pair(attributes.get("strides")), attributes.get("paddings", (0, 0))
    pads = (pads[0], pads[0], pads[1], pads[1]) if isinstance(pads, tuple) and len(pads) == 2 else pads
    rule = attributes.get("padding_algorithm", "EXPLICIT")
    if rule == "VALID" or rule == "SAME" and not step.kernel:
        pads = (0, 0, 0, 0)
    elif rule == "SAME":
        by_size = step.pad[::2] != step.pad[1::2]
        pads = (step.kernel // 2,) * 4 if step.stride == (1, 1) else step.pad if by_size else rule
    if strides != step.stride:
        yield f"the program has strides {strides}, expected {step.stride}"
    if pads != step.pad:
        yield f"the program pads {pads} (top, bottom, left, right), expected {step.pad}"
    if pair(attributes.get("dilations", (1, 1))) != (1, 1):
        yield f"the program has dilations {attributes['dilations']}, expected none"
    groups = step.shape[0] if step.op == "depthwise_conv2d" else 1
    if attributes.get("groups", groups if value.kind == "depthwise_conv2d" else 1) != groups:
        yield (
            f"the program has {attributes.get('groups')} groups, not one for each channel"
            if groups > 1
            else (f"the program has {attributes.get('groups')} groups, expected 1")
        )


def _matmul(step, value, attributes):
    if attributes.get("transpose_x") or attributes.get("transpose_y") or attributes.get("alpha", 1) != 1:
        yield "the program transposes or scales what it multiplies"


def _norm(step, value, attributes):
    if not attributes.get("is_test") and not attributes.get("use_global_stats"):
        yield "the program takes each batch's own mean and variance: it is one for training (call eval() before saving)"
    if not _close(attributes.get("epsilon"), step.eps):
        yield f"the program's epsilon is {_shown(attributes.get('epsilon'))}, expected {step.eps:g}"


def _hard_swish(step, value, attributes):
    actual = tuple(attributes.get(name, usual) for name, usual in (("threshold", 6), ("scale", 6), ("offset", 3)))
    if actual != (6, 6, 3):
        yield f"the program's hard-swish has (threshold, scale, offset) {actual}, expected (6, 6, 3)"


def _hard_sigmoid(step, value, attributes):
    slope, offset = attributes.get("slope", 0.2), attributes.get("offset", 0.5)
    if not _close(slope, step.slope) or not _close(offset, 0.5):
        yield (
            f"the gates' slope is {_shown(slope)} and their offset {_shown(offset)}, expected {step.slope:.4g} and 0.5"
        )


def _pool(step, value, attributes):
    size = attributes.get("kernel_size")
    if len(value.inputs) > 1 and value.inputs[1] is not None:
        size = value.inputs[1].attributes.get("value", size)
    whole = attributes.get("global_pooling") or (attributes.get("adaptive") and pair(size) == (1, 1))
    if step.op == "global_avg_pool" and (attributes.get("pooling_type") != "avg" or not whole):
        yield f"the program pools by {attributes.get('pooling_type')}, {'whole' if whole else size}; expected avg over the whole"
    if step.op == "max_pool2d":
        actual = (
            attributes.get("pooling_type"),
            whole,
            pair(size),
            pair(attributes.get("strides")),
            set(attributes.get("paddings", ())),
        )
        if (
            actual[:1] + actual[2:] != ("max", (step.kernel,) * 2, step.stride, {0})
            or whole
            or attributes.get("ceil_mode")
        ):
            yield f"the program pools by {actual[0]} {actual[2]}, expected max {(step.kernel,) * 2}"


def _mean(step, value, attributes):
    if sorted(pair(attributes.get("axis"))) not in ([2, 3], [-2, -1]) or step.op != "global_avg_pool":
        yield f"the program takes the mean over axes {attributes.get('axis')}, expected height and width"


def _product(step, value, attributes):
    if attributes.get("axis", -1) not in (-1, 0):
        yield f"the program broadcasts along axis {attributes['axis']}"


_OF_KIND = {
    "conv2d": _convolution,
    "depthwise_conv2d": _convolution,
    "matmul": _matmul,
    "batch_norm": _norm,
    "hardswish": _hard_swish,
    "hardsigmoid": _hard_sigmoid,
    "pool2d": _pool,
    "mean": _mean,
    "multiply": _product,
    "add": _product,
}


def _close(actual, expected):
    return isinstance(actual, (int, float)) and math.isclose(actual, expected, rel_tol=_CLOSE)


def _shown(value):
    return f"{value:.4g}" if isinstance(value, (int, float)) else "not told"
