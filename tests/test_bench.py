"""The pictures of bench/README.md are of its own figures."""

import importlib.util

import goldens
import pytest


def test_the_picture_of_speed(tmp_path):
    spec = importlib.util.spec_from_file_location("picture", goldens.ROOT / "bench" / "picture.py")
    picture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(picture)
    engines, times = picture.read_table((goldens.ROOT / "bench" / "README.md").read_text(encoding="utf-8"))
    assert engines[0] == "npmnv3 llvm" and len(times) == 8 and {len(row) for row in times.values()} == {len(engines)}
    pytest.importorskip("matplotlib", reason="needs the extra report")
    picture.draw(engines, times, tmp_path / "speed.svg")
    assert "<svg" in (tmp_path / "speed.svg").read_text(encoding="utf-8")
