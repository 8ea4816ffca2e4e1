"""Causes of all that is not exact at once: another picture than was named, or one rule changed throughout.

What a port does not show is computed with the change, so these are found from the logits alone.
"""

import numpy as np

from ...engines.integer_engine import rule_field
from ...network.steps import INPUT
from ...ops.requantize import INTEGER_RULES
from .explain import Cause, Rule
from .forced import Forced
from .roundings import WORDS, with_word

LEAST = 8  # numbers
# fmt: off
_LAYERS = "layers", "depthwise", "depthwise_uint8", "fully_connected"
_MEANS = "mean", "mean_to_vector"
_RULES = {  # what a KernelSet says: (kind of step, what several are called, the words it may have)
    _LAYERS:              ("layers",     "layers",                 (*INTEGER_RULES, "float", "reciprocal")),
    ("fully_connected",): ("layers",     "fully connected layers", (*INTEGER_RULES, "real", "float", "reciprocal")),
    ("mul",):             ("mul",        "products",               (*INTEGER_RULES, "float", "reciprocal", "float_offset")),
    ("add",):             ("add",        "sums",                   (*INTEGER_RULES, "shift", "shift_away", "fused")),
    _MEANS:               ("mean",       "means",                  WORDS["mean"]),
    ("hard_swish",):      ("hard_swish", "hard-swishes",           WORDS["hard_swish"]),
}
# fmt: on


def explain_at_once(forced, fit, named_input, usual):
    """[the Cause of everything that a fit leaves], or [].

    Parameters
    ----------
    forced : Forced
    fit : Fit that is not whole
    named_input : bool, the input is what somebody said, not what the port shows
    usual : KernelSet that is tried beside the fit's own
    """
    off = tuple(name for name, exact in fit.exact.items() if not exact)
    rules = []
    for kernels in dict.fromkeys((fit.kernels, usual)) if named_input else ():
        for text, other in _other_pictures(forced.values[INPUT]).items():
            if not rules and Forced(forced.plan, {**forced.values, INPUT: other}).fit(kernels).whole:
                rules.append(
                    (f"the input {text}" + f" and {kernels.name}'s rules" * (kernels is not fit.kernels), text)
                )
    if not rules and _tells(forced, off) and all(forced.case(name, fit).computed for name in off):
        rules = _other_rules(forced, fit.kernels)
    many, numbers = len(fit.exact), sum(forced.different(name, fit) for name in off)
    found = tuple(
        Rule("at once", setting, text, off, numbers, many, many, "tensors", False, len(rules))
        for text, setting in rules
    )
    return [Cause(off[0], found, off)] if found else []


def _tells(forced, off):
    """Whether there are so many numbers that none of all the rules is right by chance, a step up or down."""
    return sum(forced.values[name].size for name in off) >= LEAST


def _other_rules(forced, kernels):
    """[(text, setting)] of each one word of a kernel set with which every tensor is exact."""
    found, used = [], {rule_field(step, forced.plan) for step in forced.plan.steps}
    for fields, (kind, what, words) in _RULES.items():
        for word in words if used.intersection(fields) else ():
            other = with_word(kernels, word, *fields)
            if other != kernels and forced.fit(other).whole:
                found.append((f"{WORDS[kind][word]} in all {what}", f"{fields[0]} {word}"))
    return found


def _other_pictures(q):
    """{what was done to the input's integers (N, C, H, W): these}."""
    last = q.transpose(0, 2, 3, 1)
    found = {
        "with its colours in reverse (BGR)": q[:, ::-1],
        "with its channels last, read as if they were first (NHWC for NCHW)": last.reshape(q.shape),
        "with its channels first, read as if they were last (NCHW for NHWC)": q.reshape(last.shape).transpose(
            0, 3, 1, 2
        ),
        "mirrored": q[..., ::-1],
        "upside down": q[:, :, ::-1],
    }
    if q.dtype.itemsize == 1:
        found["with its integers 128 off (uint8 for int8, or the reverse)"] = (q.view(np.uint8) ^ 128).view(q.dtype)
    if q.shape[2] == q.shape[3]:
        found["with rows and columns exchanged"] = q.swapaxes(2, 3)
    return {text: np.ascontiguousarray(other) for text, other in found.items() if not np.array_equal(other, q)}
