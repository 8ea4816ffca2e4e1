"""npmnv3: the MobileNetV3 classifiers of five sources, and Keras's, in plain NumPy with JIT-compiled hot loops.

    >>> import npmnv3
    >>> model = npmnv3.load("ppocr/text_direction")
    >>> model.predict(["line.png"])

Nothing heavy is imported until it is used.
"""

import importlib

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
        (
            "Npmnv3Error",
            "UsageError",
            "UnknownModelError",
            "WeightsError",
            "MissingWeightsError",
            "PictureError",
            "MissingExtraError",
        ),
        "errors",
    ),
}

__all__ = ["__version__", *_HOME]


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module 'npmnv3' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)
