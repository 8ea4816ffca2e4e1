"""Logits as a program prints them, in a text file."""

import re

import numpy as np

from ..dumps.reader import Reader
from ..errors import UsageError, WeightsError

ENDINGS = (".txt", ".csv")
_BETWEEN = re.compile(r"[][(){}:;\s]+")  # numbers, as commas may be
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # what PowerShell's > begins a file with


def read_printed(path, pictures=None):
    """The numbers of such a file: a picture's on a line, or all in a row, broken anywhere.

    Parameters
    ----------
    path : pathlib.Path
    pictures : how many there are; None if that is not known, then lines of one length are a picture each

    Returns
    -------
    (pictures, numbers of each) or (numbers,) float64

    Raises
    ------
    UsageError
        It is no text, or holds something else, or numbers with decimal commas.
    """
    try:
        with Reader(path) as file:
            data = file.read()
        text = data.decode("utf-16" if data[:2] in _UTF16 else "utf-8-sig")
        _refuse_decimal_commas(text)
        lines = [words for line in text.splitlines() if (words := _BETWEEN.sub(" ", line.replace(",", " ")).split())]
        numbers = np.array([_number(word) for words in lines for word in words], np.float64)
    except (WeightsError, ValueError, OverflowError) as error:
        raise UsageError(f"{path}: expected the logits as numbers, and nothing else ({error})") from error
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
    return float.fromhex(word) if re.match(r"[+-]?0x.*p", word, re.IGNORECASE) else float(word)


def _counts(numbers):
    return np.array_equal(numbers, numbers[0] + np.arange(len(numbers))) and numbers[0] in (0, 1)
