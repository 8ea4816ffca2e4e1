"""Files of labels of kinds that tools and competitions write: read rightly, or refused in words that are true."""

import json
import re

import pytest
from command_line import run
from evaluation_material import class_folders, pairs, picture, write_tar

from npmnv3.errors import UsageError
from npmnv3.evaluation import evaluate, open_dataset

ROWS = [("x/a.jpg", 1), ("b.jpg", 0)]
COCO = {
    "info": {"year": 2017},
    "images": [{"id": 7, "file_name": "x/a.jpg", "width": 9}, {"id": 4, "file_name": "b.jpg", "width": 9}],
    "annotations": [{"id": 1, "image_id": 7, "category_id": 2}, {"id": 2, "image_id": 4, "category_id": 1}],
    "categories": [{"id": 1, "name": "0"}, {"id": 2, "name": "1"}],
}


@pytest.fixture
def flat(tmp_path):
    (tmp_path / "data/x").mkdir(parents=True)
    for file, _ in ROWS:
        (tmp_path / "data" / file).write_bytes(picture(1))
    return tmp_path / "data"


@pytest.mark.parametrize(
    "name, text",
    [
        ("l.csv", "file;label\nx/a.jpg;1\nb.jpg;0\n"),
        ("l.tsv", "file\tlabel\nx/a.jpg\t1\nb.jpg\t0\n"),
        ("l.csv", "image, label\nx/a.jpg, 1\nb.jpg, 0\n"),
        ("l.csv", '"file_name","label"\n"x/a.jpg","1"\n"b.jpg","0"\n'),
        ("l.csv", "id,label\nx/a,1\nb,0\n"),
        ("l.csv", "Filename,Class\nx/a.jpg,1\nb.jpg,0\n"),
        ("l.csv", "file,TrueLabel,stage\nx/a.jpg,1,7\nb.jpg,0,7\n"),
        ("l.txt", "x/a.jpg 1\n# b.jpg 1\nb.jpg 0\n"),
        ("l.csv", "x/a.jpg,1\nb.jpg,0\n"),
        ("l.txt", "x/a.jpg,1\nb.jpg,0\n"),
        ("l.txt", "x/a.jpg\t1\nb.jpg\t0\n"),
        ("l.txt", "x/a.jpg 1\nb.jpg 0\n"),
        ("metadata.jsonl", '{"file_name": "x/a.jpg", "label": 1}\n{"file_name": "b.jpg", "label": 0}\n'),
        ("l.json", '[{"image": "x/a.jpg", "label": "1"}, {"image": "b.jpg", "label": "0"}]'),
        ("l.json", '{"x/a.jpg": 1, "b.jpg": 0}'),
        ("l.csv", "sep=;\r\nfile;label\r\nx/a.jpg;1\r\nb.jpg;0\r\n;\r\n;\r\n"),
        ("l.txt", "data/x/a.jpg 1\ndata/b.jpg 0\n"),
        ("l.txt", "a.jpg 1\nb.jpg 0\n"),
        ("l.txt", "x\\A.JPG\t1\nB.jpg\t0\n"),
        ("photos_of_another_name.csv", "photo,true_label\nx/a.jpg,1\nb.jpg,0\n"),
        ("index.csv", ",filepaths,split,Class Label\n0,x/a.jpg,test,1\n1,b.jpg,test,0\n"),
        ("numbered.csv", "id,photo,category_name\n17,x/a.jpg,1\n18,b.jpg,0\n"),
        ("label_first.csv", "1,x/a.jpg\n0,b.jpg\n"),
        ("label_first.txt", "1 x/a.jpg\n0 b.jpg\n"),
        ("pipes.txt", "file|label\nx/a.jpg|1\nb.jpg|0\n"),
        ("pipes_alone.txt", "x/a.jpg|1\nb.jpg|0\n"),
        ("columns_by_spaces.txt", "file label\nx/a.jpg 1\nb.jpg 0\n"),
        ("comments.csv", "\n# made by hand\n\nfile,label\nx/a.jpg,1\nb.jpg,0\n"),
        ("comments.txt", "# file label\nx/a.jpg 1\nb.jpg 0\n"),
        ("roboflow_classes.csv", "filename, 0, 1\nx/a.jpg, 0, 1\nb.jpg, 1, 0\n"),
        ("isic.csv", "image,0,1\nx/a,0.0,1.0\nb,1.0,0.0\n"),
        ("train.lst", "0\t1.000000\tx/a.jpg\n1\t0.000000\tb.jpg\n"),
        ("mm.json", json.dumps({"metainfo": {}, "data_list": [{"img_path": f, "gt_label": c} for f, c in ROWS]})),
        ("pairs.json", json.dumps(ROWS)),
        ("stylegan.json", json.dumps({"labels": ROWS})),
        ("wrapped.json", json.dumps({"version": "1", "images": [{"file_name": f, "label": c} for f, c in ROWS]})),
        ("by_class.json", json.dumps({"1": ["x/a.jpg"], "0": ["b.jpg"]})),
        ("columns.json", json.dumps({"file": ["x/a.jpg", "b.jpg"], "label": [1, 0]})),
        ("pandas.json", json.dumps({"file": {"0": "x/a.jpg", "1": "b.jpg"}, "label": {"0": 1, "1": 0}})),
        ("lists.jsonl", '{"image": "x/a.jpg", "label": ["1"]}\n{"image": "b.jpg", "label": ["0"]}\n'),
        ("coco.json", json.dumps(COCO)),
    ],
)
def test_tables_as_people_and_tools_write_them(name, text, flat, tmp_path):
    (tmp_path / name).write_text(text)
    dataset = open_dataset(flat, tmp_path / name)
    found = sorted((file, label.removesuffix(".000000")) for file, label in pairs(dataset))
    assert (found, dataset.notes) == ([("b.jpg", "0"), ("x/a.jpg", "1")], ())


