"""All networks that npmnv3 knows, by name: `source/variant`, each in its source's own spelling."""

import fnmatch
from collections.abc import Iterable

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
    near = nearest_names(str(name), _BY_NAME)
    hint = f"nearest: {', '.join(near)}" if near else "`npmnv3 list` prints them all"
    raise UnknownModelError(f"no model is called {name!r}; {hint}")


def nearest_names(asked: str, names: Iterable[str]) -> list[str]:
    """At most four of the names, `source/variant`, that were probably meant, the likeliest first.

    Those come first that lack their source alone, or are the same but for capitals and what is no letter or digit; then
    those of the source that was named; then the longest variant that is part of what was asked
    (mobilenetv3_small_100.lamb_in1k), or of which this is a part (small); then what looks alike.
    """
    import difflib

    asked_key, keys = _letters(asked), {name: (_letters(name), _letters(name.partition("/")[2])) for name in names}
    like = {name: difflib.SequenceMatcher(None, asked, name).ratio() for name in names}

    def rank(name: str) -> tuple[bool, bool, bool, int, bool, float]:
        whole, variant = keys[name]
        of_source = "/" in asked and asked.lower().partition("/")[0] == name.lower().partition("/")[0]
        part = len(variant) if variant in asked_key else 0
        lacks_source = asked.lower() == name.lower().partition("/")[2]
        return lacks_source, asked_key in (whole, variant), of_source, part, asked_key in whole, like[name]

    likely = sorted(names, key=rank, reverse=True)[:4]
    return [name for name in likely if asked_key and (any(rank(name)[:5]) or like[name] >= 0.4)]


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))
