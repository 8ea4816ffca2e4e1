"""Fetching: over connections that break, from servers that lie, the right bytes or none."""

import hashlib
import threading

import checkpoint_files
import goldens
import pytest
from fetched_files import NO_HASH, WITH_PREFIX, assert_fetched, checkpoint, enter, files_in, impatient, refuse

import npmnv3
from npmnv3.dumps.dumps import load_weights
from npmnv3.dumps.registry import REGISTRY
from npmnv3.errors import (
    MissingExtraError,
    MissingWeightsError,
    UnknownModelError,
    UsageError,
    WeightsError,
    WriteError,
)

pytest.importorskip("pooch", reason="needs the extra fetch")
pytest.importorskip("platformdirs", reason="needs the extra fetch")

from npmnv3.fetching import cached_dump, fetch  # noqa: E402


def test_fetch_once(server, cache, caplog):
    assert cached_dump(NO_HASH) is None and not cache.exists()
    path = fetch(NO_HASH, base_url=server.url)
    assert_fetched(path, NO_HASH, cache)
    assert "states no hash; that of this first download is recorded" in caplog.text
    assert cached_dump(NO_HASH) == path == fetch(NO_HASH, base_url="http://127.0.0.1:1") and len(server.log) == 1
    about = load_weights(path).attributes
    digest = hashlib.sha256(checkpoint(NO_HASH)[1]).hexdigest()
    assert (
        about["origin"] == f"{REGISTRY[NO_HASH].url} (sha256 {digest})"
        and about["licence"] == "none stated by its author"
    )
    assert f"{digest}  best_model_wts-67.52.pth\n" in (cache / "showlo--mobilenetv3_small.sha256").read_text()


@pytest.mark.parametrize(
    ("hashes", "message"),
    [
        (
            {"sha256": "00000000"},
            "gave wrong bytes: the sha256 is [0-9a-f]{64}, expected 00000000, with which its file name",
        ),
        (
            {"sha256": "", "md5": "0" * 32},
            "gave wrong bytes: the MD5 is [0-9a-f]{32}, expected 0{32}, which its publisher states",
        ),
    ],
)
def test_wrong_bytes(hashes, message, server, cache, monkeypatch):
    enter(monkeypatch, server, WITH_PREFIX, **hashes)
    server.cuts = [100_000]
    refuse(server, WITH_PREFIX, cache, message)


def test_right_bytes_by_each_hash(server, cache, monkeypatch, caplog):
    data = checkpoint(WITH_PREFIX)[1]
    sha256, md5 = hashlib.sha256(data).hexdigest(), hashlib.md5(data).hexdigest()
    for hashes in ({"sha256": sha256[:8]}, {"sha256": sha256}, {"sha256": "", "md5": md5}):
        enter(monkeypatch, server, WITH_PREFIX, **hashes)
        path = fetch(WITH_PREFIX, base_url=server.url)
        assert_fetched(path, WITH_PREFIX, cache)
        path.unlink()
    assert not caplog.text


def test_the_first_downloads_hash_counts(server, cache):
    path = fetch(NO_HASH, base_url=server.url)
    record = path.with_suffix(".sha256")
    path.unlink()
    file = f"/{REGISTRY[NO_HASH].file}"
    right, server.files[file] = server.files[file], checkpoint(NO_HASH, seed=9)[1]
    refuse(
        server, NO_HASH, cache, "expected [0-9a-f]{64}, that of the first download.*remove .*\\.sha256", [record.name]
    )
    server.files[file] = right
    assert_fetched(fetch(NO_HASH, base_url=server.url), NO_HASH, cache)
    path.unlink()
    record.write_text("nonsense")
    with pytest.raises(WeightsError, match="damaged: line 1 is no sha256 and file name"):
        fetch(NO_HASH, base_url=server.url)


def test_a_page_instead_of_a_file(server, cache):
    server.files[f"/{REGISTRY[NO_HASH].file}"] = b"<html>please log in</html>"
    refuse(server, NO_HASH, cache, "gave no usable checkpoint, nothing was kept: .*not a checkpoint")


def test_another_networks_file(server, cache):
    server.files[f"/{REGISTRY[NO_HASH].file}"] = checkpoint(WITH_PREFIX)[1]
    refuse(server, NO_HASH, cache, "gave no usable checkpoint, nothing was kept")


def test_a_file_too_large(server, cache, monkeypatch):
    impatient(monkeypatch, max_size=1_000_000)
    refuse(server, NO_HASH, cache, "has [0-9]+ bytes or more, expected at most 1000000; not fetched")
    server.length = False
    refuse(server, NO_HASH, cache, "has [0-9]+ bytes or more")


@pytest.mark.parametrize("status", [403, 404, 410])
def test_no_such_file(status, server, cache):
    server.statuses = [status]
    refuse(
        server,
        NO_HASH,
        cache,
        f"the server answers {status} .*NPMNV3_BASE_URL or `npmnv3 fetch --base-url`.*npmnv3 convert best_model_wts-67.52.pth",
    )
    assert len(server.log) == 1


