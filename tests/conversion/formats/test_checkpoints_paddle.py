"""Paddle's .pdparams and .pdiparams, by hand."""

import pickle

import checkpoint_files as files
import numpy as np
import paddle_files
import pytest
from checkpoint_files import Call, paddle_array

from npmnv3.conversion.formats import read_checkpoint
from npmnv3.errors import WeightsError

RNG = np.random.default_rng(0)
ARRAYS = {
    "conv.weight": RNG.standard_normal((4, 3, 3, 3)).astype(np.float32),
    "bn._mean": RNG.standard_normal(4).astype(np.float32),
    "fc.weight": np.asfortranarray(RNG.standard_normal((5, 2)).astype(np.float32)),
    "half": RNG.standard_normal(3).astype(np.float16),
    "double": np.array(2.5),
    "big-endian": np.arange(3, dtype=">i4"),
    "flag": np.array([True, False]),
}
STRUCTURED = "StructuredToParameterName@@"


def expected():
    return {name: array.astype(array.dtype.newbyteorder("=")) for name, array in ARRAYS.items()}


@pytest.mark.parametrize("numpy", (1, 2))
@pytest.mark.parametrize("protocol", (2, 3, 4))
def test_pdparams(protocol, numpy):
    top = {name: paddle_array(array, protocol, numpy) for name, array in ARRAYS.items()}
    checkpoint = read_checkpoint(files.pickled({**top, STRUCTURED: {"conv.weight": "conv2d_0.w_0"}}, protocol))
    files.assert_same(checkpoint.arrays, expected())
    assert (checkpoint.format, checkpoint.notes) == ("paddle", ())
    assert checkpoint.metadata == {STRUCTURED: {"conv.weight": "conv2d_0.w_0"}}
    assert not any(array.flags.writeable for array in checkpoint.arrays.values())


@pytest.mark.parametrize("protocol", (2, 3, 4))
def test_what_python_pickles_itself(protocol):
    data = pickle.dumps({"state_dict": dict(ARRAYS), "epoch": 3, "score": np.float64(0.5)}, protocol)
    checkpoint = read_checkpoint(data)
    files.assert_same(checkpoint.arrays, expected())
    assert checkpoint.taken == "state_dict"


def broken(*, dtype="f4", order="<", shape=(2,), data=bytes(8), state=None):
    kind = Call("numpy.dtype", dtype, False, True, state=(3, order, None, None, None, -1, -1, 0))
    state = (1, shape, kind, False, data) if state is None else state
    array = paddle_array(ARRAYS["bn._mean"])
    array.state = state
    return files.pickled({"a": array}, 3)


BROKEN = (
    ("too little", broken(data=bytes(7)), r"an array f4 \(2,\) of 7 bytes"),
    ("too much", broken(shape=(1,)), r"an array f4 \(1,\) of 8 bytes"),
    ("huge shape", broken(shape=(1 << 40, 1 << 40)), "impossible shape"),
    ("objects", broken(dtype="O8"), "holds no dict of tensors"),
    ("texts", broken(dtype="U2"), "holds no dict of tensors"),
    ("not a dtype", broken(dtype=[("a", "f4")]), "holds no dict of tensors"),
    ("byte order", broken(order="big"), "a NumPy dtype that is none"),
    ("no data", broken(data=None), "whose data are a NoneType"),
    ("a list", broken(data=[1, 2]), "whose data are a list"),
    ("not latin-1", broken(data="\u4f60" * 8), "whose text is no latin-1"),
    ("half a state", broken(state=(1, (2,))), "a NumPy array that is none"),
    (
        "no state",
        files.pickled({"a": Call("numpy.core.multiarray._reconstruct", files.Name("numpy.ndarray"), (0,), b"b")}),
        "without content",
    ),
)


