"""torch's checkpoints, zip and legacy, from files written by hand."""

import checkpoint_files as files
import numpy as np
import pytest
from checkpoint_files import Call, Ordered, tensor

from npmnv3.conversion.formats import read_checkpoint
from npmnv3.errors import UsageError, WeightsError

WRITERS = {"torch": files.torch_zip, "torch-legacy": files.torch_legacy}


@pytest.fixture(params=WRITERS)
def kind(request):
    return request.param


def draw(shape=(2, 3), seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def read(kind, top, storages, key=None, **options):
    checkpoint = read_checkpoint(WRITERS[kind](top, storages, **options), key)
    assert checkpoint.format == kind
    return checkpoint


@pytest.mark.parametrize("protocol", (2, 3, 4, 5))
def test_plain_state_dict(kind, protocol):
    weight, count = draw(), np.array(7, np.int64)
    top = Ordered({"conv.weight": tensor("0", weight), "bn.num_batches_tracked": tensor("1", count, kind="Long")})
    checkpoint = read(kind, top, {"0": weight, "1": count}, protocol=protocol)
    files.assert_same(checkpoint.arrays, {"conv.weight": weight, "bn.num_batches_tracked": count})
    assert (checkpoint.taken, checkpoint.others, checkpoint.notes) == ("", (), ())
    assert not any(array.flags.writeable for array in checkpoint.arrays.values())


KINDS = (
    ("Double", np.float64),
    ("Half", np.float16),
    ("Int", np.int32),
    ("Short", np.int16),
    ("Char", np.int8),
    ("Byte", np.uint8),
    ("Bool", np.bool_),
)


@pytest.mark.parametrize("name, dtype", KINDS, ids=[row[0] for row in KINDS])
def test_element_types_stay_as_they_are(kind, name, dtype):
    values = np.array([0, 1, 1, 0, 1], dtype)
    files.assert_same(read(kind, {"a": tensor("k", values, kind=name)}, {"k": values}).arrays, {"a": values})


def test_bfloat16_becomes_float32_exactly(kind):
    upper = np.array([0x3F80, 0xC049, 0x0001, 0x7F80, 0x8000, 0x7FC0], np.uint16)
    expected = np.array([1, -3.140625, 2**-133, np.inf, -0.0, np.nan], np.float32)
    found = read(kind, {"a": tensor("0", upper, kind="BFloat16")}, {"0": upper}).arrays["a"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    assert np.signbit(found[4])


def test_big_endian_storages():
    weight = draw()
    data = files.torch_zip(
        {"w": tensor("0", weight)}, {"0": weight.astype(">f4")}, folder="net", extra=[("net/byteorder", "big")]
    )
    files.assert_same(read_checkpoint(data).arrays, {"w": weight})


def test_strided_shared_and_shifted_tensors(kind):
    base = draw((6, 5))
    top = {
        "whole": tensor("0", base, location="cuda:0"),
        "transposed": tensor("0", base, shape=(5, 6), strides=(1, 5), location="cuda:0"),
        "row": tensor("0", base, shape=(5,), offset=10, location="cuda:0"),
        "every other": tensor("0", base, shape=(3, 3), strides=(10, 2), offset=0, location="cuda:0"),
        "empty": tensor("0", base, shape=(0, 4), location="cuda:0"),
        "scalar": tensor("0", base, shape=(), strides=(), offset=29, location="cuda:0"),
    }
    expected = [base, base.T, base[2], base[::2, ::2], np.zeros((0, 4), np.float32), base[5, 4]]
    found = read(kind, top, {"0": base})
    files.assert_same(found.arrays, dict(zip(top, map(np.asarray, expected), strict=True)))


def test_views_of_very_old_files():
    base = draw((10,))
    top = {"a": tensor("0", base, shape=(4,), view=[("9", 3, 6)]), "b": tensor("0", base, view=[None])}
    files.assert_same(read("torch-legacy", top, {"0": base}).arrays, {"a": base[3:7], "b": base})


def test_parameters_and_first_tensor_function(kind):
    weight = draw()
    inner = tensor("0", weight)
    bare = Call("torch._utils._rebuild_tensor", *inner.arguments[:4])
    top = {"p": Call("torch._utils._rebuild_parameter", inner, True, Call("collections.OrderedDict")), "t": bare}
    files.assert_same(read(kind, top, {"0": weight}).arrays, {"p": weight, "t": weight})


def test_memo_and_lists_of_pairs_of_python_2(kind):
    weight = draw()
    pairs = Call("collections.OrderedDict", [["w", tensor("0", weight)]])
    body = b"}(U\x05modelq\x01" + files.emit(pairs) + b"q\x02U\x05othersq\x03" + b"h\x02u."  # BINSTRING, BINPUT, BINGET
    body = body.replace(b"U\x05others", b"U\x06others")
    checkpoint = read(kind, b"\x80\x02" + body, {"0": weight})
    files.assert_same(checkpoint.arrays, {"w": weight})
    assert (checkpoint.taken, checkpoint.others) == ("model", ())  # one dict, though under two names


def training_state(weight):
    """What training programs save, everything beside the network in it."""
    options = Call("argparse.Namespace", opcode=b"\x81", state={"lr": 0.1, "device": Call("torch.device", "cuda", 0)})
    moments = {"state": {0: {"step": 5, "exp_avg": tensor("2", weight)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    dtype = Call("numpy.dtype", "f8", False, True, state=(3, "<", None, None, None, -1, -1, 0))
    return {
        "optimizer": moments,
        "model_ema": Ordered({"module.w": tensor("1", weight), "n_averaged": tensor("3", np.array(4), kind="Long")}),
        "model": Ordered({"module.w": tensor("0", weight), "epochs": 3}),
        "args": options,
        "schedule": {"milestones": Call("collections.Counter", {30: 1}), "size": Call("torch.Size", [1, 2])},
        "best": Call("numpy.core.multiarray.scalar", dtype, b"\0" * 8),
        "epoch": 3,
    }


def test_training_state(kind):
    weight = draw()
    storages = {"0": weight, "1": weight + 1, "2": weight + 2, "3": np.array(4, np.int64)}
    checkpoint = read(kind, training_state(weight), storages)
    files.assert_same(checkpoint.arrays, {"w": weight})
    assert (checkpoint.taken, checkpoint.others) == ("model", ("model_ema",))
    assert checkpoint.notes == (
        "took 'model'; the file also holds 'model_ema'",
        "left out, being no parameters: 'epochs'",
        "took 'module.' off every name",
    )
    averaged = read(kind, training_state(weight), storages, key="model_ema")
    files.assert_same(averaged.arrays, {"w": weight + 1})
    with pytest.raises(UsageError, match="nothing to take under 'mode'; there are: 'model', 'model_ema'"):
        read(kind, training_state(weight), storages, key="mode")


# fmt: off
WRAPPED = (
    # the file's structure: names of dicts and, for tensors, their storage    taken
    ({"state_dict": {"a": "0"}, "epoch": 1},                                   "state_dict"),
    ({"model": {"a": "0"}, "state_dict_ema": {"a": "1"}},                      "model"),
    ({"ema": {"a": "1"}, "net": {"a": "0"}},                                   "net"),
    ({"checkpoint": {"ema_model": {"a": "1"}, "model": {"a": "0"}}},           "checkpoint.model"),
    ({"student": {"a": "0", "b": "0"}, "teacher": {"a": "1"}},                 "student"),
    ({"mine": {"a": "0", "b": "0"}, "accuracy": "1", "optimizer": {"a": "1", "b": "1", "c": "1"}}, "mine"),
    ({"model_ema": {"a": "0"}},                                                "model_ema"),
    ({"a": "0"},                                                               ""),
)
# fmt: on


@pytest.mark.parametrize("structure, taken", WRAPPED, ids=[row[1] or "bare" for row in WRAPPED])
def test_the_network_is_found_among_wrappers(structure, taken):
    weight = draw()

    def build(part):
        if isinstance(part, dict):
            return {name: build(inner) for name, inner in part.items()}
        return tensor(part, weight) if isinstance(part, str) else part

    checkpoint = read("torch", build(structure), {"0": weight, "1": -weight})
    assert checkpoint.taken == taken
    assert np.array_equal(checkpoint.arrays["a"], weight)


@pytest.mark.parametrize("prefix", ("module.", "_orig_mod.", "model.", "module._orig_mod."))
def test_prefixes_of_wrapping_modules(kind, prefix):
    weight = draw()
    top = {f"{prefix}{name}": tensor("0", weight) for name in ("conv1.weight", "module.weight")}
    checkpoint = read(kind, top, {"0": weight})
    assert list(checkpoint.arrays) == ["conv1.weight", "module.weight"]
    assert checkpoint.notes == (f"took {prefix!r} off every name",)


def test_a_prefix_that_not_all_names_have_stays():
    weight = draw()
    top = {"module.a": tensor("0", weight), "b": tensor("0", weight)}
    assert list(read("torch", top, {"0": weight}).arrays) == ["module.a", "b"]


BROKEN = (
    (
        "beyond the storage",
        dict(shape=(2, 4)),
        r"shape \(2, 4\), strides \(4, 1\) and offset 0: more than the storage's 6",
    ),
    ("offset", dict(offset=1), "offset 1: more than the storage's 6 elements"),
    ("negative offset", dict(offset=-1), "offset -1"),
    ("negative stride", dict(strides=(-3, 1)), r"strides \(-3, 1\)"),
    ("expanded without end", dict(shape=(1 << 20, 6), strides=(0, 1)), "the tensors would take 25165824 bytes"),
    ("too few strides", dict(strides=(1,)), r"strides \(1,\)"),
    ("too many dims", dict(shape=(1,) * 9), "up to 8 whole numbers"),
    ("float shape", dict(shape=(2.0, 3)), "up to 8 whole numbers"),
    ("huge storage", dict(count=1 << 60), "storage '0' claims 1152921504606846976 elements"),
    ("larger storage", dict(count=7), "storage '0'"),
    ("negative storage", dict(count=-1), "more than the storage's -1|claims -1"),
)


@pytest.mark.parametrize("changes, message", [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_tensors_that_do_not_fit(kind, changes, message):
    weight = draw()
    strides = {"strides": (int(np.prod(changes["shape"][1:])), 1)} if changes.get("shape") == (2, 4) else {}
    with pytest.raises(WeightsError, match=message):
        read(kind, {"a": tensor("0", weight, **{**strides, **changes})}, {"0": weight})


def test_a_storage_of_two_types(kind):
    weight = draw()
    top = {"a": tensor("0", weight), "b": tensor("0", weight, kind="Int")}
    with pytest.raises(WeightsError, match="storage '0' is 6 FloatStorage here and 6 IntStorage there"):
        read(kind, top, {"0": weight})


def test_a_storage_that_is_not_there(kind):
    weight = draw()
    with pytest.raises(WeightsError, match="storage '1'.* is missing|storage '1' is not in the file"):
        read(kind, {"a": tensor("0", weight), "b": tensor("1", weight)}, {"0": weight})


@pytest.mark.parametrize("share", (0.02, 0.3, 0.6, 0.95, 0.999))
def test_cut_off_files(kind, share):
    weight = draw((50, 40))
    data = WRITERS[kind]({"a": tensor("0", weight)}, {"0": weight})
    with pytest.raises(WeightsError, match="the given bytes: "):
        read_checkpoint(data[: int(len(data) * share)])


def test_a_flipped_bit_in_a_zip_is_noticed():
    weight = draw((50, 40))
    data = bytearray(files.torch_zip({"a": tensor("0", weight)}, {"0": weight}))
    data[data.find(weight.tobytes()) + 100] ^= 4
    with pytest.raises(WeightsError, match="'archive/data/0' is damaged: its checksum"):
        read_checkpoint(bytes(data))


def test_zips_without_checksums():
    """torch can be told not to compute them; then they are 0."""
    weight = draw()
    data = bytearray(files.torch_zip({"a": tensor("0", weight)}, {"0": weight}))
    position = data.find(b"PK\x01\x02")
    while position >= 0:
        data[position + 16 : position + 20] = bytes(4)
        position = data.find(b"PK\x01\x02", position + 1)
    files.assert_same(read_checkpoint(bytes(data)).arrays, {"a": weight})


def test_empty_modules_are_refused_with_advice(kind):
    top = Call("torchvision.models.mobilenetv3.MobileNetV3", opcode=b"\x81", state={"training": False})
    with pytest.raises(
        WeightsError, match="object of torchvision.models.mobilenetv3.MobileNetV3.*torch.save.model.state_dict"
    ):
        read(kind, top, {})


@pytest.mark.parametrize(
    "top, found", (([1, 2], "a list"), ({"epoch": 3}, "a dict with 'epoch'"), ({}, "an empty dict"))
)
def test_no_tensors_at_all(kind, top, found):
    with pytest.raises(WeightsError, match=f"holds no dict of tensors, but {found}"):
        read(kind, top, {})


def test_files_that_are_no_checkpoints(tmp_path):
    for data in (b"\x89PNG\r\n\x1a\n" + bytes(20), b"hello, world, this is text"):
        with pytest.raises(WeightsError, match="not a checkpoint .*known are"):
            read_checkpoint(data)
    (tmp_path / "x.pth").write_bytes(b"PNG is not torch")
    with pytest.raises(WeightsError, match="x.pth: not a checkpoint"):
        read_checkpoint(tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="nothing.pth: cannot be opened: No such file"):
        read_checkpoint(tmp_path / "nothing.pth")
    with pytest.raises(WeightsError, match="a folder, not a file"):
        read_checkpoint(tmp_path)
    with pytest.raises(WeightsError, match="cannot be opened"):
        read_checkpoint("with\0null.pth")
    with pytest.raises(UsageError, match="a path or as bytes, not as a int"):
        read_checkpoint(3)


def test_names_are_printable(kind):
    weight = draw()
    with pytest.raises(WeightsError, match="is none that a parameter has"):
        read(kind, {"a\nb": tensor("0", weight)}, {"0": weight})


def test_the_format_is_told_by_content_not_by_name(tmp_path):
    weight = draw()
    (tmp_path / "model.safetensors").write_bytes(files.torch_zip({"a": tensor("0", weight)}, {"0": weight}))
    assert read_checkpoint(tmp_path / "model.safetensors").format == "torch"


def test_tensors_far_larger_than_the_file_are_refused(kind):
    weight = draw((100, 100))
    top = {f"w{i}": tensor("0", weight) for i in range(50)}
    with pytest.raises(WeightsError, match="would take 2000000 bytes"):
        read(kind, top, {"0": weight})


def test_storage_types_cannot_be_called(kind):
    with pytest.raises(WeightsError, match="calls a StorageType, which is no function"):
        read(kind, {"a": Call("torch.FloatStorage", 5)}, {})
