"""Changes of what a batch norm comes to, a scale and a shift: slips of who folds it into the layer before."""

import numpy as np

from ..net import block_of
from .weights import remade

ROLES = ("gamma", "beta", "mean", "variance")


def _deviation(variance, eps):
    return np.sqrt(variance + eps)


#: (fault, what a verdict says, function (gamma, beta, mean, variance, eps) -> (scale, shift))
# fmt: off
FOLDS = (
    ("norm_eps", "batch norm by the root of the variance, plus epsilon",
     lambda g, b, m, v, e: _line(g, b, m, np.sqrt(v) + e)),
    ("norm_eps", "batch norm by the variance, not its root", lambda g, b, m, v, e: _line(g, b, m, v + e)),
    ("norm_fold", "batch norm without its division by the deviation", lambda g, b, m, v, e: _line(g, b, m, 1.0)),
    ("norm_fold", "batch norm times the deviation", lambda g, b, m, v, e: _line(g, b, m, 1 / _deviation(v, e))),
    ("norm_fold", "batch norm without its mean", lambda g, b, m, v, e: _line(g, b, 0 * m, _deviation(v, e))),
    ("norm_fold", "batch norm with its mean added", lambda g, b, m, v, e: _line(g, b, -m, _deviation(v, e))),
    ("norm_fold", "a norm's folded bias is beta - mean, without its scale",
     lambda g, b, m, v, e: (g / _deviation(v, e), b - m)),
    ("norm_fold", "a norm's folded bias is beta - gamma x mean, without the deviation",
     lambda g, b, m, v, e: (g / _deviation(v, e), b - m * g)),
    ("norm_fold", "a norm's folded bias is beta - mean / deviation, without gamma",
     lambda g, b, m, v, e: (g / _deviation(v, e), b - m / _deviation(v, e))),
    ("norm_fold", "a norm's folded bias added before its scale", lambda g, b, m, v, e: _scaled(g / _deviation(v, e), b, m)),
    ("norm_fold", "a norm's folded bias added twice",
     lambda g, b, m, v, e: _line(g, 2 * b, 2 * m, _deviation(v, e))),
    ("norm_fold", "a norm's folded bias left out", lambda g, b, m, v, e: _line(g, 0 * b, 0 * m, _deviation(v, e))),
    ("norm_fold", "a norm's gamma and beta exchanged", lambda g, b, m, v, e: _line(b, g, m, _deviation(v, e))),
    ("norm_fold", "a norm's mean and beta exchanged", lambda g, b, m, v, e: _line(g, m, b, _deviation(v, e))),
    ("norm_fold", "no batch norm", lambda g, b, m, v, e: (np.ones_like(g), np.zeros_like(b))),
)
# fmt: on


def _line(gamma, beta, mean, deviation):
    return gamma / deviation, beta - mean * gamma / deviation


def _scaled(scale, beta, mean):
    return scale, (beta - mean * scale) * scale


def is_projections(name):
    return f"{block_of(name)}.project" in name


def folded(mark, rule, part=lambda name: True):
    """Batch norms, those of a part, of the scale and shift that `rule` gives."""

    def apply(net, where):
        norms = [step for step in net.plan if step.op == "batch_norm" and where(step.name) and part(step.name)]
        return remade(net, [row for step in norms for row in _params(step, mark, rule)])

    return apply


def _params(step, mark, rule):
    """Its parameters, as `remade` takes them: gamma and beta are the line, mean and variance do nothing."""
    names = [step.param(role).name for role in ROLES]

    def of_line(index):
        return lambda array, arrays: rule(*(arrays[name] for name in names), step.eps)[index]

    makers = (of_line(0), of_line(1), lambda a, all_: np.zeros_like(a), lambda a, all_: np.ones_like(a) - step.eps)
    return [(step, step.param(role), mark, make) for role, make in zip(ROLES, makers)]
