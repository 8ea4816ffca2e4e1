"""How the command line behaves at a terminal: Ctrl-C, tab completion, bars, `--version`, words of the command line."""

import configparser
import os
import re
import shutil
import subprocess
import sys

import goldens
import numpy as np
import pytest
from command_line import all_of, run
from states import random_state

import npmnv3
from npmnv3.cli import main
from npmnv3.cli.output import as_options
from npmnv3.errors import EXTRAS

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX's signals and terminals")
EXAMPLES = str(goldens.ROOT / "weights" / "examples")

#: Runs npmnv3, and sends itself SIGINT as MODULE is looked for, from the place that HOW says.
INTERRUPT = """
import os, signal, sys, weakref
module, how, words = sys.argv[1], sys.argv[2], sys.argv[3:]

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            sys.meta_path.remove(self)
            if how == "where exceptions are lost":
                class Thing: pass
                thing = Thing()
                keep.append(weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGINT)))
                del thing
            else:
                try:
                    os.kill(os.getpid(), signal.SIGINT)
                except KeyboardInterrupt:
                    if how == "turned into another error":
                        raise ImportError(f"{name} is broken") from None
                    raise

keep = []
sys.meta_path.insert(0, Finder())
sys.argv[1:] = words
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background passes on that it is ignored
from npmnv3.__main__ import main
sys.exit(main())
"""


@posix
@pytest.mark.parametrize(
    ("module", "how", "said"),
    [
        ("npmnv3.cli", "plainly", "npmnv3: interrupted\n"),
        ("argparse", "plainly", "npmnv3: interrupted\n"),
        ("argparse", "turned into another error", "npmnv3: interrupted\n"),
        ("npmnv3.model", "plainly", "npmnv3 predict: interrupted\n"),
        ("numpy", "plainly", "npmnv3 predict: interrupted\n"),
        ("PIL.Image", "plainly", "npmnv3 predict: interrupted\n"),
        ("numpy", "where exceptions are lost", "npmnv3 predict: interrupted\n"),
    ],
)
def test_an_interrupt_of_an_import_is_one_line(module, how, said):
    words = [
        sys.executable,
        "-c",
        INTERRUPT,
        module,
        how,
        "predict",
        "--model",
        "ppocr/text_direction",
        "--engine",
        "numpy",
    ]
    done = subprocess.run([*words, f"{EXAMPLES}/hello_upright.png"], cwd=goldens.ROOT, capture_output=True, text=True)
    # Where it comes a moment later it may meet an import that makes an error of its own of it, and no command's name.
    lines = {said, "npmnv3: interrupted\n"} if how == "where exceptions are lost" else {said}
    assert done.returncode == 130 and done.stderr in lines, done.stderr


#: Runs npmnv3, and sends itself a signal, which it may have been started to ignore, while it writes an .npz.
ENDED = """
import os, signal, sys
import numpy as np
number, ignored = getattr(signal, sys.argv[1]), sys.argv[2] == "ignored"
write = np.lib.format.write_array
np.lib.format.write_array = lambda *given, **options: (os.kill(os.getpid(), number), write(*given, **options))
signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)
sys.argv[1:] = sys.argv[3:]
from npmnv3.__main__ import main
sys.exit(main())
"""


@posix
@pytest.mark.parametrize(
    ("name", "how", "code", "left"),
    [("SIGTERM", "", 143, []), ("SIGHUP", "", 129, []), ("SIGHUP", "ignored", 0, ["t.npz"])],
)
def test_who_is_asked_to_end_leaves_nothing_half_written(name, how, code, left, tmp_path):
    words = ("trace", "ppocr/text_direction", "--input", f"{EXAMPLES}/hello_upright.png", "-o", tmp_path / "t.npz")
    done = subprocess.run(
        [sys.executable, "-c", ENDED, name, how, *words], cwd=goldens.ROOT, capture_output=True, text=True
    )
    assert done.returncode == code and done.stderr == "", done.stderr
    assert os.listdir(tmp_path) == left


def test_the_entry_point_is_where_interrupts_are_minded():
    config = configparser.ConfigParser()
    config.read(goldens.ROOT / "setup.cfg")
    assert "npmnv3 = npmnv3.__main__:main" in config["options.entry_points"]["console_scripts"]


