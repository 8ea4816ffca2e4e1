"""The house's own rules: imports go down only, and nothing heavy is imported before it is used."""

import ast
import re
import subprocess
import sys

import goldens
import pytest

PACKAGE = goldens.ROOT / "npmnv3"

# fmt: off
#: The rooms, from the ground up: a room may import from those below its line, never from its own line or above.
STOREYS = (
    ("errors", "progress"),
    ("ops",),
    ("network",),
    ("pictures", "engines"),
    ("dumps",),
    ("conversion",),
    ("fetching",),
    ("model",),
    ("export", "freezing", "evaluation"),
    ("quantization",),
    ("verification",),
    ("testing",),
    ("cli",),
    ("__main__",),
)
# fmt: on
HEIGHT = {room: height for height, rooms in enumerate(STOREYS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))

#: Methods of named tuples, which are public in spite of their names.
OF_NAMED_TUPLES = {"_asdict", "_fields", "_make", "_replace"}


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def own_imports(path):
    """(dotted module, name) of everything that a file imports from the package by a relative import."""
    folder = path.relative_to(PACKAGE).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            full = [*folder[: len(folder) - node.level + 1], *(node.module.split(".") if node.module else ())]
            for alias in node.names:
                yield ".".join(full), alias.name


def test_every_room_has_its_storey():
    rooms = {room(path) for path in FILES} - {"__init__"}
    assert rooms <= set(HEIGHT), f"without a place: {rooms - set(HEIGHT)}"
    names = rooms - {"__main__"}
    assert len(names) <= 18, f"{len(names)} names at the package's top level: {sorted(names)}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    if room(path) == "__init__":  # which imports what it is asked for
        return
    for module, name in own_imports(path):
        target = module.partition(".")[0] or name
        if target != room(path) and target in HEIGHT:  # else a name of the package itself
            assert HEIGHT[target] < HEIGHT[room(path)], f"{room(path)} imports {target}, which is not below it"
            assert not name.startswith("_") or name == "__version__", f"{name} is private to {target}"


