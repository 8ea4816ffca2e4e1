"""Made-up checkpoints that a server has, and what a fetch must leave of them."""

import functools
import os

import checkpoint_files
import numpy as np
import pytest
from random_networks import random_params

from npmnv3 import fetching
from npmnv3.dumps.dumps import load_weights
from npmnv3.dumps.registry import REGISTRY
from npmnv3.errors import WeightsError
from npmnv3.fetching import cached_dump, download, fetch
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant

NO_HASH = "showlo/mobilenetv3_small"  # its publisher states no hash
WITH_PREFIX = "torchvision/mobilenet_v3_small"
PAUSES = (0.01, 0.01, 0.01)  # seconds
TIMEOUT = 2.0


@functools.cache
def checkpoint(model, seed=0):
    """(state dict, the bytes of a file that holds it)."""
    plan = make_plan(get_variant(model), 3)
    drawn = random_params(plan, np.random.default_rng(seed))
    roles = {param.name: param.role for step in plan for param in step.params}
    state = {name: np.array(1, np.int64) if roles[name] == "count" else array for name, array in drawn.items()}
    return state, checkpoint_files.safetensors(state)


def enter(monkeypatch, server, model, state_of=None, **changes):
    """Serve a checkpoint for `model` and state hashes of it, as its publisher would."""
    data = checkpoint(state_of or model)[1]
    entry = REGISTRY[model]._replace(**changes)
    monkeypatch.setitem(REGISTRY, model, entry)
    server.files[f"/{entry.file}"] = data
    return data


def files_in(folder):
    return sorted(os.listdir(folder)) if folder.exists() else []


def assert_fetched(path, model, cache):
    checkpoint_files.assert_same(load_weights(path).arrays, checkpoint(model)[0])
    assert files_in(cache) == [f"{model.replace('/', '--')}{end}" for end in (".h5", ".sha256")]


def starts(server):
    """From which byte each request asked."""
    return [int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0 for _, asked in server.log]


def impatient(monkeypatch, **settings):
    """A downloader that does not wait long, with further settings."""
    monkeypatch.setattr(
        fetching, "Downloader", functools.partial(download.Downloader, pauses=PAUSES, timeout=TIMEOUT, **settings)
    )


def refuse(server, model, cache, match, before=()):
    with pytest.raises(WeightsError, match=match):
        fetch(model, base_url=server.url)
    assert files_in(cache) == list(before), "something was kept"
    assert cached_dump(model) is None
