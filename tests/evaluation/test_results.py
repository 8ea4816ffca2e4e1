"""The CSV of results: the same bytes in any order of work and after any interruption; what is none of this job's."""

import csv
import itertools

import pytest
from evaluation_material import MODEL, rows, write_network

import npmnv3
from npmnv3.errors import UsageError, WriteError
from npmnv3.evaluation import Network, evaluate, open_dataset, work
from npmnv3.evaluation.results import HEADER, Row


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


def test_rows_survive_any_name(tmp_path):
    row = Row('a,"b"\r\nc\udcff.jpg', "1", "m", "2", "2 1", "0.5 0.5", "", "x-y")
    (read,) = csv.reader([row.line().decode("utf-8", "surrogateescape")])
    assert tuple(read) == row and HEADER == b"file,label,model,top1,top5,probabilities,error,job\n"
