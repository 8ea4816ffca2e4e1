"""The command line, as a user meets it."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import goldens
import numpy as np
import pytest
from command_line import run
from states import random_state

import npmnv3

EXAMPLES = goldens.ROOT / "weights" / "examples"


def test_names_and_labels_steer_no_terminal(capsys, tmp_path):
    model, evil = npmnv3.load("ppocr/text_direction"), "\x1b[31mred\u202e\x9b2J"
    npmnv3.write_dump(tmp_path / "evil.h5", model.params, model="ppocr/text_direction", labels=[evil, evil])
    picture = tmp_path / f"a{evil}.png"
    shutil.copy(EXAMPLES / "hello_upright.png", picture)
    code, out, err = run(capsys, "predict", "--model", tmp_path / "evil.h5", picture)
    assert code == 0 and out.count("\\x1b[31mred\\u202e\\x9b2J") == 3
    code, more, err = run(capsys, "predict", f"nowhere{evil}.png")
    assert "nowhere\\x1b[31m" in err and not {"\x1b", "\u202e", "\x9b"} & {*out, *more, *err}


SPOOF = "\nSPOOF"
AS_WORDS = (
    ("predict", f"{SPOOF}/x{SPOOF}.png", f"bad{SPOOF}.png", f"pictures/good{SPOOF}.png"),
    ("predict", "pictures"),
    ("info", f"bad{SPOOF}.png"),
    ("identify", f"dump{SPOOF}.h5"),
    ("convert", f"dump{SPOOF}.h5", "-o", f"out{SPOOF}.npz"),
    ("convert", f"dump{SPOOF}.h5", "-o", f"nowhere{SPOOF}/out.npz"),
    ("evaluate", f"dump{SPOOF}.h5", "pictures", "--labels", f"labels{SPOOF}.csv"),
    ("agree", "ppocr/text_direction", f"dump{SPOOF}.h5", "pictures"),
    ("quantize", "ppocr/text_direction", "--calibrate", "pictures"),
    ("predict", f"--nope={SPOOF}", "x"),
)


@pytest.mark.parametrize("words", AS_WORDS, ids=lambda words: words[0])
def test_a_line_break_in_a_name_makes_no_line(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(goldens.ROOT / "weights" / "ppocr--text_direction.h5", f"dump{SPOOF}.h5")
    os.mkdir("pictures")
    shutil.copy(EXAMPLES / "hello_upright.png", f"pictures/good{SPOOF}.png")
    for name in (f"bad{SPOOF}.png", f"pictures/bad{SPOOF}.png", f"pictures/none{SPOOF}.txt"):
        Path(name).write_text("x")
    Path(f"labels{SPOOF}.csv").write_text(f'file,label\n"good{SPOOF}.png",0\n"bad{SPOOF}.png",0\n')
    _, out, err = run(capsys, *words)
    assert "SPOOF" in out + err
    assert not [line for line in (out + err).splitlines() if line.startswith("SPOOF")], out + err


def test_info_of_a_dump_is_that_of_its_network(capsys):
    by_name = run(capsys, "info", "ppocr/text_direction")
    assert run(capsys, "info", goldens.ROOT / "weights" / "ppocr--text_direction.h5") == by_name and by_name[0] == 0


def test_commands_take_the_side_of_the_dumps_own_recipe(capsys, tmp_path):
    """What is exported, counted and timed is what its pictures are prepared for, not the published network's input."""
    dump, name = tmp_path / "own.npz", "ppcls/MobileNetV3_small_x0_35"
    npmnv3.write_dump(dump, random_state(name), model=name, preprocess=npmnv3.Preprocess("own", side=(64, 96)))
    info = json.loads(run(capsys, "info", dump, "--json")[1])
    assert info["steps"][0]["shape"] == [8, 32, 48]
    if importlib.util.find_spec("llvmlite"):
        rows = json.loads(run(capsys, "profile", dump, "--rounds", "1", "--json")[1])
        assert sum(row["macs"] for row in rows) == info["macs"]
    if importlib.util.find_spec("onnx"):
        assert "input 1x3x64x96" in run(capsys, "export", dump, "-o", tmp_path / "own.onnx")[1]


