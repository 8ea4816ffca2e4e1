"""The errors of npmnv3. Every message says what was wrong, where, and what to do about it.

An argument that a message speaks of stands between backticks as Python has it, `weights=FILE`; the command line rewrites
it as its option, `--weights FILE` (see `npmnv3.cli.output.as_options`).
"""

import os
import reprlib
from collections.abc import Iterable
from typing import Any

#: What each extra brings, as pip is told: setup.cfg's table.
EXTRAS = {
    "jit": "numba llvmlite",
    "fetch": "pooch platformdirs certifi",
    "onnx": "onnx",
    "report": "jinja2 matplotlib",
    "dask": "distributed",
    "complete": "argcomplete",
}


class Npmnv3Error(Exception):
    """Base of every error that npmnv3 raises on purpose.

    Examples
    --------
    >>> try:
    ...     npmnv3.load("torchvision/mobilenet_v3_smal")
    ... except npmnv3.Npmnv3Error as error:
    ...     print(error)
    no model is called 'torchvision/mobilenet_v3_smal'; nearest: torchvision/mobilenet_v3_small, ...
    """


class UsageError(Npmnv3Error, ValueError):
    """An argument that cannot be used: a wrong shape, dtype, range or name."""


class UnknownModelError(UsageError):
    """No model of this name; the message lists the nearest ones."""


class WeightsError(Npmnv3Error):
    """A weight dump or checkpoint that cannot be used; the message lists everything that is wrong with it."""


class MissingWeightsError(WeightsError):
    """The model is known, its weights are not here; the message says how to get them.

    Attributes
    ----------
    checkpoint : str, what `npmnv3.fetch` would have to get; None where that would not help
    """

    def __init__(self, message: str, checkpoint: str | None = None) -> None:
        super().__init__(message)
        self.checkpoint = checkpoint


class PictureError(Npmnv3Error):
    """A picture that cannot be read or used."""


class WriteError(Npmnv3Error):
    """A file that the system cannot write, and so is not there; the message names it and the reason."""


class MissingExtraError(Npmnv3Error, ImportError):
    """A part of npmnv3 needs a package that is not installed; the message names what to install."""


def once_each(pairs: Iterable[tuple[str, Any]], what: str = "the name") -> dict[str, Any]:
    """Pairs as a dict, such as `json.loads` hands to `object_pairs_hook`: of a name that is there twice one value would
    be lost.

    Raises
    ------
    WeightsError, whose text the caller puts behind the file's name
    """
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise WeightsError(f"{what} {name[-200:]!r} is there twice, expected once: which is meant cannot be told")
        found[name] = value
    return found


def check_arguments(expected: str, *, optional: bool = False, **arguments: object) -> None:
    """UsageError for the first argument that is not what a function takes.

    Parameters
    ----------
    expected : "True or False", "a text" or "a path"
    optional : bool, None is taken too
    arguments : the values by their names

    Raises
    ------
    UsageError
        Its message names the argument, what it is, and what was expected.
    """
    for name, value in arguments.items():
        if not (optional and value is None) and not _KINDS[expected](value):
            taken = f"{expected.replace(' or ', ', ')} or None" if optional else expected
            raise UsageError(f"`{name}={reprlib.repr(value)}`, expected {taken}")


def _is_flag(value: Any) -> bool:
    """Whether it is a bool, NumPy's too: that is not loaded for it."""
    return isinstance(value, bool) or (getattr(value, "dtype", None) == "bool" and value.ndim == 0)


_KINDS = {
    "True or False": _is_flag,
    "a text": lambda value: isinstance(value, str),
    "a path": lambda value: isinstance(value, (str, os.PathLike)) and os.fspath(value) != "",
}


def check_unmasked(array: Any, what: str, error: type[Npmnv3Error] = UsageError) -> None:
    """An error for an array with masked numbers, of which NumPy would take what lies below the mask."""
    if hasattr(array, "filled") and array.mask.any():
        found = f"a masked array, {int(array.mask.sum()):,} of {array.size:,} numbers masked"
        raise error(f"{what} is {found}, expected numbers everywhere: fill them in, array.filled(...)")


#: Characters that break a line, steer a terminal or turn the order of its text, and the escapes that stand for them.
_STEERING = (*range(32), *range(127, 160), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
ESCAPES = {code: chr(code).encode("unicode_escape").decode() for code in _STEERING}


def one_line(name: str) -> str:
    """A file's name, which may hold any character, as messages have it: in one line, and steering no terminal."""
    return name.translate(ESCAPES)


def install_line(extra: str) -> str:
    """The command that installs what an extra brings, wherever npmnv3 itself came from."""
    return f"pip install {EXTRAS[extra]}"


def missing_packages(extra: str) -> list[str]:
    """Which of an extra's packages are not installed: a list of their names."""
    import importlib.util

    return [package for package in EXTRAS[extra].split() if importlib.util.find_spec(package) is None]


def require(module: str, extra: str, what: str) -> Any:
    """Import an optional package, or say what to install.

    Parameters
    ----------
    module : str, dotted name of the module to import
    extra : str, the extra of npmnv3 that installs it; "" if npmnv3 always does, unless it was installed without
    what : str, what needs it, for the message

    Returns
    -------
    The imported module.

    Raises
    ------
    MissingExtraError
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        line = install_line(extra) if extra else f"pip install {package}"
        raise MissingExtraError(
            f"{what} needs the package {package}, which cannot be imported ({error}); install it with: {line}"
        ) from error
