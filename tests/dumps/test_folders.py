"""Folders of dumps with their hashes beside them: what a list of hashes may look like, and what it may not be."""

import os
import shutil

import goldens
import pytest

import npmnv3
from npmnv3.dumps.folders import file_hash, read_hashes
from npmnv3.errors import WeightsError

NAME = "ppocr/text_direction"
DUMP = goldens.ROOT / "weights" / "ppocr--text_direction.h5"


@pytest.fixture
def folder(tmp_path):
    shutil.copy(DUMP, tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "line",
    (
        "{h}  {n}",
        "{h} *{n}",
        "{H}  {n}",
        "{h}  ./{n}",
        "\n{h}  {n}\n\n",
        "{h}  my notes.txt\n{h}  {n}\n",
        "{h}  ../x\n{h}  {n}",
    ),
)
def test_lists_as_sha256sum_writes_them(folder, line):
    own = file_hash(DUMP)
    (folder / "SHA256SUMS").write_text(line.format(h=own, H=own.upper(), n=DUMP.name))
    assert npmnv3.load(NAME, weights=folder).name == NAME
    other = "0" * 64
    (folder / "SHA256SUMS").write_text(line.format(h=other, H=other, n=DUMP.name))
    with pytest.raises(WeightsError, match=f"its sha256 is {own}, expected {other}"):
        npmnv3.load(NAME, weights=folder)


@pytest.mark.parametrize(
    ("content", "said"),
    (
        (b"nonsense\n", "line 1 is no sha256 and file name"),
        (b"0" * 64 + b"  a\n" + b"\xff\xfe\n", "line 2 is no sha256 and file name"),
        (b"\n" * (1 << 21), "has 2,097,152 bytes, more than any list of hashes"),
    ),
)
def test_lists_that_are_none(folder, content, said):
    (folder / "SHA256SUMS").write_bytes(content)
    with pytest.raises(WeightsError, match=said):
        read_hashes(folder / "SHA256SUMS")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("name", ("SHA256SUMS", DUMP.name))
def test_pipes_and_links_to_nowhere_are_told_and_not_waited_for(folder, name):
    for make in (os.mkfifo, lambda path: os.symlink("nowhere", path), os.mkdir):
        path = folder / name
        if path.is_file():
            path.unlink()
        make(path)
        with pytest.raises(WeightsError, match=name):
            npmnv3.load(NAME, weights=folder)
        path.rmdir() if path.is_dir() else path.unlink()
