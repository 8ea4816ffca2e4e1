"""An engine whose threads share a picture."""

import numpy as np
from random_networks import plan_maker, random_params

from npmnv3.engines.llvm import LlvmEngine
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant


def shared_engine(threads=2):
    """(an engine that shares even a small picture, a picture, its logits by one thread)."""
    variant = get_variant("torchvision/mobilenet_v3_small")
    params = random_params(make_plan(variant), np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((1, 3, 64, 64)).astype(np.float32)
    return (
        LlvmEngine(plan_maker(variant), params, threads=threads),
        x,
        LlvmEngine(plan_maker(variant), params, threads=1).run(x),
    )
