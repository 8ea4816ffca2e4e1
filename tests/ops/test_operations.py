"""The operations, in NumPy and as compiled loops, against exact sums."""

import math

import numpy as np
import pytest
from operation_modules import DTYPES, both_modules

# Sides, kernel, stride and padding that cover what the networks have, and the corners: odd and even sides, strides of two
# kinds, padding that is not symmetric, maps smaller than the kernel.
CASES = [
    # C, (H, W), k, stride, pad (top, bottom, left, right)
    (3, (7, 9), 3, (1, 1), (1, 1, 1, 1)),
    (4, (8, 8), 3, (2, 2), (1, 1, 1, 1)),
    (4, (8, 8), 3, (2, 2), (0, 1, 0, 1)),
    (5, (9, 7), 5, (2, 2), (2, 2, 2, 2)),
    (5, (10, 6), 5, (2, 2), (1, 2, 1, 2)),
    (2, (6, 11), 5, (2, 1), (2, 2, 2, 2)),
    (2, (3, 5), 3, (2, 1), (1, 1, 1, 1)),
    (3, (1, 1), 3, (1, 1), (1, 1, 1, 1)),
    (3, (2, 1), 5, (2, 2), (2, 2, 2, 2)),
    (3, (1, 2), 5, (1, 1), (2, 2, 2, 2)),
    (300, (13, 17), 5, (1, 1), (2, 2, 2, 2)),
    (70, (33, 31), 3, (2, 2), (1, 1, 1, 1)),
    (17, (6, 5), 7, (1, 1), (3, 3, 3, 3)),
    (9, (5, 5), 1, (2, 2), (0, 0, 0, 0)),
    (6, (5, 6), 4, (1, 3), (1, 2, 2, 1)),
]
#: P (pixels, as a map), C, O of products: few channels and many, blocks of 2, 4, 8 and 16 full and not, one pixel.
PRODUCTS = [
    ((3, 4), 5, 7), ((1, 1), 1, 1), ((1, 1), 16, 24), ((1, 1), 64, 3), ((3, 3), 16, 17), ((2, 7), 24, 72), ((1, 2), 8, 33),
    ((5, 5), 80, 81), ((3, 1), 12, 4), ((3, 5), 100, 6), ((7, 7), 33, 5), ((1, 3), 1100, 9), ((5, 1), 4099, 2),
]  # fmt: skip


def float64(array):
    """An array in float64; numpy.float64 of NumPy 1.22 makes a number of an array of one element."""
    return np.asarray(array, np.float64)


