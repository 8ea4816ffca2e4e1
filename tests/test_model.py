"""The Python face: load, call, features, trace, predict."""

import copy
import csv
import json
import multiprocessing
import pickle
import threading
import weakref

import goldens
import h5py
import numpy as np
import pytest
import quantized_files
from PIL import Image
from states import random_state

import npmnv3
from npmnv3.dumps.dumps import write_dump
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant

DEFAULT = "ppocr/text_direction"
EXAMPLES = goldens.ROOT / "weights" / "examples"
LINES = sorted(EXAMPLES.glob("*.png"))


@pytest.fixture(scope="module")
def model():
    return npmnv3.load(DEFAULT)


def test_a_picture_has_the_same_bits_in_any_batch(model, golden_inputs):
    for network in (model, npmnv3.load(DEFAULT, engine="numpy")):
        x = golden_inputs[:, :, :48, :192]
        together = network(x)
        for i in range(len(x)):
            assert (together[i] == network(x[i : i + 1])[0]).all() and (
                together[i] == network(x[::-1])[len(x) - 1 - i]
            ).all()
        assert network(x[:0]).shape == (0, 2) and network.features(x[:0]).shape == (0, 200)


def test_logits_are_features_times_the_classifier(golden_inputs):
    """Also where the source scales the features: 0.8 is in them."""
    for name, weight, bias in (
        ("ppcls/MobileNetV3_small_x0_35", "fc.weight", "fc.bias"),
        ("keras/MobileNetV3Small", "Logits/kernel:0", "Logits/bias:0"),
    ):
        state = goldens.state(name)
        network = npmnv3.load(name, state, engine="numpy", dtype="float64")
        features = network.features(golden_inputs[:2])
        expected = features @ np.float64(state[weight]).reshape(features.shape[1], -1) + state[bias]
        error = np.abs(network(golden_inputs[:2]) - expected).max()
        assert error < 1e-12, f"{name}: {error:.3g} off"


def test_trace_names_every_step(model):
    x = np.zeros((2, 3, 48, 192))
    trace = model.trace(x)
    assert list(trace) == ["input", *(step.name for step in model.plan)]
    assert all(tensor.dtype == np.float32 and len(tensor) == 2 for tensor in trace.values())
    assert np.abs(trace["logits"] - model(x)).max() < 1e-4


def test_inputs_stay_as_they_are_and_results_are_fresh(model):
    x = np.random.default_rng(0).standard_normal((1, 3, 48, 192)).astype(np.float32)
    before = x.copy()
    first = model(x)
    kept = first.copy()
    second = model(x)
    first[:] = 0
    assert (x == before).all() and (second == kept).all() and (model(x) == kept).all()


def test_predict_takes_any_kind_of_picture(model):
    path = LINES[0]
    image = Image.open(path).convert("RGB")
    pictures = [str(path), path, path.read_bytes(), image, np.asarray(image)]
    results = model.predict(pictures, top=1)
    assert len({str(result) for result in results}) == 1 and len(results) == 5
    index, label, probability = results[0][0]
    assert (type(index), type(label), type(probability)) == (int, str, float) and label in ("0", "180")
    assert model.predict(path, top=1) == model.predict(iter([path]), top=1) == results[:1]
    assert len(model.predict([path], top=9)[0]) == 2


def test_predict_streams_its_pictures(model):
    """No more than a batch is asked for before the first result is there."""
    asked = []

    def pictures():
        for i in range(100):
            asked.append(i)
            yield LINES[i % len(LINES)]

    results = model.predict_each(pictures())
    next(results)
    assert len(asked) <= 16
    assert len(list(results)) == 99


def test_predict_each_gives_errors_their_place(model, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(LINES[0].read_bytes()[:300])
    results = list(model.predict_each([LINES[0], broken, "nowhere.png", LINES[0]]))
    assert results[0] == results[3] and [isinstance(r, npmnv3.PictureError) for r in results] == [
        False,
        True,
        True,
        False,
    ]
    assert str(broken) in str(results[1]) and "nowhere.png" in str(results[2])
    with pytest.raises(npmnv3.PictureError, match="broken.png"):
        model.predict([LINES[0], broken])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((3, 48, 192), np.float32), r"the shape \(3, 48, 192\), expected \(N, 3, H, W\)"),
        (np.zeros((1, 48, 192, 3), np.float32), r"expected \(N, 3, H, W\)"),
        (np.zeros((1, 3, 48, 192), np.uint8), "x is uint8, expected floats; npmnv3.preprocess"),
        (np.zeros((1, 3, 32, 192), np.float32), "32 x 192 pixels is too small"),
        ("picture.png", "expected"),
    ],
)
def test_inputs_that_are_none(model, x, message):
    with pytest.raises(npmnv3.UsageError, match=message):
        model(x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine": "torch"}, "engine is 'torch', expected one of auto, llvm, numba, numpy"),
        ({"dtype": "float16"}, "dtype is 'float16', expected one of float32, float64"),
        ({"dtype": "float64", "engine": "llvm"}, "computes in float32"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(npmnv3.UsageError, match=message):
        npmnv3.load(DEFAULT, **arguments)
    with pytest.raises(npmnv3.UsageError, match="top=0"):
        npmnv3.load(DEFAULT).predict([], top=0)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "MobileNet_V3_Small"])