def test_list(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0 and out.count("ppcls/") == 13 and "timm/mobilenetv3_rw" in out and "100.66 MFLOPs is wrong" in out
    code, out, _ = run(capsys, "list", "torchvision/*", "--json")
    rows = json.loads(out)
    assert [row["model"] for row in rows] == ["torchvision/mobilenet_v3_small", "torchvision/mobilenet_v3_large"]
    assert rows[0]["macs"] == 56_510_400 and rows[0]["params"] == 2_542_856 and rows[0]["top1"] == 67.668
    assert rows[0]["note"] and rows[0]["checkpoint_sha256_prefix"] == "047dcff4"


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("nothing*", "`npmnv3 list` prints them all"),
        ("torchvision", "'torchvision*' matches 2"),
        ("torchvison/mobilenet_v3_smal", "nearest: torchvision/mobilenet_v3_small"),
    ],
)
def test_a_pattern_that_nothing_matches(pattern, hint, capsys):
    for words in ([pattern], [pattern, "--json"]):
        code, out, err = run(capsys, "list", *words)
        assert (code, out) == (2, "") and err.startswith(f"npmnv3 list: no model matches {pattern!r}; ") and hint in err


def test_a_url_that_is_not_fetched(capsys):
    code, _, err = run(capsys, "predict", "--fetch", "ftp://nowhere/x.png")
    assert (
        code == 1
        and "ftp://nowhere/x.png: neither a file nor a URL that is fetched: those are of http and https" in err
    )


def test_what_is_one_is_not_said_to_be_many(capsys, tmp_path):
    picture = EXAMPLES / "hello_upright.png"
    words = ["trace", "ppocr/text_direction", "--input", picture, "--only", "logits", "--out", tmp_path / "a.npz"]
    assert ": 1 tensor, " in run(capsys, *words)[1]
    words = [
        "vectors",
        "ppocr/text_direction",
        "--format",
        "npy",
        "--dry-run",
        "--only",
        "logits",
        "--out",
        tmp_path / "a",
    ]
    assert run(capsys, *words)[1].startswith("1 step, ")
    words = ["freeze", "ppocr/text_direction", "--pictures", picture, "--out", tmp_path / "a.pyz"]
    assert "on 1 picture:" in run(capsys, *words)[1]
    words = ["quantize", "ppocr/text_direction", "--no-recipes", "--calibrate", picture, "--output", tmp_path / "q.npz"]
    assert "calibrated on 1 picture\n" in run(capsys, *words)[1] and (tmp_path / "q.npz").is_file()


def test_info(capsys):
    code, out, _ = run(capsys, "info", "keras/MobileNetV3Small", "--classes", "10", "--side", "225")
    assert code == 0 and "blocks.3.gate" in out and "225x225" in out
    code, out, _ = run(capsys, "info", "torchvision/mobilenet_v3_large", "--json")
    info = json.loads(out)
    assert info["macs"] == sum(step["macs"] for step in info["steps"]) == 216_589_760
    assert info["steps"][0]["param_names"] == ["features.0.0.weight"] and info["steps"][-1]["shape"] == [1000]
    if importlib.util.find_spec("llvmlite"):
        assert (
            3.9 * info["params"] <= info["packed_weight_bytes"]
            and 0 < info["workspace_bytes"] < info["batch_workspace_bytes"] < 1e7
        )
    code, _, err = run(capsys, "info", "torchvision/mobilenet_v3_larg")
    assert code == 2 and "nearest: torchvision/mobilenet_v3_large" in err


