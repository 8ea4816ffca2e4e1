"""Evaluation from pictures to figures: exact, in any order of work, after any interruption, with any damage."""

import ctypes
import itertools
import mmap
import os
import subprocess
import sys

import numpy as np
import pytest
from evaluation_material import (
    BAD,
    CLASSES,
    GOOD,
    MODEL,
    class_folders,
    damaged_folder,
    picture,
    rows,
    write_network,
    write_tar,
)
from PIL import Image

import npmnv3
from npmnv3.errors import PictureError, UsageError, WeightsError
from npmnv3.evaluation import Network, evaluate, open_dataset, work
from npmnv3.evaluation.classes import Classes
from npmnv3.evaluation.confusion import Confusion, plot


def test_rows_are_what_predict_says(network, folder, whole):
    model, table = npmnv3.load(network.model), rows(whole)
    files = [str(folder / row["file"]) for row in table]
    assert len(files) == 24 and files == sorted(files)
    assert len({row["top1"] for row in table}) > 1, "the generated network gives one answer to everything"
    for row, best in zip(table, model.predict(files)):
        assert CLASSES[int(row["label"])] == row["file"].split("/")[0]
        assert row["top5"].split() == [str(index) for index, _, _ in best] and row["top1"] == row["top5"].split()[0]
        assert row["probabilities"].split() == [f"{p:.6g}" for _, _, p in best]
        assert row["error"] == "" and row["model"] == MODEL


def test_figures_add_up(network, folder, whole):
    (result,) = evaluate([network], open_dataset(folder))
    table = rows(whole)
    assert result["pictures"] == 24
    assert result["top1"] == 100 * sum(row["label"] == row["top1"] for row in table) / 24
    assert result["top5"] == 100 * sum(row["label"] in row["top5"].split() for row in table) / 24
    low, high = result["interval"]["top1"]
    assert low < result["top1"] < high
    assert (result["unreadable"], result["unknown_labels"], result["published"]) == ([], {}, None)


def test_damage_is_counted_named_and_resumed(network, tmp_path):
    root = damaged_folder(tmp_path / "data")
    (result,) = evaluate([network], open_dataset(root), batch=3, csv=tmp_path / "o.csv")
    assert result["pictures"] == 6 + len(GOOD)
    assert result["unreadable"] == [f"{CLASSES[2]}/{name}" for name in sorted(BAD)]
    assert result["unknown_labels"] == {"no such class": 1}
    data = (tmp_path / "o.csv").read_bytes()
    table = {row["file"].split("/")[1]: row for row in rows(data)}
    assert "is empty" in table["empty.jpg"]["error"] and "too large" in table["huge.png"]["error"]
    assert table["a.jpg"]["error"] == "unknown label 'no such class'" and table["a.jpg"]["top1"]
    assert not any("\n" in row["error"] or str(tmp_path) in row["error"] for row in table.values())
    for cut in (
        len(data) // 3,
        len(data) // 2,
        data.index(b'name.jpg"') - 1,
        data.index(b'name.jpg"') + 9,
        len(data) - 1,
    ):
        (tmp_path / "c.csv").write_bytes(data[:cut])
        (again,) = evaluate([network], open_dataset(root), csv=tmp_path / "c.csv", resume=True)
        assert (tmp_path / "c.csv").read_bytes() == data, f"cut at byte {cut}"
        assert {**again, "seconds": 0} == {**result, "seconds": 0}


def test_pictures_named_but_absent_are_unreadable(network, tmp_path):
    (tmp_path / "a.jpg").write_bytes(picture(1))
    (tmp_path / "l.csv").write_text("file,label\na.jpg,class_3\ngone.jpg,1\n")
    (result,) = evaluate([network], open_dataset(tmp_path, tmp_path / "l.csv"))
    assert (result["pictures"], result["unreadable"]) == (1, ["gone.jpg"])


def test_data_of_other_classes_are_refused_before_the_work(network, tmp_path):
    class_folders(tmp_path, 1, ("n01440764", "images"))
    with pytest.raises(
        UsageError, match="has none of the data's classes: these are images, n01440764, its own are class_0"
    ):
        evaluate([network], open_dataset(tmp_path))


def test_nothing_readable(network, tmp_path):
    (tmp_path / CLASSES[0]).mkdir()
    (tmp_path / CLASSES[0] / "a.jpg").write_bytes(b"")
    (result,) = evaluate([network], open_dataset(tmp_path))
    assert (result["pictures"], result["top1"], result["interval"]["top1"]) == (0, None, (0.0, 100.0))


def test_shards_give_the_same_answers_as_folders(network, folder, whole, tmp_path):
    members = [(str(path.relative_to(folder)), path.read_bytes()) for path in sorted(folder.rglob("*.JPEG"))]
    write_tar(tmp_path / "s0.tar", dict(members[:10]))
    write_tar(tmp_path / "s1.tar", dict(members[10:]))
    evaluate([network], open_dataset(tmp_path), csv=tmp_path / "o.csv", batch=4)
    keys = ("label", "top1", "top5", "probabilities")
    table = rows((tmp_path / "o.csv").read_bytes())
    assert [[row[k] for k in keys] for row in table] == [[row[k] for k in keys] for row in rows(whole)]


