"""Names in pickles that are none of the arrays': which of them may stand for a value that nobody needs.

Nothing is imported, made or called for them: a foreign class's object becomes a `Foreign`, which holds what the pickle
says of it, also where the pickle calls the class with one value, as it does for a member of an enumeration. What is
refused is a name that would run code: any function that the pickle calls, and all of Python's own modules but for the
harmless values listed here.
"""

import sys

from ...errors import WeightsError
from .stand_ins import Known, Opaque

# Functions and classes whose call makes a plain value: dates, paths, sets, dtypes, random states, settings.
_HARMLESS = frozenset(
    """
builtins.bool builtins.bytearray builtins.bytes builtins.complex builtins.dict builtins.float builtins.frozenset builtins.int
builtins.list builtins.object builtins.range builtins.set builtins.slice builtins.str
collections.Counter collections.OrderedDict collections.defaultdict collections.deque
builtins.xrange builtins.Ellipsis builtins.NotImplemented numpy.random.bit_generator.__pyx_unpickle_SeedSequence
numpy.random.bit_generator.SeedSequence
argparse.Namespace types.SimpleNamespace types.NoneType types.MappingProxyType
datetime.date datetime.datetime datetime.time datetime.timedelta datetime.timezone zoneinfo.ZoneInfo
decimal.Decimal fractions.Fraction uuid.UUID uuid.SafeUUID functools.partial re._compile
pathlib.Path pathlib.PosixPath pathlib.PurePath pathlib.PurePosixPath pathlib.PureWindowsPath pathlib.WindowsPath
pathlib._local.Path pathlib._local.PosixPath pathlib._local.PurePath pathlib._local.PurePosixPath
pathlib._local.PureWindowsPath pathlib._local.WindowsPath
copyreg._reconstructor copy_reg._reconstructor copyreg.__newobj__ copyreg.__newobj_ex__
torch.Size torch.device torch.dtype torch.Generator torch._C.Generator torch.layout torch.memory_format
torch.serialization._get_layout
torch.finfo torch.iinfo torch.cuda.amp.grad_scaler._refresh_per_optimizer_state
torchvision.transforms.functional.InterpolationMode torchvision.transforms.InterpolationMode
torchvision.models._api.WeightsEnum
numpy.random._pickle.__randomstate_ctor numpy.random._pickle.__generator_ctor numpy.random._pickle.__bit_generator_ctor
numpy.random.__RandomState_ctor numpy.random._mt19937.MT19937 numpy.random._pcg64.PCG64
""".split()
)

# Modules of Python and of common packages that can run code, read files or load libraries: never by any name.
_NEVER = {
    *sys.stdlib_module_names,
    *"__builtin__ commands pip setuptools pkg_resources distutils numpy pandas scipy cloudpickle dill joblib tensorflow keras".split(),
    *"test idlelib lib2to3 asyncore smtpd imp".split(),
    *"requests aiohttp httplib urllib3 IPython jupyter_client matplotlib sklearn nltk pexpect sh plumbum fabric paramiko".split(),
}
# Of torch, which has functions that run code, only modules made of layers and their settings, and names of types.
_TORCH = ("torch.nn.", "torch.ao.nn.", "torch.optim.", "torch.ao.quantization.stubs.", "torch.quantization.stubs.")
_TORCH_NAMES = {
    f"torch.{name}"
    for name in """Tensor float16 float32 float64 bfloat16 half float double int8 int16 int32 int64 uint8 uint16 uint32 uint64
    short int long bool complex32 complex64 complex128 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu qint8 quint8 qint32 strided sparse_coo
    contiguous_format channels_last preserve_format per_tensor_affine per_channel_affine""".split()
}
# Last parts of names that run code, load it or touch files, in whatever module they stand.
_ACTS = set(
    """system popen Popen eval exec execfile compile open getattr setattr delattr hasattr __import__ import_module run call
    check_call check_output getoutput getstatusoutput spawn spawnl spawnlp spawnv execl execv execve execvp fork kill remove
    unlink rmtree rmdir mkdir makedirs rename move copy copyfile chmod chown load loads load_module run_path run_module
    runcode runsource runstring urlopen urlretrieve request get post connect socket input breakpoint globals locals vars dir
    attrgetter itemgetter methodcaller reduce apply apply_along_axis map filter main interact loadLibrary CDLL WinDLL PyDLL
    FileHandler startfile exit quit install download load_state_dict_from_url __reduce__ __class__ __globals__ __dict__
    __subclasses__ __builtins__ __getattribute__""".split()
)
_NUMPY = {  # types, which settings name
    f"numpy.{name}"
    for name in "float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool_ bool str_ bytes_".split()
}

REFUSED = (
    "which has no place in a state dict: refused, nothing was run; if you trust the file, load it where it was made and "
    "save its state_dict() alone: torch.save(model.state_dict(), 'weights.pth')"
)


class Foreign(Opaque):
    """Stands for an object of a class that is not looked up.

    name : of the class
    state : dict, what its attributes would be
    items : dict, what it holds where its class is a kind of dict
    """

    def __init__(self, name):
        self.name, self.state, self.items = name, {}, {}

    def build(self, state):
        for part in state if type(state) is tuple else (state,):  # a pair: the attributes, and those in slots
            if type(part) is dict:
                self.state |= part

    @property
    def fields(self):
        """Attributes and items together."""
        return self.state | self.items


class ForeignName(Opaque):
    """Stands for a class or function that is not looked up."""

    def __init__(self, name):
        self.name = name

    @property
    def is_class(self):
        """Whether it is written as classes are, and functions are not."""
        return self.name.rpartition(".")[2].lstrip("_")[:1].isupper()

    def build(self, state):
        raise WeightsError(f"the pickle sets attributes of the class {self.name[:200]}: refused")


def known_name(full):
    """What stands for a foreign name in a pickle: a `Known` that may be called, a `ForeignName` that may not, or None
    where the name is refused."""
    if full == "builtins.getattr":
        return Known(full, _attribute, 0, 100)
    if full == "builtins.type":  # the type of a value; with more than that it would make a class
        return Known(full, lambda *arguments: _made(full, arguments), 1, 1)
    if full in _HARMLESS:
        return Known(full, lambda *arguments: _made(full, arguments), 0, 100)
    root, *inner = full.split(".")
    if full in _NUMPY or full in _TORCH_NAMES:
        return ForeignName(full)
    if not inner or inner[-1] in _ACTS:
        return None
    if root == "torch":
        return ForeignName(full) if full.startswith(_TORCH) else None
    if root in _NEVER or not root.isidentifier() or not all(part.isidentifier() for part in inner):
        return None
    return ForeignName(full)


def _attribute(*arguments):
    """What stands for a method, or a member of an enumeration, of a foreign class: pickles ask for it by `getattr`."""
    if [type(argument) for argument in arguments] != [ForeignName, str] or not arguments[1].isidentifier():
        raise WeightsError(f"the pickle asks for builtins.getattr of something else than a foreign class, {REFUSED}")
    full = f"{arguments[0].name}.{arguments[1]}"
    member = known_name(full)
    if not isinstance(member, ForeignName):
        raise WeightsError(f"the pickle asks for {full[:200]}, {REFUSED}")
    return member


def _made(full, arguments):
    """What a harmless call gives: an object that remembers which class it would be of."""
    named = arguments[0] if full.startswith(("copyreg.", "copy_reg.")) and arguments else None
    return Foreign(named.name if isinstance(named, (ForeignName, Known)) else full)
