"""State dicts and inputs with harmless values."""

import numpy as np

from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant


def random_state(model, num_classes=None, seed=0):
    """A state dict of the right shapes with harmless values."""
    rng = np.random.default_rng(seed)
    state = {}
    for step in make_plan(get_variant(model), num_classes):
        for param in step.params:
            values = rng.uniform(0.5, 1.5, param.shape).astype(np.float32)
            state[param.name] = np.ones(param.shape, np.int64) if param.role == "count" else values
    return state


def small_input(seed=1):
    return np.random.default_rng(seed).standard_normal((1, 3, 32, 40))
