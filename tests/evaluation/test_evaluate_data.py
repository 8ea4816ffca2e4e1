"""Where labelled pictures come from, what their labels mean, and the statistics."""

import os
import tarfile

import pytest
from evaluation_material import CLASSES, class_folders, pairs, picture, write_tar

from npmnv3.dumps.labels import class_names
from npmnv3.errors import PictureError, UsageError
from npmnv3.evaluation import open_dataset
from npmnv3.evaluation.classes import Classes
from npmnv3.evaluation.files import MAX_BYTES, read_picture
from npmnv3.evaluation.statistics import verdict, wilson


def test_class_folders_are_listed_in_order_with_what_was_left_out(tmp_path):
    class_folders(tmp_path / "data", 2, ("n02", "n01"))
    (tmp_path / "data/n01/notes.txt").write_text("no picture")
    dataset = open_dataset(tmp_path / "data")
    assert pairs(dataset) == [
        ("n01/000.JPEG", "n01"),
        ("n01/001.JPEG", "n01"),
        ("n02/000.JPEG", "n02"),
        ("n02/001.JPEG", "n02"),
    ]
    assert dataset.notes == ("left out: 1 file, no picture by name: n01/notes.txt",)
    assert dataset.summary() == "4 pictures, class folders; 2 classes, 2 pictures each"


def test_what_macos_lays_beside_files_is_no_picture(tmp_path):
    class_folders(tmp_path / "data", 1, ("n01",))
    (tmp_path / "data/n01/._000.JPEG").write_bytes(b"\0\5\x16\7")
    dataset = open_dataset(tmp_path / "data")
    assert pairs(dataset) == [("n01/000.JPEG", "n01")]
    assert dataset.notes == ("left out: 1 file, no picture by name: n01/._000.JPEG",)


def test_what_tools_lay_beside_class_folders_is_no_class(tmp_path):
    """Jupyter's copies are readable pictures, and macOS's archives hold a second tree."""
    data = class_folders(tmp_path / "data", 1, ("n01", ".ipynb_checkpoints", "n01/.thumbs", "__MACOSX/n01"))
    dataset = open_dataset(data)
    assert pairs(dataset) == [("n01/000.JPEG", "n01")]
    assert dataset.notes == ("left out: 3 folders, hidden or a tool's: .ipynb_checkpoints/, __MACOSX/, n01/.thumbs/",)
    (tmp_path / "labels.csv").write_text("file,label\nn01,3\n")
    named = open_dataset(data, tmp_path / "labels.csv")
    assert pairs(named) == [("n01/000.JPEG", "3")] and named.notes == dataset.notes
    with pytest.raises(UsageError, match="no pictures .* in it; left out: 1 folder, hidden or a tool's: .n01/"):
        open_dataset(class_folders(tmp_path / "other", 1, (".n01",)))


def test_linked_class_folders_are_followed(tmp_path):
    class_folders(tmp_path / "real", 1, ("n01",))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/n05").symlink_to(tmp_path / "real/n01")
    assert pairs(open_dataset(tmp_path / "data")) == [("n05/000.JPEG", "n05")]


def test_links_that_lead_back_are_not_followed(tmp_path):
    data = class_folders(tmp_path / "data", 1, ("n01", "n02"))
    for link, target in {"here": ".", "above": "..", "itself": "itself", "n01/up": "..", "n01/x.jpg": "../n02"}.items():
        (data / link).symlink_to(target)
    dataset = open_dataset(data)
    assert pairs(dataset) == [("n01/000.JPEG", "n01"), ("n02/000.JPEG", "n02")]
    assert dataset.notes == ("left out: 5 files, no picture by name: above/, here/, itself, ...",)


def test_a_folder_that_cannot_be_listed_stands_for_its_pictures(tmp_path, monkeypatch):
    data, scandir = class_folders(tmp_path / "data", 1, ("n01", "n02")), os.scandir
    forbidden = [data / "n01"]

    def refuse(path):
        if str(path) in map(str, forbidden):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    # Root may list anything, so that permissions would prove nothing.
    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.setattr(os, "listdir", lambda path: [entry.name for entry in refuse(path)])
    (tmp_path / "t.csv").write_text("file,label\nn01,3\nn02,4\n")
    for labels, found in ((None, ("n01", "n02")), (tmp_path / "t.csv", ("3", "4"))):
        dataset = open_dataset(data, labels)
        assert pairs(dataset) == [("n01/", found[0]), ("n02/000.JPEG", found[1])]
        with pytest.raises(PictureError, match="is a folder that cannot be listed"):
            read_picture(dataset.root, dataset.pictures[0])
    forbidden.append(data)
    with pytest.raises(UsageError, match="data: cannot be listed: Permission denied"):
        open_dataset(data)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs a device without end")
def test_labels_without_an_end_are_refused():
    with pytest.raises(UsageError, match="/dev/zero: more than 256 MB, expected a table of labels"):
        open_dataset(".", "/dev/zero")


