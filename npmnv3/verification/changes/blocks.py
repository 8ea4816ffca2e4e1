"""Changes of what joins blocks: additions, skip paths, and activations behind them."""

from dataclasses import replace

from ...network.steps import INPUT, Step
from ..net import block_of
from .edits import ACTIVATIONS, edited, is_main


def drop_residual(kind):
    def apply(net, where):
        steps = [s for s in net.plan if s.op == "add" and where(s.name) and kind(net, s)]
        return edited(net, {s.name: replace(s, op="identity", inputs=s.inputs[:1]) for s in steps})

    return apply


def plain_skip(net, step):
    return ".shortcut" not in step.inputs[1]


def projected_skip(net, step):
    return ".shortcut" in step.inputs[1]


def add_residual(net, where):
    """An addition where the shape would allow one and there is none."""
    edits = {}
    for step in net.plan:
        if step.op == "identity" and where(step.name) and step.name == block_of(step.name):
            first = next(s for s in net.plan if block_of(s.name) == step.name)
            source = first.inputs[0]
            if source != INPUT and net.steps[source].shape == step.shape:
                edits[step.name] = replace(step, op="add", inputs=(step.inputs[0], source))
    return edited(net, edits)


def _block_act(net, block):
    return next(
        (s.op for s in net.plan if s.op in ACTIVATIONS and block_of(s.name) == block and is_main(s.name)), "relu"
    )


def act_after_add(act, additions_only):
    """An activation on what a block gives."""

    def apply(net, where):
        edits = {}
        for step in net.plan:
            if step.name != block_of(step.name) or step.op not in (("add",) if additions_only else ("add", "identity")):
                continue
            if step.name.startswith("blocks.") and where(step.name):
                late = Step(step.name, act or _block_act(net, step.name), (f"{step.name}.sum",), ())
                edits[step.name] = [replace(step, name=f"{step.name}.sum"), late]
        return edited(net, edits)

    return apply


def act_on_projection(act):
    """An activation on what a block projects to, which has none; `act` "" is the block's own."""

    def apply(net, where):
        edits = {}
        for step in [s for s in net.plan if s.name == f"{block_of(s.name)}.project" and where(s.name)]:
            bare = replace(step, name=f"{step.name}.linear")
            edits[step.name] = [bare, Step(step.name, act or _block_act(net, block_of(step.name)), (bare.name,), ())]
        return edited(net, edits)

    return apply


def no_act_after_add(net, where):
    steps = [s for s in net.plan if s.op in ACTIVATIONS and s.inputs[0].endswith(".add") and where(s.name)]
    return edited(net, {s.name: replace(s, op="identity") for s in steps})


def act_before_add(net, where):
    """sqlai's activation on the projection instead of on the sum."""
    edits = {}
    for step in [s for s in net.plan if s.op in ACTIVATIONS and s.inputs[0].endswith(".add") and where(s.name)]:
        total = net.steps[step.inputs[0]]
        early = Step(f"{total.name}.early", step.op, total.inputs[:1], ())
        edits[total.name] = [early, replace(total, inputs=(early.name, *total.inputs[1:]))]
        edits[step.name] = replace(step, op="identity")
    return edited(net, edits)
