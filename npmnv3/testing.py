"""For people's own tests of their ports."""

import math

import numpy as np


def random_params(plan, rng):
    """Weights for tests and for timing: random, such that activations stay near 1.

    Parameters
    ----------
    plan : tuple of Step, e.g. a model's `plan`
    rng : numpy.random.Generator

    Returns
    -------
    dict, ordered, {source's name: float32 array}, as `npmnv3.load` takes for weights=
    """
    params = [param for step in plan for param in step.params if param.role != "count"]
    return {param.name: _values(param, rng).astype(np.float32) for param in params}


def _values(param, rng):
    if param.role == "weight":
        return rng.standard_normal(param.shape) * math.sqrt(2 / math.prod(param.canonical[1:]))
    if param.role in ("gamma", "variance"):
        return rng.uniform(0.5, 1.5, param.shape)
    return rng.standard_normal(param.shape) * 0.1


def assert_matches(model, outputs, input=None, **options):
    """Assert that a port agrees with the reference to rounding.

    Parameters
    ----------
    model : Model, or a model's name or dump as `npmnv3.load` takes it
    outputs : mapping {name: array}, a path or a callable, as `npmnv3.verify` takes a port; or one array, the logits
    input : what the port was given, as `npmnv3.verify` takes it
    options : further ones of `npmnv3.verify`: weights, map, precision, factor

    Returns
    -------
    Report

    Raises
    ------
    AssertionError
        The message is the verdict, with the likely cause and the table of what diverges.
    UsageError and others, as `npmnv3.verify`
    """
    __tracebackhide__ = True  # pytest then shows the caller's line
    from .verification.run import verify

    if hasattr(outputs, "__array__"):
        outputs = {"logits": outputs}
    report = verify(model, outputs, input, **options)
    if not report.fine:
        raise AssertionError(report.text())
    return report