def test_lines_of_names_without_endings_and_synsets(flat, tmp_path):
    (tmp_path / "l.txt").write_text("x/a n01440764\nb n01443537\n")
    assert pairs(open_dataset(flat, tmp_path / "l.txt")) == [("x/a.jpg", "n01440764"), ("b.jpg", "n01443537")]


@pytest.mark.parametrize(
    "name, text",
    [
        ("c.json", '{"dog": 0, "red_fox": 1}'),
        ("c.json", '{"0": "dog", "1": ["red_fox", "a fox"]}'),
        ("c.json", '["dog", "red_fox"]'),
        ("c.txt", "0 dog\n1 red_fox\n"),
        ("c.txt", "red_fox,1\ndog,0\n"),
        ("c.txt", "red_fox: 1\ndog: 0\n"),
        ("c.txt", "dog\n# cat\nred_fox\n"),
        ("names.csv", "class,label\nred_fox,1\ndog,0\n"),
        ("names.csv", "dog,0\nred_fox,1\n"),
        ("names.csv", "id,name\n0,dog\n1,red fox\n"),
        ("names.tsv", "name\tid\nred fox\t1\ndog\t0\n"),
        ("names.txt", "Dog\nRed Fox\n"),
        ("keras.json", '{"class_indices": {"dog": 0, "red_fox": 1}}'),
        ("config.json", '{"model_type": "mobilenet_v3", "id2label": {"0": "dog", "1": "red_fox"}}'),
    ],
)
def test_class_folders_as_people_and_tools_number_them(name, text, tmp_path):
    class_folders(tmp_path / "data", 1, ("red_fox", "dog"))
    (tmp_path / name).write_text(text)
    found = pairs(open_dataset(tmp_path / "data", tmp_path / name))
    assert sorted(found) == [("dog/000.JPEG", "0"), ("red_fox/000.JPEG", "1")]


def coco(**other):
    """A file as COCO's, of one picture, with other entries."""
    one = {"images": [{"id": 1, "file_name": "b.jpg"}], "annotations": [{"image_id": 1, "category_id": 0}]}
    return json.dumps(one | other).encode()