@pytest.mark.parametrize("name", sorted({room(path) for path in FILES}))
def test_no_room_reads_what_is_private_to_another(name):
    trees = [ast.parse(path.read_text()) for path in FILES if room(path) == name]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    made = {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    made |= {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    made |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    read = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    private = {attr for attr in read if attr.startswith("_") and not attr.endswith("__")} - made - OF_NAMED_TUPLES
    assert not private, f"{name} reads {private}, which it does not make itself"


def test_every_file_of_text_is_opened_in_an_encoding_that_is_named():
    """Else it is the system's, another on the next machine."""
    for path in FILES:
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            name, told = ast.unparse(call.func), "encoding" in {word.arg for word in call.keywords}
            binary = any(mode in ast.unparse(call) for mode in ("'rb'", "'wb'", "'ab'", "'r+b'"))
            least = {"read_text": 1, "write_text": 2}.get(name.rpartition(".")[2], 0) if "." in name else 0
            assert told or binary or name != "open", f"{path}:{call.lineno}: open"
            assert told or len(call.args) >= least, f"{path}:{call.lineno}: {name}"


def test_the_readmes_main_path_is_the_codes():
    """Each file that the README's picture of the main path names is there, and imports the next one."""
    text = (goldens.ROOT / "README.md").read_text("utf-8")
    path = text.split("<!-- main-path -->", 1)[1].split("\n\n", 2)[1]
    files = re.findall(r"[a-z_/]+\.py", path)
    assert len(files) >= 6, files
    for file in files:
        assert (PACKAGE / file).is_file(), f"{file} of the README's main path is not there"
    for arrow in re.findall(r"^ *([a-z_/]+\.py) +-> +([a-z_/.]+)", path, re.MULTILINE):
        modules = {name for module, name in own_imports(PACKAGE / arrow[0]) for name in (module, f"{module}.{name}")}
        wanted = arrow[1].removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        assert wanted in {name.strip(".") for name in modules}, arrow


READMES = sorted(
    [goldens.ROOT / "README.md"]
    + [
        path
        for folder in ("npmnv3", "weights", "tests", "bench")
        for path in (goldens.ROOT / folder).rglob("README.md")
    ]
)


def prose(readme):
    """The lines of a README that are no code."""
    return [line for line in readme.read_text("utf-8").splitlines() if not line.startswith("    ")]


def anchors(readme):
    """The anchors that its headings get: small letters, hyphens for blanks, no other punctuation."""
    headings = [line.lstrip("#").strip() for line in prose(readme) if re.match("#+ ", line)]
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("readme", READMES, ids=lambda p: str(p.relative_to(goldens.ROOT)))
def test_every_link_of_a_readme_resolves(readme):
    """The file is there, within the project, and has the heading that is named."""
    for target in re.findall(r"\]\(([^)\s]+)\)", "\n".join(prose(readme))):
        if re.match("[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (readme.parent / name).resolve() if name else readme
        assert path.exists() and path.is_relative_to(goldens.ROOT), f"{target}: there is no {path}"
        assert not anchor or anchor in anchors(path), f"{target}: {path} has no such heading"


def test_the_readme_is_short_and_leads_to_every_other():
    """At most 160 lines; a README of a room that no other README links to would not be found."""
    assert len((goldens.ROOT / "README.md").read_text("utf-8").splitlines()) <= 160
    linked = {
        (readme.parent / target.partition("#")[0]).resolve()
        for readme in READMES
        for target in re.findall(r"\]\(([^)\s]+\.md[^)\s]*)\)", "\n".join(prose(readme)))
    }
    rooms = {path for path in READMES if path.is_relative_to(PACKAGE)} | {goldens.ROOT / "bench" / "README.md"}
    assert len(rooms) >= 10 and rooms <= linked, f"linked from nowhere: {sorted(map(str, rooms - linked))}"


def test_import_is_light():
    code = "import sys, npmnv3; print([m for m in ('numpy', 'h5py', 'PIL', 'numba', 'llvmlite', 'tqdm') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=goldens.ROOT).stdout == "[]\n"
    )


def test_a_dump_of_ones_own_is_loaded_and_run_with_few_imports(tmp_path):
    """Each of these takes milliseconds of a new process, or brings what does; they are for other files, or for writing."""
    import numpy as np

    import npmnv3

    name, dump = "timm/mobilenetv3_small_050", tmp_path / "ones.h5"
    shapes = npmnv3.param_shapes(name, num_classes=2)
    npmnv3.write_dump(dump, {key: np.ones(shape, np.float32) for key, shape in shapes.items() if shape}, model=name)
    slow = "csv h5py hashlib importlib.resources json logging pathlib PIL secrets tempfile urllib zipfile".split()
    code = (
        "import sys, numpy as np; there = set(sys.modules); import npmnv3; "
        f"npmnv3.load({str(dump)!r}, engine='numpy')(np.zeros((1, 3, 32, 32), np.float32)); "
        f"print([m for m in {slow} if m in sys.modules and m not in there])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=goldens.ROOT)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_every_public_name_is_there_and_documented():
    import npmnv3

    for name in npmnv3.__all__:
        if name != "__version__":
            assert getattr(npmnv3, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        npmnv3.nothing  # noqa: B018


@pytest.mark.parametrize("name", ("evaluation.evaluate", "evaluation.open_dataset", "testing.assert_matches"))
def test_the_modules_that_the_documents_name_are_there_when_they_are_asked_for(name):
    module = name.partition(".")[0]
    code = (
        f"import sys, npmnv3; before = 'npmnv3.{module}' in sys.modules; "
        f"print(before, callable(npmnv3.{name}), {module!r} in dir(npmnv3))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=goldens.ROOT)
    assert done.stdout == "False True True\n", done.stderr


def test_the_package_is_small():
    """What is installed, without compiled Python and what `npmnv3 fetch --into weights` got: less than 3 MB."""
    from npmnv3.dumps.folders import read_hashes

    kinds = (".py", ".csv", ".md", ".c", ".h5")
    folders = [PACKAGE, goldens.ROOT / "weights"]
    fetched = set(read_hashes(goldens.ROOT / "weights" / "SHA256SUMS")) - {"ppocr--text_direction.h5"}
    files = [
        path for folder in folders for path in folder.rglob("*") if path.suffix in kinds and path.name not in fetched
    ]
    assert len(files) > 100 and sum(path.stat().st_size for path in files) < 3_000_000


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
