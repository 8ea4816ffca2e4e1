"""Rule changes of rounding: how a step's real result becomes an integer."""

import itertools
from dataclasses import replace

import numpy as np

from ...ops.integers import FACTOR_FIELDS
from ...ops.kernel_sets import KERNEL_SETS
from ...ops.requantize import F32, I64, INTEGER_RULES, LAYER_RULES, integer_factor, quantize_multiplier
from ...ops.tables import hard_swish_float_table
from .claims import ROUNDED, Claim, factor_by, finish, rounding

ENTRIES = 4  # of a table, that may be wrong
ENOUGH = 4  # times as many numbers that were looked up there, or they are chance

_OF_SUMS = {
    "double": "double rounding (halves up, then halves away from zero, as TFLite's reference kernels)",
    "up": "double rounding with halves up both times (as TFLite's optimised kernels)",
    "up_by_8": "double rounding with halves up, of channels beyond a multiple of 8 away from zero (as TFLite's optimised kernels)",
    "single": "single rounding (once, halves up)",
    "truncate": "truncated rounding (a shift that does not round)",
    "real": "rounding of the real product (a float64 factor, halves away from zero, as TFLite's reference FULLY_CONNECTED)",
    "float": "fp32 requantisation (one float32 factor, halves to even)",
    "float_offset": "fp32 requantisation, the zero point added before it rounds",
    "reciprocal": "fp32 requantisation, its factor made with the reciprocal of the output's scale (as QNNPACK)",
    "shift": "XNNPACK's addition (factors of 21 bits, one shift)",
    "shift_away": "QNNPACK's addition (factors of 22 bits, one shift, halves away from zero)",
    "fused": "float32 with fused multiply-adds (as ONNX Runtime on AVX2)",
}
#: Kind of step -> {a kernel set's word for its rule: what this says}.
WORDS = {
    **dict.fromkeys(("layers", "mul", "add"), _OF_SUMS),
    "mean": {
        "double": "MEAN with the division in the factor (as TFLite's reference kernels)",
        "single": "MEAN rounded once, halves up",
        "twice": "old MEAN, rounded twice (scaled, then divided by the pixels)",
        "offset": "MEAN with one rounded offset (as TFLite's optimised kernels)",
        "float": "MEAN in float32 (as ONNX Runtime)",
        "float_offset": "MEAN in float32 with an offset (as XNNPACK)",
    },
    "hard_swish": {
        "fixed": "fixed-point hard-swish (TFLite's 16-bit table)",
        "float": "hard-swish by floats (x * clip(x / 6 + 1 / 2, 0, 1) in float32, halves to even)",
        "sixth": "hard-swish by floats (x * clip(x + 3, 0, 6) / 6 in float32, the zero point added before it rounds, as QNNPACK)",
    },
}
#: What the words of a product's factor say.
WIDTHS = {"float32": "float32, as TensorFlow Lite does", "float64": "float64, as TensorFlow Lite Micro does"}

#: The words in the order in which they are said where several explain the same.
_LIKELY = (
    "twice",
    "real",
    "single",
    "up",
    "up_by_8",
    "double",
    "offset",
    "float",
    "reciprocal",
    "float_offset",
    "shift",
    "shift_away",
    "fused",
    "fixed",
    "sixth",
    "truncate",
)


def known_words(case):
    """The other words that kernel sets have for this kind of step."""
    own = case.word(case.kernels)
    words = sorted({case.word(kernels) for kernels in KERNEL_SETS.values()}, key=_LIKELY.index)
    extra = ("up", "single", "double", "truncate") if case.kind in ("layers", "mul", "add") else ()
    extra = ("twice",) if case.kind == "mean" else extra
    older = case.kind == "mean" and case.kernels.name.startswith("tflite")  # TensorFlow Lite's own, of earlier releases
    for word in dict.fromkeys((*extra, *words) if older else (*words, *extra)):
        alike = word == "up_by_8" and case.rows.shape[1] % 8 == 0  # as "up"
        if word != own and not alike:
            yield Claim(word, WORDS[case.kind][word], _by_word(case, word))


def with_word(kernels, word, *fields):
    """A kernel set with another word in some fields, and with the factors of the first kernel set whose word it is."""
    changed = {}
    for field in fields:
        if getattr(kernels, field) == word:
            continue
        changed[field] = word
        if factor := FACTOR_FIELDS.get(field):
            theirs = next((other for other in KERNEL_SETS.values() if getattr(other, field) == word), kernels)
            changed[factor] = getattr(theirs, factor)
    return replace(kernels, **changed)


