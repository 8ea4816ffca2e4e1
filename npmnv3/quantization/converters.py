"""Which of a recipe's options a scheme's own converter has: what is advised is of no use to whom cannot ask for it.

Read and run in TensorFlow 2.21 and onnxruntime 1.32.
"""

from dataclasses import asdict, dataclass

from .causes import outcome_text
from .recipes import cheapest

PER_CHANNEL, PER_TENSOR, WIDE, CORRECTED, CUT = "per channel", "per tensor", "16 bits", "bias correction", "cut at -3"


@dataclass(frozen=True)
class Converter:
    """A tool that makes quantised files.

    name : str, what people call it
    call : str, what they call in Python
    takes : {option: how it is asked for}; `{halved}` stands for the percentile by the tool's own count
    refuses : {option: why it cannot be had, and what there is in its place}
    """

    name: str
    call: str
    takes: dict
    refuses: dict


#: By scheme. `symmetric` and `pow2` are simulations, of no one converter.
CONVERTERS = {
    "tflite": Converter(
        "TensorFlow's converter",
        "tf.lite.TFLiteConverter",
        takes={PER_CHANNEL: "the default", PER_TENSOR: "_experimental_disable_per_channel", "minmax": "the default"},
        refuses={
            "percentile": "it has no percentile (its experimental StableHLO quantiser has one, and left such a network in "
            "floats)",
            "mse": "it takes ranges from the smallest to the largest number only",
            WIDE: "it keeps no part alone in 16 bits, and refuses 16-bit tensors before a hard-swish (int16x8; leaving "
            "those layers in floats, selective quantisation, is possible)",
            CORRECTED: "it has no bias correction",
            CUT: "it takes no ranges of your own",
        },
    ),
    "onnx": Converter(
        "ONNX Runtime's tool",
        "onnxruntime.quantization.quantize_static",
        takes={
            PER_CHANNEL: "per_channel=True",
            PER_TENSOR: "per_channel=False",
            "minmax": "CalibrationMethod.MinMax",
            "percentile": "CalibrationMethod.Percentile with CalibPercentile {halved:g}, which is for both ends together, "
            "and CalibTensorRangeSymmetric False",
            WIDE: "TensorQuantOverrides with QUInt16 for these tensors, for which it moves the model to opset 21",
            CUT: "TensorQuantOverrides with rmin -3 for the tensors before a hard-swish",
        },
        refuses={
            "mse": "it has no ranges of the least square error (rmin and rmax in TensorQuantOverrides take your own)",
            CORRECTED: "it has no bias correction",
        },
    ),
}


@dataclass(frozen=True)
class Possible:
    """What a scheme's own converter can do of what is advised, and of what was tried.

    converter : Converter
    recipe : Recipe that is advised, or that was asked for where nothing is advised
    how : tuple of str, how each of its options is asked for; empty where one cannot be
    lacks : tuple of str, why it cannot do that; empty where it can
    best : (Recipe, Outcome, bool: whether it saves) of the tried ones that it can do; None where it can do none
    """

    converter: Converter
    recipe: object
    how: tuple[str, ...]
    lacks: tuple[str, ...]
    best: tuple | None

    def text(self):
        """One or two sentences, to stand beside the advice."""
        who = f"{self.converter.name} ({self.converter.call})"
        if not self.lacks:
            return f"{who} can do that: {'; '.join(self.how)}"
        text = f"{who} cannot do that: {'; '.join(self.lacks)}. "
        if self.best is None:
            return f"{text}Nothing that was tried can be done with it"
        recipe, outcome, saved = self.best
        return f"{text}Its best of what was tried: {recipe}: {outcome_text(outcome)}, which {'saves' if saved else 'does not save'} it"

    def as_json(self):
        """The same as plain values; `best` has the predicted figures."""
        best = self.best and {"recipe": str(self.best[0]), "saves": self.best[2], **asdict(self.best[1])}
        return {
            "name": self.converter.name,
            "call": self.converter.call,
            "recipe": str(self.recipe),
            "can": not self.lacks,
            "how": list(self.how),
            "lacks": list(self.lacks),
            "best": best,
            "text": self.text(),
        }


def options(recipe):
    """The options that a recipe needs of a converter, as keys of `Converter.takes`."""
    found = [PER_TENSOR if recipe.per_tensor else PER_CHANNEL, recipe.ranges.method]
    asked = {WIDE: recipe.wide, CORRECTED: recipe.correct_bias, CUT: recipe.cut}
    return found + [name for name, wanted in asked.items() if wanted]


def lacking(converter, recipe):
    """Why a converter cannot do a recipe, a str an option; empty if it can."""
    return tuple(converter.refuses[name] for name in options(recipe) if name not in converter.takes)


def possible(recipe, tried, exact):
    """What the scheme's own converter can do.

    Parameters
    ----------
    recipe : Recipe that is advised, or asked for
    tried : list of (Recipe, Outcome), the cheapest first
    exact : Outcome of the float network

    Returns
    -------
    Possible, or None for a scheme that is no one converter's
    """
    converter = CONVERTERS.get(recipe.scheme)
    if converter is None:
        return None
    lacks = lacking(converter, recipe)
    halved = 100 - 2 * (100 - recipe.ranges.percent)
    ways = dict.fromkeys(() if lacks else (converter.takes[name].format(halved=halved) for name in options(recipe)))
    doable = [(one, outcome) for one, outcome in tried if not lacking(converter, one)]
    return Possible(converter, recipe, tuple(ways), lacks, cheapest(doable, exact) if doable else None)
