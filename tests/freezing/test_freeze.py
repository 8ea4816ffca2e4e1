"""Frozen classifiers: one file, beside the model that it was made from."""

import ast
import dataclasses
import json
import pathlib
import runpy
import subprocess
import sys
import zipfile

import goldens
import numpy as np
import pytest
import rounding
from random_networks import random_params

import npmnv3
import npmnv3.network.spec
from npmnv3.errors import UsageError, WeightsError, WriteError
from npmnv3.freezing import accuracy_cost, freeze, standard_inputs
from npmnv3.freezing.cost import open_frozen
from npmnv3.freezing.freeze import folded_layers, pack
from npmnv3.network.plan import make_plan
from npmnv3.network.steps import OPS
from npmnv3.network.variants import get_variant

EXAMPLES = sorted((goldens.ROOT / "weights" / "examples").glob("*.png"))
PHOTO = sorted((goldens.CUT / "photos").glob("*.jpg"))[:1]
DTYPES = ("float32", "float16", "int8-weights")


def random_model(name, num_classes=11, seed=0):
    plan = make_plan(get_variant(name), num_classes)
    return npmnv3.load(name, random_params(plan, np.random.default_rng(seed)), num_classes, engine="numpy")


def on_smaller_pictures(model):
    """The model on pictures of 96 x 96 for 224 x 224, which are halved as evenly: every layer is padded as it was."""
    if model.preprocess.side == (224, 224):
        model.preprocess = dataclasses.replace(model.preprocess, side=(96, 96))
    return model


@pytest.fixture(scope="module")
def model():
    return npmnv3.load("ppocr/text_direction", engine="numpy")


@pytest.fixture(scope="module", params=[f"{dtype}.{kind}" for dtype in DTYPES for kind in ("pyz", "py")])
def frozen(request, model, tmp_path_factory):
    """(path, dtype) of text_direction, frozen."""
    dtype, _, kind = request.param.rpartition(".")
    path = tmp_path_factory.mktemp("frozen") / f"classifier.{kind}"
    freeze(model, path, dtype)
    return path, dtype


def run(path, *arguments, flags=(), cwd=None):
    """(exit code, standard output, standard error) of `python PATH ARGUMENTS...`."""
    command = [sys.executable, *flags, str(path), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    return done.returncode, done.stdout, done.stderr


def worst(found, expected):
    """Message and value of the largest difference."""
    error = np.abs(np.asarray(found, np.float64) - expected)
    place = np.unravel_index(int(error.argmax()), error.shape)
    return float(error.max()), f"worst error {error.max():.3g} at {place}"


def assert_old_pythons_read(source):
    tree = ast.parse(source, feature_version=(3, 6))
    starred = [node for node in ast.walk(tree) if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple)]
    for node in starred:  # which `feature_version` does not know to be new
        line = source.splitlines()[node.lineno - 1].strip()
        assert line.startswith("return (") or not any(isinstance(part, ast.Starred) for part in node.value.elts), line


@pytest.mark.parametrize("name", npmnv3.list_models())
def test_every_network_freezes_to_what_it_computes(name, tmp_path):
    """The same function in float64, every operation within its rounding in float32, and the weights to the last bit."""
    model, path = on_smaller_pictures(random_model(name)), tmp_path / "classifier.pyz"
    freeze(model, path, "float32")
    assert_old_pythons_read(zipfile.ZipFile(path).read("classifier.py").decode())
    frozen, layers = open_frozen(path), folded_layers(model)
    for layer, arrays in layers.items():
        for stored, exact in zip(frozen["W"][layer], arrays):
            np.testing.assert_array_equal(stored, exact.astype(np.float32), layer)
    x, seen = np.random.default_rng(1).standard_normal((3, *model.preprocess.side)).astype(np.float32), []
    frozen.update({operation: rounding.checked(operation, seen) for operation in OPS if operation in frozen})
    assert frozen["logits"](x).shape == (11,) and len(seen) > len(layers) and max(seen) > 1e-3
    frozen = open_frozen(path)
    frozen["W"].update(layers)
    exact = npmnv3.load(name, model.params, 11, engine="numpy", dtype="float64")(x[None])
    rounding.assert_same_function(frozen["network"](x[None].astype(np.float64)), exact, name)


