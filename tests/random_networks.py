"""Networks with random weights, for tests that compare engines."""

from dataclasses import replace

from npmnv3.plan import make_plan, units
from npmnv3.testing import random_params  # noqa: F401
from npmnv3.variants import get_variant


def random_variant(rng, names):
    """One of the named variants, made narrower or wider (0.25 to 1.5) where all its numbers follow the width."""
    variant = get_variant(names[rng.integers(len(names))])
    width = float(rng.uniform(0.25, 1.5))
    wider = replace(variant, width=variant.width * width)
    squeezed = [unit.se for unit in units(wider) if unit.se]
    return wider if all(se > 0 for se in squeezed) else variant


def plan_maker(variant, num_classes=None, folded=False):
    """What an engine is given: callable (side or None) -> plan."""
    return lambda side=None: make_plan(variant, num_classes, side, folded=folded)
