"""`npmnv3 evaluate` and `npmnv3 agree` as people run them; killed, resumed, and on a cluster."""

import contextlib
import csv
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

import goldens
import pytest
from command_line import all_of
from evaluation_material import CLASSES, MODEL, class_folders, write_network

from npmnv3.cli import agree_command, evaluate_command
from npmnv3.cli.evaluate_command import progress_bar
from npmnv3.errors import MissingExtraError, UsageError
from npmnv3.evaluation import Network, evaluate, open_dataset, pools


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twice as many pictures as other files take: there must be time to kill a run."""
    return class_folders(tmp_path_factory.mktemp("data") / "set", 8)


def command(module, *words):
    """Exit code of a command given its words."""
    import argparse

    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return module.run(parser.parse_args([str(word) for word in words]))


def process(*words):
    """The command in a process group of its own, quiet."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "cwd": goldens.ROOT}
    command = [sys.executable, "-m", "npmnv3", "evaluate", *map(str, words)]
    return subprocess.Popen(command, start_new_session=True, **quiet)


def test_text(dump, folder, capsys):
    assert command(evaluate_command, dump, folder, "--workers", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "48 pictures, class folders; 6 classes, 8 pictures each"
    assert lines[2].split() == ["model", "pictures", "top-1", "%", "95%", "top-5", "%", "95%"]
    assert lines[3].split()[:2] == [MODEL, "48"]
    assert lines[-1].startswith("48 pictures in ") and lines[-1].endswith(" a second")


def test_json_is_one_list(dump, folder, capsys):
    assert command(evaluate_command, dump, folder, "--json", "--limit", 12, "--batch", 5) == 0
    captured = capsys.readouterr()
    (result,) = json.loads(captured.out)
    assert list(result) == [
        "model",
        "pictures",
        "top1",
        "top5",
        "interval",
        "published",
        "unreadable",
        "unknown_labels",
        "seconds",
    ]
    assert result["pictures"] == 12 and "12 of 48 pictures" in captured.err


def test_what_does_not_count_is_named_and_the_exit_code_1(dump, tmp_path, capsys):
    root = class_folders(tmp_path / "data", 1, (*CLASSES, "cardboard"))
    names = ["zwei Wörter.jpg", "two\nlines.jpg", "latin\udce9.jpg"]
    for name in names:
        (root / CLASSES[1] / name).write_bytes(b"text")
    assert command(evaluate_command, dump, root) == 1
    out, err = capsys.readouterr()
    assert f"{MODEL}: left out: 3 unreadable, 1 of unknown label" in out
    assert f"unreadable: {CLASSES[1]}/zwei Wörter.jpg\n" in err
    assert (
        rf"unreadable: '{CLASSES[1]}/two\nlines.jpg'" in err and rf"unreadable: '{CLASSES[1]}/latin\udce9.jpg'" in err
    )
    assert f"{MODEL} has no class 'cardboard': 1 picture left out" in err
    assert command(evaluate_command, dump, root, "--json") == 1
    (result,) = json.loads(capsys.readouterr().out)
    assert sorted(result["unreadable"]) == sorted(f"{CLASSES[1]}/{name}" for name in names)
    assert result["unknown_labels"] == {"cardboard": 1}


def test_wrong_words(dump, folder):
    with pytest.raises(UsageError, match="2 --weights for 1 models"):
        command(evaluate_command, MODEL, folder, "--weights", dump, "--weights", dump)
    with pytest.raises(UsageError, match="expected local:N with N from 1"):
        pytest.importorskip("distributed")
        command(evaluate_command, dump, folder, "--scheduler", "local:two")


def test_missing_extras_are_named(dump, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match="pip install distributed"):
        command(evaluate_command, dump, folder, "--scheduler", "local:2")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match="pip install jinja2 matplotlib"):
        command(evaluate_command, dump, folder, "--confusion", "plot.png")


def test_agree_text_and_json(dump, folder, tmp_path, capsys):
    other = write_network(tmp_path / "other.h5", seed=1)
    assert command(agree_command, MODEL, MODEL, folder, "--weights-a", dump, "--weights-b", other, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["model_a"], result["model_b"]) == (f"{MODEL} (net.h5)", f"{MODEL} (other.h5)")
    assert command(agree_command, dump, other, folder) == 0
    text = capsys.readouterr().out
    assert f"first answers agree on {result['agreement']:.2f}% of 48 pictures" in text
    assert f"largest logit difference {result['largest_difference']['value']:.4g}" in text
    assert text.count("(A's margin") == min(10, len(result["disagreements"]))


def test_progress_only_on_a_terminal(monkeypatch, capsys):
    for terminal in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal, raising=False)
        with progress_bar(10) as tell:
            tell(4, "top-1 75.00%")
            tell(10, "top-1 80.00%")
        assert ("top-1 80.00%" in capsys.readouterr().err) == terminal


def test_the_bar_shows_on_a_terminal_of_no_size(dump, folder):
    here, terminal = os.openpty()
    command = [sys.executable, "-m", "npmnv3", "evaluate", dump, str(folder)]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=terminal, cwd=goldens.ROOT, timeout=120)
    os.close(terminal)
    bar = all_of(here)
    assert run.returncode == 0 and b"picture/s" not in run.stdout
    assert "48/48" in bar and "top-1" in bar and "picture/s" in bar