def test_storage_costs_what_its_rounding_does(model, frozen):
    path, dtype = frozen
    cost = accuracy_cost(model, path, [npmnv3.preprocess(picture, model) for picture in EXAMPLES])
    bound = {"float32": 2e-5, "float16": 0.02, "int8-weights": 1.0}[dtype]
    assert cost.pictures == cost.same_first == 6 and cost.worst <= bound and cost.rms <= cost.worst, cost
    assert dtype == "float32" or cost.worst > 1e-4, "rounding that shows nowhere"


def test_answers_are_those_of_predict(model, frozen):
    path, dtype = frozen
    code, out, err = run(path, *EXAMPLES, "--json", "--top", "1")
    assert (code, err) == (0, "")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["file"] for row in rows] == list(map(str, EXAMPLES))
    for row, [(index, label, probability)] in zip(rows, model.predict(EXAMPLES, top=1)):
        [best] = row["predictions"]
        assert (best["index"], best["label"]) == (index, label)
        assert abs(best["probability"] - probability) < {"float32": 1e-7, "float16": 1e-4, "int8-weights": 0.01}[dtype]


def test_bad_files_are_reported_and_the_others_done(frozen, tmp_path):
    path, _ = frozen
    (tmp_path / "text.png").write_text("not a picture")
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    np.save(tmp_path / "small.npy", np.zeros((3, 8, 8), np.float32))
    np.save(tmp_path / "nan.npy", np.full((3, 48, 192), np.nan, np.float32))
    bad = [tmp_path / name for name in ("text.png", "objects.npy", "small.npy", "nan.npy", "nowhere.png")]
    code, out, err = run(path, "--json", *bad, EXAMPLES[0])
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 1 and len(rows) == 6 and "predictions" in rows[5] and "Traceback" not in err
    for file, row in zip(bad, rows):
        assert row["file"] == str(file) and file.name in row["error"] and row["error"] in err
    assert run(path)[0] == run(path, "--top", "0", EXAMPLES[0])[0] == run(path, "--nonsense")[0] == 2


def test_pictures_arrays_and_inputs_are_one(model, frozen, tmp_path):
    path, _ = frozen
    logits = open_frozen(path)["logits"]
    expected = logits(str(EXAMPLES[0]))
    from PIL import Image

    rgb, x = np.asarray(Image.open(EXAMPLES[0]).convert("RGB")), npmnv3.preprocess(EXAMPLES[0], model)
    np.save(tmp_path / "rgb.npy", rgb)
    np.save(tmp_path / "x.npy", x[None].astype(">f8"))
    for picture in (rgb, x, x[None], EXAMPLES[0], str(tmp_path / "rgb.npy"), tmp_path / "x.npy"):
        assert np.array_equal(logits(picture), expected)
    before = x.copy()
    assert open_frozen(path)["classify"](x, top=1)[0][0] == "0" and np.array_equal(x, before)


