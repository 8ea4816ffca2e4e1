"""Dumps in a folder of one's own: `npmnv3 fetch --into`, and what loads from it."""

import argparse
import errno
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from command_line import run

import npmnv3
from npmnv3.dumps.folders import file_hash
from npmnv3.dumps.registry import REGISTRY

pytest.importorskip("pooch", reason="needs the extra fetch")
pytest.importorskip("platformdirs", reason="needs the extra fetch")

import checkpoint_files  # noqa: E402
from http_server import serving  # noqa: E402
from random_networks import random_params  # noqa: E402

from npmnv3.fetching import into  # noqa: E402
from npmnv3.network.plan import make_plan  # noqa: E402
from npmnv3.network.variants import get_variant  # noqa: E402

NAMES = [name for name in REGISTRY if name.startswith("sqlai/mobilenetv3_small")]  # its own, and further weights
SHIPPED = "ppocr/text_direction"


@pytest.fixture(scope="module")
def checkpoint():
    plan = make_plan(get_variant(NAMES[0]), 3)
    roles = {param.name: param.role for step in plan for param in step.params}
    drawn = random_params(plan, np.random.default_rng(0))
    return checkpoint_files.safetensors({n: np.array(1) if roles[n] == "count" else a for n, a in drawn.items()})


@pytest.fixture
def server(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("NPMNV3_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NPMNV3_WEIGHTS", raising=False)
    with serving() as server:
        server.files = {f"/{REGISTRY[name].file}": checkpoint for name in NAMES}
        monkeypatch.setenv("NPMNV3_BASE_URL", server.url)
        yield server


def test_a_pattern_into_a_folder(server, tmp_path, capsys, monkeypatch):
    stick = tmp_path / "a stick"
    code, out, err = run(capsys, "fetch", "sqlai/*small*", SHIPPED, "--into", stick)
    paths = [stick / REGISTRY[name].dump_name for name in (*NAMES, SHIPPED)]
    assert code == 0 and out.splitlines() == [f"{n}  {p}" for n, p in zip((*NAMES, SHIPPED), paths, strict=True)]
    assert "licences of the weights: sqlai MIT, ppocr Apache-2.0" in err and "%" not in err
    assert sorted(os.listdir(stick)) == sorted([*(path.name for path in paths), "SHA256SUMS"])
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=stick, check=True)

    assert not list((tmp_path / "cache").glob("*.h5")), "they take their room once"
    fetched = len(server.log)
    shutil.rmtree(tmp_path / "cache")
    assert run(capsys, "fetch", "sqlai/*small*", SHIPPED, "--into", stick)[0] == 0 and len(server.log) == fetched

    assert npmnv3.load(NAMES[1], weights=stick, engine="numpy").num_classes == 3
    with pytest.raises(npmnv3.MissingWeightsError, match="sqlai/mobilenetv3_small are not here"):
        npmnv3.load(NAMES[0], engine="numpy")
    monkeypatch.setenv("NPMNV3_WEIGHTS", str(stick))
    assert npmnv3.load(NAMES[0], engine="numpy").num_classes == 3 and len(server.log) == fetched


