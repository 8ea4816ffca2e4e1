"""Keras's configuration of a model, JSON: its names, how it prepares pictures, how it ends."""

import json

import numpy as np

from ...errors import WeightsError
from ...network.spec import Preprocess
from .ends import end_notes
from .keras_program import MODELS, activation_name, is_idle, program_of

MAX_BYTES = 4 << 20
_WEIGHTED = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense", "BatchNormalization")
_OF_OTHER_FORM = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError)  # than Keras's
_NOT_FOLLOWED = (
    "its configuration is not followed (of another form than Keras writes, or a layer or model is used more than once): what "
    "its layers compute is not compared"
)
_SHAPES = ("Flatten", "Reshape")
_LINEAR = ("linear", None)
_USUAL = 1 / 127.5, -1.0  # scale and offset of bytes, as Keras's networks have them: the recipe "keras"
_ASSUMED = "predict prepares pictures as Keras's networks do that have their own (bytes / 127.5 - 1)"
_IN_16_BITS = "mixed_float16", "float16", "mixed_bfloat16", "bfloat16"  # Keras's policies
_ROUNDED = (
    "its configuration has the policy {}: Keras rounds the values between its layers to 16 bits, and the dump does not, so its logits "
    "are not quite Keras's"
)
_OWN_CLASS = (
    "its model is of a class of its own, {}, whose code is not in the file: taken for what its layers compute; whether its call() does "
    "something else besides is not known"
)
_UNKNOWN_CALL = (
    "a model of a class of its own, {}, whose call() is code and not in the file: what it does to pictures and to logits is not known; "
    "save it as the layers that it calls: x = keras.Input((224, 224, 3)); keras.Model(x, model.call(x)).save('m.keras')"
)
QUANTISED = (
    "quantised by Keras's model.quantize ({}): that is not read; give the model as it was saved before it was quantised"
)
_LIMIT = 1e6  # of a recipe's mean and deviation


def read_config(text, where, *, counted=False):
    """What a configuration, found at `where`, holds, as fields of a `Checkpoint`: claims, card, notes, warnings,
    program, sides."""
    if not text:
        return {}
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        config = None  # the weights are what counts
    if not isinstance(config, dict):
        return {"warnings": (_NOT_FOLLOWED,)}
    config, own = _of_kerass_classes(config)
    try:
        layers = list(_layers(config))
        card, prepared, doubts = _preparation(layers)
        ends, probabilities = _end(layers)
        rounded = _rounded(layers, where)
        fields = {"card": card, "notes": (*prepared, *ends, *rounded), "warnings": (*doubts, *probabilities)}
    except _OF_OTHER_FORM:
        fields = {}
    try:
        program, sides = program_of(config, counted)
        fields |= {"program": program, "sides": sides}
    except _OF_OTHER_FORM:
        fields["warnings"] = (*fields.get("warnings", ()), _NOT_FOLLOWED)
    if own:
        fields["warnings"] = (*fields.get("warnings", ()), *own)
    return {"claims": _model_name(config, where), **fields}


def _of_kerass_classes(config):
    """(the configuration, warnings): that of a model of somebody's own class as the layers that it lists.

    Raises
    ------
    WeightsError
        It lists none, so nothing tells what its code does with them.
    """
    kind, settings = config.get("class_name"), config.get("config")
    if kind in MODELS or not isinstance(kind, str) or not isinstance(settings, dict):
        return config, ()
    if "layers" not in settings:
        raise WeightsError(_UNKNOWN_CALL.format(kind[:50]))
    plain = MODELS[0] if "input_layers" in settings else "Sequential"
    return {**config, "class_name": plain}, (_OWN_CLASS.format(kind[:50]),)


def _rounded(layers, where):
    """Notes on a model that computes in fewer bits than it stores; WeightsError where Keras quantised it."""
    kinds = set()
    for kind, settings in layers:
        policy = settings.get("dtype")  # its name, or Keras's object of it, which of a quantised layer has a mode
        policy = policy["config"] if isinstance(policy, dict) else {"name": policy}
        if "mode" in policy:
            raise WeightsError(QUANTISED.format(f"{where} has {kind[:50]} in {policy['mode']!r:.50}"))
        kinds.add(policy.get("name"))
    return tuple(_ROUNDED.format(kind) for kind in _IN_16_BITS if kind in kinds)


