"""`npmnv3 fetch`: what is printed, how long is waited, and where the cache is."""

import threading
import time

import pytest
from fetched_files import NO_HASH, assert_fetched, checkpoint, impatient

from npmnv3.dumps.registry import REGISTRY
from npmnv3.errors import MissingWeightsError, UsageError

pytest.importorskip("pooch", reason="needs the extra fetch")
pytest.importorskip("platformdirs", reason="needs the extra fetch")

from npmnv3 import fetching  # noqa: E402
from npmnv3.cli import fetch_command  # noqa: E402
from npmnv3.fetching import fetch  # noqa: E402


def run_command(*argv):
    import argparse

    parser = argparse.ArgumentParser()
    fetch_command.add_arguments(parser)
    return fetch_command.run(parser.parse_args([str(a) for a in argv]))


def test_command(server, tmp_path, capsys, monkeypatch):
    cache = tmp_path / "a cache"
    assert run_command(NO_HASH, "ppocr/*", "--base-url", server.url, "--cache", cache) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{NO_HASH}  {cache / 'showlo--mobilenetv3_small.h5'}" and lines[1].startswith(
        "ppocr/text_direction  "
    )
    assert run_command("torchvision/*small", NO_HASH, "--base-url", server.url, "--cache", cache) == 1
    out, err = capsys.readouterr()
    assert NO_HASH in out and "npmnv3 fetch: torchvision/mobilenet_v3_small: " in err and "404" in err
    assert run_command("--list", "--cache", cache) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if "/" in line.split(" ")[0]}
    assert set(rows) == set(REGISTRY)
    assert (
        rows[NO_HASH].split()[2:5] == ["first", "download", "yes"]
        and "sha256 5c1a4163..." in rows["torchvision/mobilenet_v3_large@V2"]
    )
    assert "MD5" in rows["keras/MobileNetV3Small"] and "(shipped)" in rows["ppocr/text_direction"]
    for argv, message in (
        ([], "name a model or a pattern"),
        (["nothing/*"], "no published checkpoint is called 'nothing/\\*'"),
    ):
        with pytest.raises(UsageError, match=message):
            run_command(*argv)


def test_a_bar_on_a_terminal(server, cache, capsys):
    fetch(NO_HASH, base_url=server.url, progress=True)
    assert "best_model_wts-67.52.pth: 100%" in capsys.readouterr().err


def test_a_deadline_that_grows_with_the_size(server, cache, monkeypatch):
    """A server that is never silent for long, and never done."""
    server.pause = 0.05  # for each 64 KB
    impatient(monkeypatch, deadline=0.0, slowest=100_000_000)
    with pytest.raises(
        MissingWeightsError, match="bytes in 0 s, which is as long as is waited for a file of this size"
    ):
        fetch(NO_HASH, base_url=server.url)
    impatient(monkeypatch, deadline=0.0, slowest=10_000)
    assert_fetched(fetch(NO_HASH, base_url=server.url), NO_HASH, cache)


def test_too_slow_is_as_good_as_broken(server, cache, monkeypatch):
    """Another connection may be quicker, and goes on where this one was."""
    path = f"/{REGISTRY[NO_HASH].file}"
    server.files[path] = checkpoint(NO_HASH)[1]
    impatient(monkeypatch, slowest=1_000_000, span=0.05, deadline=600.0)
    server.pause, log = 0.2, server.log

    def quicker():
        while len(log) < 2:
            time.sleep(0.01)
        server.pause = 0.0

    helper = threading.Thread(target=quicker)
    helper.start()
    assert_fetched(fetch(NO_HASH, base_url=server.url), NO_HASH, cache)
    helper.join()
    assert len(log) >= 2 and log[1][1].startswith("bytes=")


def test_lines_of_progress_where_there_is_no_terminal(server, cache, monkeypatch, capsys):
    monkeypatch.setattr("npmnv3.progress.SECONDS", 0.0)
    fetch(NO_HASH, base_url=server.url)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(f"{REGISTRY[NO_HASH].file}: ")]
    size = len(checkpoint(NO_HASH)[1])
    assert len(lines) > 3 and lines[-1].endswith(f": {size:,} of {size:,} B")


def test_an_empty_variable_names_no_cache(monkeypatch):
    monkeypatch.setenv("NPMNV3_CACHE", "")
    named = fetching.cache_folder()
    monkeypatch.delenv("NPMNV3_CACHE")
    assert fetching.cache_folder() == named == fetching.cache_folder("") and named.is_absolute()
