"""The package where it is no folder of files: in a zip, without docstrings; `tests/platforms/packaging.sh` tries more."""

import configparser
import os
import subprocess
import sys
import zipfile

import goldens
import pytest

EXAMPLES = sorted(str(path) for path in (goldens.ROOT / "weights" / "examples").glob("*.png"))
TRY = """
import npmnv3, sys
from npmnv3.cli import main
from npmnv3.dumps.labels import label_set
from npmnv3.evaluation.truths import ilsvrc2012_synsets

found = [best[0][1] for best in npmnv3.load("ppocr/text_direction").predict(sys.argv[2:], top=1)]
codes = [main(f"{words} -o {sys.argv[1]}/{out}".split()) for words, out in (
    ("freeze ppocr/text_direction", "x.pyz"), ("vectors ppocr/text_direction --format c", "kit"))]
print(npmnv3.__file__, found, codes, label_set("imagenet")[1].name, len(ilsvrc2012_synsets()))
"""


def attempt(folder, path, *flags):
    """The last line of standard output, of a process that finds the package on `path` alone."""
    env = {**os.environ, "PYTHONPATH": str(path), "PYTHONWARNINGS": "error"}
    command = [sys.executable, *flags, "-c", TRY, str(folder), *EXAMPLES]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (folder / "kit" / "check.c").stat().st_size > 1000
    return done.stdout.splitlines()[-1]


def test_from_a_zip(tmp_path):
    packed = tmp_path / "package.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for folder in ("npmnv3", "weights"):
            for file in (goldens.ROOT / folder).rglob("*"):
                name = file.relative_to(goldens.ROOT).as_posix()
                if file.is_file() and "__pycache__" not in name:
                    archive.write(file, name if folder == "npmnv3" else f"npmnv3/{name}")
    line = attempt(tmp_path, packed)
    assert line == f"{packed}{os.sep}npmnv3{os.sep}__init__.py {['0', '180'] * 3} [0, 0] goldfish 1000"


@pytest.mark.parametrize("flag", ["-O", "-OO"])
def test_optimised(flag, tmp_path):
    assert attempt(tmp_path, goldens.ROOT, flag).endswith(f"{['0', '180'] * 3} [0, 0] goldfish 1000")


def test_pyinstaller_finds_the_hook():
    from npmnv3.freezing.pyinstaller import hook_folders

    config = configparser.ConfigParser()
    config.read(goldens.ROOT / "setup.cfg")
    assert "npmnv3.freezing.pyinstaller:hook_folders" in config["options.entry_points"]["pyinstaller40"]
    (folder,) = hook_folders()
    assert os.path.isfile(os.path.join(folder, "hook-npmnv3.py"))


def test_every_package_is_installed():
    """A folder with modules that setup.cfg does not name would be missing from the wheel."""
    config = configparser.ConfigParser()
    config.read(goldens.ROOT / "setup.cfg")
    named = set(config["options"]["packages"].split())
    there = {
        ".".join(path.parent.relative_to(goldens.ROOT).parts) for path in (goldens.ROOT / "npmnv3").rglob("__init__.py")
    }
    assert there <= named, there - named
