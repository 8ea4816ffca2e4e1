"""`npmnv3 predict` with its default network, standard input, URLs, and weights that are not here."""

import io
import os
import subprocess
import sys

import goldens
import numpy as np
import pytest
from command_line import all_of, run
from http_server import serving

import npmnv3
from npmnv3.cli import main, predict_command
from npmnv3.errors import EXTRAS
from npmnv3.fetching import pictures

LINE = goldens.ROOT / "weights" / "examples" / "hello_upside_down.png"
PHOTO = sorted((goldens.ROOT / "tests" / "golden" / "photos").glob("*.jpg"))[0]
ABSENT = "showlo/mobilenetv3_small"


@pytest.fixture(autouse=True)
def nothing_fetched(tmp_path, monkeypatch):
    """A cache that is empty, no folder of weights, no leave to fetch."""
    monkeypatch.setenv("NPMNV3_CACHE", str(tmp_path / "cache"))
    for name in ("NPMNV3_WEIGHTS", "NPMNV3_FETCH", "NPMNV3_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def predict(capsys, *words):
    return run(capsys, "predict", "--engine", "numpy", "--top", "1", *words)


def test_the_default_says_what_it_is_for(capsys):
    code, out, err = predict(capsys, LINE)
    assert code == 0 and "180" in out and err.count("\n") == 1 and "the default, tells lines of text" in err
    assert predict(capsys, LINE, "--model", "ppocr/text_direction")[2] == ""


def test_a_picture_that_is_no_line_of_text(capsys, monkeypatch):
    monkeypatch.setattr(predict_command, "missing_packages", lambda extra: ["pooch"])
    code, _, err = predict(capsys, LINE, PHOTO, PHOTO)
    warnings = [line for line in err.splitlines() if "warning" in line]
    assert code == 0 and len(warnings) == 2 and "2 pictures are no lines of text" in warnings[1]
    assert (
        str(PHOTO) in warnings[0] and "--model keras/MobileNetV3Small" in warnings[0] and "npmnv3 fetch" in warnings[0]
    )
    assert "pip install pooch" in warnings[0]
    assert "warning" not in predict(capsys, PHOTO, "--model", "ppocr/text_direction")[2]


def test_standard_input(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(LINE.read_bytes())))
    code, out, _ = predict(capsys, "-")
    assert code == 0 and out.splitlines()[0] == "-" and "180" in out
    code, _, err = predict(capsys, "-", LINE)  # nothing is left of it
    assert code == 1 and "standard input is empty" in err


def test_urls(capsys, monkeypatch):
    pytest.importorskip("certifi", reason="needs the extra fetch")
    with serving() as server:
        server.files = {"/line.png": LINE.read_bytes(), "/page": b"<html>"}
        url = f"{server.url}/line.png"
        code, _, err = predict(capsys, url)
        assert code == 1 and f"{url}: a URL, which is fetched with --fetch alone" in err and not server.log
        code, out, err = predict(capsys, "--fetch", url, f"{server.url}/page", f"{server.url}/none", "http://[x", LINE)
        assert code == 1 and out.startswith(f"{url}\n") and out.count("180") == 2
        for part in (
            f"{server.url}/page, picture of 6 bytes: a page of the web, no picture",
            "none cannot be fetched: the server answers 404",
            "http://[x cannot be fetched",
        ):
            assert part in err, part
        monkeypatch.setattr(pictures, "MAX_SIZE", 1000)
        code, _, err = predict(capsys, "--fetch", url)
        assert code == 1 and "bytes or more, expected at most 1000" in err


def absent(capsys, *words):
    return predict(capsys, LINE, "--model", ABSENT, *words)


def test_weights_that_are_not_here(capsys, monkeypatch):
    code, _, err = absent(capsys)
    assert (
        code == 2
        and err.count("\n") == 1
        and f"`npmnv3 fetch {ABSENT}`, or `--fetch`" in err
        and "`--weights FILE`" in err
    )
    assert "fetch=" not in err and "weights=" not in err
    monkeypatch.setitem(sys.modules, "pooch", None)
    code, _, err = absent(capsys)
    assert code == 2 and err.count("\n") == 1 and f"pip install {EXTRAS['fetch']}" in err


