"""Ports of float32 numbers that may compute in something coarser: its rounding is all over, a fault is somewhere."""

import collections
import functools
import math

import numpy as np

from ..network.steps import INPUT
from .agreement import logits_row
from .certainty import MARGIN, bits_nearer
from .changes.short import SHORT
from .net import block_of

#: what a port of float32 numbers may compute in: times that rounding that it may be off, and that what is off in float32
#: must be off at least: the weights of one layer alone leave 0.18. bfloat16's rounding is so coarse that a fault may hide
#: below it, if not in every layer.
COARSER = {"float16": (3.0, 0.1), "bfloat16": (2.0, 0.2)}
SPREAD = 0.3  # share of the tensors, or of the blocks, that are off if it is rounding
OF_A_KIND = 0.9  # share of what one kind of layer made that is off if that kind is rounded
FEW = 64  # numbers that may all round to nothing
LOOSE = 1.5  # times a rounding that is inferred, up to which no fault is looked for: engines stay below it
LOST = 6.0  # dB, below which parameters of 16 bits leave nothing, not even the logits alone
MANY = 8  # tensors from which that spread alone tells rounding from a fault
FOUND = 0.5  # least share of the port's tensors, or of the steps if it has more than these, that are found, if all is rounding
NEARLY = 20.0  # dB at the logits from which tensors that fit no step may be parts of layers


def may_be_coarser(comparison, by_block=False):
    """Whether the numbers are float32 and all errors may be a coarser rounding's, spread over the network as that is.

    Weights rounded to float16, or products of bfloat16, leave no marks on the tensors. An engine may round in one kind
    of layer alone, such as the linear ones: then nearly all that such a layer made is off. `by_block` : and it is
    blocks, not tensors, that rounding is spread over. What was only rounded is still found: of a fault that moves most
    tensors away from all steps the few that are left may be within a rounding so coarse. An engine's inner tensors, of
    which there may be more than steps, are no such sign.
    """
    if not comparison.marked or comparison.precision != "float32":
        return False
    if len(comparison.rows) < FOUND * min(_count_of_steps(comparison), len(comparison.net.steps)):
        return False
    rows = [row for row in comparison.rows if row.step != INPUT]
    off = [row for row in rows if not row.passes]
    if not _is_of_kinds(comparison, rows):
        return False
    if len(off) >= MANY and by_block:
        return len({block_of(row.step) for row in off}) >= SPREAD * len({block_of(row.step) for row in rows})
    return len(off) >= SPREAD * len(rows)


def _count_of_steps(comparison):
    """How many of the port's tensors may be steps': where the logits are nearly right, parts of a layer that was found, which
    have its shape, are not."""
    found, last = {row.port for row in comparison.rows}, logits_row(comparison.rows)
    if last is None or last.accumulated.snr_db < NEARLY:
        return len(comparison.tensors)
    shapes = {tensor.array.shape for tensor in comparison.tensors if tensor.name in found}
    return sum(tensor.name in found or tensor.array.shape not in shapes for tensor in comparison.tensors)


def _is_of_kinds(comparison, rows):
    """Whether what is off was made by kinds of layers of which nearly all that was given, local to them, is off."""
    net, kinds = comparison.net, collections.defaultdict(list)
    for row in rows:
        layers = [net.steps[name] for name in net.back_to(row.step, comparison.views) if name != INPUT]
        for op in {step.op for step in layers if step.params}:
            kinds[op].append(row)
    rounded = [
        own for own in kinds.values() if _share([r for r in own if math.prod(r.shape) >= FEW] or own) >= OF_A_KIND
    ]
    named, off = {row.port for own in rounded for row in own}, [row.port for row in rows if not row.passes]
    return bool(off) and np.mean([name in named for name in off]) >= OF_A_KIND


def _share(rows):
    return np.mean([not row.passes for row in rows])


def as_coarser(comparison, precision):
    """The Comparison of the port as one that computes in this precision; None if it is not fine so.

    An engine may round what its matrix products get, to bfloat16 say, and keep all its tensors in float32.
    """
    most, least = COARSER[precision]
    failing = {row.port for row in comparison.failing()}
    coarse = comparison.in_precision(precision, min(comparison.factor, most))
    if coarse.failing() or any(row.local.ratio < least for row in coarse.rows if row.port in failing):
        return None
    # Else a fault is in a step that was not given: rounding does not add up to so much.
    return coarse if all(row.accumulated.ratio <= comparison.factor for row in coarse.rows) else None


def is_loose(rows):
    """Whether a port is off by so many times a coarser rounding that a fault which sets all right would be likelier."""
    return any(max(row.local.ratio, row.accumulated.ratio) > LOOSE for row in rows)


def as_short(comparison):
    """(Comparison, Change) against the reference with its parameters in 16 bits, if these alone set right at least half of
    what is off; None.

    Nothing is inferred: that rounding is the same in every port, and what it leaves is float32's. So nothing hides behind it,
    and what is still off is another fault's. Where norms were folded in, a weight next to a tie may be on its other side,
    which is no fault: there all must be right.
    """
    off = {row.port: row for row in comparison.failing()}
    if not off or not comparison.marked or comparison.precision != "float32":
        return None
    if len(comparison.rows) >= MANY and len(off) < SPREAD * len(comparison.rows):
        return None
    if 2 * sum(row.local.snr_db < LOST for row in off.values()) > len(off):
        return None
    limits = {name: floor * comparison.factor**2 for name, floor in comparison.floors().items() if name in off}
    best, most = None, len(off) / 2
    for change in SHORT:
        net, few = change.apply(comparison.net, lambda name: True), 0 if change.ties else most
        hopeless = functools.partial(_exceeds, few, limits)
        if hopeless(comparison.port_run.errors(net, hopeless)[0]):
            continue
        under = comparison.under(net)
        left = len(under.failing())
        if left <= few and _is_no_chance(under, off):
            best, most = (under, change), left - 1
        if most < 0:
            break
    if best is None:
        return None
    best[0].reference, best[0].marked, best[0].detailed = best[0].net, False, True
    best[0]._measure()
    return best


def _exceeds(few, limits, errors):
    """Whether more than a few errors are beyond their limits."""
    return sum(errors.get(name, 0.0) > limit for name, limit in limits.items()) > few


def _is_no_chance(under, off):
    """Whether what is right now agrees by more bits than one of so many ways to round would by chance, as few logits may.

    off : {port's name: TensorReport} before
    """
    bits = -math.log2(len(SHORT))
    for row in under.rows:
        if row.passes and row.port in off:
            before, after = -off[row.port].local.snr_db, -min(row.local.snr_db, row.local.noise_db)
            bits += bits_nearer(math.prod(row.shape), min(before, 0.0), after)
    return bits >= MARGIN