def _by_word(case, word):
    kernels = with_word(case.kernels, word, case.field)
    if case.kind in ("layers", "mul"):
        return lambda: finish(case, case.accumulated, rule=rounding(case, kernels))
    return lambda: case.run(kernels=kernels)


def real_numbers(case):
    """The real result in floats of some width, rounded in some way; but layers in float32 to even: a kernel set's word."""
    for dtype, (how, function) in itertools.product((F32, np.float64), ROUNDED.items()):
        width = "fp32" if dtype is F32 else "float64"
        of_sums = case.kind in ("layers", "mul")
        if width == "fp32" and function is np.rint and of_sums:
            continue
        yield Claim(f"{width} {how}", f"{width} {how}", (_of_sums if of_sums else _of_reals)(case, dtype, function))


def _of_sums(case, dtype, rounds):
    def rule(acc, factors, out):
        scale, weight_scale = (np.asarray(part, dtype) for part in factors)
        return rounds(acc.astype(dtype) * (scale * weight_scale / _scale(out, dtype))).astype(I64)

    return lambda: finish(case, case.accumulated, rule=rule)


def _of_reals(case, dtype, rounds):
    return lambda: _cut(case, rounds(STEPS[case.kind](case, dtype)))


def _scale(grid, dtype):
    return dtype(F32(grid.scale))


def _reals(case, dtype):
    """What the integers of each input stand for."""
    pairs = zip(case.inputs, case.grids)
    return [(x.astype(dtype) - dtype(grid.zero_point)) * _scale(grid, dtype) for x, grid in pairs]


def _sum(case, dtype):
    return sum(_reals(case, dtype)) / _scale(case.out, dtype)


def _mean(case, dtype):
    x, grid = case.inputs[0], case.grids[0]
    pixels = x.shape[2] * x.shape[3]
    total = x.sum(axis=(2, 3), dtype=I64) - pixels * grid.zero_point
    return total.astype(dtype) / dtype(pixels) * (_scale(grid, dtype) / _scale(case.out, dtype))


def _hard_swish(case, dtype):
    (real,) = _reals(case, dtype)
    return real * np.clip(real + dtype(3), dtype(0), dtype(6)) / dtype(6) / _scale(case.out, dtype)


def _hard_sigmoid(case, dtype):
    (real,) = _reals(case, dtype)
    gate = np.clip(real * dtype(F32(case.step.slope)) + dtype(case.step.offset), dtype(0), dtype(1))
    return gate / _scale(case.out, dtype)


#: Kind of step -> function (case, dtype) -> its real result, in steps of its grid.
STEPS = {"add": _sum, "mean": _mean, "hard_swish": _hard_swish, "hard_sigmoid": _hard_sigmoid}


def _cut(case, steps):
    out = case.out
    return np.clip(steps.astype(I64) + out.zero_point, out.low, out.high).astype(out.dtype)


def whole_means(case):
    """The mean of the integers themselves, rounded to an integer before the scale changes, or with no change of it."""
    x, grid = case.inputs[0].astype(I64), case.grids[0]
    pixels = x.shape[2] * x.shape[3]
    for how, function in ROUNDED.items():

        def mean(function=function):
            return function(x.sum(axis=(2, 3)) / np.float64(pixels)).astype(I64)

        def rescaled(mean=mean):
            m, e = quantize_multiplier(integer_factor(grid.scale, 1.0, case.out.scale))
            return _cut(case, INTEGER_RULES["double"](mean() - grid.zero_point, m, e))

        yield Claim(f"kept {how}", f"MEAN of the integers, {how}, the scale left as it is", mean)
        yield Claim(f"rescaled {how}", f"MEAN of the integers, {how}, then rescaled", rescaled)


def hard_swishes(case):
    """Other tables: cut short, of another function, or looked up a place off."""
    grid, out = case.grids[0], case.out
    index = case.inputs[0].astype(np.int64) - grid.low
    real = grid.dequantize(np.arange(grid.low, grid.high + 1)).astype(np.float64)

    def looked(values):
        return lambda: out.quantize(values)[index]

    functions = {
        "relu": ("relu in place of hard-swish", np.maximum(real, 0)),
        "swish": ("swish (x * sigmoid(x)) in place of hard-swish", real / (1 + np.exp(np.clip(-real, -700, 700)))),
        "identity": ("no hard-swish at all", real),
        "slope 0.2": ("hard-swish with the slope 0.2", real * np.clip(real * 0.2 + 0.5, 0, 1)),
        "gate": ("the gate alone in place of hard-swish", np.clip(real / 6 + 0.5, 0, 1)),
    }
    for setting, (text, values) in functions.items():
        yield Claim(setting, text, looked(values))
    for by in (-1, 1):
        yield Claim(f"table {by}", "a hard-swish table looked up one place off", _off_by(case, by))
    gate = np.clip(real * F32(1 / 6) + 0.5, 0, 1)
    for steps in (255, 256, 127, 128):
        stored = np.rint(gate * steps) / steps
        yield Claim(f"gate of {steps}", f"hard-swish with its gate stored in steps of 1/{steps}", looked(real * stored))


