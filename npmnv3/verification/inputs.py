"""What a port was given: pictures, an array, or what the port itself says it was."""

import os
from dataclasses import dataclass, replace

import numpy as np

from ..errors import UsageError, check_unmasked
from ..pictures import recipes
from .port import load_npy

#: endings of files that hold floats, and no pictures
_OF_FLOATS = (".bin", ".raw", ".dat", ".npz", ".h5", ".pt", ".pth", ".txt", ".csv")


@dataclass(frozen=True)
class Input:
    """Attributes
    ----------
    x : (N, 3, H, W) float32, or None if only the port knows
    pictures : list of N pictures behind `x`, or None
    note : str for the report
    is_own : bool, whether `x` is the port's own tensor: of a square one no shape says whether it is on its side
    """

    x: np.ndarray | None
    pictures: list | None = None
    note: str = ""
    side: tuple = (224, 224)
    planes: int = 3
    is_own: bool = False

    def noted(self, note):
        """The same with a further note."""
        return replace(self, note="; ".join(filter(None, (self.note, note))))

    def from_port(self, tensors):
        """The input that a port's own tensors have: by its name, else the first of the picture's shape and finite numbers."""
        named = [t for t in tensors if t.name.lower().rsplit("/", 1)[-1] in ("input", "x", "data", "image", "images")]
        fits = [t for t in (*named, *tensors) if self._views(t)]
        tensor = next((t for t in fits if t in named or t.finite), next(iter(fits), None))
        if tensor is not None and not tensor.finite:
            raise UsageError(
                f"the port's own tensor {tensor.name}, which would serve as input, has NaN or infinite values; give what "
                "it was given: `input=PICTURE` or `input=FILE.npy`"
            )
        if tensor is not None:
            unchecked = "its preprocessing was not checked, nor whether it is on its side"
            note = f"the port's own tensor {tensor.name} serves as input: {unchecked}"
            return replace(self, x=self._views(tensor)[0].data, note=note, is_own=True)
        if all(t.array.ndim <= 2 for t in tensors):
            raise UsageError(
                "the port has logits alone, and what it was given is not known; give it: `input=PICTURE` or `input=FILE.npy`"
            )
        raise UsageError(
            f"the port has no input tensor of the shape (N, {self.planes}, {self.side[0]}, {self.side[1]}), so what it was given "
            "is not known; give it: `input=PICTURE` or `input=FILE.npy`"
        )

    def _views(self, tensor):
        """The ways to read a tensor as pictures; none of integers."""
        n = tensor.array.shape[0] if tensor.array.ndim == 4 else 1
        return tensor.views((self.planes, *self.side), n) if tensor.array.dtype.kind == "f" else []


def pick_input(model, given, port):
    """The input as `verify` takes it; `port` is None where the port is run here.

    Raises
    ------
    UsageError, PictureError
    """
    side, planes = model.side, model.in_channels
    if given is None:
        if port is not None:
            return Input(None, side=side, planes=planes)
        x = np.random.default_rng(0).standard_normal((1, planes, *side)).astype(np.float32)
        return Input(
            x, note="no input was given: the port was run on made-up numbers, and its preprocessing was not checked"
        )
    many = given if isinstance(given, (list, tuple)) else [given]
    if not many:
        raise UsageError("the list of inputs is empty")
    arrays, pictures = [], []
    for one in many:
        if isinstance(one, (str, os.PathLike)) and str(one).lower().endswith(".npy"):
            arrays.append(check_array(load_npy(one), os.fspath(one), planes))
        elif isinstance(one, (str, os.PathLike)) and str(one).lower().endswith(_OF_FLOATS):
            shape = ", ".join(map(str, (planes, *side)))
            raise UsageError(
                f"{one}: expected a picture or an .npy of floats: np.save('x.npy', x), of bare ones x = np.fromfile({str(one)!r}, "
                f"'<f4').reshape(-1, {shape})"
            )
        elif isinstance(one, np.ndarray) and one.dtype.kind == "f":
            arrays.append(check_array(one, "input", planes))
        elif model.preprocess is None:
            raise UsageError("nothing says how this network's pictures are prepared: give it an .npy of floats")
        else:
            arrays.append(recipes.preprocess(one, model.preprocess)[None])
            pictures.append(one)
    if len({array.shape[1:] for array in arrays}) > 1:
        raise UsageError(f"the inputs have different sizes: {sorted({array.shape[1:] for array in arrays})}")
    x = np.concatenate(arrays)
    model.plan_for(x.shape[2:])  # refuses a size that is too small
    return Input(x, pictures if len(pictures) == len(x) else None, side=side, planes=planes)


def channels_first(array, planes):
    """(N, C, H, W) of an array given so, or with its channels last, as TensorFlow has them, or without N."""
    array = array[None] if array.ndim == 3 else array
    last = array.ndim == 4 and array.shape[1] != planes and array.shape[3] == planes
    return array.transpose(0, 3, 1, 2) if last else array


def check_array(array, name, planes=3):
    """(N, planes, H, W) float32 of an array given as input."""
    check_unmasked(array, name)
    if array.dtype.kind != "f":
        raise UsageError(
            f"{name} is {array.dtype}, expected floats, preprocessed; give a picture's file to have it prepared"
        )
    found, array = array.shape, channels_first(array, planes)
    if array.ndim != 4 or array.shape[1] != planes or not len(array):
        raise UsageError(
            f"{name} has the shape {found}, expected (N, {planes}, H, W) or (N, H, W, {planes}), or such without N"
        )
    if not np.isfinite(array).all():
        raise UsageError(f"{name} has NaN or infinite values")
    return np.ascontiguousarray(array, np.float32)


def check_batch(n, tensors, classes):
    """UsageError if the port's pictures are others in number than the `n` that were given."""
    firsts = {t.array.shape[0] for t in tensors if t.array.ndim}
    if n > 1 and n not in firsts:
        raise UsageError(
            f"{n} inputs were given, but no tensor of the port has {n} pictures (first axes: {sorted(firsts)[:8]})"
        )
    many = {t.array.shape[0] for t in tensors if t.array.ndim == 2 and t.array.shape[1] == classes} - {1, n}
    if n == 1 and many and len(firsts) == 1:
        raise UsageError(
            f"the port's tensors are of {min(many)} pictures, but one input was given; give all of them as `input=`, in the "
            "port's order, or one .npy of (N, 3, H, W)"
        )


def nothing_fits(model, tensors, net):
    """What to say of a port none of whose tensors has the shape of a step."""
    shapes = ", ".join(f"{t.name} {t.array.shape}" for t in tensors[:5])
    return (
        f"none of the port's {len(tensors)} tensors has the shape of a step of {model.variant.full_name} "
        f"({shapes}{', ...' if len(tensors) > 5 else ''}); its logits are {net.steps['logits'].shape}"
    )