@pytest.mark.parametrize(
    "name, data, match",
    [
        ("l.xlsx", b"PK\x03\x04\x14\0", "(a workbook of Excel; save it as CSV); a labels file is a text"),
        ("l.parquet", b"PAR1\x15\0", "a Parquet table; save its pictures as files"),
        ("l.arrow", b"ARROW1\0\0", "an Arrow table; save its pictures as files"),
        ("l.mat", b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "MATLAB's .mat; save it as CSV"),
        ("v73.mat", b"\x89HDF\r\n\x1a\n", "HDF5 (also MATLAB's of version 7.3); save it as CSV"),
        ("a.xml", b"<annotation><filename>a.jpg</filename></annotation>", "XML (boxes of a detector, it may be)"),
        ("l.csv.gz", b"\x1f\x8b\x08\0", "compressed; unpack it with gunzip"),
        ("l.txt", b"x/a.jpg 1 0\nb.jpg 0\n", "has the line 'x/a.jpg 1 0', expected a picture's name and its label"),
        ("l.txt", b"up\ndown\nup\n", "labels of pictures stand beside their names: lines `file label`"),
        ("l.txt", b"0\n1\n0\n", "other labels of pictures stand beside their names: lines `file label`"),
        ("l.txt", b"1 dog\n2 cat\n", "counts the classes from 1 to 2, expected them to be counted from 0"),
        ("l.csv", b"file,first_label,second_label\nb.jpg,1,0\n", "the columns are file, first_label, second_label"),
        ("l.csv", b"file,fold\nb.jpg,1\n", "the columns are file, fold; expected file and label: name them so"),
        ("l.csv", b"file,0,1\nx/a.jpg,1,1\nb.jpg,1,0\n", "the columns are file, 0, 1; expected file and label"),
        ("l.csv", b"file,class,species\nx/a.jpg,0,1\nb.jpg,0,0\n", "class and species part the pictures differently"),
        (
            "l.json",
            b'[{"file": "x/a.jpg", "class": 0, "breed": 1}, {"file": "b.jpg", "class": 0, "breed": 0}]',
            "class and breed",
        ),
        ("l.json", b'{"train": ["x/a.jpg"], "val": ["b.jpg"]}', "names sets of pictures, train, val, expected classes"),
        (
            "l.json",
            coco(images=[{"id": 1, "file_name": "x/a.jpg"}, {"id": 1, "file_name": "b.jpg"}]),
            "two images have the id 1",
        ),
        (
            "l.json",
            coco(categories=[{"id": 0, "name": "cat"}, {"id": 0, "name": "dog"}]),
            "two categories have the id 0",
        ),
        ("l.json", coco(categories=[{"id": 7, "name": "cat"}]), "annotation 1 is of category 0, and none has this id"),
    ],
)
def test_what_is_no_table_of_labels_is_called_what_it_is(name, data, match, flat, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=re.escape(match)):
        open_dataset(flat, tmp_path / name)


@pytest.mark.parametrize(
    "ending, text", [("label", "1"), ("cls.txt", "1\n"), ("target", "1"), ("json", "1"), ("json", '{"label": 1.0}')]
)
def test_what_states_the_class_in_a_shard(ending, text, tmp_path):
    write_tar(tmp_path / "s.tar", {"a.png": picture(1), f"a.{ending}": text.encode()})
    assert [float(label) for _, label in pairs(open_dataset(tmp_path / "s.tar"))] == [1]


def test_parquet_files_in_a_folder_are_spoken_of(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/test-00000-of-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match="a Parquet table; save its pictures as files, and its labels as CSV"):
        open_dataset(tmp_path)


def test_labels_that_count_from_1_are_refused(flat, tmp_path):
    (tmp_path / "l.csv").write_text("file,label\nx/a.jpg,2\nb.jpg,1\n")
    with pytest.raises(UsageError, match="numbers up to 2, without 0: they count from 1, .* take 1 off each"):
        evaluate(["ppocr/text_direction"], open_dataset(flat, tmp_path / "l.csv"))


def test_what_says_nothing_is_not_called_a_class(flat, tmp_path, capsys):
    (tmp_path / "l.csv").write_text("file,label\nx/a.jpg,\nb.jpg,0\n")
    code, _, err = run(capsys, "evaluate", "ppocr/text_direction", flat, "--labels", tmp_path / "l.csv")
    assert code == 1 and "npmnv3 evaluate: nothing says the class: 1 picture left out" in err


def test_a_model_in_the_datas_place(capsys):
    code, _, err = run(capsys, "evaluate", "weights/examples", "ppocr/text_direction")
    assert (
        code == 2
        and "ppocr/text_direction: no such folder or tar shard; it is a model's name, and the data come last" in err
    )


def test_columns_that_part_pictures_alike_are_one_label(flat, tmp_path):
    """The name beside the index; and one of names that are each picture's own."""
    (tmp_path / "l.csv").write_text("file,category,label,name\nx/a.jpg,dog,1,Rex\nb.jpg,dog,1,Bello\n")
    assert pairs(open_dataset(flat, tmp_path / "l.csv")) == [("x/a.jpg", "1"), ("b.jpg", "1")]
