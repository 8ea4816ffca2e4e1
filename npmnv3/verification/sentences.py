"""A verdict in words."""

import numpy as np

from ..network.steps import INPUT
from .agreement import logits_row
from .decimals import said
from .symptoms import symptom

WORST = 3  # layers to name
PARTLY = "; something else is wrong as well"
AS_LARGE = "; no more than bfloat16's rounding gives, if it computes in that (--precision bfloat16)"
INFERRED = ", if it computes in float16: its numbers are float32, what is left is of float16's size"

INT8_PORT = "an int8 port"


def explained(rows, cleared):
    """The sentence of a port that faults explain; `rows` as `Report.explained_by`."""
    parts = [
        f"{row['text']}{_where(row['steps'], row['text'])}: signal-to-noise rises from {_db(row['snr_before_db'])} to "
        f"{_db(row['snr_db'])} dB ({row['certainty']})"
        for row in rows
    ]
    return "explained by: " + "; and ".join(parts) + ("" if cleared else PARTLY)


def _db(value):
    return "?" if value is None else f"{value:.0f}"


def _where(steps, text):
    if not steps or steps == [INPUT] or len(steps) == 1 and steps[0] in text.split():
        return ""
    return f" at {steps[0]}" if len(steps) == 1 else f" at {len(steps)} steps ({steps[0]} ... {steps[-1]})"


def original(before, after, steps):
    """What the original has in place of the first number that a fault changes: " (should be 0.2)", or "".

    Parameters
    ----------
    before, after : {step's name: Step} of the reference and of the faulty network
    steps : names of the steps that differ
    """
    for name in steps:
        for key in ("slope", "eps", "factor", "pad"):
            if name in after and (before[name].op, before[name].params) == (after[name].op, after[name].params):
                old, new = getattr(before[name], key), getattr(after[name], key)
                if old != new:
                    return f" (should be {old:.4g})" if isinstance(old, float) else f" (should be {old}, is {new})"
    return ""


def overflow(row, many, limit, largest, earlier):
    """Of numbers that are not finite, or `many` that stand at a limit, float16's or fixed point's; `earlier` : tensors of the
    port that have such numbers too, and stand before it."""
    if lost := row.local.non_finite:
        what = f"{lost} values are NaN or infinite" if lost > 1 else "1 value is NaN or infinite"
    else:
        what = f"{many} values stand at {limit:g}" if many > 1 else f"1 value stands at {limit:g}"
    text = f"overflow at {row.step}{_placed(row) or f' ({row.port})'}: {what}; the largest reference value there is {largest:.4g}"
    if earlier:
        text += f"; before it in the port's order {_few(earlier)}, of no step that can be told, overflowed too"
    return text


def _placed(row):
    """Which tensor that is, if it is known by its place alone."""
    return f" ({row.port}, by its place in the port's order)" if row.how == "order" else ""


def unexplained(row, found, expected, blocks, tried=True, **known):
    """Where it is, in which of several blocks, and what it looks like; `found`, `expected` and `known` as for `symptom`.

    tried : bool, whether any cause was
    """
    between = f", in one of {blocks[0]} ... {blocks[-1]}" if len(blocks) > 1 else ""
    looks = symptom(found, expected, **known)
    return (
        f"{'unexplained' if tried else 'no cause was looked for'}, first at {row.step}{_placed(row)}{between}"
        + (f", {looks}" if looks else "")
        + f" ({row.local.snr_db:.0f} dB)"
    )


def fine(report, inferred):
    """Of a port that is off by rounding alone; what passed only for the sake of the logits is said."""
    rows, precision, factor = report.tensors, report.precision, report.factor
    worst = max((row.local.ratio for row in rows), default=0.0)
    if not inferred:
        beyond = sum(row.local.ratio > factor for row in rows)
        those = "tensors are beyond {:g} x by themselves" if beyond > 1 else "tensors is beyond {:g} x by itself"
        rest = f"; {beyond} of {len(rows)} {those.format(factor)}, but not over the whole run"
        return f"within {worst:.2g} x {precision} rounding" + (rest if beyond else "")
    snr = min(row.accumulated.snr_db for row in rows)
    return (
        f"within {worst:.2g} x {precision} rounding, if it computes in {precision}: its numbers are float32, their error "
        f"({snr:.0f} dB) is of {precision}'s size; in float32 it diverges (--precision float32)"
    )


