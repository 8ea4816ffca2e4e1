"""Evaluation from pictures to figures: exact, in any order of work, after any interruption, with any damage."""

import csv
import ctypes
import io
import itertools
import mmap
import os
import subprocess
import sys

import numpy as np
import pytest
from evaluation_material import CLASSES, MODEL, RECIPE, class_folders, picture, write_network, write_tar
from PIL import Image

import npmnv3
from npmnv3.errors import PictureError, UsageError, WeightsError, WriteError
from npmnv3.evaluation import Network, agree, evaluate, open_dataset, work
from npmnv3.evaluation.classes import Classes
from npmnv3.evaluation.confusion import Confusion, plot
from npmnv3.evaluation.results import HEADER, Row


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return Network(write_network(tmp_path_factory.mktemp("network") / "net.h5"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return class_folders(tmp_path_factory.mktemp("data") / "set", 4)


@pytest.fixture(scope="module")
def whole(network, folder, tmp_path_factory):
    """The CSV of an uninterrupted run."""
    path = tmp_path_factory.mktemp("whole") / "whole.csv"
    evaluate([network], open_dataset(folder), csv=path)
    return path.read_bytes()


def rows(data):
    return list(csv.DictReader(io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")))


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


@pytest.mark.parametrize("batch, workers", [(1, 1), (5, 3), (7, 2), (64, 1)])
def test_same_bytes_for_any_batch_and_workers(network, folder, whole, tmp_path, batch, workers):
    evaluate([network], open_dataset(folder), batch=batch, workers=workers, csv=tmp_path / "o.csv")
    assert (tmp_path / "o.csv").read_bytes() == whole


def test_resumes_from_any_cut_with_the_same_bytes(network, folder, whole, tmp_path):
    path, dataset = tmp_path / "o.csv", open_dataset(folder)
    ends = [0, *itertools.accumulate(map(len, whole.splitlines(keepends=True)))]
    cuts = sorted({cut for end in ends[::6] for cut in (end - 1, end, end + 1) if 0 <= cut <= len(whole)})
    for cut in cuts:
        path.write_bytes(whole[:cut])
        (result,) = evaluate([network], dataset, csv=path, resume=True)
        assert path.read_bytes() == whole, f"cut at byte {cut}"
        assert result["pictures"] == 24, f"cut at byte {cut}"


def test_a_resumed_run_does_not_look_at_finished_pictures_again(network, folder, whole, tmp_path):
    path = tmp_path / "o.csv"
    path.write_bytes(whole)
    seen = []
    evaluate([network], open_dataset(folder), csv=path, resume=True, progress=lambda done, tallies: seen.append(done))
    assert seen == [24]


def test_without_resume_the_csv_is_written_anew(network, folder, whole, tmp_path):
    path = tmp_path / "o.csv"
    path.write_bytes(whole + b"old")
    evaluate([network], open_dataset(folder), csv=path)
    assert path.read_bytes() == whole
    (tmp_path / "none.csv").unlink(missing_ok=True)
    evaluate([network], open_dataset(folder), csv=tmp_path / "none.csv", resume=True)  # killed before it began
    assert (tmp_path / "none.csv").read_bytes() == whole


def test_several_models_in_one_pass_and_a_cut_between_their_rows(network, folder, tmp_path, monkeypatch):
    other = Network(write_network(tmp_path / "other.h5", seed=1))
    path, dataset = tmp_path / "both.csv", open_dataset(folder)
    decoded = []
    monkeypatch.setattr(work, "preprocess", lambda *a: decoded.append(a) or npmnv3.preprocess(*a))
    results = evaluate([network, other], dataset, csv=path)
    assert len(decoded) == 2 + 24, "one fixed picture a model, and then two models of one recipe need each picture once"
    assert [r["model"] for r in results] == [f"{MODEL} (net.h5)", f"{MODEL} (other.h5)"]
    data = path.read_bytes()
    table = rows(data)
    assert [row["model"] for row in table[:2]] == [r["model"] for r in results]
    for number, net in enumerate((network, other)):
        alone = tmp_path / "alone.csv"
        evaluate([net], dataset, csv=alone)
        keys = ("file", "label", "top1", "top5", "probabilities", "error", "job")
        assert [[row[k] for k in keys] for row in table[number::2]] == [
            [row[k] for k in keys] for row in rows(alone.read_bytes())
        ]
    lines = data.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:6]))  # header, two pictures, half of the third
    again = evaluate([network, other], dataset, csv=path, resume=True)
    assert path.read_bytes() == data
    assert [{**r, "seconds": 0} for r in again] == [{**r, "seconds": 0} for r in results]


def refused(match, *args, **options):
    with pytest.raises(UsageError, match=match):
        evaluate(*args, resume=True, **options)


def test_another_jobs_csv_is_refused_and_left_as_it_is(network, folder, whole, tmp_path):
    path, dataset = tmp_path / "o.csv", open_dataset(folder)
    path.write_bytes(whole)
    other = Network(write_network(tmp_path / "other.h5", seed=1))
    refused("the weights, labels, preprocessing, engine or machine of", [other], dataset, csv=path)
    refused(
        "the pictures, their labels or the limit are not those", [network], open_dataset(folder, limit=23), csv=path
    )
    refused(f"it is of the model {MODEL}, expected", [network, other], dataset, csv=path)
    refused("nothing to resume without a CSV", [network], dataset)
    assert path.read_bytes() == whole
    for strange in (b"file,label\na.jpg,3\n", b"\x00\x01" * 50, whole.replace(b"class_1/002", b'class_1/"02')):
        path.write_bytes(strange)
        refused("not a result of npmnv3 evaluate, or damaged, at byte", [network], dataset, csv=path)
        assert path.read_bytes() == strange


def test_a_csv_that_cannot_be_written_is_told(network, folder, tmp_path):
    with pytest.raises(WriteError, match="nowhere.o.csv: cannot be written"):
        evaluate([network], open_dataset(folder), csv=tmp_path / "nowhere" / "o.csv")


def huge_png():
    """A PNG that says it is 30,000 x 30,000."""
    import struct
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


BAD = {
    "cut.jpg": picture(1)[:400],
    "empty.jpg": b"",
    "huge.png": huge_png(),
    'odd, "quoted"\nname.jpg': b"?",
    "text.jpg": b"this is no picture\n",
}
GOOD = ("größe und ähnliches 猫.jpg", "two words.jpeg")


def damaged_folder(root):
    class_folders(root, 1)
    for name, data in BAD.items():
        (root / CLASSES[2] / name).write_bytes(data)
    for number, name in enumerate(GOOD):
        (root / CLASSES[2] / name).write_bytes(picture(number))
    (root / "no such class").mkdir()
    (root / "no such class" / "a.jpg").write_bytes(picture(5))
    return root


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


def test_rows_survive_any_name(tmp_path):
    row = Row('a,"b"\r\nc\udcff.jpg', "1", "m", "2", "2 1", "0.5 0.5", "", "x-y")
    (read,) = csv.reader([row.line().decode("utf-8", "surrogateescape")])
    assert tuple(read) == row and HEADER == b"file,label,model,top1,top5,probabilities,error,job\n"


def test_agree_with_itself_and_with_another(network, folder, tmp_path):
    dataset = open_dataset(folder, labelled=False)
    copy = write_network(tmp_path / "copy.h5")
    assert agree(network, network, dataset)["agreement"] == 100
    same = agree(network, Network(copy), dataset)
    assert same["agreement"] == 100 and same["largest_difference"]["value"] == 0 and same["disagreements"] == []
    assert same["margin"]["largest_apart"] is None and 0 < same["margin"]["smallest"] <= same["margin"]["median"]
    other = write_network(tmp_path / "other.h5", seed=1)
    result = agree(network, Network(other), dataset, batch=5)
    files = [picture.file for picture in dataset.pictures]
    x = np.stack([npmnv3.preprocess(folder / file, RECIPE) for file in files])
    a, b = (npmnv3.load(path)(x).astype(np.float64) for path in (network.model, other))
    apart = a.argmax(1) != b.argmax(1)
    assert result["agreement"] == 100 * (~apart).sum() / 24 and len(result["disagreements"]) == apart.sum() > 0
    where = np.unravel_index(np.abs(a - b).argmax(), a.shape)
    assert result["largest_difference"] == {
        "value": np.abs(a - b).max(),
        "file": files[where[0]],
        "class": CLASSES[where[1]],
    }
    margins = np.sort(a, axis=1)[:, -1] - np.sort(a, axis=1)[:, -2]
    assert result["margin"]["largest_apart"] == margins[apart].max() and result["margin"]["median"] == np.median(
        margins
    )


def test_agree_needs_the_same_classes_and_counts_damage(network, tmp_path):
    root = damaged_folder(tmp_path / "data")
    copy = Network(write_network(tmp_path / "copy.h5"))
    result = agree(network, copy, open_dataset(root, labelled=False))
    assert result["pictures"] == 7 + len(GOOD) and len(result["unreadable"]) == len(BAD)
    other = write_network(tmp_path / "other.h5", labels=CLASSES[:-1])
    with pytest.raises(UsageError, match="classes differ"):
        agree(network, Network(other), open_dataset(root, labelled=False))


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
