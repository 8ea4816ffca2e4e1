"""The table of rule changes that real ports of quantised networks have, each a small change of one step."""

from collections.abc import Callable
from dataclasses import dataclass

from ...network.integer_plan import LAYERS
from . import accumulators, grids, orders, roundings, scales, solved

_REQUANTISED = (*LAYERS, "mul", "scale")
_MEANS = ("global_avg_pool", "mean_to_vector")
_NOT_SUMS = (*_REQUANTISED, *_MEANS, "hard_swish", "hard_sigmoid")
_REAL = ("add", *_NOT_SUMS)


@dataclass(frozen=True)
class RuleChange:
    """rule : its name; ops : operations that it may befall; claims : callable (Case) -> its `Claim`s; local : whether
    it is told of one tensor, its weights or its neighbours, rather than of all of a kind"""

    rule: str
    ops: tuple
    claims: Callable
    local: bool = False


# fmt: off
TABLE = (
    #          rule                      operations                 claims                             of one tensor
    RuleChange("rounding",               ("hard_sigmoid", *_REQUANTISED, "add"), roundings.real_numbers),
    RuleChange("mean of integers",       _MEANS,                    roundings.whole_means),
    RuleChange("mean",                   _MEANS,                    roundings.real_numbers),
    RuleChange("hard-swish",             ("hard_swish",),           roundings.hard_swishes),
    RuleChange("hard-swish in floats",   ("hard_swish",),           roundings.real_numbers),
    RuleChange("hard-swish in one",      ("mul",),                  roundings.fused_table),
    RuleChange("gate's slope or table",  ("hard_sigmoid",),         roundings.hard_sigmoids),
    RuleChange("saturation",             LAYERS,                    accumulators.saturation),
    RuleChange("accumulators",           _REQUANTISED,              accumulators.widths),
    RuleChange("per-tensor multiplier",  LAYERS,                    accumulators.multiplier_per_tensor),
    RuleChange("channel beside",         LAYERS,                    orders.neighbours,                 True),
    RuleChange("entries of a table",     ("hard_swish", "hard_sigmoid"), roundings.table_entries,      True),
    RuleChange("multiplier",             _REQUANTISED,              roundings.multipliers),
    RuleChange("padding",                (*LAYERS, "pad2d"),        grids.paddings),
    RuleChange("clamp",                  _REQUANTISED,              accumulators.cuts),
    RuleChange("kernel order",           LAYERS,                    orders.kernels),
    RuleChange("exchanged channels",     LAYERS,                    orders.exchanged,                  True),
    RuleChange("bias",                   LAYERS,                    accumulators.biases,               True),
    RuleChange("no zero point",          _NOT_SUMS,                 grids.left_out),
    RuleChange("zero point",             _REAL,                     grids.zero_points,                 True),
    RuleChange("weights' zero point",    LAYERS,                    grids.weight_zero_points),
    RuleChange("scale",                  _REAL,                     scales.scales),
    RuleChange("size of a scale",        _REAL,                     solved.scales_solved,              True),
    RuleChange("size of a multiplier",   LAYERS,                    solved.multipliers_solved,         True),
    RuleChange("grids of a sum",         ("add",),                  grids.sums),
    RuleChange("weight",                 LAYERS,                    accumulators.weights,              True),
)
# fmt: on
#: The kernel sets' own words come first.
WORDS = RuleChange("rounding of a kernel set", ("hard_swish", *_REQUANTISED, "add", *_MEANS), roundings.known_words)


def changes_of(case):
    """The rule changes that may befall a step."""
    return [change for change in (WORDS, *TABLE) if case.step.op in change.ops]
