"""torch's tensors that are not plain: expanded ones are read in full, and of others it is said what they are."""

import checkpoint_files as files
import numpy as np
import pytest
from checkpoint_files import Call, Name, Ordered, Persistent, tensor
from states import random_state

from npmnv3.conversion import convert
from npmnv3.conversion.formats import read_checkpoint
from npmnv3.errors import WeightsError

MODEL = "torchvision/mobilenet_v3_small"
LAYOUT = Name("torch.sparse_coo")
OTHERS = {
    "meta": (
        Call("torch._utils._rebuild_meta_tensor_no_storage", Name("torch.float32"), (2,), (1,), False),
        "on the meta device, which keeps no numbers: load the weights",
    ),
    "sparse": (Call("torch._utils._rebuild_sparse_tensor", LAYOUT, (1, 2)), r"sparse, not dense: save t.to_dense\(\)"),
    "float8": (
        Call("torch._utils._rebuild_tensor_v3", None, 0, (2,), (1,), False, (), Name("torch.float8_e4m3fn"), None),
        r"of torch.float8_e4m3fn, not float16, bfloat16, float32 or float64: save t.float\(\)",
    ),
}


def test_an_expanded_tensor_is_read_in_full():
    one = np.array([0.5], np.float32)
    top = {"a": tensor("0", one, shape=(64,), strides=(0,), count=1)}
    found = read_checkpoint(files.torch_zip(top, {"0": one})).arrays
    files.assert_same(found, {"a": np.full(64, 0.5, np.float32)})


@pytest.mark.parametrize("other, told", OTHERS.values(), ids=OTHERS)
def test_tensors_that_are_not_read_are_named(other, told, tmp_path):
    state = {name: np.array(array, order="C") for name, array in random_state(MODEL, 3).items()}
    kinds = {"f": "Float", "i": "Long"}
    top = {name: tensor(name, array, kind=kinds[array.dtype.kind]) for name, array in state.items()}
    (tmp_path / "a.pth").write_bytes(files.torch_zip(Ordered(top | {"classifier.3.weight": other}), state))
    with pytest.raises(
        WeightsError, match=f"missing: classifier.3.weight\n  not read: 'classifier.3.weight', being {told}"
    ):
        convert(tmp_path / "a.pth", tmp_path / "a.npz")
    with pytest.raises(WeightsError, match=f"not read: 'classifier.3.weight', being {told}"):
        convert(tmp_path / "a.pth", tmp_path / "a.npz", model=MODEL)
    with pytest.raises(WeightsError, match=f"not read: 'w', 'v', being {told}"):
        read_checkpoint(files.torch_zip({"w": other, "v": other}, {}))


def test_a_tensor_beside_the_state_that_is_not_read_changes_nothing():
    weight = np.ones(3, np.float32)
    top = {"model": {"ema": OTHERS["sparse"][0]}, "net": {"w": tensor("0", weight), "x": OTHERS["meta"][0]}}
    found = read_checkpoint(files.torch_zip(top, {"0": weight}))
    files.assert_same(found.arrays, {"w": weight})
    assert found.taken == "net" and len(found.unread) == 1


def test_strides_are_no_shape():
    """Those of channels last multiply to more elements than any tensor has."""
    weight, shape, strides = np.ones((3, 3, 32, 64), np.float32), (3, 3, 32, 64), (1 << 20, 1 << 20, 64, 1)
    one = {"a": tensor("0", weight, shape=(1, 1, *shape[2:]), strides=strides)}
    files.assert_same(read_checkpoint(files.torch_zip(one, {"0": weight})).arrays, {"a": weight[:1, :1]})


def _within(array):
    """A storage as `pickle.dump` keeps it: a torch file within the pickle."""
    alone = files.pickled(Persistent("storage", Name("torch.FloatStorage"), "0", "cpu", array.size))
    return Call("torch.storage._load_from_bytes", files.torch_legacy(alone, {"0": array}))


def _pickled(storage, shape):
    pair = ("a", Call("torch._utils._rebuild_tensor_v2", storage, 0, shape, (shape[1], 1), False, Ordered({})))
    return files.pickled(Ordered(dict([pair])), 4)


def test_tensors_pickled_without_torch_save():
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = read_checkpoint(_pickled(_within(weight), weight.shape))
    files.assert_same(found.arrays, {"a": weight})
    assert found.format == "torch-legacy"


@pytest.mark.parametrize(
    "storage, told",
    [
        (Call("torch.storage._load_from_bytes", "text"), "no bytes"),
        (Call("torch.storage._load_from_bytes", files.pickled({})), "a storage that is none"),
        (Call("torch.storage._load_from_bytes", files.torch_legacy(files.pickled([]), {})), "a storage that is none"),
        (Call("torch.storage._load_from_bytes", files.pickled(Call("os.system", "x"))), "asks for os.system"),
        (Call("torch.storage._load_from_bytes", _pickled(_within(np.ones(2)), (1, 2))), "asks for torch.storage"),
    ],
)
def test_storages_within_pickles_that_are_none(storage, told):
    with pytest.raises(WeightsError, match=told):
        read_checkpoint(_pickled(storage, (2, 3)))


def test_a_zip_that_is_cut_off():
    weight = np.ones(300, np.float32)
    whole = files.torch_zip({"w": tensor("0", weight)}, {"0": weight})
    for size in (100, len(whole) // 2, len(whole) - 10):
        with pytest.raises(
            WeightsError, match=f"cut off: its directory, .* not within its {size} bytes; copy or download"
        ):
            read_checkpoint(whole[:size])


@pytest.mark.parametrize("mark", ["classifier.3.zero_point", "_zero_point_12", "activation_post_process_0.min_val"])
def test_what_pytorch_quantised_is_said_to_be_that(mark, tmp_path):
    """Not a backbone without its end, which its classifier's packed weights leave of it."""
    state = {name: array for name, array in random_state(MODEL, 3).items() if not name.startswith("classifier.3.")}
    np.savez(tmp_path / "a.npz", **state, **{mark: np.zeros(1, np.float32)})
    with pytest.raises(WeightsError, match=rf"no network:\n  PyTorch quantised it, .*'{mark}'\): .*torch.onnx.export"):
        convert(tmp_path / "a.npz", tmp_path / "b.npz")