def _model_name(config, where):
    """The claims of a configuration, found at `where`: the names of the model and of the models in it."""
    try:
        layers = [config, *config.get("config", {}).get("layers", ())]
        names = [layer["config"].get("name") for layer in layers if layer.get("class_name") in ("Functional", "Model")]
    except (KeyError, TypeError, AttributeError):
        return ()
    return tuple((where, name[:100]) for name in names if isinstance(name, str))


def _layers(config):
    """(class, settings) of each layer, in the model's order, those of models within in their place."""
    queue = [config]
    while queue:
        layer = queue.pop()
        settings = layer["config"]
        inner = settings if isinstance(settings, list) else settings.get("layers")  # a list: Keras before 2.2.3
        if layer["class_name"] in MODELS and inner is not None:
            queue += reversed(inner)
        else:
            yield layer["class_name"], settings


def _preparation(layers):
    """(card, notes, warnings) of what lies before the first layer with weights."""
    first = next((i for i, (kind, _) in enumerate(layers) if kind in _WEIGHTED), None)
    if first is None:
        return {}, (), ()
    before = [(kind, settings) for kind, settings in layers[:first] if not is_idle(kind)]
    odd = [kind for kind, _ in before if kind != "Rescaling"]
    if odd:
        return (
            {},
            (),
            (f"its configuration has a {odd[0][:50]} before its first layer, which is not followed: {_ASSUMED}",),
        )
    if not before:
        return (
            {},
            (),
            (f"its configuration has no Rescaling: nothing in it says how pictures are prepared; {_ASSUMED}",),
        )
    scale, offset = _composed([settings for _, settings in before])
    if np.allclose(scale, _USUAL[0], rtol=1e-6) and np.allclose(offset, _USUAL[1], rtol=1e-6):
        return {}, (), ()
    shown = " and ".join(f"Rescaling({_short(s['scale'])}, offset {_short(s.get('offset', 0))})" for _, s in before)
    recipe = _recipe(scale, offset)
    if recipe is None:
        return {}, (), (f"its configuration has {shown}, which no recipe can express: {_ASSUMED}",)
    note = f"pictures are prepared by its configuration's {shown}, not as Keras's own: the dump says so"
    return {"preprocess": recipe}, (note,), ()


def _composed(settings):
    """(scale, offset) of bytes, one or one a plane, of some Rescaling in a row."""
    scale, offset = np.ones(1), np.zeros(1)
    for rescaling in settings:
        factor, more = (_numbers(value) for value in (rescaling["scale"], rescaling.get("offset", 0)))
        scale, offset = scale * factor, offset * factor + more
    return scale, offset


def _numbers(value):
    """The numbers of a setting: of a number, a list, or Keras 3's serialised array."""
    if isinstance(value, dict):
        value = value["config"]["value"]
    return np.atleast_1d(np.asarray(value, np.float64))


def _short(value):
    return ", ".join(f"{n:.6g}" for n in _numbers(value).ravel()[:4])


def _recipe(scale, offset):
    """bytes * scale + offset as (bytes / 255 - mean) / std; None where that cannot be."""
    if scale.size not in (1, 3) or offset.size not in (1, 3) or not (np.isfinite(scale) & (scale > 0)).all():
        return None
    std = np.broadcast_to(1 / (255 * scale.ravel()), 3)
    mean = -offset.ravel() * std
    if not (np.isfinite(mean).all() and max(np.abs(mean).max(), std.max()) <= _LIMIT and std.min() >= 1 / _LIMIT):
        return None
    mean, std = (tuple(float(f"{n:.9g}") + 0.0 for n in values) for values in (mean, std))
    return Preprocess(f"keras, Rescaling({_short(scale)}, offset {_short(offset)})", mean=mean, std=std)


def _end(layers):
    """(notes, warnings) of the activation behind the classifier."""
    for kind, settings in reversed(layers):
        if kind in ("Softmax", "ReLU"):
            return end_notes("its configuration", kind.lower(), _classes(layers))
        activation = activation_name(settings.get("activation"))
        if activation not in _LINEAR:
            return end_notes("its configuration", activation, _classes(layers))
        if not is_idle(kind) and kind not in (*_SHAPES, "Activation"):
            break
    return (), ()


def _classes(layers):
    counts = [settings.get("units") or settings.get("filters") for kind, settings in layers if kind in _WEIGHTED[:4]]
    return next((count for count in reversed(counts) if isinstance(count, int)), 0)
