"""What is said beside a prediction: what to do, whether the scheme's own converter can, and how far to believe it."""

from ..ops.kernel_sets import USUAL
from .causes import AVX2, outcome_text
from .converters import possible
from .overlap import overlap
from .recipes import cheapest

#: What stands for a scheme that is no one converter's.
SIMULATIONS = {
    "symmetric": "symmetric is a simulation, of how ONNX Runtime's QInt8 with ActivationSymmetric stores tensors (a hard-swish "
    "as its gate and the product): NPUs round in other ways, and those with a hard-swish in one operation lose less",
    "pow2": "pow2 is a simulation of a kind of NPU, not any engine's exact arithmetic",
}

#: README.md has the measurements: 100 to 300 photographs, TensorFlow Lite's and ONNX Runtime's kernels.
SPREAD = (
    "Predicted by simulation in floats, without any kernel set's roundings: kernel sets of one scheme differ among themselves, "
    "and their top-1 was measured from 6 points below such a prediction to 2 above{apart}. A kernel set's own top-1: "
    "-o Q.npz, then npmnv3 evaluate Q.npz DATA --kernels {kernels}."
)

APART = " (on AVX2 without VNNI uint8 times int8 costs more, which has lines of its own)"


def advise(asked, tried, exact, learned, recipes=True):
    """What a Report says of what to do.

    Parameters
    ----------
    asked : Recipe
    tried : list of (Recipe, Outcome), the asked one first, the cheapest next
    exact : Outcome of the float network
    learned : {title: Outcome}
    recipes : bool, whether others than the asked one were tried

    Returns
    -------
    dict of Report's fields advice, advised and converter
    """
    advised = cheapest(tried, exact) if recipes else None
    converter = possible(advised[0] if advised else asked, tried, exact)
    return {"advice": _advice(asked, advised, tried[0][1], learned), "advised": advised, "converter": converter}


def _advice(asked, advised, outcome, learned):
    """One sentence: what to do."""
    if advised is None:
        return f"as asked ({asked}): {outcome_text(outcome)}"
    recipe, best, saved = advised
    if recipe == asked:
        fine = f"{asked} is fine as it is: {outcome_text(outcome)}"
        return fine if saved else f"nothing that was tried does better than {asked}: {outcome_text(outcome)}"
    change = ", ".join(word for word in str(recipe).split(", ") if word not in str(asked).split(", "))
    saturated = learned.get(f"{AVX2}: {recipe}")
    predicted = outcome_text(best) + (f"; {AVX2} {outcome_text(saturated)}" if saturated else "")
    if saved:
        return f"the cheapest change that saves it: {change}. Predicted: {predicted}"
    return f"nothing that was tried saves it; best is {change}. Predicted: {predicted}"


def caveats(scheme, pictures, data):
    """How far the predicted figures can be believed, as a tuple of str.

    Parameters
    ----------
    scheme : str
    pictures : Pictures, of the calibration
    data : Dataset that is judged on; None for the calibration pictures
    """
    found = []
    if data is None:
        found.append(
            "Judged on the pictures that the ranges come from, which flatters; --evaluate takes others, with labels."
        )
    elif same := overlap(pictures, data):
        found.append(
            f"{same} of the {len(pictures)} calibration pictures are among those judged on (by their files' bytes), "
            f"which flatters."
        )
    if scheme in SIMULATIONS:
        found.append(f"{SIMULATIONS[scheme]}.")
    if scheme in USUAL and scheme != "pow2":
        found.append(SPREAD.format(kernels=USUAL[scheme], apart="" if scheme == "tflite" else APART))
    return tuple(found)
