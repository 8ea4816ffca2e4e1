"""What the names of a port's tensors tell: our own, the sources' modules, and what everybody says."""

import re

from ..errors import UsageError
from ..network.steps import INPUT
from .net import PROBABILITIES


def _keys(net):
    """{a name without what writers change: step's name}: our own, the sources' modules, and what everybody says."""
    by_key = {_key(name): name for name in (INPUT, *net.steps)}
    for step in net.plan:  # the module whose weight it is, under the source's own name
        weight = step.param("weight") or step.param("gamma")
        if weight:
            by_key.setdefault(
                _key(re.sub(r"([./](weight|kernel|depthwise_kernel|gamma))?(:0)?$", "", weight.name)), step.name
            )
    for alias, name in (("output", "logits"), ("data", INPUT), ("x", INPUT), ("softmax", PROBABILITIES)):
        by_key.setdefault(alias, name)
    return by_key


def named_steps(net, tensors):
    """{port tensor's name: step's name}, as far as names tell."""
    by_key = _keys(net)
    return {t.name: by_key[_key(t.name)] for t in tensors if _key(t.name) in by_key}


def by_name(net, tensors, given):
    """{step's name: (PortTensor, "map" or "name")}, as far as names and the given map tell."""
    steps, by_key = net.steps, _keys(net)
    found, known = {}, {t.name for t in tensors}
    for name, step in given.items():
        if name not in known:
            raise UsageError(f"the map names the tensor {name!r}, which the port does not have; it has {_some(known)}")
        if step is not None and step != INPUT and step not in steps:
            raise UsageError(
                f"the map gives {name!r} the step {step!r}, which the network does not have; it has {_some(steps)}"
            )
    for tensor in tensors:
        if tensor.name in given:
            if given[tensor.name] is not None:
                found[given[tensor.name]] = (tensor, "map")
        elif (step := by_key.get(_key(tensor.name))) is not None and found.get(step, ("", ""))[1] != "map":
            found.setdefault(step, (tensor, "name"))
    return found


def _key(name):
    """A name without what writers change: case, and what stands between the words."""
    return re.sub(r"[^a-z0-9]+", ".", name.lower()).strip(".")


def _some(names):
    names = sorted(names)
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