def short(report, text):
    """Of a port that stores its parameters in 16 bits: how, and what it was held against."""
    strict = ", with those of float32 it diverges (--precision float32)" if report.fine else ""
    return f"; its {text}: it is held against the reference that has them so{strict}"


def _few(names):
    return ", ".join(names[:WORST]) + (f" and {len(names) - WORST} more" if len(names) > WORST else "")


def misnamed(names):
    """Of a port that is right as a whole, and hands over something else under a step's name."""
    return f"; but what it calls {_few(names)} is not that step's tensor, nor another's: look where it is taken from"


def untold(rows, names):
    """Of a port whose tensors agree up to a step, beyond which it gave others that fit none."""
    last = f"what agrees ends at {rows[-1].step}" if rows else "nothing agrees"
    return f"unexplained: {last}; {len(names)} tensors have the shapes of steps beyond it and fit none ({_few(names)})"


def coarse(kind, whose, rows, whole, off, decisions):
    """Of a port in int8 or fixed point: what is more than its rounding, the layers that are worst, and what it decides
    otherwise.

    Parameters
    ----------
    kind, whose : str, what it is and whose rounding that is
    rows : list of TensorReport
    whole : bool, whether that rounding explains the logits
    off : list of TensorReport, the rows that it does not explain by themselves
    decisions : dict or None
    """
    last = logits_row(rows) or rows[-1]
    ratio = f"{last.accumulated.ratio:.2g} x {whose} rounding at {last.step} ({last.accumulated.snr_db:.0f} dB)"
    words = [kind + (", within " if whole else ", ") + ratio]
    inner = [row for row in off if row.step != last.step]
    if inner:
        ratios = sorted({f"{row.local.ratio:.3g}" for row in inner}, key=float)
        span = " to ".join(dict.fromkeys((ratios[0], ratios[-1])))
        more = f" and {len(inner) - WORST} more" if len(inner) > WORST else ""
        names = ", ".join(row.step for row in inner[:WORST])
        words.append(f"but {span} x {whose} rounding by themselves, which it does not explain: {names}{more}")
    layers = sorted((row for row in rows if row.step not in (INPUT, last.step)), key=lambda row: row.local.snr_db)
    if layers:
        worst = (f"{row.step} ({row.local.snr_db:.0f} dB)" for row in layers[:WORST])
        words.append("worst by themselves " + ", ".join(worst))
    if not whole:
        words.append(f"more than {whose} rounding alone explains, or all that it can do")
    if decisions:
        words.append(decisions["text"])
    return "; ".join(words)


def by_int8(report, finer):
    """The Report of a port in integers of more than 8 bits that is fine by int8's rounding, and not by theirs (`finer`)."""
    report.sentence = f"a port in integers that are finer than int8's{report.sentence.removeprefix(INT8_PORT)}"
    report.notes.append(f"by the steps of its own integers it {finer.verdict}: {finer.sentence}")
    return report


def fitted(count):
    """Of integers whose scale is not known."""
    what = "1 tensor is integers" if count == 1 else f"{count} tensors are integers"
    return (
        f"{what} without a scale, read with the scale and offset that fit best: a fault that is like these is not seen; "
        "NAME.scale beside NAME, or `scale` in a folder's JSON file, gives it"
    )


def printed(ways):
    """Of floats that were printed on their way: a list of `decimals.printing`."""
    kinds = ", ".join(sorted({said(way) for way in ways}))
    those = "1 tensor was" if len(ways) == 1 else f"{len(ways)} tensors were"
    return (
        f"{those} printed with {kinds}: that rounding is no fault, and what is below it is not seen; %.9g keeps float32"
    )


def other_picture(snr, sentence):
    """Of a port whose input tensor is not the picture that was given."""
    return f"it saw another picture than the one given (its input tensor agrees to {snr:.1f} dB); by its own input: {sentence}"


def other_classifier(correlation):
    """Of logits that have nothing to do with what they should be, from features that are right."""
    return (
        f"another classifier than this one: what it gets is right, its logits have nothing to do with the reference's "
        f"(correlation {correlation:.2f})"
    )


def decoder(error=None, step=""):
    """Of an input that is off a little all over."""
    if error is None:
        return f"no fault that was tried; {step} is as far off as if another decoder gave pictures a few of 255 off"
    typical, largest = float(np.sqrt(np.square(error).mean())), float(np.abs(error).max())
    return f"another picture decoder: the input is off by up to {largest:.1f} of 255, {typical:.2f} on average"
