"""Every command that writes, where it cannot: one line that names the file and the reason, exit code 1, nothing left
behind."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
from importlib import import_module

import goldens
import numpy as np
import pytest
from command_line import run

import npmnv3

EXAMPLES = goldens.ROOT / "weights" / "examples"
PICTURE = str(EXAMPLES / "hello_upright.png")
MODEL = "ppocr/text_direction"

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's ways of failing")


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A dump, a port, and labels."""
    if shutil.which(
        "fc-list"
    ):  # matplotlib asks it; on a new machine it complains if it cannot write a cache of its own
        subprocess.run(["fc-list"], stdout=subprocess.DEVNULL, check=True)
    folder = tmp_path_factory.mktemp("material")
    model = npmnv3.load(MODEL, engine="numpy")
    x = npmnv3.preprocess(PICTURE, model)[None]
    npmnv3.write_dump(folder / "dump.npz", model.params, model=MODEL, labels=["0", "180"])
    np.savez(folder / "port.npz", input=x, logits=model(x))
    labels = [f"{path.name},{180 if 'down' in path.name else 0}" for path in sorted(EXAMPLES.glob("*.png"))]
    (folder / "labels.csv").write_text("\n".join(["file,label", *labels]) + "\n")
    return folder


#: name -> (words of the command, of which OUT is the file; the suffix of that)
WRITERS = {
    "convert to HDF5": ("convert MATERIAL/dump.npz -o OUT --dtype float64", ".h5"),
    "convert to npz": ("convert MATERIAL/dump.npz -o OUT", ".npz"),
    "export": (f"export {MODEL} -o OUT", ".onnx"),
    "freeze": (f"freeze {MODEL} -o OUT --pictures {PICTURE}", ".pyz"),
    "freeze as a module": (f"freeze {MODEL} -o OUT --pictures {PICTURE}", ".py"),
    "trace to HDF5": (f"trace {MODEL} --input {PICTURE} -o OUT", ".h5"),
    "trace to npz": (f"trace {MODEL} --input {PICTURE} -o OUT", ".npz"),
    "vectors as npy": (f"vectors {MODEL} -o OUT --format npy", ""),
    "vectors as bin": (f"vectors {MODEL} -o OUT --format bin", ""),
    "vectors as hex": (f"vectors {MODEL} -o OUT --format hex", ""),
    "vectors as C": (f"vectors {MODEL} -o OUT --format c", ""),
    "verify's page": (f"verify {MODEL} MATERIAL/port.npz --no-explain --html OUT", ".html"),
    "verify's JUnit": (f"verify {MODEL} MATERIAL/port.npz --no-explain --junit OUT", ".xml"),
    "verify's map": (f"verify {MODEL} MATERIAL/port.npz --no-explain --write-map OUT", ".json"),
    "evaluate's CSV": (f"evaluate {MODEL} {EXAMPLES} --labels MATERIAL/labels.csv --engine numpy --csv OUT", ".csv"),
    "evaluate's plot": (
        f"evaluate {MODEL} {EXAMPLES} --labels MATERIAL/labels.csv --engine numpy --confusion OUT",
        ".png",
    ),
}
NEEDS = {"export": "onnx", "verify's page": "matplotlib", "evaluate's plot": "matplotlib"}


def words(name, material, out):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    return [word.replace("MATERIAL", str(material)).replace("OUT", str(out)) for word in WRITERS[name][0].split()]


