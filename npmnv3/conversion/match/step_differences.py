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
    wrong = []
    if step.params:
        expected = {names.get(param.name) for param in step.params} - {None}
        found = set(parameters_of(value)) | ({bias} if bias else set())
        if found != expected:
            wrong.append("the program uses other parameters than their order tells")
    told = value.attributes
    if told.get("data_format", "NCHW") not in ("NCHW", "AnyLayout", "", None):
        wrong.append(f"the program keeps channels as {told['data_format']!r}, expected 'NCHW'")
    return wrong + list(_OF_KIND.get(value.kind, _nothing)(step, value, told))


def _nothing(step, value, told):
    return ()


def _convolution(step, value, told):
    strides, pads = pair(told.get("strides")), told.get("paddings", (0, 0))
    pads = (pads[0], pads[0], pads[1], pads[1]) if isinstance(pads, tuple) and len(pads) == 2 else pads
    rule = told.get("padding_algorithm", "EXPLICIT")
    if rule == "VALID" or rule == "SAME" and not step.kernel:
        pads = (0, 0, 0, 0)
    elif rule == "SAME":
        by_size = step.pad[::2] != step.pad[1::2]
        pads = (step.kernel // 2,) * 4 if step.stride == (1, 1) else step.pad if by_size else rule
    if strides != step.stride:
        yield f"the program has strides {strides}, expected {step.stride}"
    if pads != step.pad:
        yield f"the program pads {pads} (top, bottom, left, right), expected {step.pad}"
    if pair(told.get("dilations", (1, 1))) != (1, 1):
        yield f"the program has dilations {told['dilations']}, expected none"
    groups = step.shape[0] if step.op == "depthwise_conv2d" else 1
    if told.get("groups", groups if value.kind == "depthwise_conv2d" else 1) != groups:
        yield (
            f"the program has {told.get('groups')} groups, not one for each channel"
            if groups > 1
            else (f"the program has {told.get('groups')} groups, expected 1")
        )


def _matmul(step, value, told):
    if told.get("transpose_x") or told.get("transpose_y") or told.get("alpha", 1) != 1:
        yield "the program transposes or scales what it multiplies"


def _norm(step, value, told):
    if not told.get("is_test") and not told.get("use_global_stats"):
        yield "the program takes each batch's own mean and variance: it is one for training (call eval() before saving)"
    if not _close(told.get("epsilon"), step.eps):
        yield f"the program's epsilon is {_shown(told.get('epsilon'))}, expected {step.eps:g}"


def _hard_swish(step, value, told):
    found = tuple(told.get(name, usual) for name, usual in (("threshold", 6), ("scale", 6), ("offset", 3)))
    if found != (6, 6, 3):
        yield f"the program's hard-swish has (threshold, scale, offset) {found}, expected (6, 6, 3)"


def _hard_sigmoid(step, value, told):
    slope, offset = told.get("slope", 0.2), told.get("offset", 0.5)
    if not _close(slope, step.slope) or not _close(offset, 0.5):
        yield (
            f"the gates' slope is {_shown(slope)} and their offset {_shown(offset)}, expected {step.slope:.4g} and 0.5"
        )


def _pool(step, value, told):
    size = told.get("kernel_size")
    if len(value.inputs) > 1 and value.inputs[1] is not None:
        size = value.inputs[1].attributes.get("value", size)
    whole = told.get("global_pooling") or (told.get("adaptive") and pair(size) == (1, 1))
    if step.op == "global_avg_pool" and (told.get("pooling_type") != "avg" or not whole):
        yield f"the program pools by {told.get('pooling_type')}, {'whole' if whole else size}; expected avg over the whole"
    if step.op == "max_pool2d":
        found = told.get("pooling_type"), whole, pair(size), pair(told.get("strides")), set(told.get("paddings", ()))
        if found[:1] + found[2:] != ("max", (step.kernel,) * 2, step.stride, {0}) or whole or told.get("ceil_mode"):
            yield f"the program pools by {found[0]} {found[2]}, expected max {(step.kernel,) * 2}"


def _mean(step, value, told):
    if sorted(pair(told.get("axis"))) not in ([2, 3], [-2, -1]) or step.op != "global_avg_pool":
        yield f"the program takes the mean over axes {told.get('axis')}, expected height and width"


def _product(step, value, told):
    if told.get("axis", -1) not in (-1, 0):
        yield f"the program broadcasts along axis {told['axis']}"


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


def _close(found, expected):
    return isinstance(found, (int, float)) and math.isclose(found, expected, rel_tol=_CLOSE)


def _shown(value):
    return f"{value:.4g}" if isinstance(value, (int, float)) else "not told"
