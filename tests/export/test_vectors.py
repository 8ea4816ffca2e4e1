"""The porter's kit: what is written is what the network computes, and the C checker says so."""

import argparse
import json
import shutil
import subprocess

import numpy as np
import pytest

import npmnv3
from npmnv3.cli import vectors_command
from npmnv3.errors import UsageError, WriteError
from npmnv3.export.vectors import kit_size, make_kit, write_kit
from npmnv3.network.walk import apply
from npmnv3.ops import definitions

MODEL = "ppocr/text_direction"
SOME = "stem*,blocks.3.*,pool,max_pool,logits"


@pytest.fixture(scope="module")
def model():
    return npmnv3.load(MODEL, engine="numpy")


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_each_step_gives_its_expected_output(model, dtype):
    kit = make_kit(model, dtype=dtype)
    assert [s.name for s in kit.steps] == [s.name for s in model.plan]
    for step in kit.steps:
        params = {p.name: kit.vectors[f"{step.name}/{p.role}"].value for p in step.params if p.role != "count"}
        found = apply(step, [kit.vectors[name].value[None] for name in step.inputs], params, definitions)[0]
        error = np.abs(found - kit.vectors[step.name].value)
        place = np.unravel_index(int(error.argmax()), error.shape)
        assert error.max() <= kit.tolerances[step.name], f"{step.name}: off by {error.max():.3g} at {place}"
        assert kit.vectors[step.name].array.dtype == dtype


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_files_hold_the_numbers(model, tmp_path, dtype):
    kit = make_kit(model, dtype=dtype, only=SOME)
    for format in ("npy", "bin", "hex"):
        write_kit(kit, tmp_path / format, format)
        manifest = json.loads((tmp_path / format / "manifest.json").read_text())
        assert set(manifest["tensors"]) == set(kit.vectors)
        for key, row in manifest["tensors"].items():
            expected, file = kit.vectors[key].array, tmp_path / format / row["file"]
            if format == "npy":
                found = np.load(file)
            elif format == "bin":
                found = np.fromfile(file, np.dtype(row["dtype"]).newbyteorder("<"))
            else:
                words = [int(line, 16) for line in file.read_text().split()]
                found = np.array(words, f"<u{expected.itemsize}").view(expected.dtype)
            assert np.array_equal(found.reshape(row["shape"]), expected), f"{format}: {key}"


def test_the_manifest_says_what_its_numbers_mean(model):
    manifest = make_kit(model, only=SOME).manifest("bin")
    assert "top, bottom, left, right" in manifest["pad"] and "weights OIHW" in manifest["layout"]
    assert "absolute" in manifest["tolerance"]
    assert manifest["operations"].keys() == {step["op"] for step in manifest["steps"]}
    assert "slope * x + 0.5" in manifest["operations"]["hard_sigmoid"]


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize(("dtype", "only"), [("float32", SOME), ("float16", SOME), ("int8", SOME), ("float32", "*")])
def test_the_c_checker_compiles_without_a_warning_and_passes(model, tmp_path, dtype, only):
    folder, kit = tmp_path / "kit", make_kit(model, dtype=dtype, only=only)
    write_kit(kit, folder, "c")
    files = [folder / row["file"] for row in json.loads((folder / "manifest.json").read_text())["tensors"].values()]
    assert kit_size(kit, "c")[1] == pytest.approx(sum(file.stat().st_size for file in files), rel=0.3)
    subprocess.run(
        ["cc", "-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", "check.c", "-o", "check", "-lm"],
        cwd=folder,
        check=True,
    )
    result = subprocess.run(["./check"], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    steps = len(json.loads((folder / "manifest.json").read_text())["steps"])
    assert result.stdout.splitlines()[-1] == f"{steps} of {steps} steps agree"
    header = folder / "vectors.h"
    header.write_text(header.read_text().replace("HARD_SWISH, ", "RELU, "))
    subprocess.run(["cc", "-std=c99", "check.c", "-o", "check", "-lm"], cwd=folder, check=True)
    assert subprocess.run(["./check"], cwd=folder, capture_output=True).returncode == 1


def test_sizes_are_told_beforehand(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    vectors_command.add_arguments(parser)
    base = [MODEL, "--only", SOME, "--dtype", "float16"]
    for format in ("npy", "bin", "c", "hex"):
        folder = tmp_path / format
        assert vectors_command.run(parser.parse_args([*base, "-o", str(folder), "--format", format, "--dry-run"])) == 0
        told = capsys.readouterr().out
        assert not folder.exists()
        assert vectors_command.run(parser.parse_args([*base, "-o", str(folder), "--format", format])) == 0
        size = (
            sum(f.stat().st_size for f in folder.iterdir() if f.name not in ("manifest.json", "check.c", "vectors.h"))
            / 1e6
        )
        said = float(told.split("about ")[1].split(" MB")[0])
        assert said == pytest.approx(size, rel=0.3, abs=0.06), format
        capsys.readouterr()


def test_bad_requests_are_refused(model, tmp_path):
    with pytest.raises(UsageError, match="no step fits"):
        make_kit(model, only="nothing")
    with pytest.raises(UsageError, match="dtype is 'int4'"):
        make_kit(model, dtype="int4")
    kit = make_kit(model, only="logits")
    with pytest.raises(UsageError, match="format is 'xml'"):
        write_kit(kit, tmp_path / "kit", "xml")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not an empty folder"):
        write_kit(kit, tmp_path / "full", "bin")
    with pytest.raises(WriteError, match="cannot be written"):
        write_kit(kit, tmp_path / "gone" / "kit", "bin")
    assert [p.name for p in tmp_path.iterdir()] == ["full"]
