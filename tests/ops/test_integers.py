"""Integer operations: rounding against C's own arithmetic in Python integers, layers against sums one by one, and their
twins."""

import math

import numpy as np
import pytest

from npmnv3.errors import UsageError
from npmnv3.ops import integers, saturation
from npmnv3.ops.grids import Grid
from npmnv3.ops.kernel_sets import KERNEL_SETS, get_kernel_set
from npmnv3.ops.requantize import INTEGER_RULES, LAYER_RULES, layer_factor, quantize_multiplier, requantize

try:
    from npmnv3.ops import integer_loops
except ImportError:
    integer_loops = None

TWINS = [
    pytest.param(None, id="numpy"),
    pytest.param(
        integer_loops, id="loops", marks=pytest.mark.skipif(integer_loops is None, reason="Numba is not installed")
    ),
]


def c_divide(a, b):
    """C's division: towards zero."""
    return -(-a // b) if (a < 0) != (b < 0) else a // b


def shifted(x, e):
    """x << e as 32 bits hold it."""
    return ((x << max(e, 0)) + (1 << 31)) % (1 << 32) - (1 << 31)


def c_double(x, m, e):
    """MultiplyByQuantizedMultiplier of gemmlowp and TFLite, as the C++ has it."""
    product = shifted(x, e) * m
    high = c_divide(product + (1 << 30 if product >= 0 else 1 - (1 << 30)), 1 << 31)
    right = max(-e, 0)
    mask = (1 << right) - 1
    return (high >> right) + ((high & mask) > (mask >> 1) + (high < 0))


def c_up(x, m, e):
    """As NEON's vqrdmulh and vrshl."""
    high, right = (shifted(x, e) * m + (1 << 30)) >> 31, max(-e, 0)
    return math.floor(high / 2**right + 0.5) if right else high


def c_single(x, m, e):
    return math.floor(x * m / 2 ** (31 - e) + 0.5) if abs(x * m) < 1 << 52 else (x * m + (1 << (30 - e))) >> (31 - e)


RULES = {"double": c_double, "up": c_up, "single": c_single, "truncate": lambda x, m, e: (x * m) >> (31 - e)}


def test_every_rule_is_tested():
    assert RULES.keys() == INTEGER_RULES.keys() == LAYER_RULES.keys() - {"up_by_8"}


@pytest.mark.parametrize("real", [1.0, 0.5, 2.0**-7, 0.0003, 0.7499999, 1.9999999999, 3.7, 2.0**-31, 2.0**-40])
def test_multipliers_stand_for_the_factor(real):
    m, e = (int(part) for part in quantize_multiplier(real))
    if real < 2.0**-32:
        assert (m, e) == (0, 0)
    else:
        assert 1 << 30 <= m < 1 << 31
        assert abs(m * 2.0 ** (e - 31) / real - 1) <= 2.0**-31


@pytest.mark.parametrize("rule", RULES)
def test_rules_are_cs_own_arithmetic(rule):
    """Random sums and factors, and sums that lie on a tie."""
    rng = np.random.default_rng(1)
    reals = np.concatenate([np.exp2(rng.uniform(-14, 1.5, 60)), np.exp2(-np.arange(1, 12.0)), [0.75, 1.5, 0.375]])
    sums = np.concatenate([rng.integers(-(1 << 22), 1 << 22, 200), np.arange(-70, 70), [1 << 29, -(1 << 29)]])
    for real in reals:
        m, e = quantize_multiplier(real)
        found = INTEGER_RULES[rule](sums.astype(np.int64), m, e)
        expected = [RULES[rule](int(x), int(m), int(e)) for x in sums]
        assert found.tolist() == expected, f"{rule} by {real}"


@pytest.mark.parametrize("twins", TWINS)
@pytest.mark.parametrize("rule", [*LAYER_RULES, "real", "float"])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("sums", [np.float32, np.float64])
def test_twins_round_alike(twins, rule, dtype, sums):
    rng = np.random.default_rng(2)
    acc = rng.integers(-(1 << 18), 1 << 18, (2, 5, 3, 7)).astype(sums)
    acc[0, 0, 0] = np.arange(-3, 4)
    bias = rng.integers(-9999, 9999, 5).astype(np.int32)
    out, scales = Grid(0.05, 7, dtype), rng.uniform(1e-5, 1e-3, 5).astype(np.float32)
    scales[0] = 0.025 / 0.5  # a factor of one half: ties
    bias[0] = 0
    factor = layer_factor("linear", rule, None, 0.5, scales, out.scale)
    expected = requantize(acc.astype(np.int64), bias, rule, factor, out, out.low + 3, out.high)
    round_to_grid = twins.requantize if twins else requantize
    found = round_to_grid(acc, bias, rule, factor, out, out.low + 3, out.high)
    assert found.dtype == expected.dtype == np.dtype(dtype)
    assert np.array_equal(found, expected)
    if rule == "float":
        steps = np.float32(acc[1, 3, 2, 1] + bias[3]) * (np.float32(0.5) * scales[3] / np.float32(0.05))
        assert found[1, 3, 2, 1] == np.clip(np.rint(steps) + 7, out.low + 3, out.high)


# op, shape of x, shape of the weight, stride and padding
LAYERS = [
    ("conv2d", (1, 3, 7, 6), (4, 3, 3, 3), {"stride": (2, 2), "pad": (1, 1, 1, 1)}),
    ("conv2d", (2, 2, 5, 5), (3, 2, 3, 3), {"stride": (2, 1), "pad": (0, 1, 0, 1)}),
    ("depthwise_conv2d", (1, 5, 6, 7), (5, 3, 3), {"stride": (1, 1), "pad": (1, 1, 1, 1)}),
    ("depthwise_conv2d", (1, 5, 6, 7), (5, 5, 5), {"stride": (2, 2), "pad": (2, 2, 1, 2)}),
    ("pointwise_conv2d", (1, 9, 3, 2), (6, 9), {}),
    ("linear", (2, 8), (5, 8), {}),
    ("linear", (1, 1300), (40, 1300), {}),
]


def one_sum(op, x, weight, place, zero, weight_zero, stride=(1, 1), pad=(0, 0, 0, 0), pairs=False):
    """The accumulator of one output, product by product; with pairs along (row, column, channel) cut to 16 bits."""
    n, o, *at = place
    products = []
    if op == "linear":
        products = [(int(a), int(w)) for a, w in zip(x[n], weight[o])]
    else:
        kernel = (
            weight[o][:, None, None] if weight.ndim == 2 else weight[o][None] if op == "depthwise_conv2d" else weight[o]
        )
        for i, j, c in np.ndindex(kernel.shape[1], kernel.shape[2], kernel.shape[0]):
            row, column = at[0] * stride[0] + i - pad[0], at[1] * stride[1] + j - pad[2]
            inside = 0 <= row < x.shape[2] and 0 <= column < x.shape[3]
            channel = o if op == "depthwise_conv2d" else c
            products.append((int(x[n, channel, row, column]) if inside else zero, int(kernel[c, i, j])))
    exact = sum((a - zero) * (w - weight_zero) for a, w in products)
    if not pairs:
        return exact
    products += [(0, 0)] * (len(products) % 2)
    totals = [
        products[i][0] * products[i][1] + products[i + 1][0] * products[i + 1][1] for i in range(0, len(products), 2)
    ]
    return exact + sum(min(max(total, -32768), 32767) - total for total in totals)


@pytest.mark.parametrize("twins", TWINS)
@pytest.mark.parametrize("dtypes", [("int8", np.int8), ("uint8", np.int8), ("uint8", np.uint8)], ids=str)
@pytest.mark.parametrize("op, shape, weight_shape, space", LAYERS)
@pytest.mark.parametrize("name", KERNEL_SETS)
def test_layers(name, op, shape, weight_shape, space, dtypes, twins):
    """Every output is the rounded sum of its products; pairs saturate where the kernel set says so."""
    rng, kernels = np.random.default_rng(3), KERNEL_SETS[name]
    low, high = np.iinfo(dtypes[0]).min, np.iinfo(dtypes[0]).max
    grid, out = Grid(0.02, low + 3, dtypes[0]), Grid(0.07, low + 90, dtypes[0])
    x = rng.choice([low, low + 3, high, high - 1, 50], shape).astype(dtypes[0])
    limits = np.iinfo(dtypes[1])
    weight = rng.integers(limits.min, limits.max + 1, weight_shape).astype(dtypes[1])
    weight_zero = np.array([0 if dtypes[1] == np.int8 else 121], np.int32)
    bias, scales = (
        rng.integers(-500, 500, len(weight)).astype(np.int32),
        rng.uniform(1e-4, 1e-3, len(weight)).astype(np.float32),
    )
    saturating = saturation.saturating_pairs(weight) if saturation.saturates(op, weight, grid, out, kernels) else None
    found = integers.layer(
        op, x, integers.exact_weight(weight, weight_zero, grid), bias, scales, grid=grid, out=out, kernels=kernels, act="relu",
        saturating=saturating, twins=twins, **space,
    )  # fmt: skip
    sums = np.empty(found.shape, np.int64)
    for place in np.ndindex(found.shape):
        sums[place] = one_sum(op, x, weight, place, low + 3, int(weight_zero[0]), **space, pairs=saturating is not None)
    rule = getattr(kernels, integers.layer_field(op, dtypes[0]))
    factor = layer_factor(op, rule, kernels, 0.02, scales, out.scale)
    expected = requantize(sums, bias, rule, factor, out, low + 90, high)
    assert np.array_equal(found, expected), f"{np.argwhere(found != expected)[:3]}"
    assert (found == low + 90).any() and (found > low + 90).any()


@pytest.mark.parametrize("twins", TWINS)
def test_pairs_do_saturate_here(twins):
    """Two products of 255 by 127 lose what they have beyond 16 bits; one does not."""
    x, weight = np.full((1, 4), 255, np.uint8), np.array([[127, 127, 127, 0], [-127, -128, 1, 1]], np.int8)
    pairs = saturation.saturating_pairs(weight)
    lost = saturation.lost_to_saturation(x, pairs, 0, twins=twins)
    assert lost.tolist() == [[32767 - 2 * 255 * 127, -32768 + 255 * 255]]
    assert not saturation.lost_to_saturation(x // 2, pairs, 0, twins=twins).any()


def test_pairs_that_can_saturate():
    weight = np.int8([[100, 29, 1, 1], [-100, -29, 127, -127], [64, 64, 65, 64], [-128, -1, 0, -128], [0, 0, 1, 127]])
    pairs = saturation.saturating_pairs(weight)
    assert list(zip(pairs.outputs, pairs.places)) == [(0, 0), (1, 0), (2, 2), (3, 0)]
    assert pairs.weights.tolist() == [[100, 29], [-100, -29], [65, 64], [-128, -1]]
    stem = np.zeros((1, 2, 1, 2), np.int8)  # channels lie side by side, not columns
    stem[0, :, 0, 0] = 100, 100
    assert saturation.saturating_pairs(stem).places.tolist() == [0]
    assert saturation.saturating_pairs(stem // 2) is None


def test_a_mean_of_each_kind():
    """Of -128 everywhere, a constant picture and a random one: within one step of the true mean, by every set."""
    rng = np.random.default_rng(4)
    grid, out = Grid(0.03, -100), Grid(0.0121, -128)
    x = rng.integers(-100, 128, (1, 40, 7, 5)).astype(np.int8)
    x[0, 0], x[0, 1] = -100, 20
    true = np.clip((grid.dequantize(x).mean(axis=(2, 3)) / 0.0121) - 128, -128, 127)
    for kernels in KERNEL_SETS.values():
        found = integers.global_avg_pool(x, grid=grid, out=out, kernels=kernels)
        assert found.shape == (1, 40) and found.dtype == np.int8
        assert np.abs(found - true).max() <= 1.0, kernels.name
        assert found[0, 0] == -128


def test_products_and_sums_of_each_kind():
    """Within one step of the true product and sum, by every set; a gate (N, C) meets its channel."""
    rng = np.random.default_rng(5)
    a, b, out = Grid(0.05, 10), Grid(1 / 255, -128), Grid(0.04, -5)
    x, gate = rng.integers(-128, 128, (2, 6, 3, 4)).astype(np.int8), rng.integers(-128, 128, (2, 6)).astype(np.int8)
    y = rng.integers(-128, 128, x.shape).astype(np.int8)
    for kernels in KERNEL_SETS.values():
        product = integers.mul(x, gate, grids=(a, b), out=out, kernels=kernels)
        true = np.clip(a.dequantize(x) * b.dequantize(gate)[:, :, None, None] / 0.04 - 5, -128, 127)
        assert product.shape == x.shape and np.abs(product - true).max() <= 1.0, kernels.name
        total = integers.add(x, y, grids=(a, b), out=out, kernels=kernels)
        true = np.clip((a.dequantize(x) + b.dequantize(y)) / 0.04 - 5, -128, 127)
        assert np.abs(total - true).max() <= 1.0, kernels.name
        sixth = integers.scale(x, np.int8(127), grids=(a, Grid(1 / 1530, -128)), out=out, kernels=kernels, act="relu6")
        true = np.clip(np.clip(a.dequantize(x) / 6, 0, 6) / 0.04 - 5, -128, 127)
        assert np.abs(sixth - true).max() <= 1.0, kernels.name


def test_a_products_factor_is_made_of_float32_scales():
    """TensorFlow Lite 2.21 gives 15 here: C++ multiplies and divides its float scales as floats."""
    a, b = Grid(0.005317875649780035, -58, "int8"), Grid(0.002612263662740588, -128, "int8")
    out, x, y = Grid(0.002969010965898633, -58, "int8"), np.array([[26]], np.int8), np.array([[59]], np.int8)
    for name in ("tflite-reference", "tflite-optimized"):
        assert integers.mul(x, y, grids=(a, b), out=out, kernels=get_kernel_set(name)) == 15, name


@pytest.mark.parametrize("name", KERNEL_SETS)
def test_hard_swish_is_within_a_step_and_monotone_where_it_should_be(name):
    grid, out = Grid(0.0627, -20), Grid(0.0471, -120)
    x = np.arange(-128, 128).astype(np.int8).reshape(1, 256)
    real = grid.dequantize(x).astype(np.float64)
    true = np.clip(real * np.clip(real + 3, 0, 6) / 6 / 0.0471 - 120, -128, 127)
    found = integers.hard_swish(x, grid=grid, out=out, kernels=KERNEL_SETS[name])
    assert np.abs(found - true).max() <= 1.0
    assert (np.diff(found[0, real[0] > 0].astype(int)) >= 0).all()


def test_kernel_sets_must_be_named():
    with pytest.raises(UsageError, match="whose int8.*name a kernel set.*one of tflite-reference"):
        get_kernel_set(None)
    with pytest.raises(UsageError, match="kernels is 'tflite', expected one of"):
        get_kernel_set("tflite")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((0.0, 0), "a scale of 0.0, expected a finite number above 0"),
        ((float("nan"), 0), "a scale of nan"),
        ((float("inf"), 0), "a scale of inf"),
        ((0.1, 128), "a zero point of 128, expected -128 to 127 of int8"),
        ((0.1, -1, "uint8"), "a zero point of -1, expected 0 to 255"),
        ((0.1, 0, "int4"), "a grid of 'int4'"),
    ],
)
def test_impossible_grids(arguments, message):
    with pytest.raises(UsageError, match=message):
        Grid(*arguments)


def test_grids_round_halves_to_even_and_cut_at_the_ends():
    grid = Grid(0.5, 3)
    assert grid.quantize(np.array([0.25, 0.75, -0.25, 3e38, 1e300, -np.inf])).tolist() == [3, 5, 3, 127, 127, -128]
    assert grid.dequantize(np.array([3, 4], np.int8)).tolist() == [0.0, 0.5]
    with pytest.raises(UsageError, match="NaN in it cannot be quantised"):
        grid.quantize(np.array([0.0, np.nan]))


def test_onnx_runtimes_sum_at_a_tie():
    """146, as ONNX Runtime 1.32 gives it: the zero points' sum is a fused multiply-add, like the numbers' own."""
    grids = Grid(0.050630565732717514, 99, "uint8"), Grid(0.061004817485809326, 102, "uint8")
    x, y = (np.array([[q]], np.uint8) for q in (76, 135))
    out = Grid(0.06286337226629257, 133, "uint8")
    assert integers.add(x, y, grids=grids, out=out, kernels=get_kernel_set("onnxruntime")) == 146


@pytest.mark.parametrize("dtype, expected", [("uint8", True), ("uint16", False), ("int8", False)])
def test_a_layer_that_stores_another_type_than_it_reads_does_not_saturate(dtype, expected):
    """ONNX Runtime computes it in floats."""
    weight, grid, kernels = np.ones((2, 2), np.int8), Grid(0.1, 3, "uint8"), KERNEL_SETS["onnxruntime-avx2"]
    assert saturation.saturates("linear", weight, grid, Grid(0.1, 3, dtype), kernels) == expected
