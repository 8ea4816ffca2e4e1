"""The package's type hints, and its lint, by the tools that read them."""

import importlib.util
import inspect
import pathlib
import re
import subprocess
import sys

import goldens
import numpy as np
import pytest

import npmnv3
from npmnv3.model.quantized import QuantizedModel
from npmnv3.verification.quantized.report import QuantizedReport
from npmnv3.verification.report import Report, TensorReport

CONSUMER = goldens.ROOT / "tests" / "helpers" / "consumer.py"
MISTAKES = goldens.ROOT / "tests" / "helpers" / "consumer_mistakes.py"
FIRST_MISTAKE = 6  # its line


def tool(name):
    """The command that runs a tool of the extra `test`."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"needs {name}, which is not here: pip install {name}")
    return [sys.executable, "-m", name]


def run(command, folder=goldens.ROOT):
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    return done.returncode, done.stdout + done.stderr


def test_mypy(tmp_path):
    """Nothing in the public face; nor in a strict program, checked without the settings; all that is wrong in another.

    One test, as the first run fills the cache for the others.
    """
    if int(np.__version__.partition(".")[0]) < 2:
        pytest.skip("the hints are held against NumPy 2's: those of NumPy 1 say less of arrays")
    cache = f"--cache-dir={tmp_path}"
    code, told = run([*tool("mypy"), cache])
    assert code == 0, told
    strict = [*tool("mypy"), "--config-file=", cache, "--strict", "--follow-imports=silent"]
    code, told = run([*strict, str(CONSUMER), str(MISTAKES)])
    found = {(pathlib.Path(file).name, int(line)) for file, line in re.findall(r"^(.+?):(\d+): error:", told, re.M)}
    lines = len(MISTAKES.read_text().splitlines())
    assert code == 1 and found == {(MISTAKES.name, line) for line in range(FIRST_MISTAKE, lines + 1)}, told


def test_ruff_finds_nothing():
    for command in (["check", "."], ["format", "--check", "."]):
        code, told = run([*tool("ruff"), *command, "--no-cache"])
        assert code == 0, told


def public_functions():
    """(name, function) of all that the package gives, and of the methods of what these give."""
    found = {name: getattr(npmnv3, name) for name in npmnv3.__all__ if name != "__version__"}
    classes = [value for value in found.values() if inspect.isclass(value)]
    classes += [QuantizedModel, Report, TensorReport, QuantizedReport, npmnv3.quantization.run.Report]
    for value in classes:
        for key in dir(value):
            function = inspect.getattr_static(value, key)
            function = getattr(function, "fget", None) or getattr(function, "func", None) or function
            if inspect.isfunction(function) and (key in ("__init__", "__call__") or not key.startswith("_")):
                found[f"{value.__name__}.{key}"] = function
    return [(name, value) for name, value in found.items() if inspect.isfunction(value)]


@pytest.mark.parametrize(("name", "function"), public_functions())
def test_every_public_function_has_its_hints(name, function):
    """Dataclasses' own __init__ has those of the fields."""
    signature = inspect.signature(function)
    missing = [
        p.name for p in signature.parameters.values() if p.annotation is p.empty and p.name not in ("self", "cls")
    ]
    assert not missing, f"{name} does not say what {missing} are"
    assert signature.return_annotation is not signature.empty, f"{name} does not say what it returns"


def test_the_package_says_that_it_is_typed():
    assert (pathlib.Path(npmnv3.__file__).parent / "py.typed").is_file()
    assert "npmnv3 = py.typed" in (goldens.ROOT / "setup.cfg").read_text()
