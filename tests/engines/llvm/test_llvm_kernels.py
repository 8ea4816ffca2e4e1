"""Each kernel against its plain NumPy twin, on one table of cases, at every vector width."""

import functools

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from kernel_memory import Memory, assert_close, run

from npmnv3.engines.llvm import compiler
from npmnv3.engines.llvm.kernels.kernel import HARD_SIGMOID, HARD_SWISH, NONE, RELU, Machine, float_bits, split
from npmnv3.engines.llvm.kernels.pointwise import name_of
from npmnv3.errors import Npmnv3Error

WIDTHS = ("4", "8", "16", "avx512", "neon")
#: Processors whose kernels are tried on this one, whatever it is.
FLOAT16 = compiler.widens_float16()
OTHERS = {"avx512": Machine(16, 32, True, FLOAT16), "neon": Machine(4, 32, False, FLOAT16)}
SIXTH, FIFTH = float_bits(1 / 6), float_bits(0.2)


@functools.cache
def make_library(width):
    if width not in OTHERS:
        return compiler._library(width, FLOAT16)
    import llvmlite.binding as llvm

    processor, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    return compiler.Library(compiler.compile_kernels(OTHERS[width], processor, features), False, "")


@pytest.fixture(params=WIDTHS)
def library(request):
    """The kernels of a vector width; the last two as processors with 32 registers have them."""
    return make_library(request.param)


# fmt: off
POINTWISE = (     # halves, (first, blocks, chunks, tail), pixels in a row, rows, add, act, slope
    (2, (1, 0, 0, 0),  7, 1, False, NONE, SIXTH),
    (4, (3, 0, 1, 0), 17, 1, True, NONE, SIXTH),
    (6, (2, 1, 3, 2), 22, 2, False, HARD_SWISH, SIXTH),
    (6, (0, 0, 0, 3),  1, 1, False, HARD_SIGMOID, FIFTH),
    (2, (0, 2, 2, 1),  6, 3, True, RELU, SIXTH),
    (4, (1, 4, 2, 7),  9, 2, True, HARD_SWISH, SIXTH),
    (6, (2, 0, 0, 0), 56, 4, False, RELU, SIXTH),
    (6, (5, 0, 0, 1),  2, 2, True, RELU, SIXTH),
    (6, (1, 1, 1, 0),  3, 2, False, NONE, SIXTH),
    (3, (1, 1, 2, 1), 17, 2, True, HARD_SWISH, SIXTH),
    (5, (4, 0, 0, 0), 13, 2, False, RELU, SIXTH),
)
MATVEC = (        # halves, (first, blocks, chunks, tail), act; in `first` no less than in `chunks`
    (2, (1, 0, 1, 0), NONE),
    (4, (5, 3, 2, 0), RELU),
    (6, (2, 3, 2, 1), HARD_SWISH),
    (6, (0, 0, 0, 3), HARD_SIGMOID),
    (6, (3, 9, 1, 2), NONE),
    (4, (4, 1, 3, 5), RELU),
    (3, (2, 7, 2, 1), HARD_SWISH),
    (5, (1, 4, 1, 0), NONE),
)
DEPTHWISE = (     # size, step, pixels in a row, rows, stride, planes, pool, act
    (3, 1,  7, 1, 1, 1, False, RELU),
    (3, 1, 17, 4, 1, 3, True, HARD_SWISH),
    (3, 2,  9, 3, 2, 2, True, RELU),
    (3, 2,  1, 1, 2, 2, False, NONE),
    (5, 1, 14, 5, 1, 2, True, HARD_SWISH),
    (5, 1, 12, 3, 2, 1, True, NONE),
    (5, 2,  8, 2, 2, 3, False, RELU),
    (5, 2,  3, 2, 1, 3, True, HARD_SWISH),
)
CONV = (          # inputs, pixels in a row, rows, stride, planes, act
    (3, 14, 1, 2, 1, HARD_SWISH),
    (3, 33, 3, 2, 2, RELU),
    (1,  3, 2, 1, 3, NONE),
)
# fmt: on


