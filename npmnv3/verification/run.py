"""`npmnv3.verify`: a port against the reference, from its tensors to the verdict."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engines.blas import one_thread
from ..errors import UsageError, check_arguments
from ..model import Model, load
from ..model.quantized import QuantizedModel
from ..progress import progress_bar
from . import noise
from .columns_first import read_columns_first
from .comparison import Comparison
from .constants import refuse_weights_alone, without_weights
from .inputs import pick_input
from .port import load_port, runs
from .quantized.file_weights import check_file
from .quantized.port import has_integers, is_quantized_port, refuse
from .quantized.report import QuantizedReport
from .quantized.run import verify_quantized
from .quantized.weight_file import refuse_weight_file
from .report import Report
from .trials import WORK
from .verdict import decide

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..pictures.recipes import Picture

    Path = str | os.PathLike[str]
    Arrays = Mapping[str, npt.NDArray[Any]]

FACTOR = 10.0  # errors up to this many times honest rounding are fine


def verify(
    model: Model | Path,
    port: Path | Arrays | Callable[[npt.NDArray[np.float32]], Any],
    input: Picture | npt.NDArray[np.floating] | Sequence[Picture] | None = None,
    *,
    weights: Path | Arrays | None = None,
    map: Mapping[str, str | None] | None = None,
    precision: str = "auto",
    factor: float = FACTOR,
    explain: bool = True,
    num_classes: int | None = None,
    tensors: Path | Arrays | None = None,
    kernels: str | None = None,
) -> Report | QuantizedReport:
    """Compare a port of a network with the original, and say where and why they part.

    Parameters
    ----------
    model : Model, or a model's name or dump as `npmnv3.load` takes it
    port : path of an .npz, HDF5, .npy, .pt, .safetensors, .txt or .onnx file or of a folder of .npy or .bin files; mapping
        {name: array}; a quantised .tflite, .onnx or dump, which is judged integer for integer
        (`quantized.run.verify_quantized`); or callable: (N, 3, H, W) float32 -> logits, mapping or sequence of arrays. Any
        subset of the network's tensors, under any names, in any usual layout.
    input : what the port was given: a picture (path, bytes, PIL image, (H, W, 3) uint8), a path of an .npy, an array
        (N, 3, H, W) or (3, H, W) of floats, or a list of pictures; default the port's own input tensor or, where the port
        is run here, made-up numbers
    weights : dump or mapping, as for `npmnv3.load`
    map : {port's tensor: step's name, or None to leave it out}
    precision : "float32", "float16", "bfloat16", "int8", or "auto": what the port's numbers look like
    factor : errors up to this many times that precision's rounding are fine
    explain : bool, look for the cause; on a terminal a bar shows how far that is
    tensors, kernels : of a quantised port: the integers that a device stored, and whose they should be

    Returns
    -------
    Report, or QuantizedReport of a quantised port; true if the verdict is "fine"

    Raises
    ------
    UsageError, PictureError, and what `npmnv3.load` raises

    Examples
    --------
    >>> model = npmnv3.load("ppocr/text_direction", engine="numpy")
    >>> def port(x):  # what was ported, run here; or a file of its tensors
    ...     return model(x) + 1
    >>> report = npmnv3.verify(model, port, "weights/examples/sign_upright.png", explain=False)
    >>> report.verdict, report.first_divergence
    ('diverges', 'logits')
    """
    if is_quantized_port(port) or is_quantized_port(model):
        return verify_quantized(
            model, port, tensors, input, weights=weights, kernels=kernels, explain=explain, num_classes=num_classes
        )
    if tensors is not None or kernels is not None:
        refuse(port, "tensors=" if tensors is not None else "kernels=")
    _check_options(map, precision, factor, explain)
    if isinstance(model, QuantizedModel):
        raise UsageError("model is a quantised one, which is judged from its file: give verify the dump's path")
    if isinstance(model, Model) and (weights is not None or num_classes is not None):
        raise UsageError("`weights=` and `num_classes=` are for a model's name; this Model was loaded with its own")
    network = model if isinstance(model, Model) else load(model, weights, num_classes, engine="numpy")
    refuse_weight_file(network, port)
    given = pick_input(network, input, None if runs(port) else port)
    is_file, in_parts = runs(port) and not callable(port), has_integers(port)
    if in_parts:
        precision = "int8" if precision == "auto" else precision
        given = given.noted(
            "parts of its graph are computed in floats, between integers: it is run here, and judged as floats, not integer for integer"
        )
    # A port may hold anything, also NaN and numbers whose squares overflow: what comes of them is measured, not warned of.
    quiet = np.errstate(all="ignore")
    with one_thread(), quiet, progress_bar(round(WORK), title="faults", unit="run") as tell:
        tensors = load_port(port, given.x)
        # What an .onnx file gives was computed from the input: a weight is none of it, whatever it equals.
        tensors, constants = (tensors, []) if is_file else without_weights(tensors, network, map or ())
        refuse_weights_alone(_name(port), tensors, constants)
        if given.x is None:
            given = given.from_port(tensors)
        if constants:
            given = given.noted(
                f"left out: tensors that equal weights of the network ({len(constants)}, such as {constants[0]})"
            )
        comparison = read_columns_first(Comparison(network, given, tensors, map, precision, float(factor)))
        report = decide(comparison, _name(port), explain, lambda done, text: tell(round(done), text))
        if is_file and (in_parts or report.precision == "int8"):
            _with_weights(report, *check_file(network, port, given.x))
        return report


def _with_weights(report: Report, wrong: list[tuple[str, str]], notes: list[str]) -> None:
    """Put what a file's weights are into its report, whose verdict is by the run's tolerance alone, which hides them."""
    report.notes += notes
    if wrong:
        first, *others = (f"{step} of the file {text}" for step, text in wrong)
        report.sentence = f"{first}; by its numbers alone {report.verdict}: {report.sentence}"
        report.verdict, report.first_divergence = "diverges", wrong[0][0]
        report.notes += others


def _check_options(map: Any, precision: Any, factor: Any, explain: Any) -> None:
    if precision not in ("auto", *noise.PRECISIONS):
        raise UsageError(f"`precision={precision!r}`, expected auto, {', '.join(noise.PRECISIONS)}")
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not factor >= 1:
        raise UsageError(f"`factor={factor!r}`, expected a number from 1")
    check_arguments("True or False", explain=explain)
    if map is not None and not isinstance(map, Mapping):
        raise UsageError(f"`map={reprlib.repr(map)}`, expected a mapping {{port's tensor: step's name or None}}")


def _name(port: Any) -> str:
    return os.fspath(port) if isinstance(port, (str, os.PathLike)) else getattr(port, "__name__", type(port).__name__)
