"""The pictures of bench/README.md are of its own figures."""

import importlib.util
import subprocess
import sys

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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nosuch",), "no model is called 'nosuch'"),
        (("--threads", "0"), "--threads: 0, expected a whole number from 1"),
        (("--engines", "nosuch"), "invalid choice: 'nosuch'"),
        (("--plot", "plot.xyz"), "plot.xyz: not a format that can be drawn"),
    ],
)
def test_wrong_use_of_the_bench_is_told_at_once(words, said):
    pytest.importorskip("llvmlite", reason="needs the extra jit")
    pytest.importorskip("matplotlib", reason="needs the extra report")
    done = subprocess.run([sys.executable, "-m", "bench", *words], cwd=goldens.ROOT, capture_output=True, text=True)
    assert done.returncode != 0 and said in done.stderr and "Traceback" not in done.stderr and done.stdout == ""