def correlate(x, weight, stride, pad):
    """Depthwise correlation by its definition, in exact sums of Python floats: (C, OH, OW) of one picture."""
    padded = np.pad(float64(x), ((0, 0), pad[:2], pad[2:]))
    (c, h, w), (kh, kw) = padded.shape, weight.shape[1:]
    out = np.empty((c, (h - kh) // stride[0] + 1, (w - kw) // stride[1] + 1))
    for place in np.ndindex(out.shape):
        i, j = place[1] * stride[0], place[2] * stride[1]
        out[place] = math.fsum((padded[place[0], i : i + kh, j : j + kw] * float64(weight[place[0]])).ravel())
    return out


def check(found, expected, bound, what):
    error = np.abs(float64(found) - expected) - bound
    place = np.unravel_index(int(np.argmax(error)), error.shape)
    assert found.shape == expected.shape, f"{what}: {found.shape}, expected {expected.shape}"
    assert error[place] <= 0, f"{what}: {found[place]!r} for {expected[place]!r} at {place}"


def gamma(terms, dtype):
    """Higham 2002, 3.1: the relative error of a sum of so many products, in any order."""
    unit = np.finfo(dtype).eps / 2
    return terms * unit / (1 - terms * unit)


@both_modules
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES[:10], ids=str)
def test_depthwise_puts_every_tap_where_it_belongs(ops, case, dtype):
    """One lit pixel under taps that are powers of two: every error of padding or stride shows, and sums are exact."""
    c, side, k, stride, pad = case
    weight = np.exp2(np.arange(c * k * k) % 60).reshape(c, k, k).astype(dtype)
    for place in np.ndindex(side):
        x = np.zeros((1, c, *side), dtype)
        x[:, :, place[0], place[1]] = 1
        found = ops.depthwise_conv2d(x, weight, stride=stride, pad=pad)
        assert (found[0] == correlate(x[0], weight, stride, pad)).all(), f"lit pixel at {place}"


@both_modules
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_depthwise_within_the_rounding_bound(ops, case, dtype):
    c, side, k, stride, pad = case
    rng = np.random.default_rng(1)
    x, weight, bias = (rng.standard_normal(shape).astype(dtype) for shape in ((2, c, *side), (c, k, k), (c,)))
    before = x.copy(), weight.copy(), bias.copy()
    found = ops.depthwise_conv2d(x, weight, bias, stride=stride, pad=pad)
    for i in range(len(x)):
        exact = correlate(x[i], weight, stride, pad) + float64(bias)[:, None, None]
        size = correlate(np.abs(x[i]), np.abs(weight), stride, pad) + np.abs(float64(bias))[:, None, None]
        check(found[i], exact, gamma(k * k + 1, dtype) * size, f"picture {i}")
    assert found.dtype == dtype and all((a == b).all() for a, b in zip(before, (x, weight, bias))), (
        "an input was changed"
    )


@both_modules
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES[:10], ids=str)
def test_conv2d_is_a_sum_of_depthwise_ones(ops, case, dtype):
    c, side, k, stride, pad = case
    rng = np.random.default_rng(2)
    x, weight, bias = (rng.standard_normal(shape).astype(dtype) for shape in ((2, c, *side), (6, c, k, k), (6,)))
    found = ops.conv2d(x, weight, bias, stride=stride, pad=pad)
    for i, o in np.ndindex(len(x), 6):
        exact = correlate(x[i], weight[o], stride, pad).sum(axis=0) + bias[o]
        size = correlate(np.abs(x[i]), np.abs(weight[o]), stride, pad).sum(axis=0) + abs(bias[o])
        check(found[i, o], exact, gamma(c * k * k + 1, dtype) * size + 1e-15, f"picture {i}, channel {o}")


@both_modules
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", PRODUCTS, ids=str)
def test_products_of_channels(ops, case, bias, dtype):
    side, c, o = case
    rng = np.random.default_rng(3)
    x, weight = (rng.standard_normal((2, c, *side)).astype(dtype), rng.standard_normal((o, c)).astype(dtype))
    b = rng.standard_normal(o).astype(dtype) if bias else None
    size = np.einsum("nchw,oc->nohw", abs(float64(x)), abs(float64(weight)))
    exact = np.empty(size.shape)
    for n, k, i, j in np.ndindex(size.shape):
        exact[n, k, i, j] = math.fsum(float64(x[n, :, i, j]) * float64(weight[k]))
    if bias:
        exact, size = (exact + float64(b)[:, None, None], size + abs(float64(b))[:, None, None])
    bound = gamma(c + 2, dtype) * size  # the products above are rounded too, in float64
    check(ops.pointwise_conv2d(x, weight, b), exact, bound, "pointwise_conv2d")
    check(ops.linear(x[:, :, 0, 0], weight, b), exact[:, :, 0, 0], bound[:, :, 0, 0], "linear")
    check(ops.conv2d(x, weight[:, :, None, None], b), exact, bound, "conv2d")


@both_modules
@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_at_their_corners(ops, dtype):
    x = np.array([-np.inf, -4, -3, -1.5, -0.0, 0, 1.5, 3, 4, np.inf, np.nan], dtype)
    with np.errstate(invalid="ignore"):
        assert ops.relu(x)[:-1].tolist() == [0, 0, 0, 0, 0, 0, 1.5, 3, 4, np.inf]
        assert ops.hard_swish(x)[1:-1].tolist() == [0, 0, -0.375, 0, 0, 1.125, 3, 4, np.inf]
        assert np.isnan(ops.hard_swish(x)[0]), "-inf times 0, as in the frameworks"
        assert ops.hard_sigmoid(x, slope=0.25)[:-1].tolist() == [0, 0, 0, 0.125, 0.5, 0.5, 0.875, 1, 1, 1]
        for function in (ops.relu, ops.hard_swish, lambda v: ops.hard_sigmoid(v, slope=0.2)):
            assert np.isnan(function(x)[-1]) and function(x).dtype == dtype


