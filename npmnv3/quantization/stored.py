"""Which tensors of a folded plan an engine stores: only these are rounded to a grid.

A layer keeps its sum in 32 bits until what is fused into it is done, so a relu costs nothing of its own. The rest is a
matter of the scheme: TensorFlow Lite has hard-swish as one operation and a gate as two; ONNX Runtime the reverse.
"""

import difflib
from dataclasses import dataclass

from ..errors import UsageError
from ..network.lowering import OWN_GATE
from ..network.steps import INPUT
from ..network.walk import readers

#: Operations that take a relu behind them into themselves.
FUSING = ("conv2d", "depthwise_conv2d", "pointwise_conv2d", "linear", "add", "mul", "batch_norm")


@dataclass(frozen=True)
class Stored:
    """A tensor that is stored.

    name : str, of the step that gives it; of a hard-swish's own gate that name and ".hard_sigmoid"
    step : str, the step in whose run it is stored
    form : str, what is stored: "" the step's output; "relu6" 6 times the gate that the step's output becomes (which is
        the step's sum + 3 cut at 0 and 6); "gate" the hard-sigmoid inside a hard-swish
    like : str, the stored tensor whose grid it has, "" if it has its own
    """

    name: str
    step: str
    form: str = ""
    like: str = ""


def stored_tensors(plan, scheme):
    """The tensors of a folded plan that are stored, in order.

    Parameters
    ----------
    plan : tuple of Step, without batch norms
    scheme : Scheme

    Returns
    -------
    tuple of Stored, the input first
    """
    users, found, home = readers(plan), [Stored(INPUT, INPUT)], {INPUT: INPUT}
    for step in plan:
        only = users[step.name][0].op if len(users[step.name]) == 1 else ""
        if step.op == "identity":
            home[step.name] = home[step.inputs[0]]
            continue
        home[step.name] = step.name
        if only == "relu" and step.op in FUSING:
            continue
        if step.op == "hard_swish" and scheme.open_hard_swish:
            found.append(Stored(step.name + OWN_GATE, step.name, "gate"))
        form = "relu6" if only == "hard_sigmoid" and scheme.gate_in_layer and step.param("weight") else ""
        like = home[step.inputs[0]] if step.op == "max_pool2d" else ""
        found.append(Stored(step.name, step.name, form, like))
    return tuple(found)


def every_tensor(plan):
    """The input and all steps' tensors as stored ones, but those that only rename: of formats that fuse nothing."""
    steps = tuple(Stored(step.name, step.name) for step in plan if step.op != "identity")
    return (Stored(INPUT, INPUT), *steps)


def named_parts(names, stored, argument="wide"):
    """The stored tensors that parts of a network name: `stem` is stem and stem.conv.

    Parameters
    ----------
    names : sequence of str, of steps or of parts
    stored : tuple of Stored
    argument : str, for the message

    Returns
    -------
    tuple of str, in order of execution

    Raises
    ------
    UsageError
        A name that no stored tensor has; the message lists the nearest.
    """
    every = [tensor.name for tensor in stored]
    chosen = set()
    for name in names:
        hits = [one for one in every if one == name or one.startswith(f"{name}.")]
        if not name or not hits:
            parts = {".".join(one.split(".")[:n]) for one in every for n in (1, 2, 3)} - {"blocks"} | set(every)
            near = difflib.get_close_matches(str(name), sorted(parts), n=4, cutoff=0.3) or every[:4]
            raise UsageError(f"`{argument}={name}`: no stored tensor is called {name!r}; nearest: {', '.join(near)}")
        chosen.update(hits)
    return tuple(one for one in every if one in chosen)


def part_of(name):
    """The part of the network that a tensor belongs to: `stem`, `blocks.3`, `last`."""
    words = name.split(".")
    return ".".join(words[:2]) if words[0] == "blocks" else words[0]
