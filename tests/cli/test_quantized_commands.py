"""The commands on a quantised dump, with --kernels."""

import json

import goldens
import numpy as np
import pytest
import quantized_files
from command_line import run

import npmnv3
from npmnv3.cli import COMMANDS
from npmnv3.ops.kernel_sets import KERNEL_SETS

EXAMPLES = sorted((goldens.ROOT / "weights" / "examples").glob("*.png"))


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    return quantized_files.dump(quantized_files.TEXT, tmp_path_factory.mktemp("dump"))


def test_predict(dump, capsys):
    model = npmnv3.load(dump, kernels="xnnpack")
    code, out, _ = run(
        capsys, "predict", "--model", dump, "--kernels", "xnnpack", "--json", "--top", "1", *EXAMPLES[:2]
    )
    rows = [json.loads(line)["predictions"] for line in out.splitlines()]
    assert code == 0 and len(rows) == 2
    for row, [(index, label, probability)] in zip(rows, model.predict(EXAMPLES[:2], top=1)):
        assert row == [{"index": index, "label": label, "probability": probability}]


def test_trace(dump, tmp_path, capsys):
    """Real values, and the integers that TensorFlow Lite stored."""
    integers, x = quantized_files.golden(quantized_files.TEXT)
    np.save(tmp_path / "x.npy", x)
    base = ["trace", dump, "--kernels", "tflite-reference", "--input", tmp_path / "x.npy"]
    code, out, _ = run(capsys, *base, "--integers", "-o", tmp_path / "q.npz")
    assert code == 0 and "114 tensors" in out
    assert run(capsys, *base, "-o", tmp_path / "real.npz")[0] == 0
    model = npmnv3.load(dump, kernels="tflite-reference")
    with np.load(tmp_path / "q.npz") as stored, np.load(tmp_path / "real.npz") as real:
        assert json.loads(str(stored["__npmnv3__"]))["kernels"] == "tflite-reference"
        for step, expected in zip(model.plan.steps, integers.values()):
            assert stored[step.name].dtype == np.int8 and real[step.name].dtype == np.float32
            np.testing.assert_array_equal(stored[step.name].ravel(), expected.ravel(), step.name)
            np.testing.assert_array_equal(real[step.name], model.plan.grids[step.name].dequantize(stored[step.name]))
    code, _, err = run(capsys, "trace", "ppocr/text_direction", "--integers", "--input", EXAMPLES[0])
    assert code == 2 and "not quantised: there are no integers" in err


def test_info(dump, capsys):
    code, out, _ = run(capsys, "info", dump)
    row = next(line.split() for line in out.splitlines() if line.startswith("stem.conv "))
    assert code == 0 and row == "stem.conv conv2d 8x24x96 int8 0.0664493 5 8 channels, 0.002453 to 0.01314".split()
    assert (
        "113 steps, 124,072 weights of 8 bits" in out and "input 3x48x192 int8, scale 0.00784314, zero point -1" in out
    )
    code, out, _ = run(capsys, "info", dump, "--json", "--kernels", "tflite-optimized")
    steps = {step["name"]: step for step in json.loads(out)["steps"]}
    assert steps["stem.conv"]["rule"] == "up" and len(steps["stem.conv"]["weight"]["scale"]) == 8
    assert steps["blocks.0.se.squeeze"]["act"] == "relu" and steps["stem"]["zero_point"] == -117
    code, _, err = run(capsys, "info", dump, "--side", "64")
    assert code == 2 and "is quantised: its classes and its input are what they are" in err
    code, _, err = run(capsys, "info", "ppocr/text_direction", "--kernels", "xnnpack")
    assert code == 2 and "--kernels is for quantised dumps" in err


