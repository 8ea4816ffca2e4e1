"""The operations in NumPy and as compiled loops against each other: any batch, layout and number."""

import inspect

import numpy as np
import pytest
from operation_modules import DTYPES, both_modules, loops, needs_loops

from npmnv3.network.steps import OPS
from npmnv3.ops import definitions

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
    from npmnv3.ops.compile_loops import compile_loops
    from npmnv3.ops.jit import LOOPS

    compile_loops(dtype)
    kinds = [list(loop.dispatcher().signatures) for loop in LOOPS]
    for lay in LAYOUTS.values():
        for function in operations(loops, dtype).values():
            function(lay(maps(dtype)))
    assert [loop.dispatcher().signatures for loop in LOOPS] == kinds
    assert all(len(some) <= len(DTYPES) for some in kinds)
