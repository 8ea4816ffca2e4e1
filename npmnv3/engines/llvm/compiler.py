"""Compile the kernels with LLVM, once for a processor, and keep the machine code in the user's cache.

The compiler is the one under Numba, called through the package that Numba calls it through: importing all of Numba
takes longer than loading the cached code and classifying a picture.
"""

import contextlib
import ctypes
import functools
import importlib.util
import os
import platform
from types import SimpleNamespace

from ...errors import UsageError
from ...ops.processor import described
from . import code_cache
from .kernels.kernel import Machine
from .linker import is_known_here, link

#: Features of the processor that are switched off where narrower vectors are asked for.
_WIDE = ("avx512", "avx10", "evex512")

#: Processors that take a vector of 16 floats as two of 8.
_DOUBLE_PUMPED = ("znver4",)

#: LLVM's settings -> the processors they are for, by its names; none: all of them.
_SETTINGS = {
    # The kernels' loops carry their addresses as they are written. Without the pass that looks for better ones the kernels
    # are as fast, and sooner compiled by a fifth; on ARM the largest tiles have fewer instructions.
    "disable-lsr": (),
    # These take a jump at the end of 32 bytes of code, or across it, slowly (Intel's Jump Conditional Code erratum). The end
    # of a product's inner loop lies there by chance: it took up to 10% longer.
    "x86-branches-within-32B-boundaries": ("skylake", "skylake-avx512", "cascadelake"),
}


class Library:
    """Compiled kernels.

    Parameters
    ----------
    code : (bytes, bytes), what `compile_kernels` made
    cached, problem : see the attributes

    Attributes
    ----------
    machine : Machine they were compiled for
    processor : str, LLVM's name of the processor
    kernels : {name: Kernel}
    addresses : {name: int} of the functions that commands call
    execute : callable (address of commands, count); other Python threads run meanwhile
    share : callable, see `kernels.control.build_share`; likewise
    point : callable (address of addresses, address of offsets, count, start): writes `start` plus an offset to each
    cached : bool, the machine code came from the cache
    problem : str, why the machine code is not in the cache now; "" if it is
    """

    def __init__(self, code, cached, problem):
        self.cached, self.problem = cached, problem
        head, machine_code = code
        self.processor, width, registers, halves, float16, names = head.decode().split("\n")
        self.machine = Machine(int(width), int(registers), halves == "1", float16 == "1")
        functions = link(machine_code) or self._linked_by_llvm(machine_code, names.split())
        self.execute = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 2)(functions.pop("execute"))
        self.share = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 8)(functions.pop("share"))
        self.point = ctypes.PYFUNCTYPE(None, *[ctypes.c_int64] * 4)(functions.pop("point"))
        self.addresses = functions

    def _linked_by_llvm(self, machine_code, names):
        llvm, compiler = _target_machine()
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), compiler)
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(machine_code))
        self._engine.finalize_object()
        return {name: self._engine.get_function_address(name) for name in names}

    @functools.cached_property
    def kernels(self):
        from .kernels import kernels_for

        return kernels_for(self.machine)


def library(float16=False):
    """The kernels for this processor, or for the vector width in NPMNV3_VECTOR; made once in a process.

    Parameters
    ----------
    float16 : bool, with those for weights of 16 bits: code of its own, which most processes do without
    """
    return _library(os.environ.get("NPMNV3_VECTOR", ""), float16)


@functools.cache
def _library(forced, float16):
    if forced not in ("", "4", "8", "16"):
        raise UsageError(
            f"the environment variable NPMNV3_VECTOR is {forced!r}, expected 4, 8 or 16 (floats in a vector)"
        )
    facts = _compiler_version(), platform.machine(), _processor(), forced, float16
    key, about = _key(*facts), repr(facts)
    code, problem = code_cache.read_code(key, about)
    cached = code is not None
    if code is None:
        code = compile_kernels(*_machine_here(forced, float16))
        problem = problem or code_cache.write_code(key, about, *code)
    return Library(code, cached, problem)


def _processor():
    """The processor, on which the machine code depends: as the system describes it if that will do, else as LLVM does.

    Importing LLVM takes long, and a process with cached code can do without.
    """
    if is_known_here() and (found := described()):
        return found
    import llvmlite.binding as llvm

    return llvm.get_process_triple(), llvm.get_host_cpu_name(), sorted(llvm.get_host_cpu_features().items())


def _compiler_version():
    """llvmlite's version, from its source if that is a file: importing it takes long."""
    try:
        folder = os.path.dirname(importlib.util.find_spec("llvmlite").origin)
        with open(os.path.join(folder, "_version.py"), "rb") as file:
            return file.read()
    except OSError:  # in an archive
        import llvmlite

        return llvmlite.__version__


