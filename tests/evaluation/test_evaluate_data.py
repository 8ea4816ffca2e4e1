"""Where labelled pictures come from, what their labels mean, and the statistics."""

import os
import re
import tarfile

import pytest
from evaluation_material import CLASSES, class_folders, picture, write_tar

from npmnv3.dumps.labels import class_names, label_set
from npmnv3.errors import PictureError, UsageError
from npmnv3.evaluation import open_dataset
from npmnv3.evaluation.classes import Classes
from npmnv3.evaluation.files import MAX_BYTES, read_picture
from npmnv3.evaluation.labelfiles import ilsvrc2012_synsets
from npmnv3.evaluation.statistics import verdict, wilson


def pairs(dataset):
    return [(picture.file, picture.label) for picture in dataset.pictures]


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


@pytest.mark.parametrize(
    "text, label",
    [
        ("file,label\na.jpg,3\nb c.jpg,tench\n", ["3", "tench"]),
        ("\ufefffile,class_index,synset,label\na.jpg,0,n01440764,tench\nb c.jpg,1,,goldfish\n", ["n01440764", "1"]),
        ('label,file\nx,"a.jpg"\r\n"y, z",./b c.jpg\r\n', ["x", "y, z"]),
        ("a.jpg 65\nb c.jpg 970\n", ["65", "970"]),
    ],
)
def test_flat_folder_with_a_table(tmp_path, text, label):
    for name in ("a.jpg", "b c.jpg", "unnamed.jpg"):
        (tmp_path / name).write_bytes(picture(1))
    table = tmp_path / ("labels.csv" if "file" in text else "list.txt")
    table.write_text(text, encoding="utf-8", newline="")
    dataset = open_dataset(tmp_path, table)
    assert pairs(dataset) == list(zip(("a.jpg", "b c.jpg"), label))
    assert dataset.notes == (f"left out: 1 picture that {table} does not name: unnamed.jpg",)


def test_a_table_may_name_folders(tmp_path):
    class_folders(tmp_path / "data", 2, ("cats", "dogs"))
    (tmp_path / "t.csv").write_text("file,label\ndogs,7\ncats/,3\n")
    dataset = open_dataset(tmp_path / "data", tmp_path / "t.csv")
    assert pairs(dataset) == [
        ("dogs/000.JPEG", "7"),
        ("dogs/001.JPEG", "7"),
        ("cats/000.JPEG", "3"),
        ("cats/001.JPEG", "3"),
    ]


def test_a_list_of_class_folders_gives_their_indices(tmp_path):
    class_folders(tmp_path / "data", 1, ("cat", "dog", "emu"))
    (tmp_path / "names.txt").write_text("dog\ncat\n")
    assert pairs(open_dataset(tmp_path / "data", tmp_path / "names.txt")) == [
        ("cat/000.JPEG", "1"),
        ("dog/000.JPEG", "0"),
        ("emu/000.JPEG", "emu"),
    ]
    (tmp_path / "names.txt").write_text("hound\nfeline\n")
    with pytest.raises(UsageError, match=r"names.txt: taken as a list .* none of which is there .*cat, dog, emu"):
        open_dataset(tmp_path / "data", tmp_path / "names.txt")


def test_devkit_truth_goes_by_the_number_in_the_name(tmp_path):
    folder = tmp_path / "val"
    folder.mkdir()
    for number in (1, 3, 10):
        (folder / f"ILSVRC2012_val_{number:08d}.JPEG").write_bytes(picture(number))
    truth = tmp_path / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("490\n361\n171\n822\n297\n482\n13\n704\n599\n164\n")  # as the published file begins
    indices = {label.synset: label.index for label in label_set("imagenet")}
    assert [indices[label] for _, label in pairs(open_dataset(folder, truth))] == [65, 230, 332]
    (folder / "ILSVRC2012_val_00000011.JPEG").write_bytes(picture(0))
    with pytest.raises(UsageError, match="10 lines, none for 1 pictures, such as ILSVRC2012_val_00000011.JPEG"):
        open_dataset(folder, truth)