def test_profile(capsys):
    pytest.importorskip("llvmlite")
    code, out, _ = run(capsys, "profile", "torchvision/mobilenet_v3_small", "--rounds", "2", "--json")
    rows = json.loads(out)
    assert code == 0 and sum(row["macs"] for row in rows) == 56_510_400 and rows[-1]["name"] == "logits"
    code, out, _ = run(capsys, "profile", "--rounds", "1", "--side", "48", "100")
    assert code == 0 and "of one core's peak rate" in out
    assert run(capsys, "profile", "--rounds", "0")[0] == run(capsys, "profile", "--side", "1", "2", "3")[0] == 2


@pytest.mark.parametrize("words", ["info MODEL", "profile MODEL", "export MODEL -o x.onnx"])
def test_an_input_beyond_all_pictures_is_refused(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = words.replace("MODEL", "ppocr/text_direction").split()
    code, _, err = run(capsys, *words, "--side", "64", "1000000")
    assert code == 2 and "--side 1000000, expected at most 8192 pixels" in err and not os.listdir(tmp_path)


def test_predict(capsys):
    code, out, _ = run(capsys, "predict", EXAMPLES)
    assert code == 0
    blocks = [line for line in out.splitlines() if not line.startswith(" ")]
    assert blocks == sorted(str(p) for p in EXAMPLES.glob("*.png"))
    code, out, _ = run(capsys, "predict", "--json", "--top", "1", EXAMPLES / "hello_upside_down.png")
    row = json.loads(out)
    assert code == 0 and row["file"].endswith("hello_upside_down.png")
    assert (
        row["predictions"][0]["label"] == "180" and row["predictions"][0]["index"] == 1 and len(row["predictions"]) == 1
    )


def test_predict_names_the_folders_that_it_passes_over(capsys, tmp_path):
    for folder in ("", ".ipynb_checkpoints"):
        (tmp_path / folder).mkdir(exist_ok=True)
        shutil.copy(EXAMPLES / "hello_upright.png", tmp_path / folder / "a.png")
    code, out, err = run(capsys, "predict", "--json", tmp_path)
    assert code == 0 and len(out.splitlines()) == 1
    assert f"{tmp_path}: left out: 1 folder, hidden or a tool's: .ipynb_checkpoints" in err


def test_predict_goes_on_after_a_picture_it_cannot_read(capsys, tmp_path):
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "übung mit leerzeichen.png").write_bytes((EXAMPLES / "hello_upright.png").read_bytes())
    (tmp_path / "empty folder").mkdir()
    code, out, err = run(capsys, "predict", "--json", tmp_path, tmp_path / "empty folder", "nowhere.png")
    rows = {json.loads(line)["file"]: json.loads(line) for line in out.splitlines()}
    assert code == 1 and len(rows) == 5
    assert [name for name, row in rows.items() if "predictions" in row] == [str(tmp_path / "übung mit leerzeichen.png")]
    for name, row in rows.items():
        assert "predictions" in row or (name in row["error"] and row["error"] in err)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["predict", "--model", "timm/mobilenetv3_rw", "x.png"], "weights of timm/mobilenetv3_rw are not here"),
        (["predict", "--weights", "nowhere.h5", "x.png"], "nowhere.h5: no such dump"),
        (["predict", "--top", "0", "x.png"], "`--top 0`, expected a whole number from 1"),
        (["predict", "--model", "gone.onnx", "x.png"], "gone.onnx: no such dump; give the path of one"),
        (["predict", "--model", "weights/gone", "x.png"], "weights/gone: no such dump"),
        (["predict", "--model", "torchvison/mobilenet_v3_small", "x.png"], "nearest: torchvision/mobilenet_v3_small"),
        (["info", "gone.h5"], "gone.h5: no such dump"),
        (["info", "weights"], "weights: a folder, not a file"),
        (
            ["info", "weights/ppocr--text_direction.h5", "--classes", "5"],
            "info: weights/ppocr--text_direction.h5 does not",
        ),
        (["predict", "--model", "", "x.png"], "argument --model: is empty, expected a value"),
        (["predict", "--weights", "", "x.png"], "argument --weights: is empty"),
        (["freeze", "ppocr/text_direction", "-o", ""], "argument --output: is empty"),
        (["convert", "x.h5", "-o", ""], "argument --output: is empty"),
        (["quantize", "ppocr/text_direction", "--calibrate", "x", "--kernels", "foo"], "invalid choice: 'foo'"),
        (["quantize", "ppocr/text_direction", "--calibrate", "x", "--kernels", "xnnpack"], "name --output too"),
        (
            ["warmup", "--engine", "numba", "--weight-dtype", "float16"],
            "--weight-dtype float16 is what the engine llvm",
        ),
        (["agree", *["ppocr/text_direction"] * 2, "weights/examples", "--workers", "0"], "`--workers 0`, expected"),
        (["agree", *["ppocr/text_direction"] * 2, "weights/examples", "--batch", "0"], "`--batch 0`, expected"),
        (["predict"], "the following arguments are required"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        ([], "required"),
    ],
)
def test_usage_errors(capsys, argv, message, monkeypatch):
    monkeypatch.chdir(goldens.ROOT)
    code, _, err = run(capsys, *argv)
    assert code == 2 and message in err


