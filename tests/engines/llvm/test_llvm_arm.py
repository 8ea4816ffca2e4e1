"""The kernels compiled for ARM's processors, on whatever machine this is: what must stay in registers does."""

import re

import pytest

pytest.importorskip("llvmlite")

import llvmlite.binding as llvm

from npmnv3.engines.llvm.compiler import build_module
from npmnv3.engines.llvm.kernels.kernel import Machine

PROCESSORS = ("generic", "cortex-a72", "cortex-a76", "neoverse-n1", "neoverse-v1", "apple-m1")

#: Multiply-adds without a jump between them in the kernels' largest tiles: 14 pixels by one vector, seven by two and
#: three, by four channels; seven pixels by 3 x 3 and by 5 x 5 taps; 14 pixels by 3 x 3 taps.
LARGEST = {
    "pointwise2": 56,
    "pointwise4": 56,
    "pointwise6": 84,
    "depthwise3_1": 63,
    "depthwise3_2": 63,
    "depthwise5_1": 175,
    "depthwise5_2": 175,
    "conv3_2": 126,
}


@pytest.fixture(scope="module")
def module():
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm.parse_assembly(build_module(Machine(4, 32))[0])


def assembly(module, processor):
    """{function: its code as text}."""
    try:
        target = llvm.Target.from_triple("aarch64-unknown-linux-gnu")
    except RuntimeError:
        pytest.skip("this llvmlite does not compile for ARM")
    text = target.create_target_machine(cpu=processor, opt=3, jit=True).emit_assembly(module)
    return dict(re.findall(r"^(\w+):.*?\n(.*?)^\.Lfunc_end", text, re.DOTALL | re.MULTILINE))


def straight_runs(code):
    """Lists of instructions, each without a label or a jump in it."""
    runs = re.split(r"^\.?LBB.*:.*|^\s(?:b|b\.\w+|cbn?z|tbn?z|br|ret)\s.*", code, flags=re.MULTILINE)
    return [[line.strip() for line in run.splitlines()] for run in runs]


def multiply_adds(run):
    return sum(line.startswith("fmla") for line in run)


@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_largest_tiles_stay_in_registers(module, processor):
    functions = assembly(module, processor)
    found = {name: max(straight_runs(functions[name]), key=multiply_adds) for name in LARGEST}
    assert {name: multiply_adds(run) for name, run in found.items()} == LARGEST
    for name, run in found.items():
        on_stack = [line for line in run if "[sp" in line]
        # One vector put aside among many multiply-adds costs nothing that could be measured.
        assert len(on_stack) <= 1, f"{name} on {processor} has {len(on_stack)} accesses to the stack: {on_stack}"
