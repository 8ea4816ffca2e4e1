"""Ways to quantise, from the cheapest to the dearest, and which of them saves a network."""

from dataclasses import replace

from .correction import corrections
from .judge import Candidate
from .parameters import choose_grids, quantize_layers, real_arrays
from .ranges import Ranges

TAILS = Ranges("percentile", 99.99)
STEM = "stem"

#: What is changed, the cheapest first: a flag of the converter, then other ranges, then other biases, which all leave
#: the engine what it is; 16 bits are asked of the engine.
# fmt: off
CHANGES = (
    {"per_tensor": False},
    {"per_tensor": False, "ranges": TAILS},
    {"per_tensor": False, "ranges": Ranges("mse")},
    {"per_tensor": False, "ranges": TAILS, "cut": True},
    {"per_tensor": False, "ranges": TAILS, "correct_bias": True},
    {"per_tensor": False, "ranges": TAILS, "correct_bias": True, "cut": True},
    {"per_tensor": False, "ranges": TAILS, "wide": STEM},
    {"per_tensor": False, "ranges": TAILS, "wide": STEM, "correct_bias": True},
    {"per_tensor": False, "ranges": TAILS, "wide": STEM, "correct_bias": True, "cut": True},
)
# fmt: on

#: A network counts as saved when it answers as the float one on at least so many percent of the pictures, and, where
#: there are labels, loses no more than so many points of top-1.
AGREEMENT, POINTS = 85.0, 5.0


def variations(asked, plan):
    """The recipes that are tried: the one that is asked for, then the changed ones, the cheapest first.

    Parameters
    ----------
    asked : Recipe
    plan : tuple of Step; without a hard-swish no range is cut

    Returns
    -------
    list of Recipe, none twice
    """
    tried, swish = [asked], any(step.op == "hard_swish" for step in plan)
    for change in CHANGES:
        if "cut" in change and not swish:
            continue
        wide = tuple(dict.fromkeys((*asked.wide, *([change["wide"]] if "wide" in change else []))))
        kept = {"correct_bias": asked.correct_bias, "cut": asked.cut} | {k: v for k, v in change.items() if k != "wide"}
        recipe = replace(asked, wide=wide, **kept)
        if recipe not in tried:
            tried.append(recipe)
    return tried


def prepare(network, calibration, pictures, recipe):
    """(Candidate, Parameters) of a recipe."""
    grids = choose_grids(network.plan, calibration.statistics, recipe)
    shifts = corrections(network, calibration, pictures, grids, recipe) if recipe.correct_bias else None
    parameters = quantize_layers(network.plan, network.arrays, grids, recipe, shifts)
    return Candidate(str(recipe), real_arrays(parameters), grids, recipe), parameters


def saves(outcome, exact):
    """Whether a simulated network is as good as the float one, but for what may be chance.

    Parameters
    ----------
    outcome, exact : Outcome, of the simulated and of the float network
    """
    agrees = outcome.agreement >= AGREEMENT
    return agrees and (outcome.top1 is None or outcome.top1 >= exact.top1 - POINTS)


def cheapest(tried, exact):
    """The first of the tried recipes that saves the network, else the one that agrees best.

    Parameters
    ----------
    tried : list of (Recipe, Outcome), the cheapest first
    exact : Outcome of the float network

    Returns
    -------
    (Recipe, Outcome, bool: whether it saves)
    """
    for recipe, outcome in tried:
        if saves(outcome, exact):
            return recipe, outcome, True
    return *max(tried, key=lambda one: (one[1].agreement, one[1].snr_db)), False
