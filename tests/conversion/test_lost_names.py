"""State dicts without names, or with underscores for the dots in them."""

import pickle

import checkpoint_files as files
import numpy as np
import pytest
from checkpoint_files import tensor
from states import random_state

from npmnv3.conversion import convert
from npmnv3.conversion.match.keras_names import plain_parameter
from npmnv3.conversion.match.lost_names import restored_names
from npmnv3.dumps.dumps import load_weights
from npmnv3.errors import WeightsError
from npmnv3.network.variants import get_variant

MODELS = {name: random_state(name, 3) for name in ("torchvision/mobilenet_v3_small", "ppcls/MobileNetV3_small_x0_35")}
TORCHVISION = next(iter(MODELS))


def without_counters(state):
    return {name: array for name, array in state.items() if not name.endswith("num_batches_tracked")}


def savez(path, state):
    np.savez(path, *state.values())


def saved_list(path, state):
    arrays = np.empty(len(state), object)
    arrays[:] = list(state.values())
    with open(path, "wb") as file:
        np.save(file, arrays, allow_pickle=True)


def pickled_list(path, state):
    path.write_bytes(pickle.dumps(list(state.values())))


def torch_list(path, state):
    kinds, arrays = {"f": "Float", "i": "Long"}, {str(i): np.array(array) for i, array in enumerate(state.values())}
    top = [tensor(key, array, kind=kinds[array.dtype.kind]) for key, array in arrays.items()]
    path.write_bytes(files.torch_zip(top, arrays))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("write", [savez, saved_list, pickled_list, torch_list])
@pytest.mark.parametrize("kept", [dict, without_counters])
def test_arrays_without_names_are_taken_in_order(model, write, kept, tmp_path):
    state, path = kept(MODELS[model]), tmp_path / "a.npz"
    write(path, state)
    done = convert(path, tmp_path / "dump.npz")
    assert done.model == model and f"{len(state)} arrays have no names: taken in the order" in done.notes[0]
    files.assert_same(without_counters(load_weights(done.path).arrays), without_counters(state))


def test_underscores_for_dots(tmp_path):
    state = MODELS[TORCHVISION]
    np.savez(tmp_path / "a.npz", **{name.replace(".", "_"): array for name, array in state.items()})
    done = convert(tmp_path / "a.npz", tmp_path / "dump.npz")
    assert done.model == TORCHVISION and "took underscores in the names for dots" in done.notes
    files.assert_same(load_weights(done.path).arrays, state)


def parameters_then_buffers(state):
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    return dict(sorted(state.items(), key=lambda pair: pair[0].endswith(buffers)))


def without_the_last(state):
    return dict(list(state.items())[:-1])


@pytest.mark.parametrize("change", [parameters_then_buffers, without_the_last])
def test_another_order_or_number_is_refused(change, tmp_path):
    savez(tmp_path / "a.npz", change(MODELS[TORCHVISION]))
    with pytest.raises(WeightsError, match="arrays .arr_0, arr_1, arr_2, ....: no known network has these"):
        convert(tmp_path / "a.npz", tmp_path / "dump.npz")
    assert not (tmp_path / "dump.npz").exists()


def test_numbers_beyond_ten_are_in_their_order():
    """HDF5 lists arr_10 before arr_2."""
    state, variant = MODELS[TORCHVISION], get_variant(TORCHVISION)
    numbered = {f"arr_{i}": array for i, array in enumerate(state.values())}
    names, _ = restored_names(dict(sorted(numbered.items())), variant)
    assert names == dict(zip(state, numbered))


def test_keras_paths_in_an_npz(tmp_path):
    """Keras 3's weight.path, which no file of Keras's has: expanded_conv_1_expand_bn/gamma."""
    state = random_state("keras/MobileNetV3Small", 3)
    np.savez(tmp_path / "f.npz", **{plain_parameter(name): array for name, array in state.items()})
    done = convert(tmp_path / "f.npz", tmp_path / "dump.npz")
    found = load_weights(tmp_path / "dump.npz")
    assert (done.model, done.warnings) == ("keras/MobileNetV3Small", ())
    for name, array in state.items():
        np.testing.assert_array_equal(found.arrays[name], array, err_msg=name)
