"""Networks with random weights, for tests that compare engines."""

import numpy as np

import npmnv3
from npmnv3.network.plan import make_plan, units
from npmnv3.network.variants import get_variant
from npmnv3.testing import random_params


def random_variant(rng, names):
    """One of the named variants, made narrower or wider (0.25 to 1.5) where all its numbers follow the width."""
    variant = get_variant(names[rng.integers(len(names))])
    width = float(rng.uniform(0.25, 1.5))
    wider = variant._replace(width=variant.width * width)
    squeezed = [unit.se for unit in units(wider) if unit.se]
    return wider if all(se > 0 for se in squeezed) else variant


def random_case(rng, names, most):
    """(variant, side, classes, batch, what that is): any width, sides from the least to 320, up to `most` pictures."""
    variant = random_variant(rng, names)
    side = tuple(int(rng.integers(least, 321)) for least in variant.min_side)
    classes, batch = int(rng.integers(1, 3001)), int(rng.integers(1, most + 1))
    what = f"{variant.full_name} width {variant.width:.2f} side {side} classes {classes} batch {batch}"
    return variant, side, classes, batch, what


def plan_maker(variant, num_classes=None, folded=False):
    """What an engine is given: callable (side or None) -> plan."""
    return lambda side=None: make_plan(variant, num_classes, side, folded=folded)


def network(name, num_classes=5):
    """A network of that name with random weights, as `npmnv3.load` gives it."""
    params = random_params(make_plan(get_variant(name), num_classes), np.random.default_rng(2))
    return npmnv3.load(name, params, num_classes, engine="numpy")
