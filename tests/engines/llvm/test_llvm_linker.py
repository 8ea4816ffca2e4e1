"""Machine code put into memory without LLVM: the same code as LLVM's linker has, and nothing that is not known."""

import ctypes
import subprocess
import sys

import goldens
import numpy as np
import pytest

pytest.importorskip("llvmlite")

import llvmlite.binding as llvm

import npmnv3
from npmnv3.engines.llvm import compiler, linker
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant
from npmnv3.testing import random_params

MODEL = "ppcls/MobileNetV3_small_x0_35"


def kernels_of(width):
    return compiler.compile_kernels(*compiler._machine_here(width, False))


known = pytest.mark.skipif(linker.link(kernels_of("4")[1]) is None, reason="not linked here without LLVM")


@pytest.fixture(scope="module")
def kernels():
    return kernels_of("4")


def object_file(text):
    _, target = compiler._target_machine()
    return target.emit_object(llvm.parse_assembly(text))


@known
@pytest.mark.parametrize("width", ("4", "8", "16"))
def test_the_bits_are_those_of_what_llvm_links(width, monkeypatch):
    features = llvm.get_host_cpu_features()
    if not features.get({"4": "sse2", "8": "avx2", "16": "avx512f"}[width]):
        pytest.skip("the processor has no such vectors")
    monkeypatch.setenv("NPMNV3_VECTOR", width)
    params = random_params(make_plan(get_variant(MODEL), 10, (64, 64)), np.random.default_rng(1))
    x = np.random.default_rng(2).standard_normal((3, 3, 64, 64)).astype(np.float32)
    logits = []
    for own in (True, False):
        if not own:
            monkeypatch.setattr(compiler, "link", lambda machine_code: None)
        compiler._library.cache_clear()
        logits.append(npmnv3.load(MODEL, params, 10, engine="llvm")(x))
        assert hasattr(compiler._library(width, False), "_engine") is not own
    compiler._library.cache_clear()
    assert logits[0].tobytes() == logits[1].tobytes()


@known
def test_functions_and_constants_find_one_another():
    code = object_file(
        "define double @third(double %x) { %y = fmul double %x, 0x3FD5555555555555 ret double %y }\n"
        "define double @ninth(double %x) { %y = call double @third(double %x) %z = call double @third(double %y) "
        "ret double %z }"
    )
    addresses = linker.link(code)
    assert addresses.keys() == {"third", "ninth"}
    assert ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(addresses["ninth"])(18.0) == 18 * (1 / 3) * (1 / 3)


@pytest.mark.parametrize(
    "text",
    (
        "declare double @exp(double)\ndefine double @f(double %x) { %y = call double @exp(double %x) ret double %y }",
        "@count = global i64 5\ndefine i64 @f() { %y = load i64, i64* @count ret i64 %y }",
        "@count = global i64 0\ndefine i64 @f() { %y = load i64, i64* @count ret i64 %y }",
    ),
    ids=("another library's function", "a variable", "a variable of zero"),
)
def test_what_is_not_known_is_left_to_llvm(text):
    text = text if llvm.llvm_version_info[0] < 15 else text.replace("i64*", "ptr")
    assert linker.link(object_file(text)) is None


@pytest.mark.parametrize("system", (("sys.platform", "darwin"), ("sys.platform", "win32")))
def test_other_systems_are_left_to_llvm(system, kernels, monkeypatch):
    monkeypatch.setattr(*system)
    assert linker.link(kernels[1]) is None


def test_other_processors_are_left_to_llvm(kernels, monkeypatch):
    monkeypatch.setattr(linker.platform, "machine", lambda: "aarch64")
    assert linker.link(kernels[1]) is None


def test_elsewhere_code_is_kept_by_llvms_own_word_on_the_processor(monkeypatch):
    monkeypatch.setattr(linker.platform, "machine", lambda: "aarch64")
    assert compiler._processor()[1] == llvm.get_host_cpu_name()


def test_memory_that_may_not_be_run_is_left_to_llvm(kernels, monkeypatch):
    monkeypatch.setattr(linker.mmap, "PROT_EXEC", 1 << 20)  # no such protection
    assert linker.link(kernels[1]) is None


def test_damage_is_no_crash(kernels):
    _, good = kernels
    rng = np.random.default_rng(3)
    for at in [*range(0, 64), *rng.integers(len(good), size=150)]:
        for damaged in (good[:at], good[:at] + bytes([good[at] ^ 1 << rng.integers(8)]) + good[at + 1 :]):
            found = linker.link(damaged)
            assert found is None or all(isinstance(address, int) for address in found.values())


@known
def test_a_process_with_cached_code_imports_no_compiler():
    code = (
        "import sys, numpy, npmnv3\n"
        "model = npmnv3.load('ppocr/text_direction')\n"
        "model(numpy.zeros((1, 3, 48, 192), numpy.float32))\n"
        "print(model.engine, 'llvmlite.binding' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=goldens.ROOT, check=True)
    done = subprocess.run([sys.executable, "-c", code], cwd=goldens.ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["llvm", "False"]
