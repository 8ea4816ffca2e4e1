"""Where the activations of whole modules stand, beside where the plan has its own.

What a class runs is in its code, which is not in the file. Torch's, torchvision's and timm's classes listed here run what
they hold, so their places are compared; of other classes only the number of activations is (`settings`).
"""

import collections

from ..formats.modules import AROUND, BESIDE
from .fit import listed

KINDS = {  # classes by their name in small letters, as a plan calls what they do
    "relu": "relu",
    "hardswish": "hard_swish",
    "hswish": "hard_swish",
    "hardsigmoid": "hard_sigmoid",
    "hsigmoid": "hard_sigmoid",
}
# Activations, norms and pools that no network here has. One sigmoid may stand behind the logits.
OTHERS = frozenset(
    "silu swish gelu gelutanh quickgelu mish hardmish leakyrelu rrelu relu6 elu celu selu prelu glu softplus softsign "
    "softshrink hardshrink threshold tanh hardtanh tanhshrink sigmoid logsigmoid layernorm groupnorm instancenorm2d "
    "localresponsenorm adaptivemaxpool2d adaptiveavgmaxpool2d fastadaptivemaxpool".split()
)
TAIL = ("sigmoid", "softmax", "logsoftmax")  # may stand behind the logits
# Classes that run all that they hold, one after another.
_SEQUENCES = frozenset(
    "Sequential ConvNormActivation Conv2dNormActivation ConvBNActivation ConvBNReLU BatchNormAct2d ConvBnAct ConvReLU2d".split()
)
# Classes that run the activations that they hold, and maybe others that are no modules.
_BLOCKS = frozenset("InvertedResidual DepthwiseSeparableConv SqueezeExcitation SqueezeExcite MobileNetV3".split())
_WRAPPERS = frozenset("DataParallel DistributedDataParallel OptimizedModule RecursiveScriptModule".split())
_HAS_OWN = ("BatchNormAct2d",)  # norms that hold the activation behind them
_NO_ACTIVATION = (
    "identity dropout droppath stochasticdepth flatten batchnorm frozenbatchnorm conv linear quant dequant zeropad"
).split()
_UNKNOWN = "?"
_LAYER = "a layer"


def unknown_code(names, modules, prefix):
    """Notes on the classes around the layers whose code, which is not in the file, may compute more than their modules,
    and on modules beside the network."""
    layers = {name.rpartition(".")[0] for name in names.values()}
    around = {above for name in layers for above in _above(name)} | {name for name in modules if name[:1] == AROUND}
    unknown = sorted({_class(modules, name) for name in around} - _SEQUENCES - _BLOCKS - _WRAPPERS - {""})
    others = {
        _class(modules, name)
        for name in modules.keys() - around - layers
        if name[:1] == BESIDE or not name.startswith(prefix)
    }
    beside = sorted(name for name in others - _SEQUENCES if not name.lower().startswith(tuple(_NO_ACTIVATION)))
    return [f"what {listed(unknown)} may compute beside their modules is not told: not compared"] * bool(unknown) + [
        f"beside the network the modules have {listed(beside)}: not compared"
    ] * bool(beside)


def kind_of(settings):
    """What the class of a module does, "" where it is no activation; timm has some classes twice, for speed and memory."""
    name = settings["class"].replace("_", "").lower()
    for kind in (name, name.removesuffix("jit"), name.removesuffix("me")):
        if kind in KINDS or kind in OTHERS or kind in TAIL:
            return KINDS.get(kind, kind)
    return ""


def activations_in(modules):
    """{dotted name: what it does} of activations, without those that others are made of."""
    kinds = {name: kind for name, settings in modules.items() if (kind := kind_of(settings))}
    return {name: kind for name, kind in kinds.items() if not any(above in kinds for above in _above(name))}


def place_differences(plan, names, modules, classifier):
    """(sentences on the places that differ, notes on those that cannot be compared).

    names : {parameter's name in the plan: its name in the file}
    modules : {dotted name: settings}, in the order in which they were registered
    classifier : str, dotted name of the last layer
    """
    expected = _expected(plan, names, modules)
    at_place = collections.defaultdict(list)
    for name, kind in _layers_and_activations(
        modules, {value.rpartition(".")[0] for value in names.values()}, expected
    ):
        if kind == _LAYER:
            at_place[_place(modules, name)].append((name, kind))
        elif not (kind in TAIL and _follows(name, classifier, modules)):
            at_place[next((above for above in _above(name) if above in expected), None)].append((name, kind))
    wrong, open_ones = [], []
    for place, ops in expected.items():
        difference = _place_difference(place, ops, at_place[place], modules)
        if difference is None:
            open_ones.append(place or "the outermost module")
        elif difference:
            wrong.append(difference)
    notes = [
        f"what follows the layers of {listed(open_ones)} is not told by modules, or by unknown ones: taken for the network's"
    ]
    return [f"activations differ: {listed(wrong)}"] * bool(wrong), notes * bool(open_ones)


