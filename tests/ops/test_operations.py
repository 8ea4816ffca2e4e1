"""The operations, in NumPy and as compiled loops, against exact sums; and the two against each other."""

import inspect
import math

import numpy as np
import pytest

from npmnv3.network.steps import OPS
from npmnv3.ops import definitions

try:
    from npmnv3.ops import loops
    from npmnv3.ops.compile_loops import compile_loops
    from npmnv3.ops.jit import LOOPS
except ImportError:
    loops = None

needs_loops = pytest.mark.skipif(loops is None, reason="Numba is not installed")
MODULES = [pytest.param(definitions, id="numpy"), pytest.param(loops, id="loops", marks=needs_loops)]
both_modules = pytest.mark.parametrize("ops", MODULES)

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
DTYPES = ["float32", "float64"]


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


# The two against each other

C, O = 20, 36


def operations(ops, dtype, c=C, o=O):
    """{name: function of x (N, c, H, W)}, every operation once or more, with weights of its own."""
    rng = np.random.default_rng(6)
    few, deep, full, square = (
        rng.standard_normal(shape).astype(dtype) for shape in ((o, c), (c, 5, 5), (o, c, 3, 3), (3, c))
    )
    line = [rng.uniform(0.5, 1.5, c).astype(dtype) for _ in range(4)]
    bias = rng.standard_normal(o).astype(dtype)
    return {
        "conv2d": lambda x: ops.conv2d(x, full, bias, stride=(2, 2), pad=(1, 1, 1, 1)),
        "pointwise_conv2d": lambda x: ops.pointwise_conv2d(x, few, bias),
        "pointwise_conv2d of many": lambda x: ops.pointwise_conv2d(x, square),
        "depthwise_conv2d": lambda x: ops.depthwise_conv2d(x, deep, line[0], pad=(2, 2, 2, 2)),
        "depthwise_conv2d, stride 2": lambda x: ops.depthwise_conv2d(x, deep, stride=(2, 2), pad=(1, 2, 1, 2)),
        "linear": lambda x: ops.linear(x[:, :, 0, 0], few, bias),
        "batch_norm": lambda x: ops.batch_norm(x, *line, eps=1e-3),
        **{
            f"norm_act {a!r}": lambda x, a=a: ops.norm_act(x.copy(), *line[:2], act=a)
            for a in ("", "relu", "hard_swish")
        },
        "relu": ops.relu,
        "hard_swish": ops.hard_swish,
        "hard_sigmoid": lambda x: ops.hard_sigmoid(x, slope=1 / 6),
        "global_avg_pool": ops.global_avg_pool,
        "max_pool2d": lambda x: ops.max_pool2d(x, kernel=2),
        "scale": lambda x: ops.scale(x, factor=-2.5),
        "mul": lambda x: ops.mul(x, x[:, :, -1, -1]),
        "add": lambda x: ops.add(x, x[:, :, ::-1]),
        "identity": ops.identity,
    }


def maps(dtype, batch=3, side=(5, 7), c=C):
    return np.random.default_rng(7).standard_normal((batch, c, *side)).astype(dtype)


def channels_last(x):
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def shifted(x):
    """The same numbers at an address that is no multiple of theirs."""
    raw = np.zeros(x.nbytes + 1, np.uint8)
    out = raw[1:].view(x.dtype).reshape(x.shape)
    out[...] = x
    return out


def frozen(x):
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS = {
    "channels last": channels_last,
    "Fortran": np.asfortranarray,
    "strided": lambda x: np.repeat(np.repeat(x, 2, axis=1), 3, axis=3)[:, ::2, :, ::3],
    "backwards": lambda x: x[:, :, ::-1, ::-1].copy()[:, :, ::-1, ::-1],
    "unaligned": shifted,
    "read-only": frozen,
}


@needs_loops
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", operations(definitions, "float32"))
def test_a_picture_has_the_same_bits_in_any_batch_and_layout(name, dtype):
    for side in (5, 7), (1, 1), (2, 3):
        x = maps(dtype, side=side)
        function = operations(loops, dtype)[name]
        expected = function(x)
        assert expected.dtype == dtype
        for i in range(len(x)):
            assert (function(x[i : i + 1])[0] == expected[i]).all(), f"picture {i} alone"
        for layout, lay in LAYOUTS.items():
            other = lay(x)
            assert (other == x).all() and (function(other) == expected).all(), layout
            assert (other == x).all(), f"the input was changed: {layout}"


