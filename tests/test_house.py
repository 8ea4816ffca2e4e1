"""The house's own rules: imports go down only, and nothing heavy is imported before it is used."""

import ast
import subprocess
import sys

import goldens
import pytest

PACKAGE = goldens.ROOT / "npmnv3"

# fmt: off
LAYERS = (
    ("errors", "progress", "ops", "data"),
    ("network",),
    ("pictures",),
    ("engines", "dumps"),
    ("conversion",),
    ("fetching",),
    ("model",),
    ("export",),
    ("verification", "testing", "evaluation", "freezing"),
    ("cli", "__main__", "__init__"),
)
# fmt: on
HEIGHT = {room: height for height, rooms in enumerate(LAYERS) for room in rooms}


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path):
    """The package's own rooms that a file imports, by relative imports."""
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            if node.level == depth:  # from the package's top
                yield from [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    assert room(path) in HEIGHT, f"{room(path)} has no place in the layers"
    for target in imported_rooms(path):
        if target in HEIGHT:  # else a name of the package itself
            assert HEIGHT[target] <= HEIGHT[room(path)], f"{room(path)} imports {target}, which is above it"


def test_import_is_light():
    code = "import sys, npmnv3; print([m for m in ('numpy', 'h5py', 'PIL', 'numba', 'llvmlite', 'tqdm') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=goldens.ROOT).stdout == "[]\n"
    )


def test_every_public_name_is_there_and_documented():
    import npmnv3

    for name in npmnv3.__all__:
        if name != "__version__":
            assert getattr(npmnv3, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        npmnv3.nothing  # noqa: B018


def test_the_package_is_small():
    """What is installed, without compiled Python: less than 1.6 MB."""
    kinds = (".py", ".csv", ".md", ".c", ".h5")
    folders = [PACKAGE, goldens.ROOT / "weights"]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in kinds]
    assert len(files) > 100 and sum(path.stat().st_size for path in files) < 1_600_000


def test_no_test_imports_another():
    """What two tests share is in tests/helpers."""
    tests = sorted((goldens.ROOT / "tests").rglob("test_*.py"))
    assert len(tests) > 30
    for path in tests:
        imported = [
            node.module or "" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)
        ]
        imported += [
            a.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import) for a in node.names
        ]
        assert not [name for name in imported if name.startswith("test_")], path


def test_the_tests_mirror_the_rooms():
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir()} | {"helpers", "golden", "platforms"}
    folders = {path.name for path in (goldens.ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= rooms, folders - rooms