@both_modules
def test_pooling_norm_and_gate(ops):
    x = np.arange(2 * 3 * 4 * 5, dtype=np.float64).reshape(2, 3, 4, 5)
    assert (ops.global_avg_pool(x) == x.mean(axis=(2, 3))).all()
    assert (ops.max_pool2d(x, kernel=2) == x[:, :, 1::2, 1:4:2]).all()
    gate = np.array([[1.0, 2, 4], [8, 16, 32]])
    assert (ops.mul(x, gate) == x * gate[:, :, None, None]).all()
    assert (ops.scale(x, factor=0.5) == x / 2).all() and (ops.add(x, x) == 2 * x).all() and ops.identity(x) is x
    mean, variance = np.array([1.0, 2, 3]), np.array([3.0, 8, 15])
    normed = ops.batch_norm(x, np.array([2.0, 3, 4]), np.array([1.0, 0, -1]), mean, variance, eps=1.0)
    assert (normed[:, 1] == (x[:, 1] - 2) / 3 * 3).all() and (normed[:, 0] == (x[:, 0] - 1) * 1.0 + 1).all()


@both_modules
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 5, 3, 7), (3, 19), (1, 64, 1, 1)], ids=str)
def test_elementwise_within_rounding(ops, shape, dtype):
    rng = np.random.default_rng(4)
    x, y = (rng.standard_normal(shape).astype(dtype) * 4 for _ in range(2))
    g, b, m, v = (rng.uniform(0.5, 1.5, shape[1]).astype(dtype) for _ in range(4))
    wide = [float64(a).reshape(-1, *(1,) * (len(shape) - 2)) for a in (g, b, m, v)]
    u = 8 * np.finfo(dtype).eps
    z, w = float64(x), float64(y)
    swish = z * np.clip(z + 3, 0, 6) / 6
    check(ops.relu(x), np.maximum(z, 0), 0 * z, "relu")
    check(ops.hard_swish(x), swish, u * abs(z), "hard_swish")
    check(ops.hard_sigmoid(x, slope=0.2), np.clip(0.2 * z + 0.5, 0, 1), u * (abs(z) + 1), "hard_sigmoid")
    check(ops.scale(x, factor=0.3), 0.3 * z, u * abs(z), "scale")
    check(ops.add(x, y), z + w, u * abs(z + w), "add")
    normed = (z - wide[2]) / np.sqrt(wide[3] + 1e-3) * wide[0] + wide[1]
    check(ops.batch_norm(x, g, b, m, v, eps=1e-3), normed, u * (4 * abs(z) + 8), "batch_norm")
    line = z * wide[0] + wide[1]
    acts = {"": line, "relu": np.maximum(line, 0), "hard_swish": line * np.clip(line + 3, 0, 6) / 6}
    for act, expected in acts.items():
        kept = x.copy()
        assert ops.norm_act(kept, g, b, act=act) is kept, "in place"
        check(kept, expected, u * (2 * abs(z) + 4), f"norm_act {act!r}")


@both_modules
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", [(1, 1), (3, 5), (33, 40)], ids=str)
def test_mean_within_the_rounding_bound(ops, side, dtype):
    x = np.random.default_rng(5).standard_normal((2, 5, *side)).astype(dtype)
    pixels = float64(x).reshape(2, 5, -1)
    exact = np.array([[math.fsum(line) / len(line) for line in picture] for picture in pixels])
    check(
        ops.global_avg_pool(x), exact, gamma(pixels.shape[2] + 1, dtype) * abs(pixels).mean(axis=2), "global_avg_pool"
    )
