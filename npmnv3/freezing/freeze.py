"""Freeze a model: its network, weights and preprocessing as one file."""

from __future__ import annotations

import base64
import functools
import os
import reprlib
import textwrap
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from ..dumps.writing import archive_member, replacing
from ..errors import UsageError, WeightsError, check_arguments
from ..model.classifier import check_model
from ..network.integer_plan import LAYERS
from ..ops.kernel_sets import get_kernel_set
from .compose import layer_shapes, module_source
from .compose_integers import KINDS, integer_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model import Model
    from ..model.quantized import QuantizedModel

STORED = {"float16": "<f2", "float32": "<f4", "int8-weights": "i1"}
#: What any Python can read, to say what is missing.
MAIN = '''"""`python THIS_FILE picture.png` and runpy.run_path; to import, put this file on sys.path: `import classifier`."""

import os
import sys

if sys.version_info < (3, 9):
    sys.exit("this needs Python 3.9 or later and NumPy 1.22 or later; this is Python %d.%d" % sys.version_info[:2])

from importlib.machinery import PathFinder
from types import ModuleType

if hasattr(__loader__, "invalidate_caches"):  # another archive may have been here before, in this process
    __loader__.invalidate_caches()

# Not `import classifier`: of two such files in one process, the second would get the first one's.
classifier = ModuleType("classifier")
classifier.__file__ = os.path.join(os.path.dirname(__file__), "classifier.py")
classifier.__loader__ = PathFinder.find_spec("classifier", [os.path.dirname(__file__)]).loader
try:
    exec(classifier.__loader__.get_code("classifier"), vars(classifier))
except ImportError as error:
    sys.exit(str(error))
classify, logits, main = classifier.classify, classifier.logits, classifier.main

if __name__ == "__main__":
    sys.exit(main())
'''


def freeze(
    model: Model | QuantizedModel,
    path: str | os.PathLike[str],
    dtype: str | None = None,
    *,
    names: bool = False,
    check: Callable[[str], object] | None = None,
) -> None:
    """Write a model as one file that classifies pictures with NumPy alone.

    Parameters
    ----------
    model : npmnv3.Model, or a quantised one, which becomes a classifier of integers with the same bits
    path : str or os.PathLike; .pyz gives an archive that Python runs, .py a single module for small models
    dtype : "float16" (default), "float32" or "int8-weights" (a scale for each output channel), how the weights are stored;
        computed is in float32. A quantised model's stay the bytes that they are: None
    names : bool, put the names of a label set such as ImageNet's in; names that the dump itself has are always in
    check : callable (path of the file while it is not there yet); what it raises keeps the file from coming to be

    Raises
    ------
    UsageError, WeightsError, WriteError

    Examples
    --------
    >>> npmnv3.freeze(npmnv3.load("ppocr/text_direction"), "direction.pyz")
    >>> import runpy  # or python direction.pyz weights/examples/sign_upside_down.png
    >>> runpy.run_path("direction.pyz")["classify"]("weights/examples/sign_upside_down.png", top=1)
    [('180', 0.99...)]
    """
    check_model(model)
    check_arguments("a path", path=path)
    check_arguments("True or False", names=names)
    if check is not None and not callable(check):
        raise UsageError(f"`check={reprlib.repr(check)}`, expected a callable or None")
    path = os.fspath(path)
    kind = os.path.splitext(path)[1]
    if kind not in (".pyz", ".py"):
        raise UsageError(f"{path}: ends in {kind!r}, expected .pyz or .py")
    weights, source = _integer_parts(model, dtype, names) if model.kernels else _float_parts(model, dtype, names)
    with replacing(path) as temporary:
        if kind == ".py":
            _write_text(temporary, source(_lines(base64.b85encode(weights).decode())))
        else:
            _write_archive(temporary, {"__main__.py": MAIN, "classifier.py": source(), "weights.bin": weights})
        if check is not None:
            check(temporary)


def _float_parts(model, dtype, names):
    """(the weights' bytes, a function from their text, or nothing, to the module's source)."""
    dtype = "float16" if dtype is None else dtype
    if not isinstance(dtype, str) or dtype not in STORED:
        raise UsageError(f"dtype is {dtype!r}, expected one of {', '.join(STORED)}")
    plan = model.plan_for(model.preprocess.side, folded=True)
    parts = plan, model.preprocess, _labels(model, names), dtype, _about(model)
    return pack(folded_layers(model), dtype), functools.partial(module_source, *parts)


