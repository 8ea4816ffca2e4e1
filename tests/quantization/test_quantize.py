"""`npmnv3.quantize` and `npmnv3 quantize` on small networks and pictures."""

import json
import shutil

import numpy as np
import pytest
from command_line import run
from evaluation_material import class_folders, write_network

import npmnv3
from npmnv3.errors import PictureError, UsageError, WriteError
from npmnv3.quantization.schemes import NAMES, SCHEMES


@pytest.fixture(scope="module", autouse=True)
def few():
    """What one tensor costs alone is told by one picture here: there are some hundred tensors and layers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("npmnv3.quantization.alone.PICTURES", 1)
        yield


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    return write_network(tmp_path_factory.mktemp("network") / "net.h5")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(class_folders(tmp_path_factory.mktemp("data") / "set", 1))


@pytest.fixture(scope="module")
def report(dump, folder):
    return npmnv3.quantize(dump, folder, evaluate=folder, per_tensor=True, shown=False)


def test_the_report_says_it_all(report):
    text, data = report.text(), json.loads(json.dumps(report.as_json(), allow_nan=False))
    for words in ("judged on 6 pictures", "What was tried, the cheapest first:", "stored tensor", "weights of"):
        assert words in text
    assert data["scheme"] == "tflite" and data["calibration_pictures"] == 6 and data["float"]["pictures"] == 6
    assert [row["name"] for row in data["tensors"]] == list(report.parameters.grids)
    assert data["tried"][0]["recipe"] == "per tensor, minmax" and data["recommended"]["recipe"] in text.replace(
        "\n", ""
    )
    assert "6 of the 6 calibration pictures are among those judged on" in text


def test_parameters_are_integers_in_their_ranges(report):
    parameters = report.parameters
    for integers, scales, zeros in parameters.weights.values():
        assert integers.dtype == np.int8 and scales.dtype == np.float32 and not zeros.any()
        assert np.abs(integers.astype(int)).max() <= 127 and len(scales) in (1, len(integers))
    assert all(bias.dtype == np.int32 for bias in parameters.biases.values())
    layers = [step for step in parameters.plan if step.param("weight")]
    assert len(parameters.weights) == len(parameters.biases) == len(layers)


def test_symmetric_is_told_with_and_without_a_gate_in_every_hard_swish(dump, folder):
    """ONNX Runtime stores one; an NPU that has the operation does not, and loses less."""
    found = npmnv3.quantize(dump, folder, scheme="symmetric", shown=False)
    told = dict(found.learned)
    assert told["as asked, but a hard-swish stores no gate of its own"].snr_db > found.outcome.snr_db
    assert any(name.endswith(".hard_sigmoid") for name in found.parameters.grids)
    assert "ActivationSymmetric" in found.text()


@pytest.mark.parametrize("scheme", NAMES)
def test_every_scheme(scheme, dump, folder):
    found = npmnv3.quantize(dump, folder, scheme=scheme, recipes=False, shown=False)
    assert found.scheme == scheme and found.exact.agreement == 100 and found.outcome.top1 is None
    if scheme in SCHEMES:
        assert {grid.dtype for grid in found.parameters.grids.values()} == {SCHEMES[scheme].dtype}
    else:
        assert found.outcome.snr_db > 20 and len(found.tried) == 3


def test_the_same_for_any_number_of_threads(dump, folder, monkeypatch):
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("NPMNV3_THREADS", threads)
        found.append(npmnv3.quantize(dump, folder, correct_bias=True, recipes=False, shown=False))
    assert json.dumps(found[0].as_json()) == json.dumps(found[1].as_json())
    for one, other in zip(found[0].parameters.biases.values(), found[1].parameters.biases.values()):
        assert np.array_equal(one, other)


def test_sixteen_bits_cost_next_to_nothing(dump, folder):
    parts = ("input", "stem", "blocks", "last", "pool", "head", "logits")
    found = npmnv3.quantize(dump, folder, scheme="onnx", wide=parts, recipes=False, shown=False)
    assert {grid.dtype for grid in found.parameters.grids.values()} == {"uint16"}
    assert min(row["snr_db"] for row in found.tensors) > 60


# fmt: off
BAD = (
    ({"scheme": "int4"},              "no scheme is called 'int4', expected one of tflite, onnx"),
    ({"wide": ["steam"]},             "`wide=steam`: no stored tensor is called 'steam'; nearest: .*stem"),
    ({"ranges": "percentile=40"},     "expected a percentile above 50 and at most 100"),
    ({"ranges": "entropy"},           "`ranges='entropy'`, expected minmax, percentile=99.99 or mse"),
    ({"labels": "labels.csv"},        "name these with `evaluate=`"),
    ({"scheme": "fp16", "wide": "stem"}, "fp16 has no scales"),
    ({"evaluate": "/no/such/folder"}, "no such folder"),
)
# fmt: on


@pytest.mark.parametrize("options,words", BAD)
def test_bad_options(options, words, dump, folder):
    with pytest.raises(UsageError, match=words):
        npmnv3.quantize(dump, folder, shown=False, **options)


def test_where_nothing_can_be_written_is_told_before_the_work(dump, tmp_path):
    with pytest.raises(WriteError, match="nowhere.*cannot be written"):
        npmnv3.quantize(dump, "no such pictures", out=tmp_path / "nowhere" / "q.npz", shown=False)


# fmt: off
BAD_PICTURES = (
    ([],                                             UsageError,   "no pictures to calibrate on"),
    (None,                                           UsageError,   "no pictures to calibrate on"),
    (7,                                              UsageError,   "pictures is a int, expected a folder"),
    (np.zeros((0, 3, 96, 96), np.float32),         UsageError,   "no pictures to calibrate on"),
    (np.zeros((2, 3, 64, 64), np.float32),           UsageError,   r"shape \(2, 3, 64, 64\), expected \(N, 3, 96, 96\)"),
    (np.full((1, 3, 96, 96), np.nan, np.float32),  UsageError,   "picture 0 has NaN or infinity"),
    ([np.zeros((3, 9, 9), np.float32)],              UsageError,   r"picture 0 has the shape \(3, 9, 9\), expected"),
    (["no such picture.png"],                        PictureError, "no such picture.png"),
)
# fmt: on


@pytest.mark.parametrize("pictures,error,words", BAD_PICTURES)
def test_bad_pictures(pictures, error, words, dump):
    with pytest.raises(error, match=words):
        npmnv3.quantize(dump, pictures, shown=False)


def test_an_empty_folder(dump, tmp_path):
    with pytest.raises(UsageError, match="no pictures"):
        npmnv3.quantize(dump, tmp_path, shown=False)


def test_the_command(dump, folder, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    page = tmp_path / "page.html"
    words = ("quantize", dump, "--calibrate", folder, "--evaluate", folder, "--no-recipes", "--html", page)
    code, out, err = run(capsys, *words)
    assert (code, err) == (0, "") and "predicted" in out
    text = page.read_text("utf-8")
    assert text.startswith("<!doctype html>") and "stem.conv" in text and "<th>top-1</th><th>95%</th>" in text
    code, out, err = run(capsys, *words[:-2], "--json", "--scheme", "onnx", "--wide", "stem", "--correct-bias", "--cut")
    assert code == 0 and json.loads(out)["recipe"] == "per channel, minmax, wide stem, bias correction, cut at -3"
    code, out, err = run(capsys, *words[:-2], "--wide", "steam")
    assert code == 2 and err.startswith("npmnv3 quantize: `--wide steam`: no stored tensor is called 'steam'")


def test_pictures_that_do_not_count(dump, folder, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(folder, data)
    (data / "class_0" / "broken.png").write_bytes(b"no picture")
    shutil.copytree(data / "class_1", data / "unheard_of")
    words = ("quantize", dump, "--calibrate", folder, "--evaluate", data, "--no-recipes", "--json")
    code, out, err = run(capsys, *words)
    assert code == 1 and json.loads(out)["predicted"]["pictures"] == 6
    assert "left out: unreadable: class_0/broken.png" in err and "no class is called 'unheard_of': 1 picture" in err


def test_a_quantised_file_in_place_of_the_floats(dump, folder, tmp_path, capsys):
    """What is wanted is said, and what judges such a file; as the model, and as its weights."""
    port = tmp_path / "port.npz"
    npmnv3.quantize(dump, folder, recipes=False, out=port, shown=False)
    quantised = npmnv3.load(port, kernels="tflite-reference")
    assert quantised.side == (96, 96) == npmnv3.load(dump).side  # of the pictures, not of the published network
    for words in ((port,), ("timm/mobilenetv3_small_050", "--weights", port)):
        code, out, err = run(capsys, "quantize", *words, "--calibrate", folder)
        assert (code, out) == (2, "") and "is quantised already; give the float network" in err
        assert "`npmnv3 verify MODEL port.npz` judges a quantised file" in err


def test_what_is_compiled_changes_nothing(dump, folder, monkeypatch):
    """Numba's sums differ in the last bits, and so would the scales."""
    pytest.importorskip("numba")
    found = []
    for known in (False, True):
        monkeypatch.setattr("npmnv3.ops.compiled.compiled", lambda dtype, known=known: known)
        made = npmnv3.quantize(dump, folder, recipes=False, shown=False)
        found.append((made.text(), {name: grid.scale for name, grid in made.parameters.grids.items()}))
    assert found[0] == found[1]