def test_imports_as_a_module(frozen):
    path, _ = frozen
    where = path if path.suffix == ".pyz" else path.parent
    code = f"import sys; sys.path.insert(0, {str(where)!r}); import classifier; print(classifier.classify({str(EXAMPLES[0])!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("[('0', 0.99") and done.stderr == ""


def test_two_in_one_process_are_two(model, tmp_path):
    """As Python runs them; neither is anybody's module `classifier`."""
    freeze(model, tmp_path / "a.pyz")
    freeze(random_model("ppocr/text_direction", 3), tmp_path / "b.pyz")
    x = npmnv3.preprocess(EXAMPLES[0], model)
    zipfile.ZipFile(tmp_path / "b.pyz").extractall(tmp_path / "unpacked")
    first, second, third = (runpy.run_path(str(tmp_path / name))["logits"] for name in ("a.pyz", "b.pyz", "unpacked"))
    assert (len(first(x)), len(second(x)), len(third(x)), "classifier" in sys.modules) == (2, 3, 3, False)


@pytest.mark.skipif(sys.version_info < (3, 10), reason="zipimport cannot be told there")
def test_another_in_the_place_of_one_that_ran(model, tmp_path):
    """Python keeps where the parts of an archive were."""
    path, x = str(tmp_path / "a.pyz"), npmnv3.preprocess(EXAMPLES[0], model)
    freeze(random_model("ppocr/text_direction", 3), path, names=True)
    assert len(runpy.run_path(path)["logits"](x)) == 3
    freeze(model, path, "int8-weights")
    assert len(runpy.run_path(path)["logits"](x)) == 2


@pytest.mark.parametrize(
    "recipe", ["torchvision/mobilenet_v3_small", "timm/mobilenetv3_small_050", "ppcls/MobileNetV3_small_x0_35"]
)
def test_photographs_are_prepared_as_the_package_does(recipe, tmp_path):
    if not PHOTO:
        pytest.skip("needs tests/golden/photos")
    model, path = random_model(recipe), tmp_path / "classifier.pyz"
    freeze(model, path, "float32")
    frozen = open_frozen(path)
    assert np.array_equal(frozen["prepare"](str(PHOTO[0])), npmnv3.preprocess(PHOTO[0], model))


def test_only_the_code_that_is_needed(tmp_path):
    freeze(random_model("keras/MobileNetV3Small_minimalistic"), tmp_path / "classifier.pyz")
    source = zipfile.ZipFile(tmp_path / "classifier.pyz").read("classifier.py").decode()
    assert "def relu" in source and "def pillow" in source and "def unpack_float" in source
    for needless in (
        "hard_swish",
        "batch_norm",
        "opencv_linear",
        "def turn",
        "unpack_int8",
        "base64",
        "npmnv3 import",
        "h5py",
    ):
        assert needless not in source, needless
    long = [line for line in source.splitlines() if len(line) > 120]
    assert not long, long


def test_same_model_same_bytes(model, frozen, tmp_path):
    path, dtype = frozen
    freeze(npmnv3.load("ppocr/text_direction"), tmp_path / f"other name{path.suffix}", dtype)
    assert (tmp_path / f"other name{path.suffix}").read_bytes() == path.read_bytes()


def test_same_bytes_on_windows(model, frozen, tmp_path, monkeypatch):
    path, dtype = frozen
    monkeypatch.setattr(sys, "platform", "win32")  # what zipfile writes into an archive
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    freeze(model, tmp_path / f"a{path.suffix}", dtype)
    monkeypatch.undo()
    assert (tmp_path / f"a{path.suffix}").read_bytes() == path.read_bytes()


def test_base85_fills_its_lines(frozen):
    path, _ = frozen
    if path.suffix == ".py":
        lines = path.read_text().partition('WEIGHTS = """')[2].partition('"""')[0].strip().split("\n")
        assert {len(line) for line in lines[:-1]} == {120} and 0 < len(lines[-1]) <= 120


@pytest.mark.parametrize("name", ["keras/MobileNetV3Small", "ppcls/MobileNetV3_small_x0_35"])
def test_a_dump_with_its_own_preprocessing(name, tmp_path):
    """Keras's padding depends on the side: the plan has to be made for the side that pictures get."""
    own = npmnv3.network.spec.Preprocess(
        "own", fit="squash", resize=101, side=(97, 75), interpolation="bicubic", channels="BGR"
    )
    npmnv3.write_dump(tmp_path / "a.npz", random_model(name).params, model=name, preprocess=own)
    model = npmnv3.load(tmp_path / "a.npz", engine="numpy")
    freeze(model, tmp_path / "a.pyz", "float32")
    rgb = np.random.default_rng(0).integers(0, 256, (60, 130, 3), dtype=np.uint8)
    frozen, x = open_frozen(tmp_path / "a.pyz"), npmnv3.preprocess(rgb, model)
    assert x.shape == (3, 97, 75) and np.array_equal(frozen["prepare"](rgb), x)
    expected = model(x[None])[0]
    error, message = worst(frozen["logits"](rgb), expected)
    assert error <= 1e-4 * np.abs(expected).max(), message


@pytest.mark.parametrize(("dtype", "most"), [("float16", 3_600_000), ("int8-weights", 2_200_000)])
def test_sizes(model, tmp_path, dtype, most):
    freeze(random_model("timm/mobilenetv3_small_050", 1000), tmp_path / "a.pyz", dtype, names=True)
    assert (tmp_path / "a.pyz").stat().st_size < most
    freeze(model, tmp_path / "b.pyz", dtype)
    assert (tmp_path / "b.pyz").stat().st_size < 400_000


def test_labels(tmp_path):
    model = random_model("timm/mobilenetv3_small_050", 1000)
    for names in (False, True):
        freeze(model, tmp_path / "a.pyz", names=names)
        expected = model.labels if names else tuple(map(str, range(1000)))
        assert open_frozen(tmp_path / "a.pyz")["LABELS"] == expected


def test_what_a_dump_says_of_itself_is_text_and_nothing_else(model, tmp_path, monkeypatch):
    evil = '"""\nraise SystemExit("executed")\n"""\\'
    monkeypatch.setitem(model.attributes, "origin", evil)
    monkeypatch.setattr(model, "labels", (evil, "it's"))
    for kind in ("pyz", "py"):
        freeze(model, tmp_path / f"a.{kind}")
        assert open_frozen(tmp_path / f"a.{kind}")["LABELS"] == (evil, "it's")


def test_refusals(model, tmp_path):
    with pytest.raises(UsageError, match="expected .pyz or .py"):
        freeze(model, tmp_path / "classifier.exe")
    with pytest.raises(UsageError, match="dtype is 'int4', expected one of float16"):
        freeze(model, tmp_path / "a.pyz", "int4")
    with pytest.raises(WriteError, match="cannot be written"):
        freeze(model, tmp_path / "nowhere" / "a.pyz")
    layers = folded_layers(model)
    layers["last"] = layers["last"][0] * 1e9, layers["last"][1]
    with pytest.raises(WeightsError, match="last: has values up to .* beyond float16; take float32"):
        pack(layers, "float16")
    assert list(tmp_path.iterdir()) == []


def test_a_channel_of_zeros_stays_zero_in_int8(model, tmp_path):
    layers = folded_layers(model)
    layers["stem"][0][3] = 0
    assert np.isfinite(np.frombuffer(pack(layers, "int8-weights"), "i1")).all()


def test_standard_inputs_are_pictures():
    inputs = list(standard_inputs("ppocr"))
    assert (
        len(inputs) == 16 and {x.shape for x in inputs} == {(3, 48, 192)} and len({x.tobytes() for x in inputs}) == 16
    )
    assert all(np.array_equal(a, b) for a, b in zip(inputs, standard_inputs("ppocr")))


NEEDS = "this needs Python 3.9 or later and NumPy 1.22 or later; this is Python "
OLD = sorted(pathlib.Path.home().glob(".pyenv/versions/*/bin/python")) + [pathlib.Path(sys.executable)]


@pytest.mark.parametrize("python", OLD, ids=lambda path: path.parent.parent.name)
def test_a_python_without_what_it_needs_is_told_so_in_one_line(python, frozen):
    """Any other Python that is here, old or new, none of which has NumPy when it looks nowhere but in its own library."""
    path, _ = frozen
    done = subprocess.run([python, "-S", path, "x.png"], capture_output=True, text=True, env={})
    version = subprocess.run(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True
    ).stdout.strip()
    assert done.returncode == 1 and not done.stdout
    if (
        version == "2.7" and path.suffix == ".py"
    ):  # of a single module it reads only up to the first line it cannot read
        assert 'NEEDED: "Python 3.9 or later and NumPy 1.22 or later"' in done.stderr
    else:
        assert done.stderr.startswith(NEEDS + version) and done.stderr.count("\n") == 1


def test_every_way_of_storing_can_be_read_by_old_pythons(frozen):
    """Of every network that is asked in float32, above."""
    path, _ = frozen
    archive = zipfile.ZipFile(path) if path.suffix == ".pyz" else None
    assert_old_pythons_read(archive.read("classifier.py").decode() if archive else path.read_text())
