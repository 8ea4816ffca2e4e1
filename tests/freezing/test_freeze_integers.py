"""Frozen integer classifiers: the bits of the quantised model, with NumPy alone, and no more code than they need."""

import ast
import json
import runpy
import subprocess
import sys
import zipfile

import goldens
import numpy as np
import pytest
import quantized_files
from command_line import run

import npmnv3
from npmnv3.dumps.quantized import Quantized
from npmnv3.errors import PictureError, UsageError
from npmnv3.freezing import freeze
from npmnv3.freezing.cost import open_frozen
from npmnv3.model.quantized import QuantizedModel
from npmnv3.network.integer_plan import IntegerPlan, IntegerStep
from npmnv3.network.spec import Preprocess
from npmnv3.ops.grids import Grid
from npmnv3.ops.kernel_sets import KERNEL_SETS

EXAMPLES = sorted((goldens.ROOT / "weights" / "examples").glob("*.png"))


@pytest.fixture(scope="module")
def dumps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dumps")
    return {name: quantized_files.dump(name, folder) for name in (quantized_files.TEXT, quantized_files.SMALL)}


@pytest.fixture(scope="module", params=["pyz", "py"])
def frozen(request, dumps, tmp_path_factory):
    """(path, model) of text_direction in integers, frozen."""
    model = npmnv3.load(dumps[quantized_files.TEXT], kernels="tflite-reference", engine="numpy")
    path = tmp_path_factory.mktemp("frozen") / f"classifier.{request.param}"
    freeze(model, path)
    return path, model


def source(path):
    return zipfile.ZipFile(path).read("classifier.py").decode()


@pytest.mark.parametrize("kernels", sorted(KERNEL_SETS))
@pytest.mark.parametrize("name", [quantized_files.TEXT, quantized_files.SMALL])
def test_same_bits_as_the_model(dumps, name, kernels, tmp_path):
    model = npmnv3.load(dumps[name], kernels=kernels, engine="numpy")
    freeze(model, tmp_path / "classifier.pyz")
    logits = open_frozen(tmp_path / "classifier.pyz")["logits"]
    inputs = np.random.default_rng(0).standard_normal((2, *model.plan.input_shape)).astype(np.float32)
    inputs[1, 0, 0, 0] = np.inf  # the end of the grid
    for x in (quantized_files.golden(name)[1][0], *inputs):
        np.testing.assert_array_equal(logits(x), model(x[None])[0])


def test_the_logits_are_tensorflow_lites(frozen):
    path, model = frozen
    integers, x = quantized_files.golden(quantized_files.TEXT)
    expected = model.plan.grids[model.plan.steps[-1].name].dequantize(list(integers.values())[-1])
    np.testing.assert_array_equal(open_frozen(path)["logits"](x[0]), expected[0])


def test_only_the_code_that_is_needed(dumps, tmp_path):
    texts = {}
    for kernels in KERNEL_SETS:
        freeze(npmnv3.load(dumps[quantized_files.SMALL], kernels=kernels, engine="numpy"), tmp_path / "a.pyz")
        texts[kernels] = source(tmp_path / "a.pyz")
    foreign = (
        "npmnv3 import",
        "def real(",
        "h5py",
        "base64",
        "opencv_linear",
        "def max_pool2d",
        "def hard_sigmoid",
        "_mean_twice",
    )
    needless = {
        "tflite-reference": ("def _add_shift", "def up(", "def single(", "_mean_offset", "hard_swish_float_table("),
        "tflite-micro": ("def _add_shift", "def up(", "def single(", "_mean_offset", "hard_swish_float_table("),
        "tflite-optimized": ("def _add_shift", "def single(", "_mean_fixed", "hard_swish_float_table("),
        "xnnpack": ("def _add_fixed", "def double(", "def up(", "_mean_fixed", "hard_swish_float_table("),
        "onnxruntime": (
            "def _add_fixed",
            "def double(",
            "def up(",
            "hard_swish_fixed_table(",
            "def lost_to_saturation",
        ),
        "onnxruntime-avx2": ("def _add_fixed", "def double(", "hard_swish_fixed_table("),
        "qnnpack": (
            "def _add_fixed",
            "def _add_fused",
            "def double(",
            "hard_swish_fixed_table(",
            "hard_swish_float_table(",
        ),
        "single-rounding": ("def up(", "def _add_shift", "_mean_offset", "hard_swish_float_table("),
    }
    assert needless.keys() == texts.keys() and "def lost_to_saturation" in texts["onnxruntime-avx2"]
    for kernels, text in texts.items():
        assert not [word for word in (*foreign, *needless[kernels]) if word in text], kernels
        ast.parse(text, feature_version=(3, 6))


def test_weights_are_stored_as_bytes(dumps, frozen, tmp_path):
    path, model = frozen
    weights = sum(array.size for name, array in model.plan.arrays.items() if name.endswith(".weight"))
    constants = sum(10 * step.shape[0] for step in model.plan.steps if f"{step.name}.bias" in model.plan.arrays)
    if path.suffix == ".pyz":
        assert len(zipfile.ZipFile(path).read("weights.bin")) <= weights + constants < path.stat().st_size < 250_000
    else:
        assert path.stat().st_size < 1.25 * (weights + constants) + 100_000