def test_module_and_closed_pipe():
    command = f"{sys.executable} -m npmnv3 list | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=goldens.ROOT)
    # Whether all of it was written before the reader went is a matter of time; `test_writing` has it for certain.
    assert done.stdout.startswith("model") and done.stderr == ""


def test_a_file_whose_name_is_no_text(tmp_path):
    """Where the output takes UTF-8 alone it is escaped, and stays the same file in JSON."""
    name = os.fsencode(tmp_path) + b"/\xff \xc3\xa9.png"
    try:
        shutil.copy(EXAMPLES / "hello_upright.png", name)
    except OSError:
        pytest.skip("this file system takes only names that are text")
    for encoding in ("utf-8:strict", "ascii:strict"):
        env = {**os.environ, "PYTHONIOENCODING": encoding}
        command = [sys.executable, "-m", "npmnv3", "predict", "--engine", "numpy", name]
        plain, as_json = (
            subprocess.run([*command, *more], env=env, cwd=goldens.ROOT, capture_output=True)
            for more in ([], ["--json"])
        )
        assert (plain.returncode, as_json.returncode) == (0, 0), plain.stderr + as_json.stderr
        assert b"\\udcff" in plain.stdout and os.fsencode(json.loads(as_json.stdout)["file"]) == name


def test_verify_writes_json_whatever_the_terminal_takes(tmp_path):
    model = npmnv3.load("ppocr/text_direction", engine="numpy")
    x = npmnv3.preprocess(EXAMPLES / "hello_upright.png", model)[None]
    np.savez(tmp_path / "port.npz", **{"input": x, "logits": model(x), "Größe": np.ones(7, np.float32)})
    words = ["verify", "ppocr/text_direction", tmp_path / "port.npz", "--no-explain", "--json"]
    env = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run([sys.executable, "-m", "npmnv3", *words], env=env, cwd=goldens.ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "Größe" in str(json.loads(done.stdout))


def test_options_name_what_engines_there_are():
    """The parser has names of its own, as the engines' room loads NumPy."""
    from npmnv3 import engines
    from npmnv3.cli import arguments

    assert arguments.ENGINES == engines.ENGINES and arguments.WEIGHT_DTYPES == engines.WEIGHT_DTYPES


@pytest.mark.parametrize("said", ["", "Unable to allocate 72.8 TiB"])
def test_too_little_memory_is_one_line(said, capsys, monkeypatch):
    def exhausted(args):
        raise MemoryError(said)

    monkeypatch.setattr("npmnv3.cli.list_command.run", exhausted)
    code, out, err = run(capsys, "list")
    assert (code, out) == (1, "") and err == f"npmnv3 list: there is not enough memory{said and ': '}{said}\n"
