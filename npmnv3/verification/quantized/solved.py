"""Scales and multipliers of any other size, solved for: every number of the port says between which two they lie."""

import math
from dataclasses import replace
from functools import partial

import numpy as np

from ...ops.grids import Grid
from ...ops.requantize import F32, integer_factor
from .claims import Claim, finish, ratios_between, rounding, step_of_one
from .roundings import STEPS

ENOUGH = 4  # numbers off, of a tensor or of a channel, that a factor is solved from
FINEST = 6  # digits of a ratio that are tried for its roundest
SPREAD = 9  # numbers of a range that are tried when none of these fits


def scales_solved(case):
    """The scale of an input, of the weights or of the output so many times what it is."""
    if np.count_nonzero(case.run() != case.found) < ENOUGH:
        return
    for name, text, low, high, output in _of_layers(case) if case.kind in ("layers", "mul") else _of_others(case):
        ratio = next((ratio for ratio in _roundest(low, high) if _is(case, output(ratio))), None)
        if ratio is not None:
            digits = f"{ratio:.{FINEST}g}".replace(".", "").lstrip("0")  # the rounder the likelier
            yield Claim(f"{name} {ratio:.{FINEST}g}", text(ratio), partial(output, ratio), len(digits))


def multipliers_solved(case):
    """The multipliers of some channels, each so many times what it is; all others as they should be."""
    if case.kind != "layers":
        return
    low, high = ratios_between(case, _layer_steps(case), 0, case.rows)
    off = (finish(case, case.accumulated) != case.rows).sum(0)
    wrong = np.flatnonzero(off)
    if len(wrong) and off[wrong].min() >= ENOUGH and 2 * len(wrong) <= len(off):
        found = {int(c): _channel_ratio(case, int(c), low[c], high[c]) for c in wrong}
        if all(found.values()):
            yield _channels_claim(case, found)


def _channel_ratio(case, channel, low, high):
    one, acc = slice(channel, channel + 1), case.accumulated[:, channel : channel + 1]
    for ratio in _roundest(low, high):
        if np.array_equal(_multiplied(case, acc, ratio, one), case.rows[:, one]):
            return ratio
    return None


def _channels_claim(case, found):
    ratios = np.ones(case.rows.shape[1])
    ratios[list(found)] = list(found.values())
    changes = ", ".join(f"{c} {_times(ratio)}" for c, ratio in list(found.items())[:ENOUGH])
    more = f" and {len(found) - ENOUGH} more" if len(found) > ENOUGH else ""
    what = "the multiplier of channel" if len(found) == 1 else "the multipliers of channels"
    return Claim(
        f"{case.step.name} {changes}",
        f"{what} {changes}{more}",
        lambda: _multiplied(case, case.accumulated, ratios),
        len(found),
    )


def _multiplied(case, acc, ratios, channels=slice(None)):
    """A layer's integers with its factors so many times what they are."""
    rule = rounding(case, channels=channels)

    def changed(acc, factors, out):
        real = np.broadcast_to(integer_factor(*factors, out.scale) * ratios, acc.shape[1:]).astype(F32)
        return rule(acc, (F32(1), real), Grid(1.0, out.zero_point, out.dtype))

    return finish(case, acc, channels=channels, rule=changed)


def _times(ratio):
    """A ratio in words, as a shift where it is one."""
    bits = math.log2(ratio)
    count = "one" if abs(bits) == 1 else f"{abs(bits):.0f}"
    shift = f" (a shift to the right by {count} too {'few' if bits > 0 else 'many'})" if bits == int(bits) else ""
    return f"about {ratio:.{FINEST}g} times what it is{shift}"


def _of_layers(case):
    """(name, text of a ratio, least, greatest, output of a ratio) of each scale of a layer or a product of two."""
    low, high = _ends(*ratios_between(case, _layer_steps(case), 0, case.rows))
    scale, weight_scale = case.factors
    names = [*case.step.inputs, "the weights"][:2]
    for place, name in enumerate(names):

        def read(ratio, place=place):
            factors = (
                (F32(float(scale) * ratio), weight_scale)
                if place == 0
                else (scale, (weight_scale.astype(np.float64) * ratio).astype(F32))
            )
            return finish(case, case.accumulated, factors=factors)

        yield name, _text(name, case.grids[place].scale if name in case.step.inputs else None), low, high, read
    yield _written(case, low, high, lambda grid: finish(case, case.accumulated, out=grid))


def _of_others(case):
    """The same of a sum, a mean, a hard-swish or a gate; of the last two their output's alone."""
    steps = STEPS[case.kind](case, np.float64)
    low, high = _ends(*ratios_between(case, steps, 0, case.found))
    yield _written(case, low, high, lambda grid: case.run(grids={case.step.name: grid}))
    for name, grid, x in zip(case.step.inputs, case.grids, case.inputs) if case.kind in ("add", "mean") else ():
        if case.kind == "add":
            own = (x.astype(np.float64) - grid.zero_point) * (grid.scale / case.out.scale)
            low, high = _ends(*ratios_between(case, own, steps - own, case.found))

        def read(ratio, name=name, grid=grid):
            return case.run(grids={name: replace(grid, scale=float(F32(grid.scale * ratio)))})

        yield name, _text(name, grid.scale), low, high, read


def _written(case, low, high, run):
    """The same of the output's scale, which divides."""
    grid, name = case.out, case.step.name
    low, high = (1 / end if end > 0 else np.inf for end in (high, low))
    return name, _text(name, grid.scale), low, high, lambda r: run(replace(grid, scale=float(F32(grid.scale * r))))


def _text(name, scale):
    def text(ratio):
        sizes = f" ({scale * ratio:.6g}, not {scale:.6g})" if scale else ""
        return f"the scale of {name} about {ratio:.{FINEST}g} times what it is{sizes}"

    return text


def _is(case, output):
    return np.array_equal(output, case.rows if output.ndim == 2 else case.found)


def _layer_steps(case):
    """(places, channels): a layer's or a product's real results, in steps of its grid."""
    return case.accumulated * step_of_one(case)


def _ends(low, high):
    return float(np.max(low)), float(np.min(high))


def _roundest(low, high):
    """Ratios between two, the roundest first: a power of two, few digits, then some of all."""
    low = max(low, high / 1024)
    if not 0 < low < high < np.inf:
        return
    middle = (low + high) / 2
    power = 2.0 ** round(math.log2(middle))
    digits = [float(f"{middle:.{n}g}") for n in range(1, FINEST + 1)]
    for ratio in dict.fromkeys([power, *digits, *np.linspace(low, high, SPREAD + 2)[1:-1].tolist()]):
        if low < ratio < high and ratio != 1:
            yield ratio
