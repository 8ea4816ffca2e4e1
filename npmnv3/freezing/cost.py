"""What a frozen file's storage costs: its logits beside the model's own, on pictures."""

import runpy
import types
import zipfile
from typing import NamedTuple

import numpy as np

from ..pictures.recipes import find_recipe, preprocess

STANDARD = 16  # pictures that stand in where none are given


class Cost(NamedTuple):
    """A frozen file beside its model."""

    pictures: int
    same_first: int  # pictures whose most probable class is the same
    worst: float  # largest difference of a logit
    rms: float  # root of the mean squared difference
    spread: float  # standard deviation of a picture's logits, the mean of all pictures


def accuracy_cost(model, path, inputs):
    """Compare a frozen file with the model it was made from.

    Parameters
    ----------
    model : npmnv3.Model or QuantizedModel
    path : str, the frozen file
    inputs : iterable of (3, H, W) float32, preprocessed pictures

    Returns
    -------
    Cost
    """
    frozen = open_frozen(path)
    pairs = [(model(x[None])[0].astype(np.float64), frozen["logits"](x).astype(np.float64)) for x in inputs]
    errors = np.array([b - a for a, b in pairs])
    return Cost(
        pictures=len(pairs),
        same_first=sum(int(a.argmax() == b.argmax()) for a, b in pairs),
        worst=float(np.abs(errors).max()),
        rms=float(np.sqrt(np.mean(errors**2))),
        spread=float(np.mean([a.std() for a, _ in pairs])),
    )


def open_frozen(path):
    """The names that a frozen file defines, without importing it as the module `classifier`."""
    if not zipfile.is_zipfile(path):
        return runpy.run_path(path)
    module = types.ModuleType("classifier")
    with zipfile.ZipFile(path) as archive:
        module.__file__ = "classifier.py"
        module.__loader__ = types.SimpleNamespace(get_data=lambda name: archive.read("weights.bin"))
        exec(compile(archive.read("classifier.py"), f"{path}/classifier.py", "exec"), vars(module))
    return vars(module)


def standard_inputs(recipe, count=STANDARD):
    """Inputs for a network where no pictures are at hand: patches of random colours, from fine to coarse.

    Parameters
    ----------
    recipe : Preprocess, a name or a model, as `npmnv3.preprocess` takes it
    count : int

    Yields
    ------
    (3, H, W) float32, the same on every machine
    """
    height, width = find_recipe(recipe).side
    rng = np.random.default_rng(0)
    for index in range(count):
        patch = 2 ** (index % 6)
        colours = rng.integers(0, 256, (-(-height // patch), -(-width // patch), 3), np.uint8)
        picture = colours.repeat(patch, axis=0).repeat(patch, axis=1)[:height, :width]
        yield preprocess(picture, recipe)
