"""Files that somebody damaged, or made to do harm: our errors, or a result, and nothing else."""

import io
import os
import tarfile

import goldens
import numpy as np
import pytest
from damages import damaged

from npmnv3.errors import Npmnv3Error, PictureError, UsageError
from npmnv3.evaluation import open_dataset
from npmnv3.evaluation.files import Picture, read_picture
from npmnv3.evaluation.labelfiles import read_label_file
from npmnv3.evaluation.results import HEADER, Row, take_over
from npmnv3.evaluation.tars import list_shards

COUNT = int(os.environ.get("NPMNV3_DAMAGES", "100"))
PNG = (goldens.ROOT / "weights" / "examples" / "hello_upright.png").read_bytes()[:300]
ROWS = [Row(f"{i}.png", str(i), "m", str(i), f"{i} 1", "0.5 0.2", "", "aa-bb") for i in range(20)]


def tar(kind):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=kind) as archive:
        for i in range(3):
            name = "long" * (20 if kind == tarfile.USTAR_FORMAT else 40) + str(i)
            for file, data in ((f"{name}.png", PNG), (f"{name}.cls", b"7"), (f"x{i}.json", b'{"label": 3}')):
                member = tarfile.TarInfo(file)
                member.size, member.pax_headers = len(data), {"comment": "é" * 20} if kind == tarfile.PAX_FORMAT else {}
                archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def read_all(root, pictures):
    for picture in pictures:
        try:
            read_picture(root, picture)
        except PictureError:
            pass


def use_tar(path):
    root, pictures, _ = list_shards([str(path)])
    read_all(root, pictures)


def use_labels(path):
    read_label_file(path)
    dataset = open_dataset(str(path.parent / "pictures"), str(path))
    read_all(dataset.root, dataset.pictures)


def use_results(path):
    pictures = [Picture(f"{i}.png", str(i)) for i in range(20)]
    take_over(str(path), pictures, {"m": "aa-bb"}, lambda row: None)


KINDS = {
    "ustar": (tar(tarfile.USTAR_FORMAT), use_tar, "a.tar"),
    "gnu": (tar(tarfile.GNU_FORMAT), use_tar, "a.tar"),
    "pax": (tar(tarfile.PAX_FORMAT), use_tar, "a.tar"),
    "table": (b'file,label\na_00000001.JPEG,1\n"b,c.png",cat\na_00000002.JPEG,n01440764\n', use_labels, "x.csv"),
    "lines": (b"a_00000001.JPEG 1\na_00000002.JPEG 2\nx/a_00000003.JPEG 3\n", use_labels, "x.txt"),
    "ground truth": (b"490\n361\n171\n", use_labels, "x.txt"),
    "folders": (b"cat\ndog\nmouse\n", use_labels, "x.txt"),
    "results": (HEADER + b"".join(row.line() for row in ROWS), use_results, "x.csv"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_random_damage(kind, tmp_path):
    data, use, name = KINDS[kind]
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        (tmp_path / "pictures" / f"a_0000000{i + 1}.JPEG").write_bytes(b"x")
    rng, refused = np.random.default_rng(3), 0
    for _ in range(COUNT):
        (tmp_path / name).write_bytes(damaged(data, rng))
        try:
            use(tmp_path / name)
        except Npmnv3Error:
            refused += 1
    assert refused > COUNT / 10


def with_size(field, place=124, kind=b"0", name=b"a.png"):
    """A tar of one member, whose header claims the size that `field` says."""
    header = bytearray(tar(tarfile.USTAR_FORMAT)[:512])
    header[:100], header[156:157], header[345:500] = name.ljust(100, b"\0"), kind, bytes(155)
    header[place : place + len(field)] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(2048)


@pytest.mark.parametrize("kind", [b"0", b"L", b"K", b"x", b"g", b"S"])
@pytest.mark.parametrize(
    "size",
    [
        b"77777777777\0",
        b"\x80" + b"\xff" * 11,
        b"\xff" * 12,
        b"\x80\0\0\0\x7f" + b"\xff" * 7,
        b"\x80\0\0\0\0\0\1" + bytes(5),
    ],
)
def test_sizes_that_no_archive_has(size, kind, tmp_path):
    (tmp_path / "a.tar").write_bytes(with_size(size, kind=kind))
    with pytest.raises(
        UsageError,
        match="a.tar: (damaged: .* claims .* bytes from|not a plain tar, or damaged|damaged, or made otherwise)",
    ):
        list_shards([str(tmp_path / "a.tar")])


@pytest.mark.parametrize("name", ["x.csv", "x.txt"])
def test_a_null_character_in_a_files_name(name, tmp_path):
    (tmp_path / name).write_bytes(b"file,label\na\0.png,1\n" if name == "x.csv" else b"a\0.png 1\n")
    with pytest.raises(UsageError, match=f"{name}: line .* (null character|NUL)"):
        read_label_file(tmp_path / name)


def test_a_number_too_long_to_be_one(tmp_path):
    (tmp_path / "x.txt").write_text("1\n" + "9" * 5000 + "\n")
    with pytest.raises(UsageError, match="line 2 is 9{50}, expected an ILSVRC2012_ID"):
        read_label_file(tmp_path / "x.txt")
