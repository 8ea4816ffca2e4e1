"""Compiling the loops, and the cache of what was compiled: never needed, never a surprise."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("numba")

from npmnv3.ops import loops  # noqa: E402

RUN = """
import numpy as np
from npmnv3.ops import loops  # noqa: E402
print(loops.hard_swish(np.float32([[-1.5, 3]])).tolist(), loops.pointwise_conv2d(np.ones((1, 4, 1, 1), "f4"), np.ones((2, 4), "f4")).ravel().tolist())
"""
EXPECTED = "[[-0.375, 3.0]] [4.0, 4.0]\n"
FILES = (
    "__init__.py",
    "compile_loops.py",
    "compiled.py",
    "grids.py",
    "integer_loops.py",
    "jit.py",
    "layer_loops.py",
    "loops.py",
    "pages.py",
    "processor.py",
    "requantize.py",
    "../errors.py",
)


@pytest.fixture
def whole_package(tmp_path):
    """A folder with a copy of npmnv3, to import from."""
    return Path(shutil.copytree(Path(loops.__file__).parents[1], tmp_path / "site" / "npmnv3")).parent


@pytest.fixture
def package(tmp_path):
    """A folder with nothing of npmnv3 but the loops, to import from."""
    folder = tmp_path / "site" / "npmnv3" / "ops"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    for name in FILES:
        (folder / name).write_bytes((Path(loops.__file__).parent / name).read_bytes())
    return tmp_path / "site"


def run(code, site, **environment):
    """What Python prints, its warnings being errors."""
    names = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "NPMNV3", "PYTHON"))}
    own = {"HOME": str(site.parent / "home"), "XDG_CACHE_HOME": str(site.parent / "home")}
    environment = {**own, "NUMBA_OPT": "0", **environment}  # what is compiled here need not be fast
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(
        command, env={**names, "PYTHONPATH": str(site), **environment}, capture_output=True, text=True, cwd=site.parent
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


def test_no_folder_for_the_code_is_no_error(package):
    blocked = package.parent / "file"
    blocked.touch()
    for path in (package / "npmnv3/ops/__pycache__", package.parent / "home"):
        path.touch()  # a file where a folder is wanted: this stops even root
    assert run(RUN, package, NUMBA_CACHE_DIR=str(blocked / "numba")) == EXPECTED


def test_a_folder_that_vanishes_is_no_error(package):
    folder = package.parent / "numba"
    code = f"import shutil, pathlib; from npmnv3.ops import loops; shutil.rmtree({str(folder)!r}); pathlib.Path({str(folder)!r}).touch()"
    assert run(code + RUN, package, NUMBA_CACHE_DIR=str(folder)) == EXPECTED


def test_a_damaged_index_is_no_error(package):
    folder = package.parent / "numba"
    assert run(RUN, package, NUMBA_CACHE_DIR=str(folder)) == EXPECTED
    indices = list(folder.glob("*/*.nbi"))
    assert indices
    for path in indices:
        path.write_bytes(b"")
    assert run(RUN, package, NUMBA_CACHE_DIR=str(folder)) == EXPECTED


def test_from_a_zip_file(package):
    with zipfile.ZipFile(package.parent / "site.zip", "w") as archive:
        for path in package.rglob("*.py"):
            archive.write(path, path.relative_to(package))
    (package.parent / "home").touch()
    code = RUN + "from npmnv3.ops import compiled; assert not compiled.compiled('float32')"
    assert run(code, package.parent / "site.zip") == EXPECTED


ASK = "import sys; from npmnv3.ops.compiled import compiled; print(compiled('float32'), compiled('float64')); assert 'numba' not in sys.modules\n"
COMPILE = "from npmnv3.ops import compile_loops, compiled; compile_loops.compile_loops({!r}); assert compiled.compiled({!r})\n"
#: Fails if anything is compiled.
FIND = """
from numba.core import event
class Listener(event.Listener):
    def on_start(self, event): raise SystemExit("compiled " + str(event.data["dispatcher"]))
    def on_end(self, event): pass
event.register("numba:compile", Listener())
"""


WARMUP = "import sys; from npmnv3.cli import main; sys.exit(main(['warmup', '--engine', 'numba']))"


def test_compiled_tells_whether_anything_would_be_compiled(whole_package):
    """And so does the warmup command, which compiles both dtypes."""
    package, cache = whole_package, whole_package.parent / "numba"
    here = {"NUMBA_CACHE_DIR": str(cache)}
    assert run(ASK, package, **here) == "False False\n"
    run(COMPILE.format("float32", "float32"), package, **here)
    assert run(ASK, package, **here) == "True False\n"
    for state in ("compiled", "were there already"):
        float32, float64 = run(WARMUP, package, **here).splitlines()
        assert float32.startswith(str(cache)) and float32.endswith("loops in float32, were there already")
        assert float64.startswith(str(cache)) and float64.endswith(f"loops in float64, {state}")
    assert run(ASK, package, **here) == "True True\n"
    both = "from npmnv3.ops import compile_loops as c; c.compile_loops('float32'); c.compile_loops('float64')"
    run(FIND + both, package, **here)
    for other in (
        {"NUMBA_CACHE_DIR": str(cache) + "2"}, {**here, "NUMBA_DISABLE_JIT": "1"}, {**here, "NUMBA_CPU_NAME": "nocona"}, {},
    ):  # fmt: skip
        assert run(ASK, package, **other) == "False False\n", other
    next(cache.glob("*/loops.*.nbc")).unlink()
    assert run(ASK, package, **here) == "False False\n", "a file of the cache is gone"
    run(both, package, **here)
    assert run(ASK, package, **here) == "True True\n"
    source = package / "npmnv3/ops/loops.py"
    source.write_text(source.read_text() + "# another\n")
    assert run(ASK, package, **here) == "False False\n", "the source is another"