def test_fetch_gets_them(capsys, monkeypatch):
    asked = []

    def fetch(name):
        asked.append(name)
        raise npmnv3.WeightsError("gave wrong bytes")

    monkeypatch.setattr("npmnv3.fetching.fetch", fetch)
    code, _, err = absent(capsys, "--fetch")
    assert code == 2 and asked == [ABSENT] and err == "npmnv3 predict: gave wrong bytes\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("answer", "fetched"), [("n", False), ("", True), ("y", True), ("what?", False)])
def test_on_a_terminal_it_asks(answer, fetched, tmp_path, monkeypatch, capfd):
    pytest.importorskip("pooch")
    pytest.importorskip("platformdirs")
    asked = []

    def fetch(name):
        """What `npmnv3 fetch` does is tested in its own room; here the folder gets its dump."""
        asked.append(name)
        arrays = {n: np.zeros(shape, np.float32) for n, shape in npmnv3.param_shapes(ABSENT, 3).items() if shape}
        npmnv3.write_dump(tmp_path / "showlo--mobilenetv3_small.npz", arrays, model=ABSENT)

    monkeypatch.setenv("NPMNV3_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("npmnv3.fetching.fetch", fetch)
    code, said = at_terminal(answer, monkeypatch)
    assert "MB from github.com (licence: none stated by its author)? [Y/n] " in said
    assert (asked, code) == (([ABSENT], 0) if fetched else ([], 2)), said


def at_terminal(answer, monkeypatch):
    """(exit code, what is said) where weights are not here, and what is asked for gets this answer."""
    outer, inner = os.openpty()
    os.write(outer, f"{answer}\n".encode())
    with open(inner, closefd=False) as stdin, open(inner, "w", closefd=False) as stderr:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys, "stderr", stderr)
        code = main(["predict", "--engine", "numpy", "--model", ABSENT, str(LINE)])
    os.close(inner)
    return code, all_of(outer)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("mirror", ["abc", "http://["])
def test_on_a_terminal_it_does_not_ask_for_a_mirror_that_is_none(mirror, monkeypatch, capfd):
    pytest.importorskip("pooch")
    pytest.importorskip("platformdirs")
    monkeypatch.setenv("NPMNV3_BASE_URL", mirror)
    code, said = at_terminal("y", monkeypatch)
    assert code == 2 and f"base URL is '{mirror}', expected http" in said and "[Y/n]" not in said


def test_the_way_to_imagenet_is_a_published_checkpoint():
    from npmnv3.dumps.registry import REGISTRY

    assert predict_command.OTHERS.split("--model ")[1].split()[0] in REGISTRY


def test_a_picture_that_is_here_loads_nothing_of_the_network():
    words = "import sys; from npmnv3.cli import main; main(sys.argv[1:]); print([n for n in ('ssl', 'http.client', 'npmnv3.fetching') if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", words, "predict", "--engine", "numpy", str(LINE)], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("Line.PNG", "Line.PNG: cannot be opened (No such file or directory); did you mean line.png?"),
        ("'line.png'", "did you mean line.png?"),
        ("below/liine.png", "did you mean below/line.png?"),
        ("elsewhere/line.png", "; there is no folder elsewhere"),
        ("ppocr/text_direction", "; a model is named with --model ppocr/text_direction"),
        ("another.jpg", "; looked in "),
        ("*.jpg", "*.jpg: cannot be opened"),
    ],
)
def test_a_picture_that_is_not_there_is_found_for_the_user(given, said, capsys, tmp_path, monkeypatch):
    (tmp_path / "below").mkdir()
    for name in ("line.png", "below/line.png"):
        (tmp_path / name).write_bytes(LINE.read_bytes())
    monkeypatch.chdir(tmp_path)
    code, out, err = predict(capsys, given, "line.png")
    assert code == 1 and "line.png" in out and said in err


def test_patterns_that_the_shell_left_alone(capsys, tmp_path, monkeypatch):
    for name in ("b.png", "a.png", "notes.txt"):
        (tmp_path / name).write_bytes(LINE.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert [line for line in predict(capsys, "*.png")[1].splitlines() if line[0] != " "] == ["a.png", "b.png"]


def test_a_picture_in_place_of_a_command(capsys):
    code, _, err = run(capsys, LINE)
    assert code == 2 and f"Did you mean npmnv3 predict {LINE}?" in err