def test_what_is_no_file_or_too_large_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    with open(tmp_path / "sparse.jpg", "wb") as file:
        file.truncate(MAX_BYTES + 1)
    dataset = open_dataset(tmp_path, labelled=False)
    found = {}
    for each in dataset.pictures:
        with pytest.raises(PictureError) as error:
            read_picture(dataset.root, each)
        found[each.file] = str(error.value)
    assert found["pipe.jpg"] == found["zero.jpg"] == "is no file"
    assert found["sparse.jpg"] == "has 536,870,913 bytes; at most 536,870,912 are taken"


def test_limit_spreads_over_all_classes(tmp_path):
    class_folders(tmp_path / "data", 4)
    dataset = open_dataset(tmp_path / "data", limit=6)
    assert [label for _, label in pairs(dataset)] == list(CLASSES)
    assert "6 of 24 pictures" in dataset.notes[0]
    assert len(open_dataset(tmp_path / "data", limit=99).pictures) == 24


def test_fingerprint_changes_with_names_labels_sizes_and_order(tmp_path):
    class_folders(tmp_path / "a", 2, ("x", "y"))
    class_folders(tmp_path / "b", 2, ("x", "y"))
    first = open_dataset(tmp_path / "a").fingerprint()
    assert first == open_dataset(tmp_path / "b").fingerprint(), "the root's own name must not matter"
    assert first != open_dataset(tmp_path / "a", limit=3).fingerprint()
    with open(tmp_path / "b/x/000.JPEG", "ab") as file:
        file.write(b"!")
    assert first != open_dataset(tmp_path / "b").fingerprint()


def test_data_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no such folder or tar shard"):
        open_dataset(tmp_path / "nothing")
    with pytest.raises(UsageError, match="no pictures"):
        open_dataset(tmp_path)
    (tmp_path / "a.jpg").write_bytes(picture(1))
    with pytest.raises(UsageError, match="say their classes with a labels file"):
        open_dataset(tmp_path)
    (tmp_path / "names.json").write_text('{"cat": 0}')
    with pytest.raises(UsageError, match="names.json names classes, not pictures: say their classes"):
        open_dataset(tmp_path, tmp_path / "names.json")
    assert open_dataset(tmp_path, labelled=False).summary() == "1 picture, folder"
    with pytest.raises(UsageError, match="limit=0"):
        open_dataset(tmp_path, limit=0)
    with pytest.raises(UsageError, match="l.csv: cannot be read"):
        open_dataset(tmp_path, tmp_path / "l.csv")
    (tmp_path / "l.csv").write_bytes(b"file,label\n\xff,1\n")
    with pytest.raises(UsageError, match="not a text in UTF-8"):
        open_dataset(tmp_path, tmp_path / "l.csv")


def test_shards(tmp_path):
    first = {"./a/0001.txt": b"caption", "./a/0001.jpg": picture(1), "./a/0001.cls": b"4\n", "./a/0001.npy": b"?"}
    write_tar(tmp_path / "s-0.tar", {**first, "b/x.y.png": picture(2, "PNG"), "b/x.json": b'{"label": 2}'})
    second = {"n01440764/" + "long" * 40 + ".JPEG": picture(3), "bad.jpg": b"", "bad.json": b"[1, 2]"}
    write_tar(tmp_path / "s-1.tar", {**second, "c.txt": b"tench\n", "c.jpg": picture(4)})
    expected = [
        ("s-0.tar/a/0001.jpg", "4"),
        ("s-0.tar/b/x.y.png", "2"),
        ("s-1.tar/n01440764/" + "long" * 40 + ".JPEG", "n01440764"),
        ("s-1.tar/bad.jpg", ""),
        ("s-1.tar/c.jpg", "tench"),
    ]
    for data in (tmp_path, f"{tmp_path}/s-*.tar"):
        dataset = open_dataset(data)
        assert pairs(dataset) == expected
        assert [read_picture(dataset.root, p) for p in dataset.pictures] == [
            picture(1),
            picture(2, "PNG"),
            picture(3),
            b"",
            picture(4),
        ]
        assert dataset.kind == "2 tar shards"
        assert dataset.notes == ("left out: 1 member, no picture by name: s-0.tar/a/0001.npy",)
    (tmp_path / "n01").mkdir()
    assert open_dataset(tmp_path).notes[1] == "left out: what is beside the shards (1 files or folders)"
    assert pairs(open_dataset(tmp_path / "s-1.tar")) == expected[2:]


def test_what_tools_lay_beside_class_folders_is_no_class_in_a_shard(tmp_path):
    write_tar(tmp_path / "s.tar", {f"{folder}/a.jpg": picture(1) for folder in ("n01", "__MACOSX/n01", ".git", ".")})
    dataset = open_dataset(tmp_path / "s.tar")
    assert pairs(dataset) == [("s.tar/n01/a.jpg", "n01"), ("s.tar/a.jpg", "")]
    assert dataset.notes == ("left out: 2 members, no picture by name: s.tar/__MACOSX/n01/a.jpg, s.tar/.git/a.jpg",)