def test_what_is_not_whole_is_fetched_again(server, tmp_path, capsys):
    assert run(capsys, "fetch", NAMES[0], "--into", tmp_path)[0] == 0
    path = tmp_path / REGISTRY[NAMES[0]].dump_name
    right = file_hash(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(npmnv3.WeightsError, match=f"expected {right}; copy it again, or run `npmnv3 fetch {NAMES[0]}"):
        npmnv3.load(NAMES[0], weights=tmp_path)
    assert run(capsys, "fetch", NAMES[0], "--into", tmp_path)[0] == 0 and file_hash(path) == right


def test_one_of_many_that_fails(server, tmp_path, capsys):
    del server.files[f"/{REGISTRY[NAMES[0]].file}"]
    code, out, err = run(capsys, "fetch", *NAMES, "--into", tmp_path)
    assert code == 1 and f"npmnv3 fetch: {NAMES[0]}: " in err and out.startswith(f"{NAMES[1]}  ")
    assert [line.split()[1] for line in (tmp_path / "SHA256SUMS").read_text().splitlines()] == [
        REGISTRY[NAMES[1]].dump_name
    ]


def test_what_was_in_the_cache_stays_there(server, tmp_path, capsys):
    kept = npmnv3.fetch(NAMES[0])
    assert run(capsys, "fetch", NAMES[0], "--into", tmp_path / "stick")[0] == 0 and len(server.log) == 1
    assert kept.read_bytes() == (tmp_path / "stick" / kept.name).read_bytes()


def test_onto_another_disk(server, tmp_path, capsys, monkeypatch):
    replace, stick = os.replace, tmp_path / "stick"

    def on_two_disks(file, path):
        if (Path(file).parent == stick) != (Path(path).parent == stick):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        replace(file, path)

    monkeypatch.setattr(os, "replace", on_two_disks)
    assert run(capsys, "fetch", NAMES[0], "--into", tmp_path / "stick")[0] == 0
    assert not list((tmp_path / "cache").glob("*.h5")) and npmnv3.load(NAMES[0], tmp_path / "stick", engine="numpy")


def test_the_folder_is_looked_at_before_anything_is_fetched(server, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        code, _, err = run(capsys, "fetch", NAMES[0], "--into", folder)
        assert code == 1 and f"{folder}: cannot be written" in err
    usage = argparse.Namespace(free=5_000_000)
    monkeypatch.setattr(into.shutil, "disk_usage", lambda folder: usage)
    code, _, err = run(capsys, "fetch", *NAMES, "--into", tmp_path / "stick")
    assert code == 1 and "5 MB are free there, and the dumps take about 24 MB" in err
    (tmp_path / "stick" / "SHA256SUMS").write_text("nonsense")
    assert run(capsys, "fetch", NAMES[0], "--into", tmp_path / "stick")[0] == 2
    assert not server.log


def test_a_reason_is_said_once(server, tmp_path, capsys):
    server.files.clear()
    names = [*NAMES, "sqlai/mobilenetv3_large", "showlo/mobilenetv3_small"]
    code, out, err = run(capsys, "fetch", *names)
    assert code == 1 and not out and err.count("Check the network") == 1
    first, others = err.splitlines()
    assert first.startswith(f"npmnv3 fetch: {NAMES[0]}: http") and others == (
        f"npmnv3 fetch: not fetched for the same reason (the server answers 404 Not Found): {', '.join(names[1:])}"
    )


def test_reasons_of_two_kinds_are_said_in_full(server, capsys):
    server.files = {f"/{REGISTRY[name].file}": b"no checkpoint" for name in NAMES}
    code, _, err = run(capsys, "fetch", *NAMES, "showlo/mobilenetv3_small", "sqlai/mobilenetv3_large")
    *damaged, missing, others = err.splitlines()
    assert code == 1 and all("gave no usable checkpoint, nothing was kept" in line for line in damaged)
    assert (
        len(damaged) == 2
        and "404 Not Found. Check the network" in missing
        and others.endswith(": sqlai/mobilenetv3_large")
    )


@pytest.mark.parametrize("moment", ["move", "hash"])
def test_an_interrupt_leaves_nothing_half_written(moment, server, tmp_path, capsys, monkeypatch):
    stick = tmp_path / "stick"

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        put = {"move": "npmnv3.fetching.into.writing", "hash": "npmnv3.fetching.into.write_hashes"}[moment]
        patch.setattr(into, "prepare", lambda folder, names: os.mkdir(folder) or {})
        patch.setattr(put, interrupted)
        code, _, err = run(capsys, "fetch", NAMES[0], "--into", stick)
    assert code == 130 and err == "npmnv3 fetch: interrupted\n"
    assert os.listdir(stick) == ([] if moment == "hash" else ["SHA256SUMS"])
    assert run(capsys, "fetch", NAMES[0], "--into", stick)[0] == 0 and len(server.log) == 1
    path = stick / REGISTRY[NAMES[0]].dump_name
    assert hashlib.sha256(path.read_bytes()).hexdigest() in (stick / "SHA256SUMS").read_text()


@pytest.mark.parametrize("kind", ["nothing", "a file"])
def test_a_variable_that_names_no_folder(kind, tmp_path, capsys, monkeypatch):
    named = tmp_path / "nope"
    if kind == "a file":
        named.write_text("")
    monkeypatch.setenv("NPMNV3_WEIGHTS", str(named))
    with pytest.raises(npmnv3.UsageError, match="NPMNV3_WEIGHTS is '.*nope', expected a folder of dumps"):
        npmnv3.load(SHIPPED)
    code, _, err = run(capsys, "predict", "x.png")
    assert code == 2 and "NPMNV3_WEIGHTS" in err


def test_wrong_use(server, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code, _, err = run(capsys, "fetch", SHIPPED, "--into", tmp_path / "file")
    assert code == 1 and "file: cannot be written" in err and "expected a folder" in err
    code, _, err = run(capsys, "fetch", tmp_path / "file")
    assert code == 2 and "quote a pattern" in err
    with pytest.raises(npmnv3.MissingWeightsError, match="a folder without sqlai--mobilenetv3_small.h5 or .npz"):
        npmnv3.load(NAMES[0], weights=tmp_path)
    with pytest.raises(npmnv3.UnknownModelError):
        npmnv3.load("sqlai/small", weights=tmp_path)
