"""Checkpoints to dumps: every format's golden logits, and files that the frameworks' goldens do not cover."""

import functools
import io
import os
import subprocess
import sys
import tracemalloc

import checkpoint_files as files
import goldens
import h5py
import numpy as np
import paddle_programs
import pytest
from checkpoint_files import framework_files, keras3_names
from command_line import run
from states import random_state, small_input

import npmnv3
from npmnv3.conversion import convert, convert_state, identify_file, load_checkpoint
from npmnv3.conversion.formats import Checkpoint, read_checkpoint
from npmnv3.dumps.containers import write_container
from npmnv3.dumps.dumps import load_weights
from npmnv3.errors import WriteError
from npmnv3.network.variants import get_variant

SMALL = "timm/mobilenetv3_small_050"
RW = "timm/mobilenetv3_rw"
PPCLS = "ppcls/MobileNetV3_small_x0_35"


def assert_holds(path, state):
    """A dump has these arrays, bit by bit; .npz and HDF5 may give them in another order."""
    arrays = load_weights(path).arrays
    assert arrays.keys() == state.keys()
    files.assert_same({name: arrays[name] for name in state}, state)


@functools.cache
def golden_logits(network):
    with h5py.File(files.FOLDER / f"{network.replace('/', '--')}@10.h5") as file:
        return {name: file["logits"][name][...] for name in file["logits"]}


@pytest.mark.parametrize("name", framework_files())
def test_golden_logits(name, shared, golden_inputs, tmp_path):
    done = convert(files.unpacked()[name], tmp_path / "dump.npz")
    # paddle rounds its constants to float32 even in a float64 run
    model = npmnv3.load(done.path, engine="numpy", dtype="float64", rounded_constants=name.startswith("ppcls"))
    worst = np.abs(model(golden_inputs.astype(np.float64)) - golden_logits(done.model)["f64"]).max()
    assert worst < (1e-3 if done.folded else 1e-9), f"{name}: logits differ by up to {worst:.3g}"
    assert done.num_classes == 10 and done.origin.startswith(f"{name} (sha256 ")


@pytest.mark.parametrize("model", npmnv3.list_models())
def test_every_network_with_another_head(model, tmp_path):
    """A fine-tuned head of 37 classes, as the source's own file format has it, gives every array back."""
    state, path = random_state(model, 37, seed=5), tmp_path / "checkpoint"
    source = model.partition("/")[0]
    if source == "keras":
        layers = {}
        for name, array in state.items():
            layers.setdefault(name.rpartition("/")[0], {})[name] = array
        path.write_bytes(files.keras_legacy(layers))
    elif source == "ppcls":
        path.write_bytes(files.pickled({name: files.paddle_array(array) for name, array in state.items()}))
    elif source == "ppocr":
        path = paddle_programs.write(path, model, state)
    else:
        path.write_bytes(files.safetensors(state))
    done = convert(path, tmp_path / "dump.npz", None if "tf_" not in model and "ssld" not in model else model)
    assert (done.model, done.num_classes, done.folded) == (model, 37, False)
    assert_holds(done.path, state)


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("model", ["keras/MobileNetV3Large_075", "keras/MobileNetV3Small_minimalistic"])
def test_keras_3(model, numbered):
    state = random_state(model, 8)
    checkpoint = Checkpoint("keras-weights", keras3_names(state, numbered))
    files.assert_same(convert_state(checkpoint, get_variant(model)), state)


# The model named, files as people have them


def write(path, state):
    path.write_bytes(files.safetensors(state))
    return path


def test_a_wrong_model_is_refused_with_what_the_file_is(tmp_path):
    path = write(tmp_path / "x.safetensors", random_state(RW, 5))
    with pytest.raises(
        npmnv3.WeightsError, match="is timm/mobilenetv3_rw, not timm/mobilenetv3_large_100:\n.*widths 18, 30, 30"
    ) as e:
        convert(path, tmp_path / "x.h5", "timm/mobilenetv3_large_100")
    assert str(e.value).startswith(f"{path}: ") and "missing: conv_head.bias" in str(e.value)
    assert os.listdir(tmp_path) == ["x.safetensors"]
    with pytest.raises(npmnv3.UnknownModelError, match="nearest: "):
        convert(path, tmp_path / "x.h5", "timm/large_100")
    with pytest.raises(npmnv3.WeightsError, match="has 5 classes, expected 6"):
        convert_state(read_checkpoint(path), get_variant(RW), 6)