def _off_by(case, by):
    grid = case.grids[0]
    kept = np.clip(case.inputs[0].astype(np.int64) + by, grid.low, grid.high).astype(grid.dtype)
    return lambda: case.run(inputs=[kept])


def hard_sigmoids(case):
    """Other slopes, or a table looked up a place off."""
    for by in (-1, 1):
        yield Claim(f"table {by}", "a gate's table looked up one place off", _off_by(case, by))
    for slope, text in ((0.2, "0.2"), (1 / 6, "1/6"), (0.25, "1/4")):
        if abs(slope - case.step.slope) > 1e-6:
            step = replace(case.step, slope=slope)
            yield Claim(text, f"a gate with the slope {text}", lambda step=step: case.run(step=step))


def table_entries(case):
    """A table of which a few entries are wrong: wherever the input is one of these, the output is the same other number."""
    x, own, found = case.inputs[0], case.run(), case.found
    wrong = {int(q): np.unique(found[x == q]) for q in np.unique(x[own != found])[: ENTRIES + 1]}
    met = np.count_nonzero(np.isin(x, list(wrong)))
    if not ENOUGH * len(wrong) <= met or len(wrong) > ENTRIES or any(len(numbers) > 1 for numbers in wrong.values()):
        return
    entries = ", ".join(f"{numbers[0]} for {q}, not {own[x == q][0]}" for q, numbers in wrong.items())
    changed = own.copy()
    for q, numbers in wrong.items():
        changed[x == q] = numbers[0]
    yield Claim(f"entries {entries}", f"a table that gives {entries}", lambda: changed, len(wrong))


def fused_table(case):
    """A hard-swish in one table where the file stores its gate: the product by floats from the layer's integers."""
    if case.step.op == "mul" and case.step.inputs[1].endswith(".hard_sigmoid"):
        x, grid = case.inputs[0], case.grids[0]
        table = hard_swish_float_table(grid, case.out)
        yield Claim(
            "one table", "hard-swish in one table, its gate not stored", lambda: table[x.astype(int) - grid.low]
        )


def multipliers(case):
    """Integer factors of fewer bits, or cut where they should be rounded, or made of scales in floats of other width."""
    word = case.word(case.kernels)
    kernels = case.kernels
    if word not in LAYER_RULES:
        word, kernels = "double", with_word(kernels, "double", case.field)

    def rule(change, kernels=kernels, word=word):
        factor = factor_by(case, kernels)

        def steps(acc, factors, out):
            m, e = quantize_multiplier(factor(factors, out))
            return LAYER_RULES[word](acc, change(m, e), e)

        return lambda: finish(case, case.accumulated, rule=steps)

    if field := FACTOR_FIELDS.get(case.field):
        for width in (other for other in WIDTHS if other != getattr(kernels, field)):
            text = f"a factor of scales multiplied in {WIDTHS[width]}"
            yield Claim(width, text, rule(lambda m, e: m, replace(kernels, **{field: width})))
    for bits in (8, 12, 15, 16, 24):
        low = 31 - bits
        yield Claim(f"{bits} bits", f"a multiplier of {bits} bits", rule(lambda m, e, low=low: _without(m, low)))
        yield Claim(f"{bits} bits cut", f"a multiplier cut to {bits} bits", rule(lambda m, e, low=low: m >> low << low))
    for bits in (8, 12, 14, 15, 16, 20, 24):
        for how in dict.fromkeys((word, "single", "truncate")):
            rounded = {word: "", "single": ", rounded once", "truncate": ", cut off behind it"}[how]
            text = f"a multiplier in fixed point, of {bits} fraction bits{rounded}"
            change = rule(lambda m, e, bits=bits: _without(m, np.maximum(31 - bits - e, 0)), word=how)
            yield Claim(f"fixed {bits} {how}", text, change)
    for by in (-1, 1):
        yield Claim(f"m {by:+d}", "a multiplier off by one", rule(lambda m, e, by=by: m + by))


def _without(m, low):
    """Numbers rounded to multiples of 2^low."""
    return (m + (1 << low >> 1)) >> low << low
