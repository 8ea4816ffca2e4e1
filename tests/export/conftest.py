"""Quantised networks, and the vectors of one."""

import pytest
import quantized_files

import npmnv3
from npmnv3.export.vectors import make_integer_kit


@pytest.fixture(scope="module")
def dumps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dumps")
    return {name: quantized_files.dump(name, folder) for name in (quantized_files.TEXT, quantized_files.SMALL)}


@pytest.fixture(scope="module")
def kit(dumps):
    model = npmnv3.load(dumps[quantized_files.TEXT], kernels="tflite-reference", engine="numpy")
    return make_integer_kit(model, quantized_files.golden(quantized_files.TEXT)[1])
