"""Where NumPy is all there is: `python -I -S` with NumPy's folder, and the package's, on the path."""

import json
import os
import subprocess
import sys

import goldens
import numpy as np
import pytest

import npmnv3
from npmnv3.freezing import freeze

EXAMPLES = sorted((goldens.ROOT / "weights" / "examples").glob("*.png"))
DUMP = goldens.ROOT / "weights" / "ppocr--text_direction.h5"


@pytest.fixture(scope="module")
def model():
    return npmnv3.load("ppocr/text_direction", engine="numpy")


@pytest.fixture(scope="module")
def alone(model, tmp_path_factory):
    """A folder with NumPy and nothing else, and beside it a frozen classifier and a dump as .npz."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "path").mkdir()
    home = os.path.dirname(np.__path__[0])
    for name in ("numpy", "numpy.libs"):
        if os.path.isdir(os.path.join(home, name)):
            os.symlink(os.path.join(home, name), folder / "path" / name)
    freeze(model, folder / "classifier.pyz")
    npmnv3.write_dump(folder / "dump.npz", model.params, model="ppocr/text_direction", labels=model.labels)
    return folder


def run(alone, code, *arguments):
    """What a bare Python prints for `code`, with the arguments in sys.argv[1:]."""
    head = f"import sys; sys.path[:0] = {[str(alone / 'path'), str(goldens.ROOT)]}\n"
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", head + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def cli(alone, *arguments):
    """(exit code, standard output and error) of `npmnv3 ARGUMENTS...`."""
    code = "from npmnv3.cli import main\nsys.stderr = sys.stdout\nprint(main(sys.argv[1:]))"
    *lines, status = run(alone, code, *arguments).splitlines()
    return int(status), "\n".join(lines)


@pytest.mark.parametrize("package", ["h5py", "PIL", "tqdm", "numba", "llvmlite"])
def test_nothing_else_is_there(alone, package):
    assert "No module named" in run(
        alone, f"try:\n    import {package}\nexcept ImportError as error:\n    print(error)"
    )


def test_pictures_and_logits_are_the_same_bits(alone, model):
    code = """
import npmnv3
model = npmnv3.load(sys.argv[1], engine="numpy")
for picture in sys.argv[2:]:
    x = npmnv3.preprocess(picture, model)
    print(x.tobytes().hex(), model(x[None]).tobytes().hex())
"""
    for picture, line in zip(EXAMPLES, run(alone, code, alone / "dump.npz", *EXAMPLES).splitlines(), strict=True):
        x = npmnv3.preprocess(picture, model)
        assert line.split() == [x.tobytes().hex(), model(x[None]).tobytes().hex()], picture


def test_frozen_file(alone, model):
    code = """
import runpy
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    bare = run(
        alone,
        f"try:{code.replace(chr(10), chr(10) + ' ')}\nexcept SystemExit as stop:\n print(stop.code)",
        alone / "classifier.pyz",
        "--json",
        *EXAMPLES,
    )
    *rows, status = bare.splitlines()
    assert status == "0" and len(rows) == len(EXAMPLES)
    with_pillow = subprocess.run(
        [sys.executable, alone / "classifier.pyz", "--json", *EXAMPLES], capture_output=True, text=True
    )
    assert rows == with_pillow.stdout.splitlines()
    for row, [(_, label, probability)] in zip(rows, model.predict(EXAMPLES, top=1)):
        best = json.loads(row)["predictions"][0]
        assert best["label"] == label and abs(best["probability"] - probability) < 1e-4


def test_command_line(alone):
    assert cli(alone, "list", "timm/*")[0] == 0
    status, out = cli(alone, "info", "timm/mobilenetv3_small_050")
    assert status == 0 and "of tensors at most" in out
    status, out = cli(alone, "predict", "--weights", alone / "dump.npz", "--json", *EXAMPLES)
    labels = [json.loads(line)["predictions"][0]["label"] for line in out.splitlines() if line.startswith("{")]
    assert status == 0 and labels == ["0", "180"] * 3
    status, out = cli(alone, "freeze", alone / "dump.npz", "--pictures", EXAMPLES[0], "-o", alone / "frozen.pyz")
    assert status == 0 and "first answers the same 1 of 1" in out


def test_what_is_missing_is_named(alone, tmp_path):
    status, out = cli(alone, "predict", "--weights", DUMP, EXAMPLES[0])
    assert status == 0, "HDF5 is read without h5py"
    status, out = cli(alone, "convert", DUMP, "-o", tmp_path / "x.h5")
    assert status == 2 and "h5py" in out and "pip install h5py" in out and not list(tmp_path.iterdir())
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0 a JPEG file")
    status, out = cli(alone, "predict", "--weights", alone / "dump.npz", tmp_path / "a.jpg")
    assert status == 1 and "pip install pillow" in out
    status, out = cli(alone, "predict", "--weights", alone / "dump.npz", "--engine", "llvm", EXAMPLES[0])
    assert status == 2 and "pip install numba llvmlite" in out
