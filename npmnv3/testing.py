"""For people's own tests of their ports."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import UsageError

if TYPE_CHECKING:
    import os

    import numpy.typing as npt

    from .model import Model
    from .network.steps import Param, Step
    from .verification.quantized.report import QuantizedReport
    from .verification.report import Report


def random_params(plan: Iterable[Step], rng: np.random.Generator) -> dict[str, npt.NDArray[np.float32]]:
    """Weights for tests and for timing: random, such that activations stay near 1.

    Parameters
    ----------
    plan : tuple of Step, e.g. a model's `plan`
    rng : numpy.random.Generator

    Returns
    -------
    dict, ordered, {source's name: float32 array}, as `npmnv3.load` takes for weights=

    Examples
    --------
    >>> from npmnv3.network.plan import make_plan
    >>> from npmnv3.network.variants import get_variant
    >>> from npmnv3.testing import random_params
    >>> plan = make_plan(get_variant("timm/mobilenetv3_small_050"))
    >>> npmnv3.load("timm/mobilenetv3_small_050", random_params(plan, np.random.default_rng(0)), engine="numpy")
    <npmnv3.Model timm/mobilenetv3_small_050, 1000 classes, numpy float32>
    """
    if not hasattr(rng, "standard_normal"):
        raise UsageError(f"rng is a {type(rng).__name__}, expected a numpy.random.Generator: np.random.default_rng(0)")
    plan = tuple(plan) if isinstance(plan, Iterable) else ()
    if not plan or not all(hasattr(step, "params") for step in plan):
        raise UsageError("plan is no plan, expected a tuple of Step, as a model's `plan` is")
    params = [param for step in plan for param in step.params if param.role != "count"]
    return {param.name: _values(param, rng).astype(np.float32) for param in params}


def _values(param: Param, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    if param.role == "weight":
        return rng.standard_normal(param.shape) * math.sqrt(2 / math.prod(param.canonical[1:]))
    if param.role in ("gamma", "variance"):
        return rng.uniform(0.5, 1.5, param.shape)
    return rng.standard_normal(param.shape) * 0.1


def assert_matches(
    model: Model | str | os.PathLike[str], outputs: Any, input: Any = None, **options: Any
) -> Report | QuantizedReport:
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

    Examples
    --------
    >>> from npmnv3.testing import assert_matches
    >>> model = npmnv3.load("ppocr/text_direction", engine="numpy")
    >>> x = npmnv3.preprocess("weights/examples/sign_upside_down.png", model)[None]
    >>> assert_matches(model, model(x), x).verdict
    'fine'
    """
    __tracebackhide__ = True  # pytest then shows the caller's line
    from .verification.run import verify

    if hasattr(outputs, "__array__"):
        outputs = {"logits": outputs}
    report = verify(model, outputs, input, **options)
    if not report.fine:
        raise AssertionError(report.text())
    return report
