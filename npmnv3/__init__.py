"""The MobileNetV3 classifiers of five sources, and Keras's, in plain NumPy, exact to their frameworks' own rounding.

    >>> import npmnv3
    >>> model = npmnv3.load("ppocr/text_direction")
    >>> model.predict("weights/examples/sign_upside_down.png", top=1)
    [[(1, '180', 0.99...)]]

classify    load, Model, list_models, preprocess, Preprocess, fetch
convert     convert, write_dump, param_shapes
measure     evaluation.evaluate, evaluation.agree, evaluation.open_dataset
verify      verify; testing.assert_matches
quantise    quantize
take away   freeze, export_onnx

Every error that npmnv3 raises on purpose is an Npmnv3Error and says what was wrong, where, and what to do. Nothing heavy is
imported until it is used.
"""

import importlib

TYPE_CHECKING = False  # of the module typing, which is not loaded for it
if TYPE_CHECKING:
    from . import evaluation as evaluation
    from . import testing as testing
    from .conversion.convert import convert as convert
    from .dumps.dumps import write_dump as write_dump
    from .errors import MissingExtraError as MissingExtraError
    from .errors import MissingWeightsError as MissingWeightsError
    from .errors import Npmnv3Error as Npmnv3Error
    from .errors import PictureError as PictureError
    from .errors import UnknownModelError as UnknownModelError
    from .errors import UsageError as UsageError
    from .errors import WeightsError as WeightsError
    from .export.onnx import export_onnx as export_onnx
    from .fetching import fetch as fetch
    from .freezing.freeze import freeze as freeze
    from .model import Model as Model
    from .model import load as load
    from .model import param_shapes as param_shapes
    from .network.spec import Preprocess as Preprocess
    from .network.variants import list_models as list_models
    from .pictures.recipes import preprocess as preprocess
    from .quantization import quantize as quantize
    from .verification.run import verify as verify

__version__ = "0.1.0"

_HOME = {
    "load": "model",
    "Model": "model",
    "param_shapes": "model",
    "list_models": "network.variants",
    "preprocess": "pictures.recipes",
    "Preprocess": "network.spec",
    "write_dump": "dumps.dumps",
    "quantize": "quantization",
    "verify": "verification.run",
    "fetch": "fetching",
    "convert": "conversion",
    "freeze": "freezing",
    "export_onnx": "export.onnx",
    **dict.fromkeys(
        "Npmnv3Error UsageError UnknownModelError WeightsError MissingWeightsError PictureError MissingExtraError".split(),
        "errors",
    ),
}

__all__ = ["__version__", *_HOME]

#: Modules of the public face. `from npmnv3 import *` does not import them: they are not in `__all__`.
_MODULES = ("evaluation", "testing")


if not TYPE_CHECKING:  # to a type checker any name would be one of the package's

    def __getattr__(name):
        if name in _MODULES:
            return importlib.import_module(f".{name}", __name__)  # which becomes an attribute by being imported
        if name not in _HOME:
            raise AttributeError(f"module 'npmnv3' has no attribute {name!r}")
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
