"""What is written lies in a temporary file or folder first, of which nothing is left, whenever it is interrupted."""

import os
import sys

import pytest

from npmnv3.dumps.writing import check_folder, replacing, replacing_folder
from npmnv3.errors import WriteError


@pytest.mark.parametrize(("writer", "maker"), [(replacing, "open"), (replacing_folder, "mkdir")])
def test_an_interrupt_as_it_is_made_leaves_nothing(writer, maker, tmp_path, monkeypatch):
    make = getattr(os, maker)

    def interrupted(*given, **options):
        make(*given, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, maker, interrupted)
    with pytest.raises(KeyboardInterrupt), writer(tmp_path / "out"):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="a folder in use cannot be removed")
@pytest.mark.parametrize("writer", [replacing, replacing_folder])
def test_the_folder_it_is_run_in_is_gone(writer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    with pytest.raises(WriteError, match="^out: cannot be written: No such file"), writer("out"):
        pass
    os.chdir("/")


def test_a_folder_that_is_to_be_made_may_end_in_a_slash(tmp_path):
    check_folder(f"{tmp_path}/new/")
    with pytest.raises(WriteError, match="/new/out/: cannot be written"):
        check_folder(f"{tmp_path}/new/out/")


def test_the_folder_that_has_to_be_made_is_named(tmp_path):
    out = tmp_path / "nowhere" / "out"
    for writer in (replacing, replacing_folder):
        with pytest.raises(WriteError, match="there is no folder .*nowhere: make it first$"), writer(out):
            pass
