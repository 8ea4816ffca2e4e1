"""A server and a cache of a test's own."""

import pytest
from fetched_files import NO_HASH, checkpoint, impatient
from http_server import serving

from npmnv3.dumps.registry import REGISTRY


@pytest.fixture
def server(monkeypatch):
    """A server that has NO_HASH's file; the downloader does not wait for it long."""
    impatient(monkeypatch)
    with serving() as server:
        server.files[f"/{REGISTRY[NO_HASH].file}"] = checkpoint(NO_HASH)[1]
        yield server


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, which is not the user's."""
    monkeypatch.setenv("NPMNV3_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NPMNV3_BASE_URL", raising=False)
    return tmp_path / "cache"