def test_offline(server, cache, monkeypatch):
    monkeypatch.setenv("NPMNV3_BASE_URL", "http://127.0.0.1:1/models/")
    message = (
        r"http://127.0.0.1:1/models/best_model_wts-67.52.pth cannot be fetched: .*refused.*HTTPS_PROXY.*--base-url"
    )
    with pytest.raises(MissingWeightsError, match=message):
        fetch(NO_HASH)
    assert files_in(cache) == []


def test_a_damaged_dump_is_not_used(server, cache, caplog):
    path = fetch(NO_HASH, base_url=server.url)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert cached_dump(NO_HASH) is None and "is not what was fetched" in caplog.text
    assert_fetched(fetch(NO_HASH, base_url=server.url), NO_HASH, cache)


def test_further_weights_have_their_own_preprocessing(server, cache, monkeypatch):
    name = "torchvision/mobilenet_v3_large@V2"
    enter(monkeypatch, server, name, "torchvision/mobilenet_v3_large", sha256="")
    path = fetch(name, base_url=server.url)
    assert path.name == "torchvision--mobilenet_v3_large@V2.h5"
    weights = load_weights(path)
    assert weights.preprocess.resize == 232 and weights.variant.full_name == "torchvision/mobilenet_v3_large"
    assert cached_dump("torchvision/mobilenet_v3_large") is None


def test_what_ships_is_not_fetched(cache):
    assert (
        fetch("ppocr/text_direction")
        == cached_dump("ppocr/text_direction")
        == goldens.ROOT / "weights" / "ppocr--text_direction.h5"
    )
    assert not cache.exists()


def test_load_fetches_only_if_allowed(server, cache, monkeypatch):
    monkeypatch.setenv("NPMNV3_BASE_URL", server.url)
    for value in ("0", "", "no", "false"):
        monkeypatch.setenv("NPMNV3_FETCH", value)
        with pytest.raises(MissingWeightsError, match=f"https://github.com/ShowLo/.*`npmnv3 fetch {NO_HASH}`"):
            npmnv3.load(NO_HASH, engine="numpy")
    monkeypatch.setenv("NPMNV3_FETCH", "1")
    with pytest.raises(MissingWeightsError, match="are not here"):
        npmnv3.load(NO_HASH, engine="numpy", fetch=False)
    assert not server.log and not cache.exists()
    assert npmnv3.load(NO_HASH, engine="numpy").num_classes == 3 and len(server.log) == 1
    monkeypatch.delenv("NPMNV3_FETCH")
    assert npmnv3.load(NO_HASH, engine="numpy").num_classes == 3 and len(server.log) == 1
    (cache / "showlo--mobilenetv3_small.h5").unlink()
    assert npmnv3.load(NO_HASH, engine="numpy", fetch=True).num_classes == 3 and len(server.log) == 2


def test_load_takes_further_weights_by_their_tag(server, cache, monkeypatch):
    name = "torchvision/mobilenet_v3_large@V2"
    enter(monkeypatch, server, name, "torchvision/mobilenet_v3_large", sha256="")
    fetch(name, base_url=server.url)
    model = npmnv3.load(name, engine="numpy")
    assert model.variant.full_name == "torchvision/mobilenet_v3_large" and model.preprocess.resize == 232
    with pytest.raises(MissingWeightsError, match="weights of torchvision/mobilenet_v3_large are not here"):
        npmnv3.load("torchvision/mobilenet_v3_large", engine="numpy")


def test_several_at_once(server, cache):
    server.pause, paths = 0.001, []
    threads = [threading.Thread(target=lambda: paths.append(fetch(NO_HASH, base_url=server.url))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 1 and len(paths) == 4
    assert_fetched(paths[0], NO_HASH, cache)


def test_wrong_use(server, cache, tmp_path, monkeypatch):
    with pytest.raises(UnknownModelError, match="nearest: showlo/mobilenetv3_small"):
        fetch("showlo/mobilenetv3_smal")
    for url in ("ftp://127.0.0.1/", "127.0.0.1", "http://a b", "http://[", "http://:80"):
        with pytest.raises(UsageError, match="base URL is .*, expected http"):
            fetch(NO_HASH, base_url=url)
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cache folder .* cannot be made.*--cache or NPMNV3_CACHE"):
        fetch(NO_HASH, base_url=server.url, cache=tmp_path / "file" / "cache")
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(MissingExtraError, match="pip install pooch platformdirs certifi"):
        fetch(NO_HASH, base_url=server.url)
    assert not server.log and not cache.exists()


@pytest.mark.parametrize(
    "name", ["showlo--mobilenetv3_small", "ppcls--MobileNetV3_small_x0_35", "sqlai--mobilenetv3_small"]
)
def test_the_frameworks_own_files(name, server, cache, shared):
    network = name.replace("--", "/")
    found = [
        path
        for file, path in checkpoint_files.unpacked().items()
        if file.endswith((".pth", ".pdparams")) and belongs(file, name)
    ]
    if not found:
        pytest.skip(f"no checkpoint of {network} at hand")
    data = found[0].read_bytes()
    server.files[f"/{REGISTRY[network].file}"], server.cuts = data, [len(data) // 4] * 3
    arrays = load_weights(fetch(network, base_url=server.url)).arrays
    for key, array in checkpoint_files.state(network).items():
        assert arrays[key].tobytes() == array.tobytes(), key


def belongs(file, name):
    source, network = name.split("--")
    return source in file and network.lower() in file.lower()