def test_checkpoint_without_a_dump_in_between(tmp_path):
    state = random_state(RW, 5)
    path = write(tmp_path / "x.safetensors", state)
    weights = load_checkpoint(path)
    assert weights.variant.full_name == RW and weights.attributes["origin"].startswith("x.safetensors (sha256 ")
    files.assert_same(weights.arrays, state)
    assert load_checkpoint(path, get_variant(RW), 5).num_classes == 5
    with pytest.raises(npmnv3.WeightsError, match="x.safetensors: has 5 classes, expected 1000"):
        load_checkpoint(path, num_classes=1000)


def test_named_model_decides_between_twins(tmp_path):
    path = write(tmp_path / "x.safetensors", random_state("timm/mobilenetv3_small_100", 5))
    plain, tf = "timm/mobilenetv3_small_100", "timm/tf_mobilenetv3_small_100"
    assert convert(path, tmp_path / "a.npz").model == plain and convert(path, tmp_path / "a.npz", tf).model == tf
    assert load_weights(tmp_path / "a.npz").variant.full_name == tf


def test_wrapped_checkpoint_with_key(tmp_path):
    states = [random_state(SMALL, 4, seed) for seed in (1, 2)]
    storages, top = {}, {"epoch": 3, "arch": "mobilenetv3"}
    for wrapper, state in zip(("state_dict", "state_dict_ema"), states, strict=True):
        top[wrapper] = {}
        for name, array in state.items():
            key = str(len(storages))
            storages[key] = array
            top[wrapper][f"module.{name}"] = files.tensor(
                key, array, kind="Long" if array.dtype.kind == "i" else "Float"
            )
    path = tmp_path / "checkpoint.pth.tar"
    path.write_bytes(files.torch_zip(top, storages))
    for key, expected in ((None, states[0]), ("state_dict_ema", states[1])):
        done = convert(path, tmp_path / "x.npz", key=key)
        assert done.model == SMALL and any("module." in note for note in done.notes)
        assert_holds(done.path, expected)


@pytest.mark.parametrize("writer", [files.torch_zip, files.torch_legacy])
@pytest.mark.parametrize("shared", [False, True])
def test_not_all_arrays_are_in_memory_at_once(writer, shared, tmp_path):
    """But where tensors share a storage, which is then held."""
    state = random_state("torchvision/mobilenet_v3_large", 10)
    counters = {name: array for name, array in state.items() if array.dtype.kind == "i"}
    values = {name: array for name, array in state.items() if array.dtype.kind == "f"}
    top = {name: files.tensor(name, array, kind="Long") for name, array in counters.items()}
    if shared:
        storages, place = {**counters, "all": np.concatenate([array.ravel() for array in values.values()])}, 0
        for name, array in values.items():
            top[name] = files.tensor("all", array, offset=place, count=storages["all"].size)
            place += array.size
    else:
        storages, top = state, top | {name: files.tensor(name, array) for name, array in values.items()}
    path = tmp_path / "x.pth"
    path.write_bytes(writer(top, storages))
    tracemalloc.start()
    try:
        done = convert(path, tmp_path / "x.npz")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert_holds(done.path, state)
    size, largest = path.stat().st_size, max(array.nbytes for array in state.values())
    assert peak < (2 * size if shared else 3 * largest + (3 << 20)), f"{peak} bytes for a file of {size}"


def test_attributes_and_background_labels(tmp_path):
    path = write(tmp_path / "x.safetensors", random_state("timm/tf_mobilenetv3_small_minimal_100", 1001))
    done = convert(path, tmp_path / "x.h5", dtype="float16")
    weights = load_weights(done.path)
    assert weights.labels == "imagenet-background" and weights.attributes["licence"] == "Apache-2.0"
    assert weights.attributes["origin"] == done.origin and done.origin.startswith("x.safetensors (sha256 ")
    assert {str(a.dtype) for a in weights.arrays.values()} == {"float16", "int64"}
    assert npmnv3.load(done.path, engine="numpy").labels[0] == "background"