def test_pictures_on_the_command_line_with_numpy_alone(frozen):
    path, model = frozen
    command = [sys.executable, "-I", str(path), "--json", "--top", "1", *map(str, EXAMPLES[:2])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for line, [(index, label, probability)] in zip(done.stdout.splitlines(), model.predict(EXAMPLES[:2], top=1)):
        assert json.loads(line)["predictions"] == [{"index": index, "label": label, "probability": probability}]


def test_nan_is_no_picture(frozen):
    path, model = frozen
    x = np.zeros(model.plan.input_shape, np.float32)
    x[0, 3, 4] = np.nan
    with pytest.raises(Exception, match="has NaN in it") as caught:
        open_frozen(path)["logits"](x)
    assert type(caught.value).__name__ == PictureError.__name__


def test_same_model_same_bytes(dumps, frozen, tmp_path):
    path, _ = frozen
    freeze(npmnv3.load(dumps[quantized_files.TEXT], kernels="tflite-reference"), tmp_path / f"again{path.suffix}")
    assert (tmp_path / f"again{path.suffix}").read_bytes() == path.read_bytes()


def small_model(kernels="tflite-reference", recipe=None, act="relu6"):
    """One layer, a skip over two, in uint8, of another tool: its names are not a known network's."""
    rng, evil = np.random.default_rng(0), 'a"""\nraise SystemExit("executed")\n\\'
    steps = (
        IntegerStep("0:/in", "pad2d", ("input",), (3, 10, 9), pad=(1, 1, 0, 1)),
        IntegerStep(evil, "conv2d", ("0:/in",), (3, 10, 9), pad=(1, 1, 1, 1), act=act),
        IntegerStep("skip", "add", (evil, "0:/in"), (3, 10, 9)),
        IntegerStep("one", "fill", (), (3, 10, 9)),
        IntegerStep("plus", "add", ("skip", "one"), (3, 10, 9)),
        IntegerStep("more", "mul", ("plus", evil), (3, 10, 9)),
        IntegerStep("gate", "hard_sigmoid", ("more",), (3, 10, 9), slope=0.2, offset=0.5),
        IntegerStep("rest", "relu", ("gate",), (3, 10, 9)),
        IntegerStep("sum", "mean_to_vector", ("rest",), (3,)),
        IntegerStep("y", "identity", ("sum",), (3,)),
    )
    arrays = {
        f"{evil}.weight": rng.integers(-128, 128, (3, 3, 3, 3), np.int8),
        f"{evil}.bias": rng.integers(-999, 999, 3).astype(np.int32),
        f"{evil}.weight_scale": np.full(1, 0.01, np.float32),
        f"{evil}.weight_zero_point": np.array([3], np.int32),
        "one.constant": np.array(200, np.uint8),
    }
    grid = Grid(float(np.float32(2 / 255)), 128, "uint8")
    names = ("input", *(step.name for step in steps))
    grids = dict.fromkeys(names, grid) | {"gate": Grid(1 / 256, 0, "uint8"), "rest": Grid(1 / 128, 5, "uint8")}
    plan = IntegerPlan(steps, grids, arrays, (3, 8, 8))
    return QuantizedModel(Quantized(plan, None, 3, preprocess=recipe), kernels, "numpy")


@pytest.mark.parametrize("kernels", ["tflite-reference", "onnxruntime-avx2"])
def test_a_network_of_another_tool(kernels, tmp_path):
    recipe = Preprocess("own", fit="squash", side=(8, 8), interpolation="bicubic")
    model = small_model(kernels, recipe)
    freeze(model, tmp_path / "a.py")
    rgb = np.random.default_rng(1).integers(0, 256, (30, 20, 3), np.uint8)
    found = runpy.run_path(str(tmp_path / "a.py"))["logits"](rgb)
    np.testing.assert_array_equal(found, model(npmnv3.preprocess(rgb, model)[None])[0])
    assert len(set(found.tolist())) > 1


def test_refusals(dumps, tmp_path):
    model = npmnv3.load(dumps[quantized_files.TEXT], kernels="tflite-reference", engine="numpy")
    with pytest.raises(UsageError, match="dtype is 'float16', but the weights of ppocr/text_direction are integers"):
        freeze(model, tmp_path / "a.pyz", "float16")
    with pytest.raises(UsageError, match="nothing says how its pictures are prepared"):
        freeze(small_model(), tmp_path / "a.pyz")
    with pytest.raises(UsageError, match=r"prepared as \(224, 224\), but its integers are for \(8, 8\)"):
        freeze(small_model(recipe=Preprocess("own")), tmp_path / "a.pyz")
    assert list(tmp_path.iterdir()) == []


def test_the_command(dumps, tmp_path, capsys):
    dump, path = dumps[quantized_files.TEXT], tmp_path / "a.pyz"
    code, out, _ = run(capsys, "freeze", dump, "--kernels", "xnnpack", "-o", path, "--pictures", *EXAMPLES[:2])
    assert code == 0 and "integers of xnnpack" in out and "bit for bit, on 2 pictures" in out
    path.unlink()
    code, _, err = run(capsys, "freeze", dump, "-o", path)
    assert code == 2 and "--kernels" in err
    code, _, err = run(capsys, "freeze", dump, "--kernels", "xnnpack", "--dtype", "float32", "-o", path)
    assert code == 2 and "are integers, and stay so" in err and not path.exists()
