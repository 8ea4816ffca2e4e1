"""Weight dumps: what goes in comes out; what is wrong is named, all of it."""

import concurrent.futures
import copy
import dataclasses
import os
import zipfile

import goldens
import h5py
import numpy as np
import pytest
from command_line import run
from random_networks import random_params
from states import random_state, small_input

import npmnv3
from npmnv3.dumps.containers import open_container, write_container
from npmnv3.dumps.dumps import load_weights, write_dump
from npmnv3.network.plan import make_plan
from npmnv3.network.spec import Preprocess
from npmnv3.network.variants import get_variant

MODEL = "ppcls/MobileNetV3_small_x0_35"
KERAS = "keras/MobileNetV3Small_minimalistic"


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
@pytest.mark.parametrize("model", [MODEL, KERAS, "torchvision/mobilenet_v3_small", "ppocr/text_direction"])
def test_round_trip_keeps_every_byte(model, suffix, tmp_path):
    state, path = random_state(model, 7), tmp_path / f"dump{suffix}"
    labels = [f"class {i}" for i in range(7)]
    write_dump(path, state, model=model, labels=labels, preprocess="timm", origin="made up", licence="none")
    weights = load_weights(path)
    assert weights.variant.full_name == model and weights.num_classes == 7 and weights.labels == tuple(labels)
    assert weights.preprocess.name == "timm" and weights.attributes["origin"] == "made up" and not weights.folded
    assert sorted(weights.arrays) == sorted(state)
    for name, array in state.items():
        assert weights.arrays[name].dtype == array.dtype and weights.arrays[name].tobytes() == array.tobytes(), name
    again = tmp_path / f"again{suffix}"
    write_dump(again, state, model=model, labels=labels, preprocess="timm", origin="made up", licence="none")
    assert again.read_bytes() == path.read_bytes(), "the same content gave other bytes"
    assert sorted(os.listdir(tmp_path)) == sorted([path.name, again.name]), "a temporary file stayed behind"


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_five_lines_of_anyone_make_a_dump(suffix, tmp_path):
    state, path = random_state(MODEL), tmp_path / f"dump{suffix}"
    if suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.attrs.update(
                {"format": "npmnv3-dump", "version": 1, "source": "ppcls", "variant": MODEL.split("/")[1]}
            )
            for name, array in state.items():
                file[name] = array
        assert load_weights(path).variant.full_name == MODEL
    else:
        np.savez_compressed(path, **state)
        with pytest.raises(npmnv3.WeightsError, match="does not say which network it is"):
            load_weights(path)
    loaded = npmnv3.load(MODEL, path, engine="numpy")
    assert (loaded(small_input()) == npmnv3.load(MODEL, state, engine="numpy")(small_input())).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_storage_types(dtype, suffix, tmp_path):
    state, path = random_state(MODEL), tmp_path / f"dump{suffix}"
    write_dump(path, state, model=MODEL, dtype=dtype)
    stored = load_weights(path).arrays
    assert {str(array.dtype) for array in stored.values()} == {dtype}
    expected = npmnv3.load(MODEL, {k: v.astype(dtype) for k, v in state.items()}, engine="numpy", dtype="float64")
    assert (npmnv3.load(path, engine="numpy", dtype="float64")(small_input()) == expected(small_input())).all()


def test_values_beyond_a_storage_type_are_refused(tmp_path):
    state = random_state(MODEL)
    state["fc.bias"][3] = 1e6
    with pytest.raises(npmnv3.WeightsError, match=r"fc.bias has values beyond float16's range \(largest 1e\+06\)"):
        write_dump(tmp_path / "dump.h5", state, model=MODEL, dtype="float16")
    assert not os.listdir(tmp_path), "a refused dump was half-written"


def fold(model, state):
    """The state dict with its norms folded, under the same names."""
    from npmnv3.network.folding import canonical_arrays, fold_norms

    plan, folded = (make_plan(get_variant(model), folded=f) for f in (False, True))
    arrays = fold_norms(plan, folded, canonical_arrays(plan, state, np.float64))
    params = {param.name: param for step in folded for param in step.params}
    stored = {}
    for name, array in arrays.items():
        axes = params[name].axes
        turned = array.reshape([params[name].shape[a] for a in axes] or params[name].shape)
        stored[name] = turned.transpose(np.argsort(axes)) if axes else turned
    return stored


@pytest.mark.parametrize(
    "model", ["timm/mobilenetv3_rw", "sqlai/mobilenetv3_small", "showlo/mobilenetv3_small", KERAS, MODEL]
)
def test_a_folded_dump_is_recognised(model, golden_inputs):
    state = goldens.state(model)
    folded = fold(model, state)
    assert load_weights(folded, get_variant(model)).folded and not load_weights(state, get_variant(model)).folded
    x = golden_inputs[:1]
    expected = npmnv3.load(model, state, engine="numpy", dtype="float64")(x)
    loaded = npmnv3.load(model, folded, engine="numpy", dtype="float64")
    error = np.abs(loaded(x) - expected).max()
    assert error < 1e-9, f"folded logits are {error:.3g} off"
    assert not any(step.op == "batch_norm" for step in loaded.plan)
    assert list(loaded.trace(x))[-1] == "logits"