def test_default_name_and_what_is_never_overwritten(tmp_path, monkeypatch):
    (tmp_path / "files").mkdir()
    monkeypatch.chdir(tmp_path)
    state = random_state("keras/MobileNetV3Small_minimalistic", 2)
    keras = tmp_path / "files" / "tuned.weights.h5"
    keras.write_bytes(files.keras_legacy({"all": state}))
    assert convert(keras).path == "tuned.h5" and convert(keras).path == "tuned.h5"  # a dump may be replaced
    local = tmp_path / "mine.h5"
    local.write_bytes(keras.read_bytes())
    with pytest.raises(npmnv3.UsageError, match="mine.h5 is the input itself"):
        convert("mine.h5")
    with pytest.raises(npmnv3.UsageError, match="mine.h5 is the input itself"):
        convert(local, local)
    other = write(tmp_path / "files" / "mine.safetensors", random_state(SMALL))
    with pytest.raises(npmnv3.UsageError, match="mine.h5 is there already and is no dump"):
        convert(other)
    assert local.read_bytes() == keras.read_bytes() and convert(other, local).model == SMALL
    for out in ("x.onnx", "x", tmp_path):
        with pytest.raises(npmnv3.UsageError, match=r"--output \(out=\) is .*, expected a name that ends in .h5"):
            convert(other, out)
    with pytest.raises(WriteError, match="nowhere.*cannot be written"):
        convert(tmp_path / "nothing yet.onnx", tmp_path / "nowhere" / "x.npz")  # told before any work
    with pytest.raises(npmnv3.UsageError, match="given as a path, not as a bytes"):
        convert(b"x")


def test_values_are_checked_and_nothing_is_written(tmp_path):
    state = random_state(SMALL)
    state["bn1.running_var"][3] = np.nan
    path = write(tmp_path / "x.safetensors", state)
    with pytest.raises(npmnv3.WeightsError, match=r"x.safetensors: .*\n.*non-finite: bn1.running_var has 1 NaN"):
        convert(path, tmp_path / "x.h5")
    assert os.listdir(tmp_path) == ["x.safetensors"]


@pytest.mark.parametrize(("first", "second"), [(".h5", ".npz"), (".npz", ".h5"), (".npz", ".hdf5")])
def test_dump_to_the_other_format(first, second, tmp_path):
    state, a, b = random_state(PPCLS, 3), tmp_path / f"a{first}", tmp_path / f"b{second}"
    npmnv3.write_dump(a, state, model=PPCLS, labels=list("xyz"), preprocess="timm", origin="mine", licence="none")
    done, weights = convert(a, b), load_weights(b)
    assert done.model == PPCLS and done.origin == "mine" and weights.labels == ("x", "y", "z")
    assert weights.preprocess.name == "timm" and weights.attributes["licence"] == "none"
    files.assert_same({name: weights.arrays[name] for name in state}, state)
    with pytest.raises(npmnv3.WeightsError, match=f"says it is {PPCLS}, but {RW} was asked for"):
        convert(a, b, RW)
    with pytest.raises(npmnv3.UsageError, match="key='x'` is for training checkpoints"):
        convert(a, b, key="x")


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_arrays_that_do_not_say_whose_they_are(suffix, tmp_path):
    state, path = random_state(RW, 3), tmp_path / f"plain{suffix}"
    if suffix == ".npz":
        np.savez(path, **state)
    else:
        with h5py.File(path, "w") as file:
            for name, array in state.items():
                file[name] = array
    done = convert(path, tmp_path / "x.npz")
    assert done.model == RW and done.num_classes == 3 and done.reasons
    del state["bn1.weight"]
    np.savez(tmp_path / "less.npz", **state)
    with pytest.raises(
        npmnv3.WeightsError, match=f"less.npz: fits no network; the nearest is {RW}:\n  missing: bn1.weight"
    ):
        convert(tmp_path / "less.npz", tmp_path / "x.npz")


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_state_dict_under_other_names_in_a_container(tmp_path, suffix):
    """It says nothing of its network, so its names may be spelled as in any checkpoint."""
    state, path = random_state(RW, 5), tmp_path / f"x{suffix}"
    wrapped = {f"module.net.{name}": array for name, array in state.items()} | {"criterion.weight": np.ones(5, "f")}
    write_container(path, wrapped, {"labels": list("abcde")})
    for given in ({}, {"model": RW}, {"key": "module.net"}):
        done = convert(path, tmp_path / "dump.npz", **given)
        weights = load_weights(done.path)
        assert (done.model, weights.labels) == (RW, tuple("abcde"))
        files.assert_same(weights.arrays, state)
    assert identify_file(path)[1].model == RW
    with pytest.raises(npmnv3.WeightsError, match="none of these names is the network's, but `npmnv3 convert FILE`"):
        load_weights(path, get_variant(RW))
    with pytest.raises(npmnv3.UsageError, match="nothing to take under 'net'; the names begin with criterion, module"):
        convert(path, tmp_path / "dump.npz", key="net")


