"""Rule changes of grids: other zero points, another number where a picture ends, grids of a sum mixed up."""

from dataclasses import replace

import numpy as np

from ...network.integer_plan import SAME_GRID
from ...ops.integers import act_range
from ...ops.requantize import I64
from .claims import Claim, finish

NEAR = 128  # steps of a 16-bit grid within which all zero points are tried
PLACES = 256  # of a tensor on which all zero points are tried


def _some_places(case):
    """Places of a layer's output to try many things on: some that differ, some spread over all."""
    off = np.flatnonzero((finish(case, case.accumulated) != case.rows).any(1))
    spread = np.linspace(0, len(case.rows) - 1, min(PLACES, len(case.rows))).astype(int)
    return np.unique(np.concatenate([off[:PLACES], spread]))


def _scan(case, name, key, values, by, text):
    """A layer's claims for many values, each held against a few places first; `by` is what one unit adds, (places,
    channels)."""
    rows = _some_places(case)
    few, few_by = case.accumulated[rows], (by if len(by) == 1 else by[rows])
    wanted = case.rows[rows]

    def output(units):
        if np.array_equal(finish(case, few + units * few_by), wanted):
            return finish(case, case.accumulated + units * by)
        return None

    for value, units in values:
        yield Claim(f"{key}{name} {value}", text(value), lambda units=units: output(units))


def zero_points(case):
    """Another zero point of an input, as the step reads it, or of the output, as it writes it."""
    for index, name in enumerate(case.step.inputs):
        grid = case.grids[index]

        def text(value, name=name, grid=grid):
            return f"another zero point of {name}: {value}, not {grid.zero_point}"

        others = [value for value in _integers(grid) if value != grid.zero_point]
        if case.is_layer:
            values = [(value, grid.zero_point - value) for value in others]
            yield from _scan(case, name, "", values, _real_weights(case), text)
            if any(case.step.pad):
                note = " (the padding is still the file's)"
                inner = lambda value, text=text, note=note: text(value) + note  # noqa: E731
                yield from _scan(case, name, "inner ", values, _all_weights(case), inner)
            continue
        for value in others:
            claims = {name: replace(grid, zero_point=value)}
            yield Claim(f"{name} {value}", text(value), lambda claims=claims: _run(case, claims))
    yield from _output_zero_points(case)


