"""The reference's tensors under their names, for a port to be compared with."""

import numpy as np

from ..dumps.attributes import TRACE
from ..errors import UsageError
from ..export.vectors.kit import select
from ..model import Model, load
from ..model.quantized import QuantizedModel
from ..pictures import recipes
from .inputs import pick_input

LAYOUTS = ("nchw", "nhwc")


def trace(
    model,
    input,
    *,
    weights=None,
    dtype="float32",
    layout="nchw",
    only="*",
    kernels=None,
    integers=False,
    engine="numpy",
):
    """Every tensor of the reference for one input.

    Parameters
    ----------
    model : Model or QuantizedModel, or a model's name or dump as `npmnv3.load` takes it
    input : a picture, or a path of an .npy or an array of floats, (N, 3, H, W) or (3, H, W)
    weights : dump or mapping, as for `npmnv3.load`
    dtype : "float32" or "float64", of the arithmetic and of the tensors; ignored for a Model, which has its own
    layout : "nchw" or "nhwc", of the tensors with pixels
    only : str, shell-style pattern of names, several parted by commas
    kernels, engine : as for `npmnv3.load`
    integers : bool, of a quantised network the stored integers, not what they stand for

    Returns
    -------
    (tensors, attributes) : dict {name: array}, the preprocessing's stages first (of a picture; bytes are (H, W, 3)), then
        "input", every step and "logits"; and dict of str

    Raises
    ------
    UsageError, PictureError, and what `npmnv3.load` raises
    """
    if layout not in LAYOUTS:
        raise UsageError(f"layout is {layout!r}, expected one of {', '.join(LAYOUTS)}")
    if not isinstance(model, (Model, QuantizedModel)):
        model = load(model, weights, engine=engine, dtype=dtype, kernels=kernels)
    if integers and not model.kernels:
        raise UsageError(f"{model.name} is not quantised: there are no integers to trace")
    given, options = pick_input(model, input, None), {"integers": True} if integers else {}
    found = dict(recipes.stages(given.pictures[0], model.preprocess)) if given.pictures and len(given.x) == 1 else {}
    found |= {name: _laid_out(tensor, layout) for name, tensor in model.trace(given.x, **options).items()}
    wanted = select(list(found), only)
    attributes = {
        "format": TRACE,
        "version": 1,
        "model": model.name,
        "dtype": "integers" if integers else str(model.dtype),
        "layout": layout,
    }
    if model.kernels:
        attributes["kernels"] = model.kernels
    return {name: tensor for name, tensor in found.items() if name in wanted}, attributes


def _laid_out(tensor, layout):
    return np.ascontiguousarray(tensor.transpose(0, 2, 3, 1)) if layout == "nhwc" and tensor.ndim == 4 else tensor
