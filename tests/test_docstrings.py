"""The examples in the docstrings, which run as they stand, in a folder with the project's weights/ in it."""

import doctest
import importlib
import inspect

import goldens
import numpy as np
import pytest
import quantized_files

import npmnv3
from npmnv3.dumps.quantized import write_quantized
from npmnv3.model.quantized import QuantizedModel
from npmnv3.quantization.calibrate import Pictures, calibrate
from npmnv3.quantization.integers import quantized
from npmnv3.quantization.parameters import Recipe
from npmnv3.quantization.ranges import parse_ranges
from npmnv3.quantization.recipes import prepare
from npmnv3.quantization.simulate import Network
from npmnv3.verification.quantized.report import QuantizedReport
from npmnv3.verification.report import Report

MODULES = ("npmnv3", "npmnv3.testing", "npmnv3.pictures.recipes")
CLASSES = (npmnv3.Model, QuantizedModel, Report, QuantizedReport, npmnv3.quantization.run.Report)
#: What an example needs that may not be installed.
NEEDS = {"export_onnx": "onnx", "profile": "llvmlite"}
FLAGS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL | doctest.NORMALIZE_WHITESPACE


def documented():
    """{name: object} of everything that must have an example: functions, and the classes that the package gives and
    theirs."""
    found = {name: getattr(npmnv3, name) for name in npmnv3.__all__ if name != "__version__"}
    found = {name: value for name, value in found.items() if inspect.isfunction(value) or name == "Preprocess"}
    for value in CLASSES:
        where = f"{value.__module__}.{value.__name__}"
        found[where] = value
        for key in dir(value):
            method = inspect.getattr_static(value, key)
            if inspect.isfunction(method) and (key == "__call__" or not key.startswith("_")):
                found[f"{where}.{key}"] = method
    return found


def examples():
    """The doctests of these and of whole modules, each once."""
    finder = doctest.DocTestFinder(recurse=False, exclude_empty=True)
    whole = {name: importlib.import_module(name) for name in MODULES}
    more = {
        f"{module.__name__}.{name}": value
        for module in whole.values()
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    }
    objects = documented() | {"npmnv3.Npmnv3Error": npmnv3.Npmnv3Error} | whole | more
    tests = {id(value): test for name, value in objects.items() for test in finder.find(value, name) if test.examples}
    return list(tests.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the examples run."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "weights").symlink_to(goldens.ROOT / "weights", target_is_directory=True)
    (folder / "text_direction.tflite").symlink_to(quantized_files.FOLDER / f"{quantized_files.TEXT}.tflite")
    model = npmnv3.load("ppocr/text_direction", engine="numpy")
    pictures = Pictures(str(goldens.ROOT / "weights" / "examples" / "sign_upright.png"), model)
    network = Network.of(model, "tflite")
    _, parameters = prepare(
        network, calibrate(network, pictures, shown=False), pictures, Recipe("tflite", False, parse_ranges("minmax"))
    )
    write_quantized(folder / "text_direction.npz", quantized(model, parameters, "tflite-reference"))
    return folder


@pytest.mark.parametrize("test", examples(), ids=lambda test: test.name)
def test_examples_run(test, folder, monkeypatch):
    if module := NEEDS.get(test.name.rpartition(".")[2]):
        pytest.importorskip(module)
    monkeypatch.chdir(folder)
    told = []
    test.globs = {"npmnv3": npmnv3, "np": np}
    failed = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=told.append).failed
    assert not failed, "".join(told)


@pytest.mark.parametrize(("name", "value"), documented().items(), ids=documented())
def test_all_that_is_public_has_an_example(name, value):
    own = value.__doc__ or ""
    assert ">>> " in own, f"{name} has no example"
