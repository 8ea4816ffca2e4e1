"""The words for a cause: which rules explain a tensor, and what that rests on."""

from typing import Any

FEW = 4  # of a list in a sentence
UNEXPLAINED = "no rule change that was tried explains it exactly"
UNSEEN = (
    "; what it reads was computed, and for that one kernel set's rule throughout or another picture are all that is tried: a fault "
    "of one layer, of a multiplier's or an accumulator's width is found only where inner tensors are given"
)
SURE_NUMBERS = 4  # that a rule must explain before it is said without a doubt


def cause_text(cause: Any) -> str:
    """A cause in words: the tensor, and all the rules that explain it exactly."""
    computed = (
        f" (its input {', '.join(cause.computed)} was computed, the port does not have it)" if cause.computed else ""
    )
    return f"{cause.tensor}{computed}: {because_text(cause)}"


def because_text(cause: Any, most: int | None = None) -> str:
    """The rules that explain a tensor exactly, all or at most so many, and what they were checked on."""
    if not cause.rules:
        return UNEXPLAINED + (UNSEEN if cause.computed else "")
    best = cause.rules[0]
    equals = list(dict.fromkeys(rule.text for rule in cause.rules if _rank(rule) == _rank(best)))
    text = f"{equals[0]}, exactly{_few_numbers(best)}; {_checked(best)}"
    if len(equals) > 1:
        left = f" and {len(equals) - most} more" if most and len(equals) > most else ""
        text += f"; these tensors do not tell it from {', '.join(equals[1:most])}{left}"
    if most:
        return text
    others = [rule for rule in cause.rules if _rank(rule) != _rank(best)]
    if others:
        others_text = "; ".join(f"{rule.text} ({_checked(rule)})" for rule in others[:FEW])
        more = f"; and {len(others) - FEW} more" if len(others) > FEW else ""
        text += f". By itself it would also be: {others_text}{more}"
    return text


def _few_numbers(rule: Any) -> str:
    """What a cause rests on, where that is so little that another may give the same by chance."""
    if rule.numbers >= SURE_NUMBERS:
        return ""
    evidence = f"{rule.numbers} numbers alone say" if rule.numbers > 1 else "1 number alone says"
    return f", though {evidence} so: too few to be sure"


def _rank(rule: Any) -> tuple[int, bool]:
    return len(rule.explains), rule.agrees == rule.of


def _checked(rule: Any) -> str:
    """On how many other tensors a rule was found to hold."""
    many = len(rule.explains)
    if rule.local:
        others = f" ({', '.join(rule.explains[1:FEW])}{', ...' if many > FEW else ''})" if many > 1 else ""
        return f"explains {many} of the tensors that are off{others}" if many > 1 else "there alone"
    off = f"{many} tensors are off without it" if many > 1 else "it alone is off"
    return f"explains {rule.agrees} of {rule.of} {rule.kind}, {off}"
