"""What a quantised port was given: pictures or arrays, what its tensors say, or made-up numbers."""

import os

import numpy as np

from ...dumps.npy import read_npy
from ...errors import UsageError
from ...network.steps import INPUT
from ..inputs import channels_first, pick_input
from .claims import half_away, half_up

SQUARE = 4  # pixels of a made-up picture that have one colour


def given_input(given, network, port):
    """(N, C, H, W) float32 of an input as `npmnv3.verify` takes it; None where there is none.

    network : Model that says how pictures are prepared, or None
    """
    if given is None:
        return None
    shape = tuple(port.plan.input_shape)
    if network is not None:
        x = pick_input(network, given, None).x
    else:
        x = read_npy(given) if isinstance(given, (str, os.PathLike)) and os.fspath(given).endswith(".npy") else given
        if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
            raise UsageError(
                "without the float network's weights an input is given as floats, an array or an .npy file"
            )
    x = channels_first(x, shape[0])
    if x.shape[1:] != shape:
        raise UsageError(f"the input is {x.shape}, but the port takes (N, {', '.join(map(str, shape))})")
    return np.ascontiguousarray(x, np.float32)


def float_input(floats, shape):
    """(the picture before it was quantised, (N, C, H, W), and what it is called) of a device's tensors; (None, "")
    without."""
    for name, array in floats.items():
        x = channels_first(array, shape[0])
        if x.ndim == 4 and x.shape[1:] == shape and "input" in name.lower() and np.isfinite(x).all():
            return np.ascontiguousarray(x, np.float32), f"the port's own {name}"
    return None, ""


def made_up(plan):
    """(1, C, H, W) float32: squares of random colours and noise, within what the input's integers can hold."""
    rng, grid = np.random.default_rng(0), plan.grids[INPUT]
    c, h, w = plan.input_shape
    squares = rng.standard_normal((c, -(-h // SQUARE), -(-w // SQUARE))).repeat(SQUARE, 1).repeat(SQUARE, 2)[:, :h, :w]
    low, high = (float(grid.dequantize(end)) for end in (grid.low, grid.high))
    x = (low + high) / 2 + (high - low) / 4 * (0.8 * squares + 0.2 * rng.standard_normal((c, h, w)))
    return np.clip(x, low, high)[None].astype(np.float32)


def compare_input(seen, grid, x, on, kernels):
    """What to say of a port whose input's integers are not the picture's by a kernel set: a list of one sentence, or none."""
    expected = grid.quantize(x, fused=kernels.fused_picture)
    off = int((seen != expected).sum())
    if not off:
        return []
    for how, function in _QUANTISED.items():
        steps = np.clip(function(x / np.float32(grid.scale)) + grid.zero_point, grid.low, grid.high)
        if np.array_equal(steps.astype(grid.dtype), seen):
            return [f"its input is {on} quantised, but {how}, not halves to even: {off} of {seen.size} integers differ"]
    if len(x[0]) > 1 and np.array_equal(seen[:, ::-1], expected):
        return [f"its input is {on} quantised, with its colours in reverse (BGR)"]
    largest = int(np.abs(seen.astype(np.int32) - expected).max())
    return [f"its input is not {on} quantised: {off} of {seen.size} integers differ, by up to {largest}"]


_QUANTISED = {"halves up": half_up, "halves away from zero": half_away, "truncated": np.trunc, "rounded down": np.floor}