def test_a_name_that_lacks_its_source_only_is_the_nearest(name):
    with pytest.raises(npmnv3.UnknownModelError, match="nearest: torchvision/mobilenet_v3_small, "):
        npmnv3.load(name)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("mobilenetv3_small_100.lamb_in1k", "timm/mobilenetv3_small_100"),
        ("hf_hub:timm/mobilenetv3_large_100.ra_in1k", "timm/mobilenetv3_large_100"),
        ("keras/mobilenetv3small", "keras/MobileNetV3Small"),
        ("MobileNet_V3_Large_Weights.IMAGENET1K_V2", "(.*, )?torchvision/mobilenet_v3_large"),
        ("small", "(.*, )?sqlai/mobilenetv3_small"),
    ],
)
def test_names_of_other_places_have_their_model_among_the_nearest(name, meant):
    with pytest.raises(npmnv3.UnknownModelError, match=f"nearest: {meant},"):
        npmnv3.load(name)


def test_a_model_without_its_weights_says_how_to_get_them():
    with pytest.raises(
        npmnv3.MissingWeightsError,
        match="(?s)timm/mobilenetv3_small_100 are not here.*https://github.com.*`weights=FILE`",
    ):
        npmnv3.load("timm/mobilenetv3_small_100")
    with pytest.raises(npmnv3.UsageError, match="nowhere.h5/: no such dump"):
        npmnv3.load("nowhere.h5/")
    with pytest.raises(npmnv3.UsageError, match="nowhere.h5: no such dump"):
        npmnv3.load("nowhere.h5")
    with pytest.raises(npmnv3.UnknownModelError, match="nearest"):
        npmnv3.load("mobilenet_v3_small")


def test_not_a_number_passes_through(model):
    x = np.zeros((2, 3, 48, 192), np.float32)
    x[1, 0, 5, 5] = np.nan
    for network in (model, npmnv3.load(DEFAULT, engine="numpy")):
        logits = network(x)
        assert np.isfinite(logits[0]).all() and np.isnan(logits[1]).all()
        assert np.isnan(network(np.full(x.shape, 1e300))).all()  # infinite in float32


def test_a_dump_alone_is_enough(tmp_path):
    path = tmp_path / "mine.h5"
    write_dump(
        path, random_state("timm/mobilenetv3_small_050", 3), model="timm/mobilenetv3_small_050", labels=["a", "b", "c"]
    )
    network = npmnv3.load(path)
    assert network.variant.full_name == "timm/mobilenetv3_small_050" and network.labels == ("a", "b", "c")
    assert npmnv3.load(str(path)).num_classes == 3 and "3 classes" in repr(network)


def test_thousand_and_one_classes_have_a_background():
    network = npmnv3.load("timm/mobilenetv3_small_050", random_state("timm/mobilenetv3_small_050", 1001))
    assert network.labels[:2] == ("background", "tench")
    network = npmnv3.load("timm/mobilenetv3_small_050", random_state("timm/mobilenetv3_small_050"))
    assert network.labels[0] == "tench" and len(network.labels) == 1000


