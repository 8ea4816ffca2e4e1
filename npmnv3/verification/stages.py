"""A port's preprocessing, stage by stage: decoded, resized, cropped, normalised."""

import numpy as np

from ..pictures import recipes

STAGES = ("decoded", "resized", "cropped", "normalised")


def split_stages(tensors):
    """(list of PortTensor without the stages, {stage: PortTensor}): the stages are known by their names."""
    stages = {t.name.lower().rsplit("/", 1)[-1].rsplit(".", 1)[-1]: t for t in tensors}
    stages = {name: stages[name] for name in STAGES if name in stages}
    return [t for t in tensors if t not in stages.values()], stages


def compare_stages(stages, picture, recipe):
    """One line a stage on how the port's differs from the reference's.

    Parameters
    ----------
    stages : {stage: PortTensor}, bytes (H, W, 3) or (3, H, W), "normalised" (3, H, W) floats
    picture : the picture, or None: then there is nothing to compare with
    recipe : Preprocess

    Returns
    -------
    list of str
    """
    if not stages or picture is None:
        return [f"the stages {', '.join(stages)} were not checked: give the picture itself as input"] if stages else []
    expected = recipes.stages(picture, recipe)
    return [f"stage {name}: {_difference(tensor.array, expected[name])}" for name, tensor in stages.items()]


def _difference(found, expected):
    found = found.reshape([n for n in found.shape if n != 1])
    if found.shape != expected.shape and found.ndim == 3:
        axes = (1, 2, 0) if found.shape[0] == 3 else (2, 0, 1)
        found = found.transpose(axes)
    if found.shape != expected.shape:
        return f"has the shape {found.shape}, the reference's is {expected.shape}"
    error = np.abs(found.astype(np.float64) - expected)
    if not error.any():
        return "the same"
    place = tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
    return (
        f"differs in {np.count_nonzero(error) / error.size:.1%} of the values, by {error.max():.3g} at most, at {place}"
    )
