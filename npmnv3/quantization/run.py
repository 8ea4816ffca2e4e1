"""What `npmnv3 quantize` does: calibrate, simulate, find the causes and the cheapest change that helps."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..conversion.quantized import is_quantized_model
from ..dumps.dumps import is_quantized
from ..dumps.quantized import write_quantized
from ..errors import UsageError, check_arguments
from ..evaluation import Dataset, open_dataset
from ..model import Model, load
from ..ops.kernel_sets import USUAL
from .advice import advise, caveats
from .alone import alone
from .calibrate import Pictures, calibrate
from .causes import AVX2, DEPTHWISE_ALONE, Evidence, find_causes
from .halves import quantize_to_halves
from .integers import check_dump, check_exact, quantized
from .judge import Candidate, judge
from .parameters import Recipe, layers
from .ranges import parse_ranges
from .recipes import prepare, variations
from .report import Report
from .saturation import Saturation
from .schemes import HALVES, SCHEMES, check_scheme
from .simulate import Network
from .stored import named_parts
from .tables import layer_rows, tensor_rows

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..pictures.recipes import Picture

    Path = str | os.PathLike[str]


def quantize(
    model: Model | Path,
    pictures: Iterable[Picture] | Picture | npt.NDArray[np.floating],
    *,
    weights: Path | Mapping[str, npt.NDArray[Any]] | None = None,
    scheme: str = "tflite",
    per_tensor: bool = False,
    ranges: str = "minmax",
    wide: Sequence[str] = (),
    correct_bias: bool = False,
    cut: bool = False,
    evaluate: Path | Dataset | None = None,
    labels: Path | None = None,
    limit: int | None = None,
    recipes: bool = True,
    out: Path | None = None,
    kernels: str | None = None,
    shown: bool | None = None,
) -> Report:
    """Say what a network loses in few bits, why, and what saves it.

    Parameters
    ----------
    model : Model, a model's name, or a dump's path
    pictures : what to calibrate on: a folder's or picture's path, an iterable of them and of whatever else
        `npmnv3.preprocess` takes, or an array (N, 3, H, W) of floats that are prepared already
    weights : path of a dump or mapping, as for `npmnv3.load`
    scheme : "tflite" (int8, as its converter makes it), "onnx" (uint8 tensors, int8 weights, as ONNX Runtime's tool makes
        it), "symmetric" (int8 with zero point 0, as its ActivationSymmetric stores it) or "pow2" (the same with scales of
        powers of two), both without a claim to an NPU's bits, "fp16" or "bf16"
    per_tensor : bool, one scale a weight instead of one for each output channel
    ranges : "minmax", "percentile=99.99" or "mse", of the stored tensors
    wide : sequence of str, parts whose tensors are kept in 16 bits: "stem", "blocks.3.se"
    correct_bias : bool, move biases until every layer's mean is the float network's
    cut : bool, let ranges before a hard-swish end at -3, below which it is 0
    evaluate : labelled pictures to judge on, a path as for `npmnv3 evaluate` or a Dataset; default the calibration
        pictures, on which only the agreement with floats can be told
    labels : path of a labels file for `evaluate`
    limit : int, only so many of the pictures of `evaluate`
    recipes : bool, try the recipes and look for the causes; False only simulates what is asked for
    out : path, ends in .npz: write the integers of what was asked for as a quantised dump, which `npmnv3.load` runs
    kernels : str, name of the kernel set that the dump is meant for
    shown : bool, progress bars; default on a terminal

    Returns
    -------
    Report

    Raises
    ------
    UsageError, PictureError, and what `npmnv3.load` raises

    Examples
    --------
    >>> picture = "weights/examples/sign_upright.png"  # a few hundred are better, in a folder
    >>> report = npmnv3.quantize("ppocr/text_direction", picture, scheme="fp16")
    >>> report.advice
    '...100.0% as in floats...'
    """
    check_scheme(scheme)
    check_arguments("True or False", recipes=recipes)
    check_arguments("True or False", optional=True, shown=shown)
    if isinstance(model, Model) and weights is not None:
        raise UsageError("`weights=` is for a model's name; this Model was loaded with its own")
    if out is not None:
        check_dump(out, scheme, kernels)
    asked = _asked(scheme, per_tensor, ranges, wide, correct_bias, cut)
    _refuse_quantized(model, weights)
    network = model if isinstance(model, Model) else load(model, weights, engine="numpy")
    data, calibration = _data(evaluate, labels, limit), Pictures(pictures, network)
    if scheme in HALVES:
        return quantize_to_halves(network, scheme, calibration, data, shown=shown)
    simulated = Network.of(network, scheme)
    named_parts(asked.wide, simulated.stored)
    report = _study(simulated, asked, calibration, data, recipes, shown)
    if out is not None:
        write_quantized(out, quantized(network, report.parameters, kernels))
    return report


def quantize_exactly(
    model,
    pictures,
    *,
    scheme="tflite",
    per_tensor=False,
    ranges="minmax",
    wide=(),
    correct_bias=False,
    cut=False,
    kernels=None,
    shown=None,
):
    """A network's integers, for named kernels, without a word on what they cost.

    Parameters
    ----------
    model : Model
    the others : as for `quantize`, which writes the same integers to its `out`; kernels are the scheme's usual ones if none
        are named

    Returns
    -------
    Quantized

    Raises
    ------
    UsageError, PictureError
    """
    check_exact(scheme, kernels)
    asked = _asked(scheme, per_tensor, ranges, wide, correct_bias, cut)
    pictures, network = Pictures(pictures, model), Network.of(model, scheme)
    named_parts(asked.wide, network.stored)
    _, parameters = prepare(network, calibrate(network, pictures, shown=shown), pictures, asked)
    return quantized(model, parameters, kernels or USUAL[scheme])


def _study(network, asked, pictures, data, recipes, shown):
    """Calibrate, simulate, and put together the Report."""
    calibration = calibrate(network, pictures, shown=shown)
    tried = variations(asked, network.plan) if recipes else [asked]
    prepared = [prepare(network, calibration, pictures, recipe) for recipe in tried]
    candidates, parameters = [one for one, _ in prepared], prepared[0][1]
    learning = _to_learn(network, asked, candidates[0]) + _saturating(network, prepared) if recipes else []
    judgement = judge(network, candidates + learning, pictures if data is None else data, shown=shown)
    exact, outcomes = judgement.parted()
    learned = [(one.title, outcome) for one, outcome in zip(learning, outcomes[len(candidates) :])]
    tensors, weights, parts = alone(network, candidates[0], pictures, shown=shown)
    evidence = Evidence(network, asked, parameters, calibration, tensors, weights, parts, dict(learned))
    outcomes_of = list(zip(tried, outcomes))
    return Report(
        model=network.model.variant.full_name,
        scheme=asked.scheme,
        recipe=str(asked),
        calibration=calibration.pictures,
        data=judgement.data,
        exact=exact,
        outcome=outcomes[0],
        tensors=tensor_rows(network, calibration, parameters.grids, tensors),
        layers=layer_rows(network, weights),
        parts=parts,
        causes=find_causes(evidence) if recipes else (),
        tried=[(str(recipe), outcome) for recipe, outcome in outcomes_of],
        **advise(asked, outcomes_of, exact, dict(learned), recipes),
        learned=learned,
        caveats=caveats(asked.scheme, pictures, data),
        left_out=judgement.left_out,
        parameters=parameters,
    )


def _asked(scheme, per_tensor, ranges, wide, correct_bias, cut):
    check_arguments("True or False", per_tensor=per_tensor, correct_bias=correct_bias, cut=cut)
    if not isinstance(wide, (str, list, tuple)):
        raise UsageError(f"`wide={reprlib.repr(wide)}`, expected a sequence of parts' names: 'stem', 'blocks.3.se'")
    wide = tuple(wide.split(",")) if isinstance(wide, str) else tuple(wide)
    if scheme in HALVES and (per_tensor or wide or correct_bias or cut or str(parse_ranges(ranges)) != "minmax"):
        raise UsageError(
            f"{scheme} has no scales: `per_tensor=`, `ranges=`, `wide=`, `correct_bias=` and `cut=` are of the schemes {', '.join(SCHEMES)}"
        )
    return Recipe(scheme, bool(per_tensor), parse_ranges(ranges), wide, bool(correct_bias), bool(cut))


def _refuse_quantized(model, weights):
    """Say at once what is wanted, and what judges such a file, where a quantised one is given in place of floats."""
    for given in (model, weights):
        if not isinstance(given, (str, os.PathLike)) or not os.path.isfile(given):
            continue
        if is_quantized_model(given) or is_quantized(given):
            raise UsageError(
                f"{given} is quantised already; give the float network, a name with weights= (--weights) or its dump: quantize "
                f"starts from float weights. `npmnv3 verify MODEL {os.path.basename(given)}` judges a quantised file"
            )


def _data(evaluate, labels, limit):
    """The Dataset to judge on, or None."""
    if evaluate is None:
        if labels is not None or limit is not None:
            raise UsageError("`labels=` and `limit=` are of the pictures to judge on; name these with `evaluate=`")
        return None
    return evaluate if isinstance(evaluate, Dataset) else open_dataset(evaluate, labels, limit)


def _to_learn(network, asked, candidate):
    """Candidates that tell whether weights or tensors are at fault."""
    found = [
        Candidate("weights, all tensors in floats", candidate.arrays, {}),
        Candidate("tensors, all weights in floats", network.arrays, candidate.grids),
    ]
    if asked.per_tensor:
        names = {
            param.name
            for step in layers(network.plan)
            for param in step.params
            if step.op == "depthwise_conv2d" and param.role == "weight"
        }
        arrays = network.arrays | {name: candidate.arrays[name] for name in names}
        found.append(Candidate(DEPTHWISE_ALONE, arrays, {}))
    gates = {tensor.name for tensor in network.stored if tensor.form == "gate"}
    if asked.scheme == "symmetric" and gates:
        grids = {name: grid for name, grid in candidate.grids.items() if name not in gates}
        found.append(Candidate("as asked, but a hard-swish stores no gate of its own", candidate.arrays, grids))
    return found


def _saturating(network, prepared):
    """The plainer candidates once more as processors without VNNI compute them; none but of the scheme onnx."""
    found = []
    for candidate, parameters in prepared if network.scheme == "onnx" else ():
        saturation, recipe = Saturation(network, parameters), candidate.recipe
        plain = candidate is prepared[0][0] or not (recipe.correct_bias or recipe.cut or recipe.ranges.method == "mse")
        if saturation and plain:
            found.append(replace(candidate, title=f"{AVX2}: {recipe}", layer=saturation))
    return found