def test_one_error_lists_everything_that_is_wrong():
    state = random_state(MODEL)
    del state["conv.conv.weight"]
    state["surplus"] = np.zeros(3)
    state["fc.weight"] = state["fc.weight"].T
    state["conv.bn.weight"] = state["conv.bn.weight"].astype(int)
    state["last_conv.weight"][5:7, 7] = np.nan
    state["conv.bn._variance"][1] = -1
    with pytest.raises(npmnv3.WeightsError) as caught:
        load_weights(state, get_variant(MODEL))
    message = str(caught.value)
    for expected in (
        "missing: conv.conv.weight (8, 3, 3, 3)",
        "extra: surplus (3,)",
        "misshapen: fc.weight is (1000, 1280), expected (1280, 1000)",
        "wrongly typed: conv.bn.weight is int64, expected float16, float32 or float64",
        "non-finite: last_conv.weight has 2 NaN or infinite values, the first at (5, 7, 0, 0)",
        "negative variance: conv.bn._variance, down to -1",
        "(6 problems)",
    ):
        assert expected in message


def test_entries_of_no_network_are_all_listed():
    state = {f"net.{name}": array for name, array in random_state(MODEL).items()}
    with pytest.raises(npmnv3.WeightsError) as caught:
        load_weights(state, get_variant(MODEL))
    message = str(caught.value)
    assert message.count("missing: ") == message.count("extra: ") == len(state)
    assert f"({2 * len(state)} problems)" in message


@pytest.mark.parametrize("folded", [False, True])
def test_weights_of_another_network_are_called_by_its_name(folded, tmp_path, capsys):
    name = "timm/tf_mobilenetv3_small_100"
    plan = make_plan(get_variant(name), 5, folded=folded)
    np.savez(tmp_path / "a.npz", **random_params(plan, np.random.default_rng(1)))
    code, _, err = run(capsys, "predict", "--model", KERAS, "--weights", tmp_path / "a.npz", tmp_path / "a.png")
    assert code and len(err.splitlines()) == 2 and f"a.npz is not {KERAS}'s: its " in err
    assert f"the names and shapes of {name} (and of timm/mobilenetv3_small_100, which pads otherwise)" in err
    assert f"give {name} as the model's name, or weights of {KERAS}" in err


def test_counters_may_be_absent():
    state = random_state("showlo/mobilenetv3_small")
    without = {name: array for name, array in state.items() if not name.endswith("num_batches_tracked")}
    assert load_weights(without, get_variant("showlo/mobilenetv3_small")).arrays.keys() == without.keys()


def test_number_of_classes_is_found_or_checked():
    assert load_weights(random_state(MODEL, 37), get_variant(MODEL)).num_classes == 37
    assert npmnv3.load(KERAS, random_state(KERAS, 37), engine="numpy").num_classes == 37
    with pytest.raises(npmnv3.WeightsError, match=r"misshapen: fc.bias is \(37,\), expected \(36,\)"):
        load_weights(random_state(MODEL, 37), get_variant(MODEL), 36)
    with pytest.raises(npmnv3.UsageError, match="num_classes=0"):
        npmnv3.load(MODEL, random_state(MODEL), num_classes=0)


def test_a_dump_of_another_network_is_refused(tmp_path):
    path = tmp_path / "dump.h5"
    write_dump(path, random_state("timm/tf_mobilenetv3_small_100"), model="timm/tf_mobilenetv3_small_100")
    with pytest.raises(
        npmnv3.WeightsError, match="says it is timm/tf_mobilenetv3_small_100, but timm/mobilenetv3_small_100"
    ):
        npmnv3.load("timm/mobilenetv3_small_100", path)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"format": "npmnv3-trace", "version": 1}, "is a trace, the tensors of a run"),
        ({"format": "another"}, "its attribute format is 'another', expected 'npmnv3-dump', or none$"),
        ({"format": "npmnv3-dump", "version": 2}, "version 2, expected version 1; a newer npmnv3 may read it"),
    ],
)
def test_what_is_no_dump_or_a_newer_one(said, message, tmp_path):
    write_container(tmp_path / "a.npz", random_state(MODEL), said)
    with pytest.raises(npmnv3.WeightsError, match=message):
        load_weights(tmp_path / "a.npz", get_variant(MODEL))


def test_preprocessing_travels_with_the_dump(tmp_path):
    path, own = tmp_path / "dump.npz", Preprocess("own", resize=100, side=(96, 80), interpolation="bicubic")
    write_dump(path, random_state(MODEL), model=MODEL, preprocess=own)
    assert load_weights(path).preprocess == own
    with pytest.raises(npmnv3.WeightsError, match="preprocess is 'nonsense', expected one of torchvision"):
        write_dump(path, random_state(MODEL), model=MODEL, preprocess="nonsense")


