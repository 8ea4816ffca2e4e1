"""The errors of npmnv3. Every message says what was wrong, where, and what to do about it."""

from typing import Any


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
    """The model is known, its weights are not here; the message says how to get them."""


class PictureError(Npmnv3Error):
    """A picture that cannot be read or used."""


class WriteError(Npmnv3Error):
    """A file that the system cannot write, and so is not there; the message names it and the reason."""


class MissingExtraError(Npmnv3Error, ImportError):
    """A part of npmnv3 needs a package that is not installed; the message names the extra that brings it."""


def require(module: str, extra: str, what: str) -> Any:
    """Import an optional package, or say which extra brings it.

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
        wanted = f"'npmnv3[{extra}]'" if extra else package
        raise MissingExtraError(
            f"{what} needs the package {package}, which cannot be imported ({error}); install it with: pip install {wanted}"
        ) from error