def test_titles_tell_networks_apart_as_briefly_as_possible(network, tmp_path):
    def titles(*networks):
        return [each.title for each in work.identify(networks)]

    (tmp_path / "more").mkdir()
    one, two, three = (write_network(tmp_path / name) for name in ("one.h5", "more/one.h5", "more/two.h5"))
    shipped = "ppocr/text_direction"
    dump = str(npmnv3.dumps.registry.shipped_dump(npmnv3.dumps.registry.REGISTRY[shipped]))
    assert titles(one, shipped) == [MODEL, shipped]
    assert titles(one, three, shipped) == [f"{MODEL} (one.h5)", f"{MODEL} (two.h5)", shipped]
    assert titles(one, Network(MODEL, two)) == [f"{MODEL} ({one})", f"{MODEL} ({two})"]
    assert titles(shipped, dump) == [shipped, f"{shipped} ({os.path.basename(dump)})"]


def test_published_figures_are_those_of_the_weights(network):
    model = npmnv3.load(network.model)
    assert work.published(network, model) == (57.89, 80.194)
    assert work.published(Network("torchvision/mobilenet_v3_large@V2"), model) == (75.274, 92.566)


def test_data_that_a_worker_cannot_see_are_an_error(network, tmp_path):
    dataset = open_dataset(class_folders(tmp_path / "data", 2))
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(UsageError, match="data: no such folder on "):
        evaluate([network], dataset)


def test_background_class_is_shown_as_minus_one(tmp_path, monkeypatch):
    names = npmnv3.dumps.labels.class_names("imagenet", 1001)
    (tmp_path / "l.csv").write_text("file,label\na.jpg,n01440764\n")
    (tmp_path / "a.jpg").write_bytes(picture(1))
    net = Network(write_network(tmp_path / "slim.h5", labels=names))
    logits = np.zeros((1, 1001), np.float32)
    logits[0, [1, 0, 8]] = 3, 2, 1
    monkeypatch.setattr(npmnv3.Model, "__call__", lambda self, x: np.repeat(logits, len(x), axis=0))
    (result,) = evaluate([net], open_dataset(tmp_path, tmp_path / "l.csv"), csv=tmp_path / "o.csv")
    (row,) = rows((tmp_path / "o.csv").read_bytes())
    assert row["label"] == "0" and row["top5"].split()[:3] == ["0", "-1", "7"] and result["top1"] == 100.0
    assert result["published"]["top1"] == 57.89 and result["published"]["consistent"]


def test_wrong_arguments(network, folder):
    dataset = open_dataset(folder)
    for match, options in {
        "`batch=0`": {"batch": 0},
        "`threads=0`": {"workers": 0},
        "no model to evaluate": {"networks": []},
        "the same model twice": {"networks": [network, network]},
        "workers is for threads": {"workers": 2, "scheduler": "local:2"},
    }.items():
        with pytest.raises(UsageError, match=match):
            evaluate(**{"networks": [network], "dataset": dataset, **options})
    with pytest.raises(WeightsError):
        evaluate(["timm/mobilenetv3_large_100"], dataset)


def test_an_error_in_the_work_comes_through(network, folder, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(work, "preprocess", fail)
    with pytest.raises(ZeroDivisionError, match="a fault of ours"):
        evaluate([network], open_dataset(folder))


def test_a_worker_with_other_bits_is_refused(network):
    (known,) = work.identify([network])
    wrong = known.__class__(known.model, known.weights, known.engine, known.title, "00000000")
    with pytest.raises(UsageError, match="gives other bits on"):
        work.load_all((wrong,))


def test_predict_streams_any_iterable(network, folder):
    """`model.predict` takes pictures as it goes, a batch at a time."""
    model, taken = npmnv3.load(network.model), []

    def endless():
        for number in itertools.count():
            taken.append(number)
            yield picture(number % 3)

    results = model.predict_each(endless())
    first = [next(results) for _ in range(3)]
    assert not any(isinstance(result, PictureError) for result in first) and len(taken) <= 64


def test_confusion_plot(network, folder, tmp_path):
    pytest.importorskip("matplotlib")
    evaluate([network], open_dataset(folder), confusion=tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as plot:
        assert plot.size == (1600, 550)
    with pytest.raises(UsageError, match="not a format that can be drawn"):
        evaluate([network], open_dataset(folder), confusion=tmp_path / "plot.xyz")


def test_a_plot_without_confusions_says_so(tmp_path):
    pytest.importorskip("matplotlib")
    plot(tmp_path / "plot.svg", {"m": Confusion(Classes(("0", "180")))})
    text = (tmp_path / "plot.svg").read_text("utf-8")
    assert "no confusions" in text and "worst confusions" not in text and "−" not in text


FAULTS = """
import os, resource, sys
from npmnv3.evaluation.pools import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
for _ in range(8):
    bytearray(os.urandom(1)) * (20 << 20)  # written, and freed again
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def test_a_clusters_worker_keeps_its_memory():
    """As dask starts it, a worker gives back all that is free beyond 64 KB."""
    if sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("needs glibc")
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}
    given_back, kept = (
        int(
            subprocess.run([sys.executable, "-c", FAULTS, how], env=environment, capture_output=True, check=True).stdout
        )
        for how in ("", "keep")
    )
    assert given_back - kept > 6 * (20 << 20) // mmap.PAGESIZE * 0.9