@pytest.mark.parametrize(
    ("weights", "model", "expected", "offset"),
    [
        ("keras--MobileNetV3Small.npz", "timm/tf_mobilenetv3_small_100", "expected.csv", 0),
        (
            "slim--MobileNetV3Large_minimalistic.npz",
            "timm/tf_mobilenetv3_large_minimal_100",
            "expected_large_minimalistic.csv",
            1,
        ),
    ],
)
def test_trained_weights_classify_photographs(shared, weights, model, expected, offset):
    """Real ImageNet weights on real photographs: the first five classes of all of them."""
    network = npmnv3.load(model, shared / "weights" / weights)
    with open(shared / "photos" / expected) as file:
        rows = list(csv.DictReader(file))
    found = network.predict((shared / "photos" / row["file"] for row in rows), top=5)
    for row, predictions in zip(rows, found, strict=True):
        assert [index - offset for index, _, _ in predictions] == [int(i) for i in row["top5"].split()], row["file"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_text_lines_in_every_engine(engine, dtype):
    """The network alone: a picture prepared, to logits."""
    if engine == "numba":
        pytest.importorskip("numba")
    folder = goldens.CUT / "ppocr_cls"
    network = npmnv3.load(DEFAULT, engine=engine, dtype=dtype)
    for name, golden in json.loads((folder / "expected.json").read_text())["expected"].items():
        error = np.abs(network(npmnv3.preprocess(folder / name, "ppocr")[None])[0] - golden["logits_f64"]).max()
        assert error < (1e-5 if dtype == "float64" else 1e-3), f"{name}: logits {error:.3g} off"


def test_text_lines(model):
    """Ten rendered lines of text, through the picture pipeline, against onnxruntime's answers."""
    folder = goldens.CUT / "ppocr_cls"
    expected = json.loads((folder / "expected.json").read_text())["expected"]
    exact = npmnv3.load(DEFAULT, engine="numpy", dtype="float64")
    for name, golden in expected.items():
        x = npmnv3.preprocess(folder / name, "ppocr")[None]
        error = np.abs(exact(x)[0] - golden["logits_f64"]).max()
        assert error < 1e-5, f"{name}: logits {error:.3g} off"
        (_, label, probability), *_ = model.predict([folder / name])[0]
        assert label == golden["label"] and abs(probability - max(golden["probabilities"])) < 1e-4, name


def test_text_lines_within():
    """Mean, deviation, least and largest value of every block's output, against onnxruntime's."""
    folder = goldens.CUT / "ppocr_cls"
    exact = npmnv3.load(DEFAULT, engine="numpy", dtype="float64")
    steps = {"stem.out": "stem", "last.out": "last", "maxpool": "max_pool", "pool": "pool"}
    with h5py.File(folder / "expected.h5") as file:
        names = [
            steps.get(n) or n.replace("block", "blocks.").removesuffix(".out")
            for n in json.loads(file.attrs["stats_of"])
        ]
        for picture, golden in file.items():
            trace = exact.trace(npmnv3.preprocess(folder / picture, "ppocr")[None])
            for name, stats in zip(names, golden["stats"][...], strict=True):
                tensor = trace[name]
                found = np.array([tensor.mean(), tensor.std(), tensor.min(), tensor.max()])
                error = np.abs(found - stats).max()
                assert error < 1e-4, f"{picture} {name}: {error:.3g} off: {found} for {stats}"


@pytest.mark.parametrize("name", npmnv3.list_models())
def test_every_variant_is_the_same_after_pickling(name):
    variant = get_variant(name)
    again = pickle.loads(pickle.dumps(variant))
    assert again == variant and hash(again) == hash(variant) and make_plan(again) is make_plan(variant)


def test_a_model_is_the_same_after_pickling():
    model = npmnv3.load("ppocr/text_direction", engine="numpy", dtype="float64", rounded_constants=True)
    model.attributes["note"] = "mine"
    x = np.random.default_rng(0).standard_normal((2, 3, 48, 192))
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
        assert repr(again) == repr(model) and again.attributes["note"] == "mine" and again.plan is model.plan
        assert again.labels == model.labels and np.array_equal(again(x), model(x))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_model_goes_to_other_processes(method):
    model = npmnv3.load("ppocr/text_direction", threads=2)
    xs = [np.random.default_rng(i).standard_normal((1 + i, 3, 48, 192)).astype(np.float32) for i in range(3)]
    with multiprocessing.get_context(method).Pool(2) as pool:
        for logits, x in zip(pool.map(model, xs), xs):
            np.testing.assert_array_equal(logits, model(x))


@pytest.mark.parametrize("engine", ("auto", "numpy"))
def test_a_dropped_model_leaves_nothing(engine):
    """Not with the next garbage collection but at once: a model is many megabytes, and few objects."""
    x = np.zeros((3, 3, 48, 192), np.float32)
    npmnv3.load("ppocr/text_direction", engine=engine)(x)
    threads = threading.active_count()
    for _ in range(20):
        model = npmnv3.load("ppocr/text_direction", engine=engine)
        model(x), model(x[:1])
        gone = [weakref.ref(model), weakref.ref(model._engine)]
        del model
        assert [reference() for reference in gone] == [None, None]
    assert threading.active_count() == threads


def test_what_only_float_networks_can_says_so_of_quantised_ones(tmp_path):
    path = quantized_files.dump(quantized_files.TEXT, tmp_path, kernels="xnnpack")
    quantised = npmnv3.load(path)
    with pytest.raises(npmnv3.UsageError, match="is quantised: only float networks are written as ONNX"):
        npmnv3.export_onnx(quantised, tmp_path / "x.onnx")
    with pytest.raises(npmnv3.UsageError, match="is quantised already; give the float network"):
        npmnv3.quantize(path, LINES[0])
    with pytest.raises(npmnv3.UsageError, match="a quantised one, which is judged from its file"):
        npmnv3.verify(quantised, {"logits": np.zeros((1, 2), np.float32)})
    assert not (tmp_path / "x.onnx").exists()