def _integer_parts(model, dtype, names):
    """The same of a quantised model."""
    if dtype is not None:
        raise UsageError(f"dtype is {dtype!r}, but the weights of {model.name} are integers, and stay so: leave it out")
    check_recipe(model)
    parts = model.plan, model.preprocess, _labels(model, names), get_kernel_set(model.kernels), _about(model)
    return pack_integers(model.plan), functools.partial(integer_source, *parts)


def check_recipe(model):
    """UsageError where a model does not say how its pictures are prepared, or says it for another size."""
    if model.preprocess is None:
        raise UsageError(f"{model.name}: nothing says how its pictures are prepared, so it cannot be frozen")
    if model.kernels and model.preprocess.side != model.side:
        raise UsageError(
            f"{model.name}: its pictures are prepared as {model.preprocess.side}, but its integers are for {model.side}"
        )


def _labels(model, names):
    return model.labels if isinstance(model.attributes.get("labels"), list) or names else None


def pack_integers(plan):
    """The layers' bytes, one after another: what `integer_runtime.unpack_integers` reads."""
    parts = []
    for step in plan.steps:
        if step.op in LAYERS:
            arrays = zip(plan.params(step), (None, "<i4", "<f4", "<i2"))
            kind = KINDS[str(plan.arrays[f"{step.name}.weight"].dtype)]
            parts += [np.ascontiguousarray(array, dtype or kind).tobytes() for array, dtype in arrays]
    return b"".join(parts)


def folded_layers(model):
    """{layer's name: (weight, bias)}, float64 in the operations' layout, norms folded; zeros where there is no bias."""
    folded, arrays = model.plan_for(folded=True), model.arrays(folded=True)
    layers = [step for step in folded if step.param("weight")]
    weights = [arrays[step.param("weight").name] for step in layers]
    biases = [arrays[step.param("bias").name] if step.param("bias") else np.zeros(step.shape[0]) for step in layers]
    return dict(zip(layer_shapes(folded), zip(weights, biases)))


def pack(layers, dtype):
    """The layers' bytes, one after another: what `runtime.unpack_float` and `runtime.unpack_int8` read."""
    stored = STORED[dtype]
    scale = [("scale", "<f4")] if dtype == "int8-weights" else []
    fields = [
        (name, [("weight", stored, weight.shape), *((*field, bias.shape) for field in (*scale, ("bias", "<f4")))])
        for name, (weight, bias) in layers.items()
    ]
    record = np.zeros((), fields)
    for name, (weight, bias) in layers.items():
        if scale:
            step = np.abs(weight).reshape(len(weight), -1).max(axis=1) / 127
            record[name]["scale"] = np.where(step > 0, step, 1)
            weight = np.rint((weight.T / record[name]["scale"]).T)
        with np.errstate(over="ignore"):
            record[name]["weight"], record[name]["bias"] = weight, bias
        if not (np.isfinite(record[name]["weight"]).all() and np.isfinite(record[name]["bias"]).all()):
            raise WeightsError(f"{name}: has values up to {np.abs(weight).max():.4g}, beyond {dtype}; take float32")
    return record.tobytes()


def _about(model):
    """The first lines of the docstring. What the dump says of itself is foreign text: it must not end the docstring."""
    notes = [f"{key.capitalize()} of the weights: {model.attributes.get(key)}" for key in ("licence", "origin")]
    safe = [
        " ".join(note.replace("\\", "/").replace('"', "'").split())
        for note in notes
        if not note.endswith((": ", ": None"))
    ]
    title = f"{model.name}: an image classifier of {model.num_classes} classes in one file."
    return "\n".join([title, *([""] if safe else []), *(line for note in safe for line in textwrap.wrap(note, 118))])


def _lines(text, width=120):
    """A text without white space, cut into lines of one length."""
    return "\n".join(text[start : start + width] for start in range(0, len(text), width))


def _write_text(path, text):
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def _write_archive(path, members):
    """A zip whose bytes depend on its contents alone: stored, as compressors differ from machine to machine."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(archive_member(name), data)
