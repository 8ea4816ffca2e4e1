"""Keras's HDF5 files, by hand: by the lists of names, whatever the tree looks like."""

import io
import struct

import checkpoint_files as files
import h5py
import numpy as np
import pytest

from npmnv3.conversion.formats import read_checkpoint
from npmnv3.errors import WeightsError

RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


LAYERS = {
    "input_1": {},
    "Conv": {"Conv/kernel:0": draw(3, 3, 3, 4)},
    "Conv/BatchNorm": {
        f"Conv/BatchNorm/{role}:0": draw(4) for role in ("gamma", "beta", "moving_mean", "moving_variance")
    },
    "tf.math.multiply_3": {},
    "Logits": {"Logits/kernel:0": draw(1, 1, 4, 2), "Logits/bias:0": draw(2)},
}
ARRAYS = {name: array for weights in LAYERS.values() for name, array in weights.items()}


@pytest.mark.parametrize(
    "options", ({}, {"fixed": True}, {"split": True}, {"fixed": True, "split": True}, {"root": "model_weights"})
)
def test_legacy_files(options, tmp_path):
    data = files.keras_legacy(LAYERS, **options)
    (tmp_path / "x.h5").write_bytes(data)
    for source in (data, tmp_path / "x.h5"):
        checkpoint = read_checkpoint(source)
        files.assert_same(checkpoint.arrays, ARRAYS)
        assert (checkpoint.format, checkpoint.metadata["backend"]) == ("keras-legacy", "tensorflow")


WEIGHTS = {
    f"layers/conv2d{f'_{i}' if i else ''}": (f"conv_{i}", [draw(1, 1, 2, 2), draw(2)][: 1 + (i + 1) % 2])
    for i in range(12)
} | {
    "layers/batch_normalization": ("conv_bn", [draw(2), draw(2), draw(2), draw(2)]),
    "layers/re_lu": ("act", []),
    "layers/dense": ("dense", [draw(2, 3), draw(3)]),
    "layers/odd_thing": ("odd", [draw(2)]),
}


def test_keras_3_weights():
    checkpoint = read_checkpoint(files.keras_weights({**WEIGHTS, "optimizer": ("", [draw(2)])}))
    assert (checkpoint.format, checkpoint.notes) == ("keras-weights", ())
    names = list(checkpoint.arrays)
    assert names[:4] == ["conv_bn/gamma", "conv_bn/beta", "conv_bn/moving_mean", "conv_bn/moving_variance"]
    convs = [name for name in names if name.startswith("conv_") and name.endswith("/kernel")]
    assert convs == [f"conv_{i}/kernel" for i in range(12)]  # 10 after 9
    assert {"conv_0/bias", "conv_2/bias", "dense/bias", "odd/0"} <= set(names) and "conv_1/bias" not in names
    assert np.array_equal(checkpoint.arrays["conv_11/kernel"], WEIGHTS["layers/conv2d_11"][1][0])


def test_keras_3_weights_without_names_and_with_a_model_within():
    inner = {"layers/functional/" + path: content for path, content in WEIGHTS.items() if "dense" not in path}
    checkpoint = read_checkpoint(files.keras_weights({**inner, "layers/dense": ("", [draw(2, 3), draw(3)])}))
    assert "dense/kernel" in checkpoint.arrays and "conv_bn/gamma" in checkpoint.arrays
    assert checkpoint.notes == ("1 layers have no names of their own and are called by class and count",)
    twice = {"layers/conv2d": ("conv", [draw(1)]), "layers/functional/layers/conv2d": ("conv", [draw(1)])}
    names = set(read_checkpoint(files.keras_weights(twice)).arrays)
    assert names == {"conv/kernel", "layers/functional/layers/conv2d/kernel"}


def change(edit):
    """The legacy file after an edit."""
    stream = io.BytesIO(files.keras_legacy(LAYERS))
    with h5py.File(stream, "r+") as file:
        edit(file)
    return stream.getvalue()


def replace(**options):
    def edit(file):
        del file["Logits/Logits/bias:0"]
        file["Logits"].create_dataset("Logits/bias:0", **options)

    return edit


def link(make):
    def edit(file):
        del file["Logits/Logits/bias:0"]
        file["Logits/Logits/bias:0"] = make

    return edit


def names(*values):
    def edit(file):
        file["Logits"].attrs["weight_names"] = list(values)

    return edit


def virtual(file):
    del file["Logits/Logits/bias:0"]
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (2,))
    file["Logits"].create_virtual_dataset("Logits/bias:0", layout)


