"""Tensors as a program prints them, in a text file: the logits as bare numbers, C's arrays, or a number a line by its
name."""

import re

import numpy as np

from ..dumps.reader import Reader
from ..errors import UsageError, WeightsError

ENDINGS = (".txt", ".csv", ".log", ".h", ".c")
_BETWEEN = re.compile(r"[][(){}:;\s]+")  # numbers, as commas may be
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE)
_C_NUMBER = re.compile(r"([+-]?(?:\d+\.\d*|\.\d+)(?:e[+-]?\d+)?)f", re.IGNORECASE)  # with its suffix
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)|//[^\n]*", re.DOTALL)
#: NAME[2][3] = {{...}, {...}}; with attributes before the =, not so long that a text without arrays takes its square of time
_C_ARRAY = re.compile(
    r"(?:\b(u?int(?:8|16|32))_t\s+)?\b([A-Za-z_]\w*)\s*((?:\[[\s\d]*\]\s*)+)[^=;{}]{0,200}=\s*\{([^;=]*)\}\s*;"
)
#: NAME[7] = 0.25, behind a time stamp maybe
_ELEMENT = re.compile(r"(?<![\w./])([A-Za-z_][\w./]*)\[(\d+)\]\s*[=:]\s*([^\s,;]+)[,;]?\s*$", re.MULTILINE)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # what PowerShell's > begins a file with


def read_printed(path, pictures=None):
    """The tensors of such a file: of bare numbers the logits, a picture's on a line, or all in a row, broken anywhere.

    Parameters
    ----------
    path : pathlib.Path
    pictures : how many there are; None if that is not known, then lines of one length are a picture each

    Returns
    -------
    {name: array}, float64 or C's own integers: C's arrays in their shape, numbers by name and index flat; else {"logits":
    (pictures, numbers of each) or (numbers,)}

    Raises
    ------
    UsageError
        It is no text, or holds something else, or numbers with decimal commas.
    """
    try:
        with Reader(path) as file:
            data = file.read()
        text = data.decode("utf-16" if data[:2] in _UTF16 else "utf-8-sig")
        return _c_arrays(_COMMENT.sub(" ", text)) or _elements(text) or {"logits": _bare(text, pictures)}
    except (WeightsError, ValueError, OverflowError) as error:
        raise UsageError(
            f"{path}: expected the logits as numbers, and nothing else ({error}); or C's arrays, NAME[2] = {{1, 2}};, or a number "
            "a line, NAME[0] = 1"
        ) from error


def _c_arrays(text):
    """{name: array} of all that are defined in C."""
    found = {}
    for dtype, name, sides, body in _C_ARRAY.findall(text):
        if name in found:
            raise ValueError(f"{name} is defined twice")
        numbers = np.array([_number(word) for word in re.sub(r"[{},\s]+", " ", body).split()], np.float64)
        shape = [int(side) if side.strip() else -1 for side in re.findall(r"\[([\s\d]*)\]", sides)]
        found[name] = _typed(name, numbers, dtype).reshape(shape)
    return found


def _typed(name, numbers, dtype):
    """Numbers as the integers that they were declared as, "" for none; ValueError where they are not."""
    if not dtype:
        return numbers
    range_ = np.iinfo(dtype)
    if not ((numbers >= range_.min) & (numbers <= range_.max) & (numbers % 1 == 0)).all():
        raise ValueError(f"{name} is declared {dtype}_t and holds other numbers")
    return numbers.astype(dtype)


def _elements(text):
    """{name: (numbers,)} of lines that name an element each; what is printed between them is passed over."""
    found = {}
    for name, index, word in _ELEMENT.findall(text):
        numbers = found.setdefault(name, [])
        if int(index) != len(numbers):
            raise ValueError(f"{name}[{index}] comes where {name}[{len(numbers)}] should")
        numbers.append(_number(word))
    return {name: np.array(numbers, np.float64) for name, numbers in found.items()}


def _bare(text, pictures):
    """The logits of a text of numbers alone, but for a line of headings."""
    _refuse_decimal_commas(text)
    lines = [words for line in text.splitlines() if (words := _BETWEEN.sub(" ", line.replace(",", " ")).split())]
    if len(lines) > 1 and not any(map(_is_number, lines[0])):
        lines = lines[1:]
    numbers = np.array([_number(word) for words in lines for word in words], np.float64)
    lengths = {len(words) for words in lines}
    if lengths == {2} and len(lines) > 2 and _counts(numbers[::2]):
        numbers, lengths = numbers[1::2], {1}  # each behind its class
    if pictures and numbers.size % pictures == 0:
        return numbers.reshape(pictures, -1)
    return numbers.reshape(len(lines), -1) if len(lengths) == 1 and lengths != {1} else numbers


def _refuse_decimal_commas(text):
    """ValueError where every comma may be one: 1,5;2,5 is two numbers then, or four."""
    with_commas = [word for word in _BETWEEN.split(text) if "," in word.strip(",")]
    if with_commas and all(_DECIMAL_COMMA.fullmatch(word) for word in with_commas):
        raise ValueError(
            f"{with_commas[0]} may be one number or two: write a decimal point, and blanks between numbers"
        )


def _number(word):
    """As decimals, or as C's %a has it; whole numbers in hexadecimal are a float's bits, and none."""
    if re.match(r"[+-]?0x.*p", word, re.IGNORECASE):
        return float.fromhex(word)
    suffixed = _C_NUMBER.fullmatch(word)
    return float(suffixed[1] if suffixed else word)


def _is_number(word):
    try:
        _number(word)
    except ValueError:
        return False
    return True


def _counts(numbers):
    return np.array_equal(numbers, numbers[0] + np.arange(len(numbers))) and numbers[0] in (0, 1)
