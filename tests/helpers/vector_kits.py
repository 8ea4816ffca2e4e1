"""The C checker of a kit of vectors, compiled and run; and steps whose vectors are few."""

import shutil
import subprocess

import pytest

COMPILER = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
SOME = "stem*,blocks.3.*,last*,max_pool,pool,logits*"  # of the steps of ppocr/text_direction
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs a C compiler: gcc, cc or clang")


def check(folder, *arguments):
    """(exit code, lines) of the checker in a folder, compiled without a warning."""
    flags = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run([COMPILER, *flags, "check.c", "-o", "check", "-lm"], cwd=folder, check=True)
    done = subprocess.run(["./check", *arguments], cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines()