HOSTILE = (
    ("external link", link(h5py.ExternalLink("/etc/passwd", "x")), "bias:0' is a soft or external link: refused"),
    (
        "soft link",
        link(h5py.SoftLink("/Conv/Conv/kernel:0")),
        "'/Logits/Logits/bias:0' is a soft or external link: refused",
    ),
    (
        "external data",
        replace(shape=(2,), dtype="f4", external=[("/etc/passwd", 0, 8)]),
        "takes its data from elsewhere",
    ),
    ("virtual data", virtual, "takes its data from elsewhere"),
    ("huge, unwritten", replace(shape=(1 << 20, 1 << 15), dtype="f4"), "claims .* more than a file of"),
    (
        "compressed",
        replace(shape=(1 << 14, 1 << 10), dtype="f4", chunks=(1 << 10, 1 << 10), compression="gzip"),
        "claims .* more than a file of",
    ),
    ("text", replace(data="hello"), "elements of class 9 and 8 bytes, expected numbers"),
    ("complex", replace(data=np.zeros(2, np.complex64)), "elements of class 6 and 8 bytes, expected numbers"),
    ("empty", replace(data=h5py.Empty("f4")), "is an empty dataset"),
    ("a group", lambda file: file["Logits"].attrs.__setitem__("weight_names", ["Logits"]), "Logits/Logits is no array"),
    ("missing", names("Logits/nothing"), "'/Logits/Logits/nothing' is listed, but not there"),
    ("upwards", names("../Conv/Conv/kernel:0"), "leads astray"),
    ("absolute", names("/Conv/Conv/kernel:0"), "leads astray"),
    ("through an array", names("Logits/bias:0/x"), "is listed, but not there"),
    ("twice", names("Logits/bias:0", "Logits/bias:0"), "listed twice"),
    ("endless path", names("/".join("a" * 400)), "leads astray"),
    ("endless name", names("a" * 1001), "longer than 1000"),
    (
        "numbers as names",
        lambda file: file["Logits"].attrs.__setitem__("weight_names", [1, 2]),
        "'weight_names' is of class 0, expected texts",
    ),
    ("no Keras", lambda file: file.attrs.__delitem__("layer_names"), "without Keras's weights"),
)


@pytest.mark.parametrize("edit, message", [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_hostile_files(edit, message):
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(change(edit))


@pytest.mark.parametrize("dtype", ("<f8", ">f4", "<f2", ">i2", "<u8", "<i8", "u1", "i1"))
def test_element_types(dtype):
    values = np.array([0, 1, 100], dtype)
    data = files.keras_legacy({"a": {"w": values, "scalar": values[2]}})
    expected = values.astype(values.dtype.newbyteorder("="))
    files.assert_same(read_checkpoint(data).arrays, {"w": expected, "scalar": np.asarray(expected[2])})


def test_many_layers_make_deep_trees():
    """A group's members fill several nodes of a tree, and its attributes a header that is continued."""
    layers = {f"layer_{i}": {f"layer_{i}/kernel:0": draw(2), f"layer_{i}/bias:0": draw(1)} for i in range(700)}
    for fixed in (False, True):
        found = read_checkpoint(files.keras_legacy(layers, fixed=fixed)).arrays
        files.assert_same(found, {name: array for weights in layers.values() for name, array in weights.items()})


@pytest.mark.parametrize("options", ({"libver": "latest"}, {"track_order": True}, {"libver": "earliest"}))
def test_every_layout_of_the_file_is_read(options):
    stream, expected = io.BytesIO(), draw(2)
    with h5py.File(stream, "w", **options) as file:
        file["a/b"] = expected
        file.attrs["layer_names"] = ["a"]
        file["a"].attrs["weight_names"] = ["b"]
    files.assert_same(read_checkpoint(stream.getvalue()).arrays, {"b": expected})


def test_groups_in_circles():
    stream = io.BytesIO(files.keras_weights({"layers/conv2d": ("conv", [draw(1)])}))
    with h5py.File(stream, "r+") as file:
        for i in range(50):
            file[f"layers/again{i}"] = file["layers"]
    with pytest.raises(WeightsError, match="is a second name of another group"):
        read_checkpoint(stream.getvalue())


def test_a_header_that_continues_in_itself():
    data = bytearray(files.keras_legacy(LAYERS))
    (root,) = struct.unpack_from("<Q", data, 64)
    continuation = data.find(struct.pack("<2H4x", 0x10, 16), root)
    assert continuation > 0
    struct.pack_into("<2Q", data, continuation + 8, root + 16, struct.unpack_from("<I", data, root + 8)[0])
    with pytest.raises(WeightsError, match="too often: refused"):
        read_checkpoint(bytes(data))


def test_one_array_under_many_names_is_counted_each_time():
    stream = io.BytesIO(files.keras_legacy({"a": {"w0": draw(100, 100)}}))
    with h5py.File(stream, "r+") as file:
        for i in range(1, 30):
            file[f"a/w{i}"] = file["a/w0"]
        file["a"].attrs["weight_names"] = [f"w{i}" for i in range(30)]
    with pytest.raises(WeightsError, match="lies where other parts of the file lie"):
        read_checkpoint(stream.getvalue())


def test_cut_off_files():
    data = files.keras_legacy(LAYERS)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(WeightsError, match="that says it has .*: cut off|begins with"):
            read_checkpoint(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_integers_of_8_bits_are_keras_quantisation(kind):
    data = {"layers/dense": ("dense", [np.zeros((2, 3), kind), draw(3), draw(3)])}
    legacy = {"dense": {"dense/kernel": np.zeros((2, 3), kind), "dense/kernel_scale": draw(3)}}
    for file in (files.keras_weights(data), files.keras_legacy(legacy)):
        with pytest.raises(
            WeightsError, match="quantised by Keras's model.quantize .dense/.* is u?int8.: .* give the model as"
        ):
            read_checkpoint(file)