@pytest.mark.parametrize("data, message", [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_broken_pdparams(data, message):
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(data)


# Inference parameters

INFERENCE = {  # in the order of use, not of the names
    "conv2d_0.w_0": RNG.standard_normal((4, 3, 3, 3)).astype(np.float32),
    "batch_norm_0.w_0": RNG.standard_normal(4).astype(np.float32),
    "batch_norm_0.b_0": RNG.standard_normal(4).astype(np.float32),
    "batch_norm_0.w_1": RNG.standard_normal(4).astype(np.float32),
    "batch_norm_0.w_2": RNG.standard_normal(4).astype(np.float32),
    "conv2d_10.w_0": RNG.standard_normal((2, 4, 1, 1)).astype(np.float32),
    "conv2d_9.b_0": RNG.standard_normal(2).astype(np.float32),
}
SHAPES = {name: INFERENCE[name].shape for name in reversed(INFERENCE)}
MODEL = paddle_files.pdmodel(
    SHAPES,
    [
        ("feed", {"X": ["feed"]}),
        ("conv2d", {"Filter": ["conv2d_0.w_0"], "Input": ["x"]}),
        (
            "batch_norm",
            {
                "Bias": ["batch_norm_0.b_0"],
                "Mean": ["batch_norm_0.w_1"],
                "Scale": ["batch_norm_0.w_0"],
                "Variance": ["batch_norm_0.w_2"],
                "X": ["t"],
            },
        ),
        ("conv2d", {"Filter": ["conv2d_10.w_0"], "Input": ["u"]}),
        ("elementwise_add", {"X": ["v"], "Y": ["conv2d_9.b_0"]}),
    ],
)
PROGRAM = paddle_files.pir_json(
    SHAPES,
    [
        ("1.conv2d", ["x", "conv2d_0.w_0"]),
        ("1.batch_norm_", ["t", "batch_norm_0.w_1", "batch_norm_0.w_2", "batch_norm_0.w_0", "batch_norm_0.b_0"]),
        ("1.conv2d", ["u", "conv2d_10.w_0"]),
        ("1.add", ["v", "conv2d_9.b_0"]),
    ],
)
BESIDE = {".pdmodel": MODEL, ".json": PROGRAM}


def write(folder, data=None, suffix=".pdmodel", program=None):
    (folder / f"net.v1{suffix}").write_bytes(BESIDE[suffix] if program is None else program)
    path = folder / "net.v1.pdiparams"
    path.write_bytes(paddle_files.pdiparams(INFERENCE) if data is None else data)
    return path


@pytest.mark.parametrize("suffix", BESIDE)
def test_inference_parameters_come_in_the_programs_order(tmp_path, suffix):
    checkpoint = read_checkpoint(write(tmp_path, suffix=suffix))
    files.assert_same(checkpoint.arrays, INFERENCE)
    assert (checkpoint.format, checkpoint.notes) == ("paddle-inference", (f"named by net.v1{suffix}",))


def test_parameters_that_the_program_does_not_use_come_last(tmp_path):
    program = paddle_files.pdmodel(SHAPES, [("conv2d", {"Filter": ["conv2d_10.w_0"]})])
    checkpoint = read_checkpoint(write(tmp_path, program=program))
    assert next(iter(checkpoint.arrays)) == "conv2d_10.w_0" and len(checkpoint.arrays) == len(INFERENCE)
    assert "the program does not use conv2d_9.b_0" in checkpoint.notes[1]


def test_other_element_types(tmp_path):
    half = {"w": np.array([1.5, 2], np.float16)}
    program = paddle_files.pdmodel({"w": (2,)}, [])
    files.assert_same(
        read_checkpoint(write(tmp_path, paddle_files.pdiparams(half, kind=4), program=program)).arrays, half
    )
    with pytest.raises(WeightsError, match="w has the element type 23, which is not known"):
        read_checkpoint(write(tmp_path, paddle_files.pdiparams(half, kind=23), program=program))


def test_names_are_needed(tmp_path):
    with pytest.raises(WeightsError, match="have no names in them; give the path"):
        read_checkpoint(paddle_files.pdiparams(INFERENCE))
    path = write(tmp_path)
    (tmp_path / "net.v1.pdmodel").unlink()
    with pytest.raises(WeightsError, match=r"net.v1.pdiparams: holds no names; put net.v1.pdmodel or net.v1.json"):
        read_checkpoint(path)


@pytest.mark.parametrize("suffix", BESIDE)
@pytest.mark.parametrize("share", (0.1, 0.5, 0.9, 0.99))
def test_damaged_programs(tmp_path, suffix, share):
    program = BESIDE[suffix]
    with pytest.raises(WeightsError, match=f"net.v1{suffix} beside it: "):
        read_checkpoint(write(tmp_path, suffix=suffix, program=program[: int(len(program) * share)]))


@pytest.mark.parametrize(
    "program", (b"[" * 100_000, b"{}", b"[]", b'{"program": {"regions": [{"blocks": [{"ops": [3]}]}]}}')
)
def test_programs_that_are_none(tmp_path, program):
    with pytest.raises(WeightsError, match="not a program of paddle 3"):
        read_checkpoint(write(tmp_path, suffix=".json", program=program))


def test_parameters_of_another_program(tmp_path):
    data = paddle_files.pdiparams(INFERENCE)
    fewer = paddle_files.pdmodel({name: SHAPES[name] for name in list(SHAPES)[1:]}, [])
    with pytest.raises(WeightsError, match=r"says \(|is not its program|header at"):
        read_checkpoint(write(tmp_path, program=fewer))
    other = paddle_files.pdmodel({**SHAPES, "batch_norm_0.b_0": (5,)}, [])
    with pytest.raises(WeightsError, match=r"batch_norm_0.b_0's place has shape \(4,\), net.v1.pdmodel says \(5,\)"):
        read_checkpoint(write(tmp_path, program=other))
    with pytest.raises(WeightsError, match="12 bytes after the last of 7 tensors"):
        read_checkpoint(write(tmp_path, data + bytes(12)))
    with pytest.raises(WeightsError, match="cut off"):
        read_checkpoint(write(tmp_path, data[:-1]))


def test_absurd_sizes(tmp_path):
    data = bytes(16) + (1 << 30).to_bytes(4, "little") + b"\x08\x05"
    with pytest.raises(WeightsError, match=r"header at 0 is \(0, 0, 0, 1073741824\)"):
        read_checkpoint(write(tmp_path, data))
    descriptor = paddle_files.field(1, 5) + paddle_files.field(2, 1 << 50)
    data = bytes(16) + len(descriptor).to_bytes(4, "little") + descriptor
    with pytest.raises(WeightsError, match="impossible shape"):
        read_checkpoint(write(tmp_path, data))
