"""Linear layers whose weights are kept in 16 bits: the arithmetic is float32's, on the rounded weights."""

import copy
import json
import pickle
import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import goldens
from random_networks import plan_maker, random_params

import npmnv3
from npmnv3.cli import main
from npmnv3.engines.llvm import LlvmEngine, compiler
from npmnv3.errors import UsageError
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant

SMALL = "torchvision/mobilenet_v3_small"
TEXT = "ppocr/text_direction"
PICTURES = goldens.ROOT / "weights" / "examples"

needs_float16 = pytest.mark.skipif(
    not compiler.widens_float16(), reason="the processor does not make 32 bits of 16 by itself"
)


@pytest.fixture(scope="module")
def params():
    return random_params(make_plan(get_variant(SMALL)), np.random.default_rng(0))


@pytest.fixture(scope="module")
def rounded(params):
    """The same with the weights of linear layers rounded by hand; no norm follows them here, nor a factor."""
    linear = [step.param("weight").name for step in make_plan(get_variant(SMALL)) if step.op == "linear"]
    return params | {name: params[name].astype(np.float16).astype(np.float32) for name in linear}


@needs_float16
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


@needs_float16
def test_every_command_is_within_its_buffers(params, monkeypatch):
    monkeypatch.setenv("NPMNV3_DEBUG", "1")
    x = np.random.default_rng(1).standard_normal((5, 3, 33, 65)).astype(np.float32)
    narrow = npmnv3.load(SMALL, params, engine="llvm", weight_dtype="float16", threads=2)
    assert np.array_equal(narrow(x)[2:3], narrow(x[2:3]))


@needs_float16
def test_half_the_bytes(params):
    maker = plan_maker(get_variant(SMALL))
    wide, narrow = (LlvmEngine(maker, params, weight_dtype=name).weight_bytes for name in ("float32", "float16"))
    linear = [step.param("weight") for step in make_plan(get_variant(SMALL)) if step.op == "linear"]
    saved = sum(2 * np.prod(weight.shape) for weight in linear)
    assert saved <= wide - narrow < 1.1 * saved


@needs_float16
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_as_narrow(copied, params):
    model = npmnv3.load(SMALL, params, engine="llvm", weight_dtype="float16")
    again, x = copied(model), np.random.default_rng(1).standard_normal((1, 3, 64, 64)).astype(np.float32)
    assert repr(again) == f"<npmnv3.Model {SMALL}, 1000 classes, llvm float32, float16 weights>"
    assert again.weight_dtype == "float16" and np.array_equal(again(x), model(x))


@needs_float16
def test_a_run_in_other_weights_is_not_gone_on_with(capsys, tmp_path):
    labels, csv = tmp_path / "labels.csv", str(tmp_path / "out.csv")
    files = sorted(path.name for path in PICTURES.glob("*.png"))
    labels.write_text("file,label\n" + "".join(f"{name},{180 * ('down' in name)}\n" for name in files))
    words = [
        "evaluate",
        TEXT,
        str(PICTURES),
        "--labels",
        str(labels),
        "--csv",
        csv,
        "--engine",
        "llvm",
        "--workers",
        "1",
    ]
    assert main([*words, "--weight-dtype", "float16"]) == 0
    assert main([*words, "--weight-dtype", "float16", "--resume"]) == 0
    capsys.readouterr()
    assert main([*words, "--resume"]) == 2
    assert f"it is of the model {TEXT} [float16 weights], expected {TEXT}" in capsys.readouterr().err


def test_what_cannot_be(params, monkeypatch):
    with pytest.raises(UsageError, match="weight_dtype is 'float8', expected one of float32, float16"):
        npmnv3.load(SMALL, params, weight_dtype="float8")
    with pytest.raises(UsageError, match="the engine llvm alone has, but the engine here is numpy"):
        npmnv3.load(SMALL, params, engine="numpy", weight_dtype="float16")
    with pytest.raises(UsageError, match="weight_dtype is .*, expected one of float32, float16"):
        npmnv3.load(SMALL, params, weight_dtype=np.ones(2))
    with pytest.raises(UsageError, match="the llvm engine computes in float32"):
        npmnv3.load(SMALL, params, dtype="float64", weight_dtype="float16")
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    with pytest.raises(npmnv3.Npmnv3Error, match="the engine llvm needs .*pip install"):
        npmnv3.load(SMALL, params, weight_dtype="float16")
    monkeypatch.undo()


@needs_float16
def test_weights_beyond_its_range(params):
    large = params | {"classifier.3.weight": params["classifier.3.weight"] + np.float32(7e4)}
    with pytest.raises(UsageError, match="logits has a weight of 7.*, beyond its 65504"):
        npmnv3.load(SMALL, large, engine="llvm", weight_dtype="float16")


def test_a_processor_without(monkeypatch):
    import llvmlite.binding as llvm

    features = {"avx2": True, "fma": True, "f16c": False}
    monkeypatch.setattr(llvm, "get_host_cpu_features", lambda: features)
    monkeypatch.setattr(compiler.platform, "machine", lambda: "x86_64")
    with pytest.raises(UsageError, match="this processor cannot widen such weights"):
        compiler._machine_here("", True)


@needs_float16
def test_info_tells_what_it_changes(capsys):
    assert main(["info", TEXT, "--weight-dtype", "float16", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["weight_dtype"]
    assert told["dtype"] == "float16" and told["pictures"] == 8
    assert 0 < told["largest_change"] < 0.1 * told["spread"]
    assert main(["info", "timm/mobilenetv3_small_060", "--weight-dtype", "float16"]) == 0
    assert "not measured, as this network's weights are not here" in capsys.readouterr().out
    assert main(["info", TEXT, "--classes", "10", "--weight-dtype", "float16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["weight_dtype"] == {"dtype": "float16"}


@needs_float16
def test_commands_take_it(capsys):
    picture = str(PICTURES / "sign_upright.png")
    assert main(["predict", picture, "--weight-dtype", "float16"]) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()][-2:] == ["0", "180"]
    assert main(["profile", TEXT, "--rounds", "1", "--weight-dtype", "float16"]) == 0
    assert "of one core's peak rate" in capsys.readouterr().out
    assert main(["predict", picture, "--weight-dtype", "float16", "--engine", "numpy"]) == 2
    assert "`--weight-dtype float16` is what the engine llvm alone has" in capsys.readouterr().err


def test_warmup_compiles_them_ahead(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("NPMNV3_CACHE", "")  # which --cache sets, and the test's end takes back
    for state in ("compiled", "were there already"):
        compiler._library.cache_clear()
        assert main(["warmup", "--engine", "llvm", "--cache", str(tmp_path), "--weight-dtype", "float16"]) == 0
        assert f"float16 weights, {state}" in capsys.readouterr().out
    compiler._library.cache_clear()