def test_state_dict_in_groups_or_saved_as_one_object(tmp_path):
    state = random_state(RW, 5)
    write_container(tmp_path / "x.h5", {f"net/{name.replace('.', '/')}": array for name, array in state.items()}, {})
    write_container(tmp_path / "y.h5", {f"net/{name}": array for name, array in state.items()}, {})
    np.save(tmp_path / "x.npy", {"epoch": 3, "model": {f"net.{name}": array for name, array in state.items()}})
    groups = "took the groups' names for parts of names"
    for file, note in (("x.h5", groups), ("y.h5", groups), ("x.npy", "took 'model'")):
        done = convert(tmp_path / file, tmp_path / "dump.npz")
        assert done.model == RW and done.notes == (note, "took 'net.' off the names")
        files.assert_same(load_weights(done.path).arrays, state)
    np.save(tmp_path / "one.npy", np.zeros(3))
    np.save(tmp_path / "two.npy", np.array([state, random_state(RW, 6)], object))
    for file, text in (("one.npy", "one array, not a state dict"), ("two.npy", "several state dicts, .* '0', '1'")):
        with pytest.raises(npmnv3.WeightsError, match=f"{file}: .*{text}"):
            convert(tmp_path / file, tmp_path / "dump.npz")


def test_npz_needs_numpy_alone(tmp_path):
    write(tmp_path / "x.safetensors", random_state(SMALL, 2))
    code = (
        "import sys; sys.modules['h5py'] = None\n"
        "from npmnv3.conversion import convert\n"
        "print(convert('x.safetensors', 'x.npz').model, convert('x.npz', 'y.npz', dtype='float16').model)"
    )
    environment = {**os.environ, "PYTHONPATH": str(goldens.ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.stdout == f"{SMALL} {SMALL}\n", done.stderr


def test_command(capsys, tmp_path):
    path = write(tmp_path / "x.safetensors", random_state(RW, 12))
    code, out, err = run(capsys, "convert", path, "-o", tmp_path / "x.h5", "--dtype", "float64")
    assert code == 0 and not err and out.startswith(f"{tmp_path / 'x.h5'}: {RW}, 12 classes\n")
    assert str(load_weights(tmp_path / "x.h5").arrays["conv_stem.weight"].dtype) == "float64"
    code, _, err = run(capsys, "convert", path, "-o", tmp_path / "y.h5", "--model", SMALL)
    assert code == 2 and f"is {RW}, not {SMALL}" in err and not (tmp_path / "y.h5").exists()


@pytest.mark.parametrize("command", ["convert", "identify"])
def test_hostile_file_writes_nothing(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stream = io.BytesIO(files.torch_zip({"a": files.Call("posix.system", "touch owned")}, {}))
    (tmp_path / "evil.pth").write_bytes(stream.getvalue())
    code, out, err = run(capsys, command, "evil.pth")
    assert code == 2 and "posix.system" in err and not out and os.listdir(tmp_path) == ["evil.pth"]


def test_converted_model_predicts(tmp_path):
    state = random_state(SMALL, 3)
    done = convert(write(tmp_path / "x.safetensors", state), tmp_path / "x.npz")
    x = small_input()
    assert (npmnv3.load(done.path, engine="numpy")(x) == npmnv3.load(SMALL, state, engine="numpy")(x)).all()