def _target_machine(processor="", features=""):
    """(LLVM, its compiler for a processor)"""
    import llvmlite.binding as llvm

    with contextlib.suppress(RuntimeError):  # newer versions do it themselves, and say so
        llvm.initialize()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    return llvm, target.create_target_machine(cpu=processor, features=features, opt=3, jit=True)


def _machine_here(forced, float16):
    """(Machine, LLVM's name of the processor, its features as LLVM takes them)"""
    import llvmlite.binding as llvm

    features = dict(llvm.get_host_cpu_features())
    width = int(forced) if forced else _best_width(features)
    if width < 16:
        features = {name: on and not name.startswith(_WIDE) for name, on in features.items()}
    registers = 32 if _is_arm() or features.get("avx512f") else 16
    if float16 and not widens_float16():
        raise UsageError("`weight_dtype=float16`, but this processor cannot widen such weights; take 'float32'")
    flags = ",".join(("+" if on else "-") + name for name, on in sorted(features.items()))
    processor = llvm.get_host_cpu_name()
    return Machine(width, registers, width == 16 and processor in _DOUBLE_PUMPED, float16), processor, flags


def widens_float16():
    """Whether the processor makes 32 bits of 16 by itself; for others LLVM calls a function that is not there."""
    import llvmlite.binding as llvm

    return _is_arm() or llvm.get_host_cpu_features().get("f16c", False)


def _is_arm():
    return platform.machine().lower() in ("aarch64", "arm64")


def _best_width(features):
    if features.get("avx512f"):
        return 16
    return 8 if features.get("avx2") and features.get("fma") else 4


def warm_up(float16=False):
    """Compile the kernels for this processor, unless that was done before, so that later processes start quickly.

    Parameters
    ----------
    float16 : bool, as for `library`

    Returns
    -------
    (Path of the cache's folder, Library: its `cached` says whether they were there already, `problem` why they are not
    now)
    """
    return code_cache.cache_folder(), library(float16)


def build_module(machine):
    """All kernels as LLVM IR, and their names."""
    import llvmlite.binding as llvm

    from .kernels import kernels_for
    from .kernels.control import PEAK_ARGS, build_execute, build_peak, build_point, build_share
    from .kernels.ir import Code
    from .kernels.text import Module

    module = Module(typed_pointers=llvm.llvm_version_info[0] <= 15)
    kernels = [(kernel.name, kernel.args, kernel.emit) for kernel in kernels_for(machine).values()]
    kernels.append(("peak", PEAK_ARGS, build_peak))
    for name, args, emit in kernels:
        function = module.function(name, 1)
        code = Code(function, machine.width)
        values = {arg: code.load_int(function.args[0], 8 * i) for i, arg in enumerate(args)}
        emit(code, SimpleNamespace(**values))
        code.builder.ret_void()
    build_execute(module)
    build_share(module)
    build_point(module)
    return str(module), [*(name for name, _, _ in kernels), "execute", "share", "point"]


@contextlib.contextmanager
def _settings(llvm, processor):
    """A context with LLVM's settings for these kernels; a process has but one set of settings."""
    names = [name for name, processors in _SETTINGS.items() if not processors or processor in processors]
    if llvm.llvm_version_info[0] < 15:  # it takes a setting once only, and not back
        names = []
    for name in names:
        llvm.set_option("", f"-{name}")
    try:
        yield
    finally:
        for name in names:
            llvm.set_option("", f"-{name}=false")


def compile_kernels(machine, processor, features):
    """What a `Library` is made of.

    Parameters
    ----------
    machine : Machine
    processor, features : str, as LLVM takes them

    Returns
    -------
    (head, object file) : bytes; the head names the processor, the machine and the functions
    """
    llvm, compiler = _target_machine(processor, features)
    text, names = build_module(machine)
    module = llvm.parse_assembly(text)
    module.verify()
    head = "\n".join([processor, *(str(int(fact)) for fact in machine), " ".join(names)])
    with _settings(llvm, processor):
        return head.encode(), compiler.emit_object(module)


def _key(*facts):
    """A hash of everything that the machine code depends on, the source of the kernels included."""
    modules = "compiler", *(f"kernels.{name}" for name in _kernel_modules())
    return code_cache.digest(b"\n".join([repr(facts).encode(), *map(_source, modules)])).hex()


def _kernel_modules():
    import pkgutil

    from . import kernels

    return ["__init__", *sorted(module.name for module in pkgutil.iter_modules(kernels.__path__))]


def _source(module):
    """A module's source; the package's version where it is installed without."""
    import pkgutil

    from ... import __version__

    try:
        return pkgutil.get_data(__package__, module.replace(".", "/") + ".py") or __version__.encode()
    except OSError:
        return __version__.encode()
