"""Linear layers whose weights are kept in 16 bits: the arithmetic is float32's, on the rounded weights."""

import json
import pickle

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from random_networks import plan_maker, random_params

import npmnv3
from npmnv3.cli import main
from npmnv3.engines.llvm import LlvmEngine, compiler
from npmnv3.errors import UsageError
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant

SMALL = "torchvision/mobilenet_v3_small"
TEXT = "ppocr/text_direction"


@pytest.fixture(scope="module")
def params():
    return random_params(make_plan(get_variant(SMALL)), np.random.default_rng(0))


@pytest.fixture(scope="module")
def rounded(params):
    """The same with the weights of linear layers rounded by hand; no norm follows them here, nor a factor."""
    linear = [step.param("weight").name for step in make_plan(get_variant(SMALL)) if step.op == "linear"]
    return params | {name: params[name].astype(np.float16).astype(np.float32) for name in linear}


@pytest.mark.parametrize("width", ["", "4", "8", "16"])
def test_the_bits_are_those_of_rounded_weights(width, params, rounded, monkeypatch):
    monkeypatch.setenv("NPMNV3_VECTOR", width)
    x = np.random.default_rng(1).standard_normal((6, 3, 64, 96)).astype(np.float32)
    narrow = npmnv3.load(SMALL, params, engine="llvm", weight_dtype="float16")
    exact, wide = (npmnv3.load(SMALL, weights, engine="llvm") for weights in (rounded, params))
    logits = narrow(x)
    assert np.array_equal(logits, exact(x)) and not np.array_equal(logits, wide(x))
    assert np.array_equal(narrow.features(x), exact.features(x))
    assert np.array_equal(np.concatenate([narrow(x[i : i + 1]) for i in range(len(x))]), logits)


def test_every_command_is_within_its_buffers(params, monkeypatch):
    monkeypatch.setenv("NPMNV3_DEBUG", "1")
    x = np.random.default_rng(1).standard_normal((5, 3, 33, 65)).astype(np.float32)
    narrow = npmnv3.load(SMALL, params, engine="llvm", weight_dtype="float16", threads=2)
    assert np.array_equal(narrow(x)[2:3], narrow(x[2:3]))


def test_half_the_bytes(params):
    maker = plan_maker(get_variant(SMALL))
    wide, narrow = (LlvmEngine(maker, params, weight_dtype=name).weight_bytes for name in ("float32", "float16"))
    linear = [step.param("weight") for step in make_plan(get_variant(SMALL)) if step.op == "linear"]
    saved = sum(2 * np.prod(weight.shape) for weight in linear)
    assert saved <= wide - narrow < 1.1 * saved


def test_a_copy_is_as_narrow(params):
    model = npmnv3.load(SMALL, params, engine="llvm", weight_dtype="float16")
    again = pickle.loads(pickle.dumps(model))
    assert again.weight_dtype == "float16"
    assert repr(again) == f"<npmnv3.Model {SMALL}, 1000 classes, llvm float32, float16 weights>"


def test_what_cannot_be(params, monkeypatch):
    with pytest.raises(UsageError, match="weight_dtype is 'float8', expected one of float32, float16"):
        npmnv3.load(SMALL, params, weight_dtype="float8")
    with pytest.raises(UsageError, match="the engine llvm alone has, but the engine here is numpy"):
        npmnv3.load(SMALL, params, engine="numpy", weight_dtype="float16")
    large = params | {"classifier.3.weight": params["classifier.3.weight"] + np.float32(7e4)}
    with pytest.raises(UsageError, match="logits has a weight of 7.*, beyond its 65504"):
        npmnv3.load(SMALL, large, engine="llvm", weight_dtype="float16")
    import llvmlite.binding as llvm

    features = {"avx2": True, "fma": True, "f16c": False}
    monkeypatch.setattr(llvm, "get_host_cpu_features", lambda: features)
    monkeypatch.setattr(compiler.platform, "machine", lambda: "x86_64")
    with pytest.raises(UsageError, match="this processor cannot widen such weights"):
        compiler._library.__wrapped__("", True)


def test_info_tells_what_it_changes(capsys):
    assert main(["info", TEXT, "--weight-dtype", "float16", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["weight_dtype"]
    assert told["dtype"] == "float16" and told["pictures"] == 8
    assert 0 < told["largest_change"] < 0.1 * told["spread"]
    assert main(["info", SMALL, "--weight-dtype", "float16"]) == 0
    assert "not measured, as this network's weights are not here" in capsys.readouterr().out


def test_commands_take_it(capsys):
    picture = "weights/examples/sign_upright.png"
    assert main(["predict", picture, "--weight-dtype", "float16"]) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()][-2:] == ["0", "180"]
    assert main(["profile", TEXT, "--rounds", "1", "--weight-dtype", "float16"]) == 0
    assert "of one core's peak rate" in capsys.readouterr().out
    assert main(["predict", picture, "--weight-dtype", "float16", "--engine", "numpy"]) == 2
    assert "`--weight-dtype float16` is what the engine llvm alone has" in capsys.readouterr().err
