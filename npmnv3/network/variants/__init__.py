"""All networks that npmnv3 knows, by name: `source/variant`, each in its source's own spelling."""

import fnmatch

from ...errors import UnknownModelError, check_arguments
from ..spec import Variant
from . import keras, ppcls, ppocr, showlo, sqlai, timm, torchvision

#: The 23 published rows, in the table's order.
TABLE = ppcls.VARIANTS + torchvision.VARIANTS + timm.VARIANTS + showlo.VARIANTS + sqlai.VARIANTS
#: Beyond the table: Keras's six, the same six under timm's names, the text-direction classifier, and two that timm names.
BEYOND = keras.VARIANTS + timm.TF_VARIANTS + ppocr.VARIANTS + timm.MORE_VARIANTS

_BY_NAME = {variant.full_name: variant for variant in TABLE + BEYOND}
_OF_WIDTHS = {"timm": timm, "torchvision": torchvision}  # of whose networks any width can be built

DEFAULT_MODEL = ppocr.VARIANTS[0].full_name


def list_models(pattern: str = "*") -> list[str]:
    """Names of the known models, in the table's order.

    Parameters
    ----------
    pattern : str, shell-style wildcards, matched against `source/variant` without regard to case: "timm/*", "*small*"

    Returns
    -------
    list of str, empty if nothing matches

    Raises
    ------
    UsageError

    Examples
    --------
    >>> npmnv3.list_models("torchvision/*")
    ['torchvision/mobilenet_v3_small', 'torchvision/mobilenet_v3_large']
    """
    check_arguments("a text", pattern=pattern)
    return [name for name in _BY_NAME if fnmatch.fnmatchcase(name.lower(), pattern.lower())]


def get_variant(name: object) -> Variant:
    """The variant of this name; of timm's and torchvision's networks those of any width, `timm/mobilenetv3_small_035`.

    Raises
    ------
    UnknownModelError
        The message lists the nearest names.
    """
    if isinstance(name, str) and name in _BY_NAME:
        return _BY_NAME[name]
    source, _, own = str(name).partition("/")
    if source in _OF_WIDTHS and (variant := _OF_WIDTHS[source].of_width(own)):
        return variant
    import difflib

    asked = str(name).lower()
    same = [known for known in _BY_NAME if asked in (known.lower(), known.lower().partition("/")[2])]
    near = dict.fromkeys([*same, *difflib.get_close_matches(str(name), _BY_NAME, n=4, cutoff=0.4)])
    hint = f"nearest: {', '.join([*near][:4])}" if near else "`npmnv3 list` prints them all"
    raise UnknownModelError(f"no model is called {name!r}; {hint}")