def test_devkit_truth_goes_by_order_where_names_have_no_numbers(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("b.jpg", "a.jpg"):
        (tmp_path / "data" / name).write_bytes(picture(1))
    truth = tmp_path / "truth.txt"
    truth.write_text("1\n2\n")
    assert pairs(open_dataset(tmp_path / "data", truth)) == [("a.jpg", "n02119789"), ("b.jpg", "n02100735")]
    truth.write_text("1\n2\n3\n")
    with pytest.raises(UsageError, match="3 lines for 2 pictures"):
        open_dataset(tmp_path / "data", truth)


def test_the_devkits_order_has_every_class_once():
    assert sorted(ilsvrc2012_synsets()) == [label.synset for label in label_set("imagenet")]


@pytest.mark.parametrize(
    "name, text, match",
    [
        ("l.csv", "who,label\na.jpg,1\n", "the columns are who, label; expected file and label"),
        ("l.tsv", "file\tsize\na.jpg\t1\n", "the columns are file, size; expected file and label"),
        ("l.csv", "file,label\na,1\n", "a may be a.jpg or a.png: write its ending"),
        ("l.json", '{"a.jpg": [1, 2]}', "JSON, expected {class: index}"),
        ("l.json", '{"a.jpg": 1', "neither JSON nor a JSON value a line"),
        ("l.json", '["cat", " "]', "an empty text, expected the name of a class or of a picture"),
        ("l.json", '{"": 0, "cat": 1}', "an empty text, expected the name of a class or of a picture"),
        ("l.json", '{"a.jpg": 1, "a.jpg": 2}', "the name 'a.jpg' is there twice, expected once"),
        (
            "l.json",
            '{"file": "a.jpg", "label": 1, "label": 2}\n{"file": "b.jpg", "label": 1}',
            "the name 'label' is there twice",
        ),
        ("l.jsonl", '{"file_name": "a.jpg"}\n{"file_name": "b.jpg"}\n', "row 1 has file_name; expected file and label"),
        ("l.csv", "file,label\na.jpg,1\na.jpg,2\n", "line 3: a.jpg is '2' here and '1' above"),
        ("l.csv", "file,label\n,1\n", "line 2 has no file"),
        ("l.csv", 'file,label\n"a.jpg,1\n', "unexpected end of data"),
        ("l.txt", "1\n1001\n", "line 2 is 1001, expected an ILSVRC2012_ID"),
        ("l.txt", "cat\ncat\n", "the class 'cat' stands there twice"),
        ("l.txt", "\n", "an empty labels file"),
    ],
)
def test_bad_label_files_are_refused(tmp_path, name, text, match):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.jpg").write_bytes(picture(1))
    (tmp_path / "data/a.png").write_bytes(picture(2))
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=re.escape(match)):
        open_dataset(tmp_path / "data", tmp_path / name)


@pytest.mark.parametrize(
    "name, text",
    [
        ("l.csv", "file;label\nx/a.jpg;1\nb.jpg;0\n"),
        ("l.tsv", "file\tlabel\nx/a.jpg\t1\nb.jpg\t0\n"),
        ("l.csv", "image, label\nx/a.jpg, 1\nb.jpg, 0\n"),
        ("l.csv", '"file_name","label"\n"x/a.jpg","1"\n"b.jpg","0"\n'),
        ("l.csv", "id,label\nx/a,1\nb,0\n"),
        ("l.csv", "Filename,Class\nx/a.jpg,1\nb.jpg,0\n"),
        ("l.csv", "x/a.jpg,1\nb.jpg,0\n"),
        ("l.txt", "x/a.jpg,1\nb.jpg,0\n"),
        ("l.txt", "x/a.jpg\t1\nb.jpg\t0\n"),
        ("l.txt", "x/a.jpg 1\nb.jpg 0\n"),
        ("metadata.jsonl", '{"file_name": "x/a.jpg", "label": 1}\n{"file_name": "b.jpg", "label": 0}\n'),
        ("l.json", '[{"image": "x/a.jpg", "label": "1"}, {"image": "b.jpg", "label": "0"}]'),
        ("l.json", '{"x/a.jpg": 1, "b.jpg": 0}'),
    ],
)
def test_tables_as_people_write_them(name, text, tmp_path):
    (tmp_path / "data/x").mkdir(parents=True)
    for file in ("x/a.jpg", "b.jpg"):
        (tmp_path / "data" / file).write_bytes(picture(1))
    (tmp_path / name).write_text(text)
    dataset = open_dataset(tmp_path / "data", tmp_path / name)
    assert (pairs(dataset), dataset.notes) == ([("x/a.jpg", "1"), ("b.jpg", "0")], ())