def command(*arguments, env=(), **options):
    """(exit code, standard output, standard error) of a process; `env` adds to the environment's variables."""
    options = {"stdout": subprocess.PIPE, **options}
    env = {**os.environ, **dict(env)}
    env.pop("PYTHONUNBUFFERED", None)  # argparse then hides errors
    done = subprocess.run(
        [sys.executable, "-m", "npmnv3", *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=goldens.ROOT,
        env=env,
        **options,
    )
    return done.returncode, done.stdout, done.stderr


@contextlib.contextmanager
def files_of_at_most(limit):
    """No file that this process, or one that it starts, writes is larger than `limit` bytes."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.MonkeyPatch.context() as patch:
        # Python would leave its own files cut off, and fail ever after.
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def assert_one_line(code, err, *parts):
    assert code == 1, err
    assert err.startswith("npmnv3") and err.count("\n") == 1 and all(part in err for part in parts), err


@linux
@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk(name, material, tmp_path, tmp_path_factory, capsys):
    out = tmp_path / f"out{WRITERS[name][1]}"
    arguments = words(name, material, out)
    with files_of_at_most({"verify's map": 20, "verify's JUnit": 60, "evaluate's CSV": 100}.get(name, 3000)):
        if NEEDS.get(name) == "matplotlib":  # which finds no cache of fonts, as on a new machine, and can write none
            code, _, err = command(*arguments, env={"MPLCONFIGDIR": str(tmp_path_factory.mktemp("fonts"))})
        else:
            code, _, err = run(capsys, *arguments)
    assert_one_line(code, err, str(out), "File too large")
    assert ("--resume goes on from it" in err) == (name == "evaluate's CSV")
    left = list(tmp_path.iterdir())
    assert left == ([out] if name == "evaluate's CSV" else []), left  # a CSV is gone on with


@linux
def test_no_room_for_the_first_line_of_a_csv(material, tmp_path, capsys):
    with files_of_at_most(10):
        code, _, err = run(capsys, *words("evaluate's CSV", material, tmp_path / "out.csv"))
    assert_one_line(code, err, "out.csv: cannot be written: File too large\n")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 100 KB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip("needs root, to mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@linux
@pytest.mark.parametrize("name", ["convert to HDF5", "convert to npz", "trace to HDF5", "freeze", "vectors as npy"])
def test_a_disk_that_is_really_full(name, material, small_disk, capsys):
    out = small_disk / f"out{WRITERS[name][1]}"
    code, _, err = run(capsys, *words(name, material, out))
    assert_one_line(code, err, str(out), "No space left on device")
    assert not list(small_disk.iterdir())


@linux
@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_that_cannot_be_written_is_told_before_the_work(name, material, monkeypatch, capsys):
    monkeypatch.setattr(import_module(f"npmnv3.cli.{WRITERS[name][0].split()[0]}_command"), "run", None)
    out = pathlib.Path("/proc") / f"out{WRITERS[name][1]}"  # not even by root
    code, _, err = run(capsys, *words(name, material, out))
    assert_one_line(code, err, f"{out}: cannot be written: ")


def test_a_csv_is_gone_on_with_in_a_folder_that_takes_no_new_file(material, tmp_path, monkeypatch, capsys):
    arguments = words("evaluate's CSV", material, tmp_path / "out.csv")
    assert run(capsys, *arguments)[0] == 0
    monkeypatch.setattr("npmnv3.cli.output.check_folder", None)
    assert run(capsys, *arguments, "--resume")[0] == 0


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_that_is_not_there_is_told_before_the_work(name, material, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(import_module(f"npmnv3.cli.{WRITERS[name][0].split()[0]}_command"), "run", None)
    (tmp_path / "file").write_bytes(b"")
    for folder, reason in (("nowhere", "No such file or directory"), ("file", "Not a directory")):
        out = tmp_path / folder / f"out{WRITERS[name][1]}"
        code, _, err = run(capsys, *words(name, material, out))
        assert_one_line(code, err, f"{out}: cannot be written: ", reason if os.name == "posix" else "")


@linux
@pytest.mark.parametrize("name", ["verify's map", "verify's JUnit", "evaluate's CSV"])
def test_a_full_device_stays_one(name, material, capsys):
    code, _, err = run(capsys, *words(name, material, "/dev/full"))
    assert_one_line(code, err, "/dev/full", "No space left on device")
    assert not pathlib.Path("/dev/full").is_file()


@linux
def test_a_device_gets_the_bytes(material, tmp_path):
    code, out, err = command(*words("verify's map", material, "/dev/stdout"), stdout=subprocess.PIPE)
    assert code == 0 and not err and json.loads(out[: out.index("}") + 1])


@pytest.mark.parametrize("name", [name for name in WRITERS if not name.startswith("evaluate")])
def test_an_interrupt_leaves_nothing(name, material, tmp_path, monkeypatch, capsys):
    out, called = tmp_path / f"out{WRITERS[name][1]}", []

    def interrupted(*_):
        called.append(1)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)  # all is written, and nothing has its name yet
        code, _, err = run(capsys, *words(name, material, out))
    assert called and code == 130 and err.endswith("interrupted\n") and not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".pyz", ".py"])
def test_an_interrupt_while_freezing_is_measured_leaves_nothing(suffix, tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("npmnv3.freezing.accuracy_cost", interrupted)
    code, _, err = run(capsys, "freeze", MODEL, "-o", tmp_path / f"x{suffix}", "--pictures", PICTURE)
    assert code == 130 and not list(tmp_path.iterdir())


def test_a_link_stays_one(material, tmp_path, capsys):
    (tmp_path / "real.npz").write_bytes(b"")
    (tmp_path / "link.npz").symlink_to("real.npz")
    assert run(capsys, *words("trace to npz", material, tmp_path / "link.npz"))[0] == 0
    assert (tmp_path / "link.npz").is_symlink() and (tmp_path / "real.npz").stat().st_size > 1000


PRINTERS = {
    "list": "list",
    "info": f"info {MODEL}",
    "info as JSON": f"info {MODEL} --json",
    "predict": f"predict --model {MODEL} --engine numpy {PICTURE}",
    "predict as JSON": f"predict --model {MODEL} --engine numpy --json {PICTURE}",
    "identify": "identify MATERIAL/dump.npz",
    "trace": f"trace {MODEL} --input {PICTURE}",
    "verify": f"verify {MODEL} MATERIAL/port.npz --no-explain",
    "evaluate": f"evaluate {MODEL} {EXAMPLES} --labels MATERIAL/labels.csv --engine numpy",
    "agree": f"agree {MODEL} {MODEL} {EXAMPLES} --engine numpy",
    "fetch": "fetch --list",
    "help": "--help",
    "version": "--version",
}


@linux
@pytest.mark.parametrize("name", PRINTERS)
@pytest.mark.parametrize("where", ["/dev/full", "a closed pipe"])
def test_standard_output_that_takes_nothing(where, name, material):
    arguments = PRINTERS[name].replace("MATERIAL", str(material)).split()
    if where == "/dev/full":
        with open(where, "w") as stream:
            code, _, err = command(*arguments, stdout=stream)
        return assert_one_line(code, err, "standard output: No space left")
    read, write = os.pipe()
    os.close(read)
    code, _, err = command(*arguments, stdout=write)
    os.close(write)
    assert (code, err) == (141, "")


@linux
@pytest.mark.parametrize(("words", "code", "printed"), [("info nowhere", 2, 0), (f"predict {PICTURE} nowhere", 1, 3)])
@pytest.mark.parametrize("buffering", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_full_standard_error_changes_neither_answers_nor_exit_code(words, code, printed, buffering):
    surroundings = os.environ | {"PYTHONUNBUFFERED": buffering}
    with open("/dev/full", "w") as full:
        run = [sys.executable, "-m", "npmnv3", *words.split()]
        done = subprocess.run(run, stdout=subprocess.PIPE, stderr=full, text=True, cwd=goldens.ROOT, env=surroundings)
    assert (done.returncode, len(done.stdout.splitlines())) == (code, printed)


@linux
def test_without_any_standard_output_it_works():
    line = f"{sys.executable} -m npmnv3 list >&-"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, cwd=goldens.ROOT)
    assert (done.returncode, done.stderr) == (0, "")


@linux
@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-"])
def test_without_standard_error_answers_are_alone_in_standard_output(closed):
    line = f"{sys.executable} -m npmnv3 predict --json --top 1 --engine numpy {EXAMPLES}/hello_upright.png {closed}"
    done = subprocess.run(line, shell=True, stdout=subprocess.PIPE, text=True, cwd=goldens.ROOT)
    assert done.returncode == 0, done.stdout
    assert [json.loads(line)["predictions"][0]["label"] for line in done.stdout.splitlines()] == ["0"]


#: Runs npmnv3 and says which descriptor a file gets that a command opens.
OPENED = """
import os, sys
from npmnv3.cli import list_command, main
def run(args):
    file = os.open(os.devnull, os.O_RDONLY)
    os.write(int(sys.argv[1]), str(file).encode())
    return 0
list_command.run = run
sys.exit(main(["list"]))
"""


@linux
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_file_becomes_a_standard_stream(closed):
    """Else what a library writes there, such as LLVM's last words, would be written into it."""
    read, write = os.pipe()
    line = f'exec "$0" -c "$1" {write} {closed}'
    done = subprocess.run(["sh", "-c", line, sys.executable, OPENED], pass_fds=[write], cwd=goldens.ROOT)
    os.close(write)
    with open(read) as answer:
        assert done.returncode == 0 and int(answer.read()) > 2