@pytest.mark.parametrize("command", [("profile",), ("export", "-o", "x.onnx")])
def test_what_is_of_floats(command, dump, capsys):
    """It says so, and does not ask for a kernel set, of which it has no option."""
    code, _, err = run(capsys, *command, dump)
    assert code == 2 and f"{dump} is quantised" in err and "kernels" not in err


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "--model", "DUMP", EXAMPLES[0]),
        ("trace", "DUMP", "--input", EXAMPLES[0]),
        ("evaluate", "DUMP", EXAMPLES[0].parent),
        ("agree", "ppocr/text_direction", "DUMP", EXAMPLES[0].parent),
    ],
    ids=lambda command: command[0],
)
def test_without_a_kernel_set_nothing_is_computed(dump, command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    extra = ["--labels", labels(tmp_path)] if command[0] == "evaluate" else []
    code, out, err = run(capsys, *[dump if word == "DUMP" else word for word in command], *extra)
    assert code == 2 and "whose int8?" in err and "--kernels" in err and all(name in err for name in KERNEL_SETS)
    code, _, err = run(capsys, *[dump if word == "DUMP" else word for word in command], *extra, "--kernels", "mine")
    assert code == 2 and "invalid choice: 'mine'" in err


def labels(folder):
    """A file with the classes of the six examples."""
    path = folder / "lines.csv"
    rows = [f"{file.name},{0 if 'upright' in file.name else 1}" for file in EXAMPLES]
    path.write_text("\n".join(["file,label", *rows]) + "\n")
    return path


def test_evaluate_by_several_kernel_sets(dump, tmp_path, capsys):
    base = ["evaluate", dump, dump, EXAMPLES[0].parent, "--labels", labels(tmp_path), "--json"]
    code, out, _ = run(capsys, *base, "--kernels", "tflite-reference", "--kernels", "xnnpack")
    results = {result["model"]: result for result in json.loads(out)}
    assert code == 0 and {result["pictures"] for result in results.values()} == {6}
    for kernels in ("tflite-reference", "xnnpack"):
        answers = npmnv3.load(dump, kernels=kernels).predict(EXAMPLES, top=1)
        right = sum(best[0][0] == int("upside" in file.name) for file, best in zip(EXAMPLES, answers))
        assert results[f"ppocr/text_direction [{kernels}]"]["top1"] == pytest.approx(100 * right / 6)
    code, _, err = run(capsys, *base, "--kernels", "tflite-reference")
    assert code == 2 and "the same model twice" in err
    code, _, err = run(capsys, *base, *(["--kernels", "xnnpack"] * 3))
    assert code == 2 and "3 --kernels for 2 models" in err
    code, _, err = run(capsys, "evaluate", "ppocr/text_direction", EXAMPLES[0].parent, "--kernels", "xnnpack")
    assert code == 2 and "--kernels is for quantised dumps" in err


def test_agree(dump, capsys):
    code, out, _ = run(capsys, "agree", dump, dump, EXAMPLES[0].parent, "--kernels", "xnnpack", "--json")
    assert code == 0 and json.loads(out)["largest_difference"]["value"] == 0
    names = ["--kernels-a", "tflite-reference", "--kernels-b", "xnnpack", "--json"]
    code, out, _ = run(capsys, "agree", dump, dump, EXAMPLES[0].parent, *names)
    result = json.loads(out)
    a, b = (
        np.concatenate([npmnv3.load(dump, kernels=k)(x) for x in inputs()]) for k in ("tflite-reference", "xnnpack")
    )
    assert code == 0 and result["largest_difference"]["value"] == np.abs(a.astype(float) - b).max() > 0
    assert result["model_b"] == "ppocr/text_direction [xnnpack]"
    code, out, _ = run(
        capsys, "agree", "ppocr/text_direction", dump, EXAMPLES[0].parent, "--kernels", "xnnpack", "--json"
    )
    assert code == 0 and json.loads(out)["model_a"] == "ppocr/text_direction"


def inputs():
    return [npmnv3.preprocess(file, "ppocr")[None] for file in EXAMPLES]


def test_every_command_that_loads_a_network_takes_a_kernel_set(capsys):
    """So that nobody who has a quantised dump is told to name one and cannot."""
    for command in COMMANDS:
        code, out, _ = run(capsys, command, "--help")
        taken = command in (
            "predict", "evaluate", "agree", "convert", "freeze", "trace", "vectors", "info", "verify", "quantize"
        )  # fmt: skip
        assert code == 0 and (taken or "--kernels" not in out), command
        assert "--kernels" in out or not taken or command in ("verify", "quantize"), command


@pytest.mark.parametrize("letter", "ab")
def test_agree_names_no_kernels_for_floats(letter, dump, capsys):
    models = ("ppocr/text_direction", dump) if letter == "a" else (dump, "ppocr/text_direction")
    code, _, err = run(capsys, "agree", *models, EXAMPLES[0].parent, "--kernels-a", "xnnpack", "--kernels-b", "xnnpack")
    assert code == 2 and f"--kernels-{letter}: MODEL_{letter.upper()} is not quantised" in err