@pytest.mark.parametrize(
    "name, text",
    [
        ("c.json", '{"dog": 0, "cat": 1}'),
        ("c.json", '{"0": "dog", "1": ["cat", "a cat"]}'),
        ("c.json", '["dog", "cat"]'),
        ("c.txt", "0 dog\n1 cat\n"),
        ("c.txt", "cat,1\ndog,0\n"),
        ("c.txt", "cat: 1\ndog: 0\n"),
    ],
)
def test_class_folders_as_people_number_them(name, text, tmp_path):
    class_folders(tmp_path / "data", 1, ("cat", "dog"))
    (tmp_path / name).write_text(text)
    dataset = open_dataset(tmp_path / "data", tmp_path / name)
    assert pairs(dataset) == [("cat/000.JPEG", "1"), ("dog/000.JPEG", "0")]


def test_indices_written_as_floats_are_classes():
    classes = Classes(("upright", "upside down"))
    assert [classes.find(text) for text in ("0.0", "1.", "1.5", "2.0", "-1.0", "1.0.0")] == [
        0,
        1,
        None,
        None,
        None,
        None,
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-8-sig"])
@pytest.mark.parametrize("separator", ["\t", ","])
def test_a_table_as_spreadsheets_save_it(tmp_path, encoding, separator):
    """Excel's "Unicode text" is UTF-16 with its mark and tabs."""
    class_folders(tmp_path / "data", 1, ("n01", "n02"))
    text = "\r\n".join(separator.join(row) for row in (("file", "label"), ("n01/000.JPEG", "7"), ("n02/000.JPEG", "8")))
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (tmp_path / "labels.txt").write_bytes((mark + text + "\r\n").encode(encoding))
    dataset = open_dataset(tmp_path / "data", tmp_path / "labels.txt")
    assert pairs(dataset) == [("n01/000.JPEG", "7"), ("n02/000.JPEG", "8")]


def test_half_a_utf16_table_is_refused(tmp_path):
    class_folders(tmp_path / "data", 1, ("n01",))
    (tmp_path / "labels.csv").write_bytes("file,label\nn01,7\n".encode("utf-16")[:-1])
    with pytest.raises(UsageError, match="labels.csv: not a text in UTF-16 .*; save it as UTF-8"):
        open_dataset(tmp_path / "data", tmp_path / "labels.csv")


def test_data_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no such folder or tar shard"):
        open_dataset(tmp_path / "nothing")
    with pytest.raises(UsageError, match="no pictures"):
        open_dataset(tmp_path)
    (tmp_path / "a.jpg").write_bytes(picture(1))
    with pytest.raises(UsageError, match="say their classes with a labels file"):
        open_dataset(tmp_path)
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
    second = {"n01440764/" + "long" * 40 + ".JPEG": picture(3), "bad.jpg": b"", "bad.json": b"[1]"}
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
    with pytest.raises(UsageError, match="must not be compressed"):
        open_dataset(tmp_path / "packed.tar")


@pytest.mark.parametrize("background", [False, True])
def test_imagenets_classes_by_synset_name_lemma_and_index(background):
    classes = Classes(class_names("imagenet", 1001 if background else 1000))
    assert classes.imagenet and classes.offset == background
    for text, index in {
        "n01440764": 0,
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
    for text in ("crane", "maillot", "1000", "-1", "n00000000", "", "background", "crayfish tank"):
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


@pytest.mark.parametrize("arguments", ((None,), (5,), (["a.png"],), (".", 5), (".", ["cat"])))
def test_what_is_no_path_is_told(arguments):
    with pytest.raises(UsageError, match="(data|labels) is a .*, expected the path of"):
        open_dataset(*arguments)