@pytest.mark.parametrize("float16", [False, True], ids=["", "float16"])
@pytest.mark.parametrize("case", POINTWISE, ids=str)
def test_pointwise(library, case, float16):
    halves, (first, blocks, chunks, tail), pixels, rows, add, act, slope = case
    memory, width = Memory(1), library.machine.width
    if float16 and not FLOAT16:
        pytest.skip("the processor does not make 32 bits of 16 by itself")
    if halves % 2 and not library.machine.halves:
        pytest.skip("this processor gains nothing from half vectors")
    vectors = (halves + 1) // 2
    machine = library.machine
    tail = min(tail, machine.chunk - 1)
    channels = (first + blocks * chunks) * machine.chunk + tail
    vector = machine.bytes
    row = (pixels + 2) * vector
    plane = rows * row + 3 * vector
    planes = -(-channels // width)
    args = dict(
        x=memory.floats(planes * plane // 4, "x"),
        x_plane=plane,
        x_row=row,
        weight=memory.weights(channels * halves * width // 2, float16),
        bias=memory.floats(halves * width // 2, "bias"),
        out=memory.floats(vectors * plane // 4, "out"),
        out_plane=plane,
        out_row=row,
        add=memory.floats(vectors * plane // 4, "add") if add else 0,
        add_plane=plane,
        add_row=row,
        first=first,
        blocks=blocks,
        chunks=chunks,
        tail=tail,
        pixels=pixels,
        rows=rows,
        act=act,
        slope=slope,
        ahead=0,
        ahead_step=64,
        far=4096,
        far_step=128,
    )
    pairs = run(library, name_of(halves, float16), args, memory)
    assert_close(pairs, 1e-5 * max(channels, 1), f"pointwise {case}")


@pytest.mark.parametrize("float16", [False, True], ids=["", "float16"])
@pytest.mark.parametrize("case", MATVEC, ids=str)
def test_matvec(library, case, float16):
    halves, (first, blocks, chunks, tail), act = case
    machine, memory = library.machine, Memory(1)
    if float16 and not FLOAT16:
        pytest.skip("the processor does not make 32 bits of 16 by itself")
    if halves % 2 and not machine.halves:
        pytest.skip("this processor gains nothing from half vectors")
    tail = min(tail, machine.chunk - 1)
    channels, lanes = (first + blocks * chunks) * machine.chunk + tail, halves * machine.width // 2
    args = dict(
        x=memory.floats(channels, "x"),
        weight=memory.weights(channels * lanes, float16),
        bias=memory.floats(lanes, "bias"),
        out=memory.floats(lanes, "out"),
        **{"first": first, "blocks": blocks, "chunks": chunks, "tail": tail, "act": act, "slope": SIXTH},
        **{"ahead": 0, "ahead_step": 64, "far": 4096, "far_step": 128},
    )
    pairs = run(library, name_of(halves, float16, "matvec"), args, memory)
    assert_close(pairs, 1e-5 * max(channels, 1), f"matvec {case}")


def ring(rows, stride, size, row_bytes):
    """Offsets of padded rows: the first and last are the same row of zeros, the others go round."""
    count = (rows - 1) * stride + size
    return [0] + [row_bytes * (1 + i % 3) for i in range(count - 2)] + [0]


@pytest.mark.parametrize("case", DEPTHWISE, ids=str)
def test_depthwise(library, case):
    size, step, pixels, rows, stride, planes, pool, act = case
    memory, width = Memory(2), library.machine.width
    vector = library.machine.bytes
    row = (step * (pixels - 1) + size) * vector
    args = dict(
        x=memory.floats(planes * 4 * row // 4, "x"),
        x_plane=4 * row,
        table=memory.ints(ring(rows, stride, size, row), "table"),
        stride=stride,
        weight=memory.floats(planes * (1 + size * size) * width, "weight"),
        out=memory.floats(planes * (rows * pixels + 1) * width, "out"),
        out_plane=(rows * pixels + 1) * vector,
        out_row=pixels * vector,
        pool=memory.floats(planes * width, "pool") if pool else 0,
        pixels=pixels,
        rows=rows,
        planes=planes,
        act=act,
        slope=SIXTH,
    )
    pairs = run(library, f"depthwise{size}_{step}", args, memory)
    assert ("pool" in pairs) == pool
    assert_close(pairs, 1e-4, f"depthwise {case}")


@pytest.mark.parametrize("case", CONV, ids=str)
def test_conv(library, case):
    inputs, pixels, rows, stride, planes, act = case
    memory, width = Memory(3), library.machine.width
    vector = library.machine.bytes
    row = (2 * (pixels - 1) + 3) * 4
    args = dict(
        x=memory.floats(inputs * row, "x"),
        x_plane=4 * row,
        inputs=inputs,
        table=memory.ints(ring(rows, stride, 3, row), "table"),
        stride=stride,
        weight=memory.floats(planes * (1 + 9 * inputs) * width, "weight"),
        out=memory.floats(planes * rows * pixels * width, "out"),
        out_plane=rows * pixels * vector,
        out_row=pixels * vector,
        pixels=pixels,
        rows=rows,
        planes=planes,
        act=act,
        slope=SIXTH,
        coming=0,
        coming_plane=4096,
        coming_step=64,
    )
    assert_close(run(library, "conv3_2", args, memory), 1e-4, f"conv {case}")


def test_copy_rows_is_exact(library):
    memory = Memory(4)
    for floats in (1, 15, 16, 37):
        args = dict(
            x=memory.floats(400, "x"),
            x_plane=200 * 4,
            x_row=44 * 4,
            out=memory.floats(600, "out"),
            out_plane=280 * 4,
            out_row=64 * 4,
            floats=floats,
            rows=4,
            planes=2,
            ahead=256,
        )
        assert_close(run(library, "copy_rows", args, memory), 0, f"copy of {floats}")


@pytest.mark.parametrize("count", (1, 3, 4, 49))
def test_mean(library, count):
    memory, width = Memory(5), library.machine.width
    vector = library.machine.bytes
    args = dict(
        x=memory.floats(3 * count * width, "x"),
        x_plane=count * vector,
        x_step=vector,
        count=count,
        out=memory.floats(3 * width, "out"),
        planes=3,
        factor=float_bits(1 / count),
    )
    assert_close(run(library, "mean", args, memory), 1e-5, f"mean of {count}")


@pytest.mark.parametrize("act", (NONE, RELU, HARD_SWISH))
def test_gate_map(library, act):
    memory, width = Memory(6), library.machine.width
    vector = library.machine.bytes
    args = dict(
        out=memory.floats(3 * 20 * width, "out"),
        out_plane=20 * vector,
        gate=memory.floats(3 * width, "gate"),
        pixels=17,
        planes=3,
        act=act,
        slope=SIXTH,
    )
    assert_close(run(library, "gate_map", args, memory), 1e-5, "gate_map")


def test_gate_weights_is_exact(library):
    memory, width = Memory(7), library.machine.width
    args = dict(
        weight=memory.floats(5 * 5 * width // 2, "weight"),
        gate=memory.floats(5, "gate"),
        out=memory.floats(5 * 5 * width // 2, "out"),
        channels=5,
        vectors=2,
        half=1,
    )
    assert_close(run(library, "gate_weights", args, memory), 0, "gate_weights")


@pytest.mark.parametrize("side", (2, 3))
def test_max_pool_is_exact(library, side):
    memory, width = Memory(8), library.machine.width
    vector = library.machine.bytes
    args = dict(
        x=memory.floats(2 * 100 * width, "x"),
        x_plane=100 * vector,
        x_row=10 * vector,
        out=memory.floats(2 * 9 * width, "out"),
        out_plane=9 * vector,
        out_row=3 * vector,
        side=side,
        pixels=3,
        rows=3,
        planes=2,
    )
    assert_close(run(library, "max_pool", args, memory), 0, "max_pool")


@pytest.mark.parametrize("act", (NONE, RELU, HARD_SWISH, HARD_SIGMOID))
def test_activations_pass_nan_and_infinity(act):
    library, memory = make_library("4"), Memory(9)
    special = np.array([np.nan, np.inf, -np.inf, -0.0], np.float32)
    args = dict(
        out=memory.floats(4, "out"),
        out_plane=16,
        gate=memory.floats(4, "gate"),
        pixels=1,
        planes=1,
        act=act,
        slope=SIXTH,
    )
    memory.buffers[0][1].view(np.float32)[:] = special
    memory.buffers[1][1].view(np.float32)[:] = 1
    with np.errstate(invalid="ignore"):
        made, plain = run(library, "gate_map", args, memory)["out"]
    np.testing.assert_array_equal(made, plain)


def test_a_command_out_of_bounds_is_refused():
    library, memory = make_library("4"), Memory(10)
    args = dict(
        out=memory.floats(4 * 5, "out"), out_plane=80, gate=memory.floats(4, "gate"), pixels=6, planes=1, act=0, slope=0
    )
    with pytest.raises(Npmnv3Error, match="16 bytes beyond the buffer out"):
        run(library, "gate_map", args, memory)
    args["out"] = 64
    with pytest.raises(Npmnv3Error, match="none of the engine's buffers"):
        run(library, "gate_map", args, memory)


@pytest.mark.parametrize("tiles", ((4, 3, 2, 1), (7, 3, 1), (8, 2, 1), (6, 5, 2, 1)))
def test_split_does_every_pixel_once_and_long_rows_without_small_tiles(tiles):
    for pixels in range(1, 300):
        counts = split(pixels, tiles)
        assert sum(count * tile for count, tile in zip(counts, tiles)) == pixels and min(counts) >= 0
        if tiles[0] == tiles[1] + 1 and pixels >= tiles[1] * tiles[0]:
            assert sum(counts[2:]) == 0