def _integers(grid):
    """Those that are tried in place of a zero point: all of 8 bits; of 16 those about it, and what others have."""
    if np.dtype(grid.dtype).itemsize == 1:
        return range(grid.low, grid.high + 1)
    near = range(max(grid.low, grid.zero_point - NEAR), min(grid.high, grid.zero_point + NEAR) + 1)
    return sorted({grid.low, 0, (grid.low + grid.high + 1) // 2, *near})


def _run(case, grids):
    return case.run(grids=grids) if case.step.op not in SAME_GRID else None


def _output_zero_points(case):
    if case.step.op in SAME_GRID:
        return
    out, name = case.out, case.step.name
    own = case.run().astype(I64)
    inside = (own > out.low) & (own < out.high) & (case.found > out.low) & (case.found < out.high)
    for by in np.unique((case.found.astype(I64) - own)[inside])[:8]:
        value = int(out.zero_point + by)
        if by and out.low <= value <= out.high:
            text = f"another zero point of {name}: {value}, not {out.zero_point}"
            changed = {name: replace(out, zero_point=value)}
            yield Claim(f"{name} {value}", text, lambda changed=changed: case.run(grids=changed))
            if case.is_layer and case.step.act:
                ends, grid = act_range(case.step.act, out), changed[name]
                yield Claim(
                    f"cut {name} {value}",
                    f"{text} (its activation still cuts at the file's)",
                    lambda ends=ends, grid=grid: finish(case, case.accumulated, out=grid, ends=ends),
                )


def left_out(case):
    """No zero points: the inputs', or the output's, taken for 0, as where a port has them in none of its steps."""
    bare = {name: replace(grid, zero_point=0) for name, grid in zip(case.step.inputs, case.grids) if grid.zero_point}
    if bare and case.is_layer:
        value = [(0, case.grids[0].zero_point)]
        for key, by, note in _READ_BARE:
            yield from _scan(case, "", key, value, by(case), lambda _, note=note: f"{_BARE_INPUT}{note}")
    elif bare:
        yield Claim("inputs", "the zero points of its inputs left out", lambda: case.run(grids=bare))
    if case.out.zero_point:
        out = {case.step.name: replace(case.out, zero_point=0)}
        yield Claim("output", "the zero point of its output left out", lambda: case.run(grids=out))


def weight_zero_points(case):
    """Another zero point of the weights."""
    ones = np.ones_like(case.weight)
    own = int(case.weight_zero_point[0])
    values = [(value, own - value) for value in range(-128, 256) if value != own]
    if len(case.weight_zero_point) > 1 and np.ptp(case.weight_zero_point):
        return

    def text(value):
        return f"another zero point of the weights: {value}, not {own}"

    by = case.sums_of(case.inputs[0], ones, case.grids[0].zero_point)
    yield from _scan(case, "weights", "", values, by, text)


def _all_weights(case):
    """(1, channels): the sum of a kernel's weights."""
    zero = case.weight_zero_point.astype(I64).reshape(-1, *(1,) * (case.weight.ndim - 1))
    return (case.weight.astype(I64) - zero).reshape(len(case.weight), -1).sum(1)[None]


def _real_weights(case):
    """(places, channels): the sum of the weights that meet the picture, not its padding."""
    return case.sums_of(_ones(case, 0), case.weight, 0, case.weight_zero_point)


_BARE_INPUT = "the zero point of its input left out"
_READ_BARE = (("inputs", _real_weights, ""), ("inputs but padding", _all_weights, ", the padding still the file's"))


def _ones(case, border):
    """1 where the input is a picture, 0 in the `border`, (top, bottom, left, right), that an operation before added."""
    ones = np.ones(case.inputs[0].shape, np.int8)
    if border:
        top, bottom, left, right = border
        ones[:] = 0
        ones[:, :, top : ones.shape[2] - bottom, left : ones.shape[3] - right] = 1
    return ones


def paddings(case):
    """Another integer where a picture ends, or more of it on the other side."""
    if case.step.op == "pad2d":
        yield from _border(case)
        return
    if not case.is_layer:
        return
    zero, border = case.grids[0].zero_point, case.padded.pad if case.padded else 0
    if any(case.step.pad) or border:
        padding = _all_weights(case) - case.sums_of(_ones(case, border), case.weight, 0, case.weight_zero_point)
        grid = case.grids[0]
        values = [(value, value - zero) for value in _integers(grid) if value != zero]
        yield from _scan(case, "padding", "", values, padding, lambda value: _padded(value, zero))
    top, bottom, left, right = case.step.pad
    for rows in range(top + bottom + 1):
        for columns in range(left + right + 1):
            pad = rows, top + bottom - rows, columns, left + right - columns
            if pad != case.step.pad:
                step = replace(case.step, pad=pad)
                yield Claim(
                    f"pad {pad}",
                    f"padding (top, bottom, left, right) {pad}, not {case.step.pad}",
                    lambda step=step: case.run(step=step),
                )


def _padded(value, zero):
    return f"padding with {value} instead of the zero point {zero}"


def _border(case):
    """The integer that a padding operation put there."""
    top, bottom, left, right = case.step.pad
    border = np.ones(case.found.shape, bool)
    border[:, :, top : border.shape[2] - bottom, left : border.shape[3] - right] = False
    if border.any():
        value, zero = int(case.found[border][0]), case.grids[0].zero_point
        grids = {name: replace(case.grids[0], zero_point=value) for name in (*case.step.inputs, case.step.name)}
        if value != zero:
            yield Claim(f"padding {value}", _padded(value, zero), lambda: case.run(grids=grids))


def sums(case):
    """Grids of a sum's inputs mixed up or passed over, or one of them left out: a skip path that is missing."""
    (first, second), (one, other), out = case.step.inputs, case.grids, case.out
    bare = {first: replace(one, zero_point=0), second: replace(other, zero_point=0)}
    ways = {
        f"the scale of {first} taken for both of its inputs": {second: replace(other, scale=one.scale)},
        f"the scale of {second} taken for both of its inputs": {first: replace(one, scale=other.scale)},
        "the scales of its inputs exchanged": {
            first: replace(one, scale=other.scale),
            second: replace(other, scale=one.scale),
        },
        "the grids of its inputs exchanged": {first: other, second: one},
        "its inputs' integers added as they are": {name: out for name in case.step.inputs},
        "the zero points of its inputs left out": bare,
        "all zero points left out": {**bare, case.step.name: replace(out, zero_point=0)},
    }
    for number, (text, grids) in enumerate(ways.items()):
        yield Claim(f"sum {number}", text, lambda grids=grids: case.run(grids=grids))
    for place, (name, grid) in enumerate(zip(case.step.inputs, case.grids)):
        inputs = list(case.inputs)
        inputs[place] = np.full_like(inputs[place], grid.zero_point)
        yield Claim(f"without {place}", f"{name} left out of the sum", lambda inputs=inputs: case.run(inputs=inputs))
        rest = case.inputs[1 - place]
        yield Claim(
            f"not {place}", f"{name} left out, the other's integers passed on as they are", lambda rest=rest: rest
        )
