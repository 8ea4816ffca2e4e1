"""The classifier in other places than the source's: a sequence in place of the last layer, a layer of somebody's own
module, one linear layer on the pooled channels."""

from typing import NamedTuple

from ...network.counts import plan_param_shapes
from ...network.forms import form_in
from ...network.plan import classifier_part, make_plan


class Linear(NamedTuple):
    """A linear layer in a file: its entries' names and its sizes."""

    module: str
    weight: str
    bias: str
    in_features: int
    out_features: int


def find_classifier(variant, inside, outside):
    """(Variant, {name here: name in the plan}): the form of the network, and the entries that are its classifier, where
    they have other names than the plan's.

    variant : Variant, with the names and layout of the naming that is tried
    inside : {name: array}, of the module that the network is in, under the names within it
    outside : {full name: array}, of the rest of the file
    """
    published = form_in(variant, {name: array.shape for name, array in inside.items()})
    name = variant.source.param_name
    if name(classifier_part(published), None, "weight") in inside or not variant.source.head_stored_as:
        return published, {}
    head = name("head", None, "weight")
    has_head = head in inside and not _is_alone(variant, inside, head)
    form = published if has_head else published._replace(head=0)
    trunk = plan_param_shapes(make_plan(form))
    linear = _linears(variant, {name: array for name, array in inside.items() if name not in trunk})
    linear = [layer for layer in linear if not form.head or _may_follow(name, layer)] + _linears(variant, outside)
    fitting = [layer for layer in linear if layer.in_features == (form.head or form.last)]
    if len(fitting) != 1:
        return published, {}
    part = classifier_part(form)
    renames = {fitting[0].weight: name(part, None, "weight"), fitting[0].bias: name(part, None, "bias")}
    return form, {here: there for here, there in renames.items() if here}


def _is_alone(variant, inside, head):
    """Whether what is in the hidden layer's place is the classifier itself, a sequence of one. As wide as the published
    hidden layer, it is that one, and the classifier is missing."""
    if variant.source.head_stored_as != "linear" or inside[head].shape[0] == variant.head:
        return False
    trunk = plan_param_shapes(make_plan(variant._replace(head=0)))
    linear = _linears(variant, {name: array for name, array in inside.items() if name not in trunk})
    return [(layer.weight, layer.in_features) for layer in linear] == [(head, variant.last)]


def _may_follow(name, layer):
    """Whether nothing unknown lies between the hidden layer and this one: not where both are in one sequence of others."""
    module = name("classifier", None, "weight").rpartition(".")[0]
    sequence = name("head", None, "weight").partition(".")[0]
    if not module.startswith(f"{sequence}."):
        return True
    return layer.module.startswith(f"{module}.") or not layer.module.startswith(f"{sequence}.")


def _linears(variant, arrays):
    """The linear layers among entries: weights of two axes, or of 1x1 convolutions."""
    layers = []
    for name, array in arrays.items():
        module, slash, last = name.rpartition("/" if "/" in name else ".")
        role, colon, number = last.partition(":")  # Keras 2 has kernel:0
        shape = array.shape
        if role not in ("weight", "kernel") or len(shape) not in (2, 4):
            continue
        if len(shape) == 4:
            one, shape = (shape[:2], shape[2:]) if variant.source.layout == "keras" else (shape[2:], shape[:2])
            if one != (1, 1):
                continue
        torch = variant.source.layout == "torch" or (variant.source.layout == "paddle" and len(array.shape) == 4)
        out_features, in_features = shape if torch else shape[::-1]
        bias = f"{module}{slash}bias{colon}{number}"
        has_bias = bias in arrays and arrays[bias].shape == (out_features,)
        layers.append(Linear(module, name, bias if has_bias else "", in_features, out_features))
    return layers