def test_shards_with_a_labels_file(tmp_path):
    write_tar(tmp_path / "v.tar", {f"val/ILSVRC2012_val_0000000{i}.JPEG": picture(i) for i in (2, 1)})
    (tmp_path / "truth.txt").write_text("490\n361\n")
    assert [label for _, label in pairs(open_dataset(tmp_path / "v.tar", tmp_path / "truth.txt"))] == [
        "n09193705",
        "n01751748",
    ]
    (tmp_path / "t.csv").write_text("file,label\nILSVRC2012_val_00000001.JPEG,8\nval,9\n")
    assert [label for _, label in pairs(open_dataset(tmp_path / "v.tar", tmp_path / "t.csv"))] == ["9", "8"]


def test_damaged_shards_are_refused_before_the_work(tmp_path):
    whole = write_tar(tmp_path / "whole.tar", {"n01/a.jpg": picture(1), "n01/b.jpg": picture(2)}).read_bytes()
    for name, data in {"cut.tar": whole[:1700], "text.tar": b"no tar" * 200, "empty.tar": b""}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UsageError, match=f"{name}: not a plain tar, or damaged"):
            open_dataset(tmp_path / name)
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as tar:
        tar.add(tmp_path / "whole.tar", "n01/a.jpg")
    with pytest.raises(UsageError, match="packed.tar: compressed; unpack it with gunzip"):
        open_dataset(tmp_path / "packed.tar")


@pytest.mark.parametrize(
    "name, data, match",
    [
        ("val.zip", b"PK\x03\x04....", "a zip; unpack it, and give the folder"),
        ("validation-00000-of-00014.parquet", b"PAR1....", "a Parquet table; save its pictures as files"),
        ("cat.jpg", picture(1), "a picture; give the folder that it is in"),
    ],
)
def test_what_is_no_data_is_called_what_it_is(name, data, match, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=match):
        open_dataset(tmp_path / name)


def test_pictures_of_which_nothing_says_the_class_are_refused_before_the_work(tmp_path):
    write_tar(tmp_path / "v.tar", {"a.jpg": picture(1), "b.jpg": picture(2)})
    with pytest.raises(UsageError, match="nothing beside the pictures says their classes"):
        open_dataset(tmp_path / "v.tar")
    assert pairs(open_dataset(tmp_path / "v.tar", labelled=False)) == [("v.tar/a.jpg", ""), ("v.tar/b.jpg", "")]
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat/a.jpg").write_bytes(picture(1))
    (tmp_path / "flat/metadata.csv").write_text("file_name,label\na.jpg,1\n")
    with pytest.raises(UsageError, match="labels file .--labels.; metadata.csv is there"):
        open_dataset(tmp_path / "flat")


@pytest.mark.parametrize("background", [False, True])
def test_imagenets_classes_by_synset_name_lemma_and_index(background):
    classes = Classes(class_names("imagenet", 1001 if background else 1000))
    assert classes.imagenet and classes.offset == background
    for text, index in {
        "n01440764": 0,
        "n01443537_goldfish": 1,
        "0": 0,
        "999": 999,
        "tench": 0,
        "Tinca tinca": 0,
        "bee_eater": 92,
        "Shih-Tzu": 155,
        "tench, Tinca tinca": 0,
        "missile": 657,
        "crane bird": 134,
    }.items():
        assert classes.find(text) == index, text
    for text in ("crane", "maillot", "1000", "-1", "n00000000", "n00000000_fish", "", "background", "crayfish tank"):
        assert classes.find(text) is None, text
    assert classes.shown(background + 7) == 7 and classes.name(7) == "cock"
    if background:
        assert classes.shown(0) == -1 and classes.name(-1) == "background"


def test_other_classes_go_by_their_own_names_and_indices():
    classes = Classes(("0", "180"))
    assert not classes.imagenet
    assert [classes.find(text) for text in ("0", "180", "1", "2", "٣", "")] == [0, 1, 1, None, None, None]


def test_wilsons_interval():
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3
    for right, total, expected in (
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ):
        found = wilson(right, total)
        assert max(abs(a - b) for a, b in zip(found, expected)) < 5.1e-5, (right, total, found)
    assert wilson(0, 0) == (0.0, 1.0) and wilson(7, 7)[1] == 1.0 and wilson(0, 3)[0] == 0.0


def test_verdict():
    assert verdict(75.77, 75.7, (75.32, 76.08)) == (True, "75.77 published; 75.70 +- 0.38 here: consistent")
    assert verdict(75.2, 75.7, (75.32, 76.08)) == (False, "75.20 published; 75.70 +- 0.38 here: not consistent")
    told = "67.92 published for the float network; 54.00 +- 9.59 here, quantised"
    assert verdict(67.92, 54.0, (44.24, 63.42), quantized=True) == (None, told)


@pytest.mark.parametrize("arguments", ((None,), (5,), (["a.png"],), (".", 5), (".", ["cat"])))
def test_what_is_no_path_is_told(arguments):
    with pytest.raises(UsageError, match="(data|labels) is a .*, expected the path of"):
        open_dataset(*arguments)