@needs_loops
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("c, o", [(16, 40), (40, 16), (96, 9)], ids=str)
def test_a_pixel_has_the_same_bits_wherever_it_lies(c, o, dtype):
    x, weight = (maps(dtype, 1, (3, 13), c), np.random.default_rng(8).standard_normal((o, c)).astype(dtype))
    expected = loops.pointwise_conv2d(x, weight)
    for count in range(1, 13):
        assert (loops.pointwise_conv2d(x[:, :, :1, :count], weight) == expected[:, :, :1, :count]).all(), (
            f"{count} pixels"
        )


@needs_loops
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", operations(definitions, "float32"))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nan_and_infinity_pass_as_in_the_definitions(name, dtype):
    rng, far = np.random.default_rng(9), np.finfo(dtype).max
    for odd in ([np.nan], [np.inf], [-np.inf], [np.inf, -np.inf], [np.nan, np.inf, -np.inf], [far, -far]):
        for share in (0.002, 0.05):
            x = maps(dtype, side=(6, 7))
            places = rng.random(x.shape) < share
            x[places] = rng.choice(odd, places.sum())
            expected, found = (np.asarray(operations(ops, dtype)[name](x)) for ops in (definitions, loops))
            if far not in odd:
                assert (np.isnan(found) == np.isnan(expected)).all(), f"NaN of {odd}"
                assert (found[np.isinf(expected)] == expected[np.isinf(expected)]).all(), f"infinity of {odd}"
                assert (np.isinf(found) == np.isinf(expected)).all(), f"infinity of {odd}"
            elif "conv" not in name and name not in (
                "linear",
                "global_avg_pool",
            ):  # a sum may overflow in one order only
                assert (np.isfinite(found) == np.isfinite(expected)).all(), f"{odd}"


@needs_loops
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_weights_that_are_not_finite(dtype):
    """A tap outside of the map is a weight times zero: NaN, if the weight is no number."""
    x, rng = maps(dtype, 1), np.random.default_rng(10)
    for odd in (np.nan, np.inf):
        deep, full = (rng.standard_normal((C, 3, 3)).astype(dtype), rng.standard_normal((4, C, 3, 3)).astype(dtype))
        deep[::3, 0, 0], deep[1::3, 1, 1], full[0, 3, 2, 2] = odd, odd, odd
        for function, weight in (("depthwise_conv2d", deep), ("conv2d", full)):
            a, b = (getattr(ops, function)(x, weight, pad=(1, 1, 1, 1)) for ops in (definitions, loops))
            assert (np.isnan(a) == np.isnan(b)).all() and (np.isinf(a) == np.isinf(b)).all(), f"{function}, {odd}"


@both_modules
@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_stay_as_they_are(ops, dtype):
    for name, function in operations(ops, dtype).items():
        x = maps(dtype)
        before = x.copy()
        function(x)
        assert (x == before).all(), name


@both_modules
@pytest.mark.parametrize("dtype", DTYPES)
def test_empty_batches_are_empty(ops, dtype):
    for name, function in operations(ops, dtype).items():
        x = maps(dtype)
        empty = function(x[:0])
        assert empty.shape == (0, *function(x).shape[1:]) and empty.dtype == dtype, name


@needs_loops
def test_read_only_weights_and_other_layouts_of_them():
    x, rng = maps("float32"), np.random.default_rng(11)
    for shape, function in {
        (O, C): loops.pointwise_conv2d, (3, C): loops.pointwise_conv2d, (C, 3, 3): loops.depthwise_conv2d,
        (5, C, 2, 2): loops.conv2d,
    }.items():  # fmt: skip
        weight = rng.standard_normal(shape).astype("float32")
        bias = frozen(rng.standard_normal(shape[0]).astype("float32"))
        expected = function(x, weight, bias)
        assert all((function(x, lay(weight), bias) == expected).all() for lay in (frozen, np.asfortranarray, shifted))


@needs_loops
@pytest.mark.parametrize("name", [*OPS, "norm_act"])
def test_the_two_have_the_same_names_and_signatures(name):
    assert inspect.signature(getattr(loops, name)) == inspect.signature(getattr(definitions, name))


@needs_loops
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_loop_is_compiled_once_for_a_dtype(dtype):
    """However arrays lie: another kind of array would be compiled for on its own, which takes seconds."""
    compile_loops(dtype)
    kinds = [list(loop.dispatcher().signatures) for loop in LOOPS]
    for lay in LAYOUTS.values():
        for function in operations(loops, dtype).values():
            function(lay(maps(dtype)))
    assert [loop.dispatcher().signatures for loop in LOOPS] == kinds
    assert all(len(some) <= len(DTYPES) for some in kinds)