def test_hints_name_what_the_extras_bring():
    """One place says what an extra brings, and agrees with setup.cfg."""
    config = configparser.ConfigParser()
    config.read(goldens.ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    listed = {
        name: " ".join(re.match(r"[\w-]+", line)[0] for line in extras[name].split("\n") if line) for name in EXTRAS
    }
    assert listed == EXTRAS
    assert set(EXTRAS) | {"test"} == set(re.search(r"\[(.*)\]", extras["all"])[1].split(", "))


def test_messages_speak_of_options(capsys):
    said = "no: `weights=FILE`, `num_classes=0`, `fetch=True`, `per_tensor=`; `npmnv3 fetch x` and NPMNV3_FETCH=1 stay"
    assert as_options(said) == (
        "no: `--weights FILE`, `--classes 0`, `--fetch`, `--per-tensor`; `npmnv3 fetch x` and NPMNV3_FETCH=1 stay"
    )
    for words in (
        ("predict", "--kernels", "xnnpack", "x.png"),
        ("predict", "--model", "x.h5", "--weights", "y.h5", "x.png"),
        ("export", "ppocr/text_direction", "-o", "x.onnx", "--classes", "0"),
        ("convert", "weights/ppocr--text_direction.h5", "--kernels", "xnnpack"),
        ("quantize", "ppocr/text_direction", "--calibrate", EXAMPLES, "--labels", "x.csv"),
    ):
        code, _, err = run(capsys, *words)
        assert code == 2 and re.search("`--[a-z]", err) and not re.search(r"[a-z]+=|npmnv3\.load", err), err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("predict", "--modle", "a", "x.png"), "unrecognized arguments: --modle. Did you mean --model?"),
        (("verify", "a", "b", "--htlm=x"), "unrecognized arguments: --htlm=x. Did you mean --html?"),
        (("predict", "--zzz", "x.png"), "unrecognized arguments: --zzz. See"),
        (("predict", "x.png", "--engine", "nump"), "Did you mean numpy?"),
        (("predict", "--top", "x", "x.png"), "argument --top: invalid int value: 'x'."),
        (("predict",), "the following arguments are required: PICTURE|FOLDER|URL|-."),
        (("prdict",), "Did you mean predict?"),
    ],
)
def test_wrong_words_are_told_in_the_commands_own_terms(words, said, capsys):
    code, out, err = run(capsys, *words)
    command = "npmnv3 predict" if words[0] == "predict" else "npmnv3 verify" if words[0] == "verify" else "npmnv3"
    assert code == 2 and not out and said in err and err.endswith(f" See `{command} --help`\n")
    usage, _ = err.splitlines()
    assert usage.startswith(f"usage: {command} [OPTIONS] ") and "--" not in usage


def test_a_hint_has_the_schemes_that_the_command_takes(capsys):
    words = ("vectors", "ppocr/text_direction", "-o", "x", "--format", "c", "--scheme", "foo", "--calibrate", EXAMPLES)
    code, _, err = run(capsys, *words)
    assert (
        code == 2
        and err == "npmnv3 vectors: no scheme is called 'foo', expected one of tflite, onnx, symmetric, pow2\n"
    )


def test_a_report_is_not_written_over_what_is_read(capsys, tmp_path):
    port = tmp_path / "port.npz"
    np.savez(port, logits=np.zeros((1, 2), np.float32))
    before = port.read_bytes()
    (tmp_path / "link").symlink_to(port)
    for option in ("--html", "--junit", "--write-map"):
        for name in (port, tmp_path / "link"):
            code, _, err = run(capsys, "verify", "ppocr/text_direction", port, option, name)
            assert code == 2 and f"{option} {name}: would be written over {port}, which is read" in err
    assert port.read_bytes() == before


