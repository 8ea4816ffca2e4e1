"""Every command that a README shows with its output, word for word, from an empty folder with a clone's files in it.

A page's commands run in order in one folder, so a file that one needs is there or made by one before it. What `cat` shows
of a file that is not there is that file.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = {
    str(page.relative_to(ROOT)): page
    for folder in ("", "npmnv3", "weights", "bench", "tests")
    for page in (ROOT / folder).glob("**/README.md" if folder else "README.md")
}
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?")
TIME = re.compile(r"[\d.]+ (s|ms|us|a second|pictures a second)\b")
HASH = re.compile(r"\b(?=\w*\d)(?=\w*[a-f])[0-9a-f]{8}\b")
SPEEDS = {"bench/README.md"}  # where all numbers are this machine's


def shown(page):
    """[(command, lines of its output)]."""
    found, inside = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        text = line[4:] if line.startswith("    ") else None
        if text and text.startswith("$ "):
            found.append((text[2:], []))
            inside = True
        elif text is None and line.strip():
            inside = False
        elif inside:
            found[-1][1].append(text or "")
    return [(command, _trimmed(lines)) for command, lines in found]


def _trimmed(lines):
    return "\n".join(line.rstrip() for line in lines).strip("\n").splitlines()


COMMANDS = {name: commands for name, page in PAGES.items() if (commands := shown(page))}


def differs(line, expected, numbers=True):
    """What is another in a line than was shown, "" if nothing.

    Times and hashes are left out. Whole numbers below 1000 are the same, larger ones (bytes of files) within 2%, others
    within rounding's share; of a line with exponents, as errors have them, what comes before its first fraction.
    """
    line, expected = (HASH.sub("#", TIME.sub("#", " ".join(text.split()))) for text in (line, expected))
    if re.search(r"\de[+-]\d", expected):
        line, expected = (re.split(r"-?\d+\.\d", text)[0] for text in (line, expected))
    if NUMBER.sub("#", line) != NUMBER.sub("#", expected):
        return "other words"
    pairs = zip(NUMBER.findall(line), NUMBER.findall(expected))
    return next((f"{a}, not {b}" for a, b in pairs if numbers and not _near(a, b)), "")


def _near(found, expected):
    a, b = (float(text.replace(",", "")) for text in (found, expected))
    whole = "." not in expected
    return abs(a - b) <= (0 if whole and b < 1000 else abs(b) * (0.02 if whole else 0.25))


def compare(lines, expected, numbers):
    """Assert that lines are as shown, where `...` stands for any number of them."""
    told = "\n".join(lines)
    at = 0
    for index, wanted in enumerate(expected):
        if wanted == "...":
            rest = expected[index + 1 :]
            at = next(
                (i for i in range(at, len(lines)) if rest and not differs(lines[i], rest[0], numbers)), len(lines)
            )
            continue
        assert at < len(lines), f"nothing in place of {wanted!r}:\n{told}"
        problem = differs(lines[at], wanted, numbers)
        assert not problem, f"{problem} in {lines[at]!r}, shown is {wanted!r}:\n{told}"
        at += 1
    assert at == len(lines) or expected[-1:] == ["..."], f"more than is shown:\n{told}"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A folder for compiled code, empty before the first command."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(tmp_path, cache):
    """callable (command) -> lines that it prints, both streams, in a folder of its own."""
    folder, programs = tmp_path / "folder", tmp_path / "programs"
    for path in (folder, programs):
        path.mkdir()
    for name in ("weights", "tests"):
        (folder / name).symlink_to(ROOT / name, target_is_directory=True)
    for name, words in {"python": "", "npmnv3": "-m npmnv3"}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (programs / name).chmod(0o755)
    own = {"PATH": f"{programs}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(cache)}
    environment = os.environ | own | {"COLUMNS": "200", "NPMNV3_CACHE": os.environ.get("NPMNV3_CACHE", "")}

    def in_folder(command, expected):
        words = command.split()
        if words[0] == "cat" and not (folder / words[1]).exists():
            (folder / words[1]).write_text("\n".join(expected) + "\n")
        ended = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        assert ended.returncode in (0, 1), ended.stdout
        return _trimmed(ended.stdout.splitlines())

    return in_folder


@pytest.mark.skipif(os.name == "nt" or not shutil.which("bash"), reason="the commands are shown for a POSIX shell")
@pytest.mark.parametrize("page", COMMANDS)
def test_commands_print_what_is_shown(page, run, tmp_path):
    for command, expected in COMMANDS[page]:
        if re.search(r"\bcc\b", command) and not shutil.which("cc"):
            pytest.skip(f"no C compiler for {command}")
        compare(run(command, expected), expected, page not in SPEEDS)
    made = sorted(set(os.listdir(tmp_path / "folder")) - {"weights", "tests"})
    if made and shutil.which("git") and (ROOT / ".git").exists():
        ignored = subprocess.run(["git", "check-ignore", *made], cwd=ROOT, capture_output=True, text=True).stdout
        assert ignored.split() == made, "typed in a clone, the page's commands leave files that git sees"


def test_the_commands_are_found():
    assert sum(map(len, COMMANDS.values())) > 20 and "npmnv3 list" in [
        c for c, _ in COMMANDS["npmnv3/network/README.md"]
    ]


@pytest.mark.parametrize(
    "line, expected, problem",
    (
        ("6 pictures in 1.1 s, 5.5 a second", "6 pictures in 9.0 s, 1.2 a second", ""),
        ("job b6f918c8-2e6c1719", "job 00f918c8-2e6c17aa", ""),
        ("302,100 bytes", "302,895 bytes", ""),
        ("402,100 bytes", "302,895 bytes", "402,100, not 302,895"),
        ("a.pyz: 302,100 bytes", "a.pyz: 302,895 bytes", ""),
        ("5 of 6", "6 of 6", "5, not 6"),
        ("rms 0.004", "rms 0.1", "0.004, not 0.1"),
        ("stem layer_01 99.0 1e-6", "stem layer_01 138.0 2e-6", ""),
        ("stem layer_02 138.0 2e-6", "stem layer_01 138.0 2e-6", "02, not 01"),
        ("fine", "DIVERGES", "other words"),
    ),
)
def test_what_differs(line, expected, problem):
    assert differs(line, expected) == problem


@pytest.mark.parametrize(
    "lines, shown, fits",
    (
        ("ab", "ab", True),
        ("ab", "a", False),
        ("a", "ab", False),
        ("axyb", ("a", "...", "b"), True),
        ("axy", ("a", "..."), True),
    ),
)
def test_lines_that_are_left_out(lines, shown, fits):
    if fits:
        compare(list(lines), list(shown), True)
    else:
        with pytest.raises(AssertionError):
            compare(list(lines), list(shown), True)
