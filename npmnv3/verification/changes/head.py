"""Changes of the head, of the factor before the classifier, and of the classes' order."""

from dataclasses import replace

from ...network.steps import Step
from ..net import block_of
from .edits import ACTIVATIONS, edited, without


def pool_before_last(net, where):
    """Pool first, then the last 1x1 convolution on the pooled channels."""
    if not where("pool") or "max_pool" in net.steps:
        return None
    pool, last = net.steps["pool"], [s for s in net.plan if block_of(s.name) == "last"]
    if not last:
        return None
    early = replace(pool, inputs=last[0].inputs)
    moved = [replace(s, op="linear" if s.op == "pointwise_conv2d" else s.op) for s in last]
    moved[0] = replace(moved[0], inputs=("pool",))
    plan = [s for s in net.plan if block_of(s.name) not in ("last", "pool")]
    after = next((i for i, s in enumerate(plan) if "pool" in s.inputs), None)
    if after is None:
        return None
    plan = (
        plan[:after]
        + [early, *moved]
        + [replace(s, inputs=tuple("last" if i == "pool" else i for i in s.inputs)) for s in plan[after:]]
    )
    return replace(net, plan=tuple(plan))


def pool_after_head(net, where):
    """The head convolution on the full map, pooled after its activation."""
    pool, head = net.steps.get("pool"), [s for s in net.plan if block_of(s.name) == "head" and s.op != "scale"]
    if pool is None or not head or not where("pool"):
        return None
    moved = [replace(s, op="pointwise_conv2d" if s.op == "linear" else s.op) for s in head]
    moved[0] = replace(moved[0], inputs=pool.inputs)
    late = replace(pool, inputs=(moved[-1].name,))
    plan = []
    for step in net.plan:
        if step.name == "pool" or step in head[:-1]:
            continue
        if step is head[-1]:
            plan += [*moved, late]
        else:
            plan.append(replace(step, inputs=tuple("pool" if i == head[-1].name else i for i in step.inputs)))
    return replace(net, plan=tuple(plan))


def head_act_moved(net, where):
    """The activation on the pooled channels, before the head's layer instead of after it."""
    layer, act = net.steps.get("head.fc"), net.steps.get("head")
    if layer is None or act is None or act.op not in ACTIVATIONS or not where("head"):
        return None
    early = Step("head.early", act.op, layer.inputs, ())
    return net.edit({"head.fc": [early, replace(layer, inputs=("head.early",))], "head": replace(act, op="identity")})


def head_act_in_pool(net, where):
    """The same for a port that gives only what the layer reads, which was taken for the pooled channels."""
    if head_act_moved(net, where) is None or net.steps["head.fc"].inputs != ("pool",):
        return None
    pool, act = replace(net.steps["pool"], name="head.pool"), net.steps["head"]
    return net.edit({"pool": [pool, Step("pool", act.op, (pool.name,), ())], "head": replace(act, op="identity")})


def head_without_bias(net, where):
    """The head's layer without bias."""
    steps = [s for s in net.plan if block_of(s.name) == "head" and s.op == "linear" and s.param("bias")]
    return edited(net, {s.name: without(s, "bias") for s in steps if where("head")})


def head_without_norm(net, where):
    """The head's layer without its norm."""
    steps = [s for s in net.plan if block_of(s.name) == "head" and s.op == "batch_norm"]
    return edited(net, {s.name: replace(s, op="identity", params=()) for s in steps if where("head")})


def head_act_before_norm(net, where):
    norm, act = net.steps.get("head.norm"), net.steps.get("head")
    if norm is None or act is None or not where("head"):
        return None
    early, late = replace(act, name="head.norm", inputs=norm.inputs), replace(norm, name="head", inputs=act.inputs)
    return net.edit({"head.norm": early, "head": late})


def no_classifier_bias(net, where):
    logits = net.steps["logits"]
    return net.edit({"logits": without(logits, "bias")}) if where("logits") and logits.param("bias") else None


def gained(factor, after):
    """A factor on what the classifier gets, in place of the one there is; or on the logits."""

    def apply(net, where):
        own, logits = net.steps.get("head.gain"), net.steps["logits"]
        if not (where("head") or where("logits")) or logits.op != "linear":
            return None
        if after:
            scaled = Step("logits", "scale", ("logits.unscaled",), (), factor=factor)
            return net.edit({"logits": [replace(logits, name="logits.unscaled"), scaled]})
        if own is not None:
            return None if own.factor == factor else net.edit({"head.gain": replace(own, factor=factor)})
        if factor == 1.0:
            return None
        gain = Step("head.gain", "scale", logits.inputs, (), factor=factor)
        return net.edit({"logits": [gain, replace(logits, inputs=("head.gain",))]})

    return apply


def pooled(side, parts):
    """The mean over a fixed square of pixels, as at another size of the input.

    side : function (net, (C, H, W) of what is pooled) -> pixels
    parts : function (step's name) -> bool
    """

    def apply(net, where):
        edits = {}
        for step in net.plan:
            if step.op == "global_avg_pool" and where(step.name) and parts(step.name):
                shape = net.steps[step.inputs[0]].shape
                kernel = side(net, shape)
                if (shape[1], shape[2]) != (kernel, kernel):
                    edits[step.name] = replace(step, op="pool_window", kernel=kernel)
        return edited(net, edits)

    return apply


def half_sums(net, where):
    """Everything in float16, sums included."""
    return None if net.half else replace(net, half=True)


def reordered(op, by=0):
    """Logits in another order, or as something else."""

    def apply(net, where):
        logits = net.steps["logits"]
        if logits.op != "linear" or not where("logits"):
            return None
        changed = Step("logits", op, ("logits.unshifted",), (), factor=by)
        return net.edit({"logits": [replace(logits, name="logits.unshifted"), changed]})

    return apply