def test_a_recipe_may_stand_in_an_npz_as_the_object_that_it_is(tmp_path):
    path, own = tmp_path / "dump.npz", Preprocess("own", side=(96, 80))
    source, variant = MODEL.split("/")
    said = {"source": source, "variant": variant, "preprocess": dataclasses.asdict(own)}
    write_container(path, random_state(MODEL), said)
    assert load_weights(path).preprocess == own
    write_container(path, random_state(MODEL), said | {"preprocess": {"name": "own", "sides": [96, 80]}})
    with pytest.raises(npmnv3.WeightsError, match="or a recipe's fields as JSON .*'sides'"):
        load_weights(path)


def test_the_side_is_the_own_recipes(tmp_path):
    path, state = tmp_path / "dump.npz", random_state(MODEL)
    assert load_weights(state, get_variant(MODEL)).side == (224, 224)
    write_dump(path, state, model=MODEL, preprocess=Preprocess("own", resize=100, side=(96, 80)))
    model = npmnv3.load(path, engine="numpy")
    assert load_weights(path).side == model.side == (96, 80)
    assert model.plan == model.plan_for((96, 80)) and model.plan_for((64, 64))[0].shape == (8, 32, 32)
    assert copy.copy(model).side == (96, 80)
    with pytest.raises(npmnv3.WeightsError, match="an input of 31 x 80 pixels is too small for .*; it takes 32 x 32"):
        write_dump(path, state, model=MODEL, preprocess=Preprocess("own", side=(31, 80)))


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ("nowhere.h5", npmnv3.WeightsError, "nowhere.h5: cannot be opened"),
        ("null\0.h5", npmnv3.WeightsError, "null.*cannot be opened: .*embedded null"),
        (7, npmnv3.UsageError, "weights is a int"),
        ({**random_state(MODEL), "fc.bias": "text"}, npmnv3.WeightsError, r"misshapen: fc.bias is \(\)"),
        ({}, npmnv3.WeightsError, "missing: conv.conv.weight"),
    ],
)
def test_other_weights_than_these(weights, error, message):
    with pytest.raises(error, match=message):
        npmnv3.load(MODEL, weights)


def test_an_empty_file_is_said_to_be_one(tmp_path):
    (tmp_path / "x.h5").write_bytes(b"")
    with pytest.raises(npmnv3.WeightsError, match=r"x.h5: is empty \(0 bytes\), expected HDF5 or .npz"):
        load_weights(tmp_path / "x.h5")


@pytest.mark.parametrize("name", ["archive/data.pkl", ""])
def test_a_checkpoint_is_no_dump_but_can_become_one(name, tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(b"\x80\x02 legacy")
    if name:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, b"\x80\x02.")
    with pytest.raises(npmnv3.WeightsError, match="x.pth: .* no weight dump; `npmnv3 convert FILE` makes a dump of"):
        load_weights(path)


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_byte_order_is_little_on_disk_and_the_machines_own_in_memory(tmp_path, suffix):
    number = np.arange(6, dtype=">f4").reshape(2, 3), np.array(7, ">i8"), np.array([True, False])
    big = dict(zip(("array", "scalar", "flags"), number))
    little = {name: array.astype(array.dtype.newbyteorder("<")) for name, array in big.items()}
    one, two = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
    for path, arrays in ((one, big), (two, little)):
        write_container(path, arrays, {"format": "x"})
    assert one.read_bytes() == two.read_bytes()
    with open_container(one) as (_, entries):
        assert [entry.dtype.str for entry in entries.values()] == ["<f4", "<i8", "|b1"]
        for name, entry in entries.items():
            read = entry.read()
            assert read.dtype.isnative and np.array_equal(read, big[name])


def test_hdf5_dump_keeps_the_order_and_no_time(tmp_path):
    """Whatever version of h5py wrote it: a note of the time would make other bytes of the same content a second later."""
    path = tmp_path / "dump.h5"
    write_container(path, {name: np.ones(2) for name in ("z", "g/x", "a")}, {"y": 1, "b": 2})
    with open_container(path) as (attributes, entries):
        assert list(attributes) == ["y", "b"] and list(entries) == ["z", "g/x", "a"]
    headers = path.read_bytes().split(b"OHDR")[1:]
    assert headers and not any(header[1] & 0x20 for header in headers), (
        "flag 5: access, change and birth times are stored"
    )


def test_big_endian_weights_are_used_in_the_machines_order(tmp_path):
    params = random_state(MODEL, 5)
    turned = {name: array.astype(array.dtype.newbyteorder(">")) for name, array in params.items()}
    np.savez(tmp_path / "big.npz", **turned)
    for weights in (turned, tmp_path / "big.npz"):
        model = npmnv3.load(MODEL, weights, engine="numpy")
        assert all(array.dtype.isnative and np.array_equal(array, params[name]) for name, array in model.params.items())


def test_many_dumps_written_at_once(tmp_path):
    """As a server may; the HDF5 library takes two files in memory for one where their names are the same."""
    state = random_state("ppocr/text_direction")
    paths = [tmp_path / f"{i}.h5" for i in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda path: write_dump(path, state, model="ppocr/text_direction"), paths))
    assert len({path.read_bytes() for path in paths}) == 1
