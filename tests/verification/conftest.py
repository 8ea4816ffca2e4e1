"""A small network of random weights, and ports of it; files that want another have a `maker` of their own."""

import functools

import faulty_ports
import numpy as np
import pytest

import npmnv3
from npmnv3.verification import diagnosis

MODEL = "ppcls/MobileNetV3_small_x0_35"


@pytest.fixture(scope="module")
def maker():
    return faulty_ports.Maker(MODEL, np.random.default_rng(9).integers(0, 256, (256, 256, 3), np.uint8), side=96)


@pytest.fixture(scope="module")
def model(maker):
    return npmnv3.load(MODEL, maker.state, engine="numpy")


@pytest.fixture
def short_search(monkeypatch):
    """For ports that no fault explains, where the whole search takes ten seconds."""
    monkeypatch.setattr(diagnosis, "Budget", functools.partial(diagnosis.Budget, 100.0))
