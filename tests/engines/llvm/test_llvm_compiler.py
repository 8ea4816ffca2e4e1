"""What the compiler is told besides the kernels' code."""

import platform

import pytest

pytest.importorskip("llvmlite")

import llvmlite.binding as llvm

from npmnv3.engines.llvm.compiler import _settings, _target_machine, build_module
from npmnv3.engines.llvm.kernels.kernel import Machine


@pytest.mark.skipif(llvm.llvm_version_info[0] < 15, reason="LLVM takes no setting back before version 15")
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="a setting for x86 processors")
def test_slow_jumps_are_avoided_where_they_are_slow_and_nowhere_else():
    text, _ = build_module(Machine(4, 16))

    def code(processor, setting=None):
        module = llvm.parse_assembly(text)  # anew, since compiling changes it
        compiler = _target_machine(processor)[1]
        if setting is None:
            return compiler.emit_object(module)
        with _settings(llvm, setting):
            return compiler.emit_object(module)

    before = code("skylake")
    assert code("skylake", "haswell") != before  # what all processors get
    assert code("skylake", "skylake") != code("skylake", "haswell")
    assert code("skylake") == before  # others who compile in this process find the setting as it was
    assert code("znver3", "znver3") == code("znver3", "haswell")
