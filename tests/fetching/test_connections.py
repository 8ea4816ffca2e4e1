"""Fetching over connections that break: what came is kept, the rest is asked for, and no other file is gone on with."""

import os
import urllib.request

import checkpoint_files
import pytest
from fetched_files import NO_HASH, PAUSES, TIMEOUT, assert_fetched, checkpoint, files_in, refuse, starts

from npmnv3.dumps.dumps import load_weights
from npmnv3.dumps.registry import REGISTRY
from npmnv3.errors import MissingWeightsError

pytest.importorskip("pooch", reason="needs the extra fetch")
pytest.importorskip("platformdirs", reason="needs the extra fetch")

from npmnv3 import fetching  # noqa: E402
from npmnv3.fetching import download, fetch  # noqa: E402


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("told_by", ["etag", "modified", "nothing"])
def test_a_connection_cut_three_times(told_by, reset, server, cache):
    server.etag, server.modified, server.reset = told_by == "etag", told_by == "modified", reset
    server.cuts = [1_000_000, 0, 70_001]
    assert_fetched(fetch(NO_HASH, base_url=server.url), NO_HASH, cache)
    asked = starts(server)
    assert len(asked) == 4 and asked == sorted(asked) and asked[0] == 0
    if not reset:  # a reset may swallow what was on its way
        assert asked == [0, 1_000_000, 1_000_000, 1_070_001]


def test_a_server_that_knows_no_ranges(server, cache):
    server.ranges, server.cuts = False, [500_000, 1_000_000, 2_000_000]
    assert_fetched(fetch(NO_HASH, base_url=server.url), NO_HASH, cache)
    assert starts(server) == [0, 500_000, 1_000_000, 2_000_000]


def test_a_server_that_sends_another_range(server, cache):
    missing = len(checkpoint(NO_HASH)[1]) - 1_000_000
    server.cuts, server.shift = [1_000_000, missing], 7  # as many bytes as are missing, but not those
    assert_fetched(fetch(NO_HASH, base_url=server.url), NO_HASH, cache)
    assert starts(server) == [0, 1_000_000, 0]


def test_no_length_told(server, cache):
    server.length = False
    assert_fetched(fetch(NO_HASH, base_url=server.url), NO_HASH, cache)


def test_a_slow_server_and_one_that_stalls(server, cache):
    server.pause, server.cuts, server.stall = 0.002, [1_000_000], TIMEOUT + 1
    assert_fetched(fetch(NO_HASH, base_url=server.url), NO_HASH, cache)
    assert starts(server) == [0, 1_000_000]


def test_redirects_keep_the_range(server, cache):
    path = f"/{REGISTRY[NO_HASH].file}"
    server.files["/elsewhere"] = server.files.pop(path)
    server.redirects, server.cuts = {path: f"{server.url}/elsewhere"}, [1_000_000]
    assert_fetched(fetch(NO_HASH, base_url=server.url), NO_HASH, cache)
    assert [(p, s) for (p, _), s in zip(server.log, starts(server), strict=True)] == [
        (path, 0),
        ("/elsewhere", 0),
        (path, 1_000_000),
        ("/elsewhere", 1_000_000),
    ]


@pytest.mark.parametrize("size", ["longer", "shorter"])
def test_a_file_replaced_meanwhile(size, server, cache):
    path, other = f"/{REGISTRY[NO_HASH].file}", checkpoint(NO_HASH, seed=9)[1]
    right = server.files[path]
    server.files[path] = other + bytes(1_000_000) if size == "longer" else other[:2_000_000]
    server.cuts = [len(server.files[path]) - 1000]
    server.after_cut = lambda: server.files.update({path: right})
    assert_fetched(fetch(NO_HASH, base_url=server.url), NO_HASH, cache)
    assert len(server.log) == 2


def test_a_server_that_recovers(server, cache):
    server.statuses = [503, 500, 429]
    assert_fetched(fetch(NO_HASH, base_url=server.url), NO_HASH, cache)


def test_an_interrupted_run_is_gone_on_with(server, cache):
    size = len(checkpoint(NO_HASH)[1])
    server.cuts = [1_000_000] + [0] * 4
    with pytest.raises(MissingWeightsError, match=f"the connection ended after 1000000 of {size} bytes"):
        fetch(NO_HASH, base_url=server.url)
    assert [os.path.splitext(name)[1] for name in files_in(cache)] == [".part"]
    server.log.clear()
    assert_fetched(fetch(NO_HASH, base_url=server.url), NO_HASH, cache)
    assert starts(server) == [0, 1_000_000]


def test_the_part_of_another_file_is_not_gone_on_with(server, cache):
    path = f"/{REGISTRY[NO_HASH].file}"
    right, server.files[path] = server.files[path], checkpoint(NO_HASH, seed=9)[1]
    server.cuts = [1_000_000] + [0] * 4
    with pytest.raises(MissingWeightsError):
        fetch(NO_HASH, base_url=server.url)
    server.files[path] = right
    server.log.clear()
    checkpoint_files.assert_same(load_weights(fetch(NO_HASH, base_url=server.url)).arrays, checkpoint(NO_HASH)[0])
    assert starts(server) == [0]


def test_control_c_keeps_what_came(server, cache, monkeypatch):
    class Impatient(download.Downloader):
        def __init__(self, parts, tell):
            super().__init__(parts, self.stop, pauses=PAUSES)

        def stop(self, done, total):
            if done > 500_000:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fetching, "Downloader", Impatient)
        fetch(NO_HASH, base_url=server.url)
    (part,) = cache.iterdir()
    data = part.read_bytes()
    assert len(data) > 500_000 and checkpoint(NO_HASH)[1].startswith(data)
    assert_fetched(fetch(NO_HASH, base_url=server.url), NO_HASH, cache)
    assert starts(server) == [0, 0, len(data)]


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/x", "file:///etc/passwd", "data:,x", "FTP://127.0.0.1:1/x"])
def test_only_http_is_followed(target, server, cache):
    server.redirects = {f"/{REGISTRY[NO_HASH].file}": target}
    refuse(server, NO_HASH, cache, "cannot be fetched: (it leads to ftp|it leads to FTP|the server answers 302)")
    assert len(server.log) == 1


def test_from_https_to_http_is_not_followed():
    request = urllib.request.Request("https://example.org/a")
    with pytest.raises(MissingWeightsError, match="it leads to http://example.org/b; only http and https"):
        download._HttpAlone().redirect_request(request, None, 302, "Found", {}, "http://example.org/b")