def _place_difference(place, expected, activations, modules):
    """What differs at a place, "" where nothing does, None where modules do not show it."""
    class_name = _class(modules, place)
    in_order = [kind for _, kind in activations]
    if in_order == expected or class_name not in _SEQUENCES | _BLOCKS:
        return ""
    kinds, ops = ([kind for kind in row if kind != _LAYER] for row in (in_order, expected))
    if kinds == ops:
        difference = f"{place or 'the outermost module'} has {_row(in_order)}, expected {_row(expected)}"
        return "" if class_name in _BLOCKS else difference
    if _UNKNOWN in kinds:
        return None
    missing = collections.Counter(ops) - collections.Counter(kinds)
    unexpected = collections.Counter(kinds) - collections.Counter(ops)
    if class_name in _BLOCKS:
        empty = any(
            inner.rpartition(".")[0] == place and _is_empty_act(inner, settings) for inner, settings in modules.items()
        )
        if "relu6" in unexpected or not unexpected and missing and not (empty and "hard_sigmoid" not in missing):
            return None
        if not unexpected and not missing:  # in another order, which the class's code decides
            return None
    where = ", ".join(f"{name} is {modules[name]['class']}" for name, kind in activations if kind in unexpected)
    have = where or f"{place or 'the outermost module'} has {_row(kinds)}"
    return f"{have}, expected {_row(ops)}"


def _row(kinds):
    return " and ".join(kinds) if kinds else "no activation"


def _is_empty_act(name, settings):
    """Whether something that does nothing stands where, by its name, an activation stood."""
    return settings["class"] == "Identity" and "act" in name.rpartition(".")[2]


def _expected(plan, names, modules):
    """{module that holds layers: its layers and the plan's activations after them, in order}"""
    places, of_step = {}, {}
    for step in plan:
        before = of_step.get(step.inputs[0])
        if step.params:
            before = _place(modules, names.get(step.params[0].name, "").rpartition(".")[0])
            places.setdefault(before, []).append(_LAYER)
        elif step.op in KINDS.values() and before is not None:
            places[before].append(step.op)
        of_step[step.name] = before
    return places


def _place(modules, layer):
    """The module that holds a layer's activation: the layer itself, for classes that have one, else the module around it."""
    return layer if _class(modules, layer) in _HAS_OWN else layer.rpartition(".")[0]


def _layers_and_activations(modules, layers, places):
    """(name, kind) of each layer, of each activation and of what may be one, in order."""
    known = activations_in(modules)
    for name, settings in modules.items():
        if name in layers:
            yield name, _LAYER
        between = [above for above in _above(name) if not any(above == p or p.startswith(f"{above}.") for p in places)]
        strange = [above for above in between if above and _class(modules, above) not in _SEQUENCES | _BLOCKS]
        if name in known:
            yield name, _UNKNOWN if strange else known[name]
        elif _may_be_one(name, settings, modules, layers) and not any(above in known for above in _above(name)):
            yield name, _UNKNOWN


def _may_be_one(name, settings, modules, layers):
    """Whether a module, without parameters and submodules, is of an unknown class, which may be an activation's."""
    lower = settings["class"].replace("_", "").lower()
    if not name or name in layers or "pool" in lower or lower.startswith(tuple(_NO_ACTIVATION)) or kind_of(settings):
        return False
    return settings["class"] not in _SEQUENCES | _BLOCKS and not any(other.startswith(f"{name}.") for other in modules)


def _follows(name, classifier, modules):
    order = list(modules)
    return classifier in modules and order.index(name) > order.index(classifier)


def _class(modules, name):
    return modules.get(name, {}).get("class", "").removeprefix("Quantizable")


def _above(name):
    """`a.b.c` -> a.b, a, and the outermost, which has no name."""
    while name:
        name = name.rpartition(".")[0]
        yield name