def test_killed_at_any_moment_and_resumed(dump, folder, whole, tmp_path):
    path, chance = tmp_path / "o.csv", random.Random(0)
    start = time.monotonic()
    words = (dump, folder, "--csv", path, "--resume", "--batch", 1, "--workers", 2)
    for _ in range(4):
        run = process(*words)
        size = path.stat().st_size if path.exists() else 0
        while (
            run.poll() is None and (not path.exists() or path.stat().st_size == size) and time.monotonic() < start + 120
        ):
            time.sleep(0.002)
        time.sleep(chance.random() * 0.02)
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        assert whole.startswith(path.read_bytes())
    run = process(*words)
    _, err = run.communicate(timeout=120)
    assert run.returncode == 0, err.decode()
    assert path.read_bytes() == whole


@pytest.mark.parametrize("pool", [("--workers", 1), ("--scheduler", "local:1")], ids=["threads", "cluster"])
def test_interrupted_from_the_keyboard(dump, folder, whole, tmp_path, pool):
    if pool[0] == "--scheduler":
        pytest.importorskip("distributed")
    path = tmp_path / "o.csv"
    run = process(dump, folder, "--csv", path, "--batch", 1, *pool)
    while run.poll() is None and (not path.exists() or path.stat().st_size < 100):
        time.sleep(0.002)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does
    _, err = run.communicate(timeout=60)
    if run.returncode != 0:  # else it was done before the signal came
        assert (run.returncode, err) == (130, b"npmnv3 evaluate: interrupted\n")
    assert whole.startswith(path.read_bytes())
    assert command(evaluate_command, dump, folder, "--csv", path, "--resume") == 0
    assert path.read_bytes() == whole


def test_an_interrupt_while_a_cluster_starts_is_heard_when_it_runs():
    before, reached = signal.signal(signal.SIGINT, signal.default_int_handler), []  # pytest-xdist's workers have none
    try:
        with pytest.raises(KeyboardInterrupt), pools._interrupts_later():
            signal.raise_signal(signal.SIGINT)
            reached.append(True)
        assert reached and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_cluster_gives_the_same_bytes_also_beside_another(dump, folder, whole, tmp_path):
    pytest.importorskip("distributed")
    with socket.socket() as other:
        with contextlib.suppress(OSError):  # somebody else has it already
            other.bind(("127.0.0.1", 8787))
            other.listen()
        run = process(dump, folder, "--csv", tmp_path / "o.csv", "--scheduler", "local:2", "--batch", 5)
        _, err = run.communicate(timeout=300)
    assert (run.returncode, b"Port 8787" in err) == (0, False), err.decode()
    assert (tmp_path / "o.csv").read_bytes() == whole


KILL = """
import os, signal, sys
sys.path.insert(0, {root!r})

if __name__ == "__main__":
    import distributed
    from npmnv3.evaluation import evaluate, open_dataset

    killed = []

    def kill(done, tallies):
        if done >= 10 and not killed:
            worker = list(distributed.Client.current().run(os.getpid).values())[0]
            killed.append(os.kill(worker, signal.SIGKILL))

    options = dict(csv={path!r}, batch=2, scheduler="local:2", progress=kill)
    evaluate([{dump!r}], open_dataset({folder!r}), **options)
    assert killed, "no worker was killed"
"""


def test_a_killed_worker_loses_nothing(dump, folder, whole, tmp_path):
    pytest.importorskip("distributed")
    path, script = tmp_path / "o.csv", tmp_path / "kill.py"
    script.write_text(KILL.format(root=str(goldens.ROOT), dump=dump, folder=str(folder), path=str(path)))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == whole


def test_no_such_scheduler(dump, folder, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("npmnv3.evaluation.pools.PATIENCE", 0.5)
    with pytest.raises(UsageError, match="tcp://127.0.0.1:1 cannot be used"):
        evaluate([Network(dump)], open_dataset(folder), scheduler="tcp://127.0.0.1:1")


@pytest.mark.parametrize(
    "model, weights, expected, top1",
    [
        ("timm/tf_mobilenetv3_small_100", "keras--MobileNetV3Small.npz", "expected.csv", 83.0),
        # 1001 classes, the background first
        (
            "timm/tf_mobilenetv3_large_minimal_100",
            "slim--MobileNetV3Large_minimalistic.npz",
            "expected_large_minimalistic.csv",
            88.0,
        ),
    ],
)
def test_trained_weights_answer_as_expected(shared, tmp_path, capsys, model, weights, expected, top1):
    photos, path = shared / "photos", tmp_path / "o.csv"
    labels = ("--labels", photos / "labels.csv")
    words = (model, photos, *labels, "--weights", shared / "weights" / weights, "--csv", path, "--json")
    assert command(evaluate_command, *words) == 0
    (result,) = json.loads(capsys.readouterr().out)
    with open(path, newline="") as found, open(photos / expected, newline="") as wanted:
        for row, want in zip(csv.DictReader(found), csv.DictReader(wanted), strict=True):
            assert {key: row[key] for key in ("file", "label", "top1", "top5")} == {
                key: want[key] for key in ("file", "label", "top1", "top5")
            }
    assert (result["pictures"], result["top1"], result["top5"]) == (100, top1, 95.0)
