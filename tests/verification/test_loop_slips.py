"""verify: what goes wrong in hand-written loops is named: each fault's change gives what such loops, written here, give."""

import math

import numpy as np
import pytest

from npmnv3.network.walk import apply
from npmnv3.ops import definitions
from npmnv3.verification.changes import slips
from npmnv3.verification.changes.table import CHANGES
from npmnv3.verification.net import Net
from npmnv3.verification.run import verify


def cut(w, n):
    """Weights (O, I) whose inputs beyond a multiple of n count for nothing."""
    return np.concatenate([w[:, : w.shape[1] // n * n], np.zeros_like(w[:, w.shape[1] // n * n :])], axis=1)


def norm(x, deviation, gamma, beta, mean):
    gamma, beta, mean, deviation = (a[:, None, None] for a in (gamma, beta, mean, deviation))
    return (x - mean) / deviation * gamma + beta


def without_last(x, n):
    return x.reshape(*x.shape[:2], -1)[:, :, :-n].sum(axis=2) / math.prod(x.shape[2:])


def dilated(x, step, w):
    """Every second pixel under a kernel of stride 1, one tap after another."""
    if step.stride != (1, 1):
        return definitions.depthwise_conv2d(x, w, stride=step.stride, pad=step.pad)
    k, top, left = step.kernel, 2 * step.pad[0], 2 * step.pad[2]
    padded = np.pad(x, ((0, 0), (0, 0), (top, 2 * k), (left, 2 * k)))
    rows, columns = map(np.arange, step.shape[1:])
    taps = [(i, j) for i in range(k) for j in range(k)]
    return sum(padded[:, :, rows + 2 * i][:, :, :, columns + 2 * j] * w[:, i, j, None, None] for i, j in taps)


def conv(x, step, w):
    return definitions.depthwise_conv2d(x, w, stride=step.stride, pad=step.pad)


def fold(i, step, a, shift):
    """A norm as a scale, and what `shift` (scale, deviation, arrays) makes of the rest."""
    deviation = np.sqrt(a["variance"] + step.eps)
    scale = a["gamma"] / deviation
    return i[0] * scale[:, None, None] + shift(scale, deviation, a)[:, None, None]


def bottom_and_right_unread(x):
    return np.pad(x[:, :, :-1, :-1], ((0, 0), (0, 0), (0, 1), (0, 1)))


def running(x):
    flat, total = x.reshape(x.shape[1], -1), np.zeros(x.shape[1])
    for pixel in range(flat.shape[1]):
        total = flat[:, pixel] = total + flat[:, pixel]
    return x


#: what a verdict says -> (operation, function (its inputs, what the first of them was made of, the step, arrays) -> result)
SLIPS = {
    "the block's own output added to itself": ("add", lambda i, before, s, a: 2 * i[0]),
    "the gate on what the activation gets": ("mul", lambda i, before, s, a: before * i[1][..., None, None]),
    "each channel times the gate of the next one": (
        "mul",
        lambda i, before, s, a: i[0] * np.roll(i[1], -1, axis=1)[..., None, None],
    ),
    "pooling of what the activation gets": ("global_avg_pool", lambda i, before, s, a: before.mean(axis=(2, 3))),
    "divided by one too few": ("global_avg_pool", lambda i, before, s, a: i[0].sum((2, 3)) / (i[0][0, 0].size - 1)),
    "divided by one too many": ("global_avg_pool", lambda i, before, s, a: i[0].sum((2, 3)) / (i[0][0, 0].size + 1)),
    "the last pixel left out": ("global_avg_pool", lambda i, before, s, a: without_last(i[0], 1)),
    "the last row left out": ("global_avg_pool", lambda i, before, s, a: without_last(i[0], i[0].shape[3])),
    "the root of the variance, plus epsilon": (
        "batch_norm",
        lambda i, before, s, a: norm(i[0], np.sqrt(a["variance"]) + s.eps, a["gamma"], a["beta"], a["mean"]),
    ),
    "by the variance, not its root": (
        "batch_norm",
        lambda i, before, s, a: norm(i[0], a["variance"] + s.eps, a["gamma"], a["beta"], a["mean"]),
    ),
    "depthwise kernels dilated by 2": ("depthwise_conv2d", lambda i, before, s, a: dilated(i[0], s, a["weight"])),
    "hard-swish without its division by 6": ("hard_swish", lambda i, before, s, a: i[0] * np.clip(i[0] + 3, 0, 6)),
    "hard-swish cut at 0 and 6": ("hard_swish", lambda i, before, s, a: np.clip(i[0] * (i[0] + 3) / 6, 0, 6)),
    "hard-sigmoid without its division by 6": ("hard_sigmoid", lambda i, before, s, a: np.clip(i[0] + 3, 0, 6)),
    "hard-swish that is never below 0": (
        "hard_swish",
        lambda i, before, s, a: np.maximum(definitions.hard_swish(i[0]), 0),
    ),
    "hard-swish with 1/6 as 0.167": ("hard_swish", lambda i, before, s, a: i[0] * np.clip(i[0] + 3, 0, 6) * 0.167),
    "a hard-sigmoid that is not cut": ("hard_sigmoid", lambda i, before, s, a: s.slope * i[0] + 0.5),
    "not cut at 1": ("hard_sigmoid", lambda i, before, s, a: np.maximum(s.slope * i[0] + 0.5, 0)),
    "not cut at 0": ("hard_sigmoid", lambda i, before, s, a: np.minimum(s.slope * i[0] + 0.5, 1)),
    "hard-sigmoid with 1/6 as 0.1667": ("hard_sigmoid", lambda i, before, s, a: np.clip(i[0] + 3, 0, 6) * 0.1667),
    "as 0.167 before 0.5 is added": ("hard_sigmoid", lambda i, before, s, a: np.clip(i[0] * 0.167 + 0.5, 0, 1)),
    "its gate, twice": ("mul", lambda i, before, s, a: i[0] * i[1][..., None, None] ** 2),
    "sums of pixels in place of means": ("global_avg_pool", lambda i, before, s, a: i[0].sum(axis=(2, 3))),
    "without its division by the deviation": (
        "batch_norm",
        lambda i, before, s, a: norm(i[0], np.ones_like(a["variance"]), a["gamma"], a["beta"], a["mean"]),
    ),
    "batch norm without its mean": ("batch_norm", lambda i, before, s, a: fold(i, s, a, lambda k, d, a: a["beta"])),
    "beta - mean, without its scale": (
        "batch_norm",
        lambda i, before, s, a: fold(i, s, a, lambda k, d, a: a["beta"] - a["mean"]),
    ),
    "folded bias added before its scale": (
        "batch_norm",
        lambda i, before, s, a: fold(i, s, a, lambda k, d, a: k * (a["beta"] - a["mean"] * k)),
    ),
    "folded bias added twice": (
        "batch_norm",
        lambda i, before, s, a: fold(i, s, a, lambda k, d, a: 2 * (a["beta"] - a["mean"] * k)),
    ),
    "depthwise kernels mirrored left to right": (
        "depthwise_conv2d",
        lambda i, before, s, a: (
            conv(i[0][..., ::-1], s, a["weight"])[..., ::-1]
            if s.stride == (1, 1)
            else conv(i[0], s, a["weight"][..., ::-1])
        ),
    ),
    "depthwise kernels without their last row and column": (
        "depthwise_conv2d",
        lambda i, before, s, a: conv(i[0], s, np.pad(a["weight"][:, :-1, :-1], ((0, 0), (0, 1), (0, 1)))),
    ),
    "biases of linear layers added twice": (
        "linear",
        lambda i, before, s, a: i[0] @ a["weight"].T + 2 * a.get("bias", 0),
    ),
    "never reset from pixel to pixel in 1x1": (
        "pointwise_conv2d",
        lambda i, before, s, a: running(np.einsum("oi,nihw->nohw", a["weight"], i[0])),
    ),
    "beyond a multiple of 16 left out of the sums of 1x1 layers": (
        "pointwise_conv2d",
        lambda i, before, s, a: np.einsum("oi,nihw->nohw", cut(a["weight"], 16), i[0]),
    ),
    "beyond a multiple of 16 left out of the sums of linear layers": (
        "linear",
        lambda i, before, s, a: i[0] @ cut(a["weight"], 16).T + a.get("bias", 0),
    ),
}


def port(maker, op, loop):
    """{step: float32 tensor} of a port whose steps of one operation are a loop's."""
    tensors, steps = {"input": np.float64(maker.x)}, {step.name: step for step in maker.plan}
    for step in maker.plan:
        inputs = [tensors[name] for name in step.inputs]
        arrays = {p.role: maker.arrays[p.name] for p in step.params if p.role != "count"}
        source = steps.get(step.inputs[0])
        is_moved = source is None or source.op in ("relu", "hard_swish")
        before = tensors[source.inputs[0]] if source is not None and is_moved else inputs[0]
        made = loop(inputs, before, step, arrays) if step.op == op else apply(step, inputs, maker.arrays, definitions)
        tensors[step.name] = made
    return {name: np.float32(tensor) for name, tensor in tensors.items()}


@pytest.mark.parametrize("text", SLIPS)
def test_the_change_gives_what_such_a_loop_gives(maker, text):
    change = next(change for change in (*CHANGES, *slips.SLIPS) if text in change.text)
    net = change.apply(Net(tuple(maker.plan), maker.x.shape[1:]), lambda name: True)
    expected = port(maker, *SLIPS[text])["logits"]
    arrays, values = net.with_arrays(maker.arrays), {"input": np.float64(maker.x)}
    for step in net.plan:
        values[step.name] = net.run(step, [values[name] for name in step.inputs], arrays)
    clean = maker.clean(np.float32)["logits"]
    error, effect = np.abs(values["logits"] - expected).max(), np.abs(clean - expected).max()
    assert error <= 1e-6 * np.abs(expected).max() < effect, (error, effect)


@pytest.mark.parametrize("text", ["the block's own output added to itself", "divided by one too few"])
def test_it_is_named_and_nothing_else_is(maker, model, text):
    (found,) = verify(model, port(maker, *SLIPS[text]), maker.x).explained_by
    assert text in found["text"] and found["certainty"] == "certain", found


def test_an_activation_on_the_projections_is_named(maker, model):
    """They have none: MobileNet's bottlenecks are linear."""
    tensors = {"input": np.float64(maker.x)}
    for step in maker.plan:
        tensors[step.name] = apply(step, [tensors[name] for name in step.inputs], maker.arrays, definitions)
        if step.name.endswith(".project"):
            tensors[step.name] = np.maximum(tensors[step.name], 0)
    (found,) = verify(model, {n: np.float32(t) for n, t in tensors.items()}, maker.x).explained_by
    assert found["fault"] == "projection_activation" and found["certainty"] == "certain", found


def test_rows_that_are_never_read_are_named(maker, model):
    tensors = {"input": np.float64(maker.x)}
    for step in maker.plan:
        inputs = [tensors[name] for name in step.inputs]
        inputs = [bottom_and_right_unread(inputs[0])] if step.kernel > 1 else inputs
        tensors[step.name] = apply(step, inputs, maker.arrays, definitions)
    (found,) = verify(model, {n: np.float32(t) for n, t in tensors.items()}, maker.x).explained_by
    assert "never read the last row and column" in found["text"] and found["certainty"] == "certain", found


#: what a verdict says -> (operation, function (its inputs) -> result)
SOLVED = {
    "the residual times -1": ("add", lambda x, skip: x - skip),
    "no residual in the last channels": (
        "add",
        lambda x, skip: np.concatenate([x[:, :-3] + skip[:, :-3], x[:, -3:]], axis=1),
    ),
    "no residual in the last rows": (
        "add",
        lambda x, skip: np.concatenate([x[:, :, :-1] + skip[:, :, :-1], x[:, :, -1:]], axis=2),
    ),
    "no residual in the first channels": (
        "add",
        lambda x, skip: np.concatenate([x[:, :3], x[:, 3:] + skip[:, 3:]], axis=1),
    ),
    "no residual in the first and last columns": (
        "add",
        lambda x, skip: x + np.pad(skip[..., 1:-1], ((0, 0), (0, 0), (0, 0), (1, 1))),
    ),
    "hard-sigmoid slope 0.16": ("hard_sigmoid", lambda x: np.clip(0.16 * x + 0.5, 0, 1)),
}


@pytest.mark.parametrize("text", SOLVED)
def test_numbers_are_solved_for(maker, model, text):
    op, loop = SOLVED[text]
    (found,) = verify(model, port(maker, op, lambda inputs, before, step, arrays: loop(*inputs)), maker.x).explained_by
    assert found["text"].startswith(text) and found["certainty"] == "certain", found


def test_sums_in_place_of_means_in_squeeze_and_excitation_alone_are_named_by_the_logits(maker, model):
    def summed(inputs, before, step, arrays):
        return inputs[0].sum((2, 3)) if step.name != "pool" else inputs[0].mean((2, 3))

    (found,) = verify(model, {"y": port(maker, "global_avg_pool", summed)["logits"]}, maker.x).explained_by
    assert found["text"] == "sums of pixels in place of means in squeeze-and-excitation", found
    assert found["certainty"] == "certain"


def test_two_residuals_that_are_wrong_in_two_ways_are_named(maker, model):
    ways = {
        "blocks.4": lambda x, skip: x + np.pad(skip[:, 8:], ((0, 0), (8, 0), (0, 0), (0, 0))),
        "blocks.7": lambda x, skip: x + skip / 2,
    }

    def some(inputs, before, step, arrays):
        return ways.get(step.name, np.add)(*inputs)

    (found,) = verify(model, port(maker, "add", some), maker.x).explained_by
    text = "no residual in the first channels in blocks.4 and the residual times 0.5 in blocks.7"
    assert found["text"] == text and found["certainty"] == "certain", found


def test_a_bias_that_only_the_projections_add_twice_is_named(maker, model):
    """They have no activation: their loop is another than the other layers'."""

    def twice(inputs, before, step, arrays):
        times = 2 if ".project" in step.name else 1
        return fold(inputs, step, arrays, lambda scale, deviation, a: times * (a["beta"] - a["mean"] * scale))

    (found,) = verify(model, port(maker, "batch_norm", twice), maker.x).explained_by
    assert "twice, in the projections" in found["text"] and found["certainty"] == "certain", found