def test_nothing_is_written_over_what_is_read(capsys, tmp_path):
    """Neither over the weights or the labels, nor over a picture of a folder, nor twice to one file."""
    name, folder, plot = "ppcls/MobileNetV3_small_x0_35", tmp_path / "pictures", tmp_path / "a.svg"
    weights, labels, picture = tmp_path / "w.npz", tmp_path / "labels.csv", folder / "a.png"
    npmnv3.write_dump(weights, random_state(name, 2), model=name)
    folder.mkdir()
    shutil.copy(f"{EXAMPLES}/hello_upright.png", picture)
    labels.write_text("file,label\na.png,0\n")
    files = {path: path.read_bytes() for path in (weights, labels, picture)}
    evaluate = ("evaluate", weights, folder, "--labels", labels)
    for words, path in (
        (("trace", weights, "--input", picture, "-o"), weights),
        (("trace", name, "--weights", weights, "--input", picture, "-o"), weights),
        (("quantize", weights, "--calibrate", folder, "-o"), weights),
        (("export", weights, "-o"), weights),
        (("freeze", weights, "-o"), weights),
        ((*evaluate, "--csv"), labels),
        ((*evaluate, "--csv"), weights),
        ((*evaluate, "--csv"), picture),
    ):
        code, _, err = run(capsys, *words, path)
        assert code == 2 and f"{path}: would be written over" in err and "which is read" in err
    code, _, err = run(capsys, *evaluate, "--csv", plot, "--confusion", plot)
    assert code == 2 and f"--confusion {plot}: would be written over what --csv writes; name another" in err
    assert files == {path: path.read_bytes() for path in files} and not plot.exists()
    results = folder / "results.csv"  # which is no picture, and may be there from before
    results.write_text("of before\n")
    assert run(capsys, *evaluate, "--csv", results)[0] == 0 and "a.png" in results.read_text()


def test_version(capsys):
    assert run(capsys, "--version")[:2] == (0, f"npmnv3 {npmnv3.__version__}\n")


def completions(line, *flags):
    """What a shell is told that the last word of a line may become."""
    read, write = os.pipe()
    env = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SHELL": "bash",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    script = f"import os, sys; os.dup2({write}, 8); from npmnv3.__main__ import main; main()"
    command = [sys.executable, *flags, "-c", script]
    done = subprocess.run(command, env=env, cwd=goldens.ROOT, pass_fds=[write], stderr=subprocess.PIPE, text=True)
    os.close(write)
    with open(read) as answer:
        return [word.strip() for word in answer.read().split("\n")], done.stderr


@posix
def test_tab_completion():
    pytest.importorskip("argcomplete", reason="needs the extra complete")
    words, imported = completions("npmnv3 ", "-X", "importtime")
    assert {"list", "predict", "fetch", "--version"} <= set(words)
    heavy = {"numpy", "h5py", "PIL", "tqdm", "llvmlite"}
    assert not heavy & set(re.findall(r"\| +(\w+)$", imported, re.MULTILINE)), "the shell waits for that"
    for line, word in {
        "npmnv3 predict --mo": "--model",
        "npmnv3 predict --model keras/": "keras/MobileNetV3Small",
        "npmnv3 info torchvision/": "torchvision/mobilenet_v3_large",
        "npmnv3 fetch torchvision/": "torchvision/mobilenet_v3_large@V2",
        "npmnv3 vectors x --format h": "hex",
        "npmnv3 predict --model weights/pp": "weights/ppocr--text_direction.h5",
    }.items():
        assert word in completions(line)[0], line


def test_help_has_the_line_to_type(capsys):
    out = run(capsys, "--help")[1]
    assert 'eval "$(register-python-argcomplete npmnv3)"' in out and "--shell fish npmnv3 | source" in out
    assert "exit codes: 0" in out and "`npmnv3 list` names the networks" in out
    assert EXTRAS["complete"] in out


@posix
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("freeze ppocr/text_direction -o OUT.pyz", r"measuring: 100%.*16/16"),
        ("convert weights/ppocr--text_direction.h5 -o OUT.npz", r"converting: \d s"),
        ("vectors ppocr/text_direction -o OUT --format hex --only logits", r"computing: \d s"),
        ("trace ppocr/text_direction --input weights/examples/hello_upright.png", r"tracing: \d s"),
    ],
)
def test_progress_on_a_terminal_and_none_in_a_pipe(words, said, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("npmnv3.progress.PATIENCE", 0.0)
    monkeypatch.chdir(goldens.ROOT)
    outer, inner = os.openpty()
    with open(inner, "w", closefd=False) as stderr, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stderr)
        assert main(words.replace("OUT", str(tmp_path / "terminal")).split()) == 0
    os.close(inner)
    shown = all_of(outer)
    assert re.search(said, shown.replace("\r", "\n")), shown
    capfd.readouterr()
    assert main(words.replace("OUT", str(tmp_path / "pipe")).split()) == 0 and capfd.readouterr().err == ""
