"""Files of labels: as people write them, as spreadsheets and the devkit do, and what is refused."""

import re

import pytest
from evaluation_material import class_folders, pairs, picture

from npmnv3.dumps.labels import label_set
from npmnv3.errors import UsageError
from npmnv3.evaluation import open_dataset
from npmnv3.evaluation.classes import Classes
from npmnv3.evaluation.truths import ilsvrc2012_synsets


@pytest.mark.parametrize(
    "text, label",
    [
        ("file,label\na.jpg,3\nb c.jpg,tench\n", ["3", "tench"]),
        ("\ufefffile,class_index,synset,label\na.jpg,0,n01440764,tench\nb c.jpg,1,,goldfish\n", ["n01440764", "1"]),
        ('label,file\nx,"a.jpg"\r\n"y, z",./b c.jpg\r\n', ["x", "y, z"]),
        ("Image File;Breed\na.jpg;tench\nb c;goldfish\n", ["tench", "goldfish"]),
        ("File Path,Class-ID,Breed\na.jpg,4,tench\nb c.jpg,5,goldfish\n", ["4", "5"]),
        (
            "ImageId,PredictionString\na,n01440764 1 2 3 4 n01440764 5 6 7 8 \nb c,n01443537 1 2 3 4\n",
            ["n01440764", "n01443537"],
        ),
        ("a.jpg 65\nb c.jpg 970\n", ["65", "970"]),
    ],
)
def test_flat_folder_with_a_table(tmp_path, text, label):
    for name in ("a.jpg", "b c.jpg", "unnamed.jpg"):
        (tmp_path / name).write_bytes(picture(1))
    table = tmp_path / ("list.txt" if text.startswith("a.jpg") else "labels.csv")
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
        ("l.csv", "who,label\na,1\n", "the columns are who, label; expected file and label"),
        ("l.tsv", "file\tsize\na.jpg\t1\n", "the columns are file, size; expected file and label"),
        ("l.csv", "file,label\na,1\n", "a may be a.jpg or a.png: write its ending"),
        ("l.csv", "file,stage\na.jpg,1\n", "the columns are file, stage; expected file and label"),
        ("l.csv", "file,num_labels\na.jpg,1\n", "the columns are file, num_labels; expected file and label"),
        ("l.csv", "file,x,y\na.jpg,1,2\n", "the columns are file, x, y; expected file and label"),
        ("l.csv", "file,label,label\na.jpg,1,2\n", "two columns are called label"),
        ("l.json", '{"cat": 1, "dog": 2}', "counts the classes from 1 to 2, expected them to be counted from 0"),
        ("l.json", '{"cat": 50, "dog": 50}', "some are the same: are these indices of classes"),
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


def test_a_tables_names_are_paths_however_the_systems_write_them(tmp_path):
    """macOS decomposes letters, Windows has its own separator; and a path may begin anywhere above the pictures."""
    (tmp_path / "val/x").mkdir(parents=True)
    for file in ("x/e\u0301.jpg", "x/b, c.jpg"):
        (tmp_path / "val" / file).write_bytes(picture(1))
    expected = [("x/e\u0301.jpg", "1"), ("x/b, c.jpg", "0")]
    for first, second in (("x/é", "x/b, c"), ("é", "b, c"), ("val\\x\\é", "val/x/B, C"), (tmp_path / "val/x/é",) * 2):
        second = str(second).replace("é", "b, c")
        (tmp_path / "l.txt").write_text(f"{first}.jpg 1\n{second}.jpg 0\n", encoding="utf-8")
        dataset = open_dataset(tmp_path / "val", tmp_path / "l.txt")
        assert (pairs(dataset), dataset.notes) == (expected, ())


def test_names_that_fit_no_picture_or_several_are_refused(tmp_path):
    class_folders(tmp_path / "val", 1, ("n01", "n02"))
    for text, match in (
        (
            "train/n01/000.JPEG 1\n",
            "none of its names is that of a picture below .*: it has train/n01/000.JPEG; the folder has",
        ),
        ("000.JPEG 1\n", "000.JPEG may be n01/000.JPEG or n02/000.JPEG: write .* its path below"),
        ("n01/000.JPEG 1\nval/n01/000.JPEG 2\n", "two names fit n01/000.JPEG, one of label '2', one of '1'"),
    ):
        (tmp_path / "l.txt").write_text(text)
        with pytest.raises(UsageError, match=match):
            open_dataset(tmp_path / "val", tmp_path / "l.txt")


def test_tiny_imagenets_table_with_boxes(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/val_0.JPEG").write_bytes(picture(1))
    table = tmp_path / "val_annotations.txt"
    table.write_text("val_0.JPEG\tn03444034\t0\t32\t44\t62\n")
    assert pairs(open_dataset(tmp_path, table)) == [("images/val_0.JPEG", "n03444034")]
    table.write_text("val_0.JPEG\t1\t0\t0\t1\t0\n")  # one column a class: not understood
    with pytest.raises(UsageError, match="has the line .*, expected a picture's name and its label, no more"):
        open_dataset(tmp_path, table)


def test_synsets_numbered_otherwise_than_in_their_order_are_no_list_of_classes(tmp_path):
    """map_clsloc.txt of the ILSVRC2012 devkit: in the devkit's order, counted from 1."""
    class_folders(tmp_path / "data", 1, ("n02119789",))
    (tmp_path / "map_clsloc.txt").write_text("n02119789 1 kit_fox\nn02100735 2 English_setter\n")
    with pytest.raises(UsageError, match="taken as a list of class folders, none of which is there"):
        open_dataset(tmp_path / "data", tmp_path / "map_clsloc.txt")


def test_indices_written_as_floats_are_classes():
    classes = Classes(("upright", "upside down"))
    assert [classes.find(text) for text in ("0.0", "1.", "1,0", "1.5", "2.0", "-1.0", "1.0.0")] == [
        0,
        1,
        1,
        None,
        None,
        None,
        None,
    ]


def test_a_number_that_may_be_in_thousands_is_no_class():
    """1,000 is a thousand to some and one to others; 1.000 is one where there is no class 1000."""
    few, many = Classes(("a", "b", "c")), Classes(tuple(map(str, range(3000))))
    assert [few.find(text) for text in ("1,000", "1.000", "0,000", "1,0", "1.000000")] == [None, 1, 0, 1, 1]
    assert [many.find(text) for text in ("1,000", "1.000", "5.000", "1000")] == [None, None, 5, 1000]


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
