"""Sums over a plan: which parameters a file must hold, how many there are, how many multiply-adds they cost."""

import math
from typing import NamedTuple

from .steps import INPUT

_NOT_LEARNED = ("mean", "variance", "count")


def plan_param_shapes(plan):
    """The source's state dict as a plan wants it: ordered {name: shape}."""
    return {param.name: param.shape for step in plan for param in step.params}


def picture_channels(plan):
    """Channels of the picture that a plan takes: 3, or 1 for a network of gray pictures."""
    return plan[0].param("weight").canonical[1]


def step_macs(step):
    """Multiply-accumulates of one step, for one picture. Only convolutions and linear layers count."""
    weight = step.param("weight")
    if weight is None:
        return 0
    per_output = math.prod(weight.canonical[1:])  # of (O, I, KH, KW), (C, KH, KW) or (O, I)
    return per_output * math.prod(step.shape)


def step_learned(step):
    """Numbers of one step that training changes by gradient."""
    return sum(math.prod(param.shape) for param in step.params if param.role not in _NOT_LEARNED)


class Counts(NamedTuple):
    """What a network costs for one picture, and what its file holds."""

    macs: int  # of convolutions and linear layers, nothing else
    learned: int  # parameters that training changes by gradient
    entries: int  # numbers in the state dict, running statistics and counters included
    conv_biases: int  # outputs that get a convolution's bias
    linear_biases: int
    norm_elements: int  # outputs of batch norms
    pool_inputs: int
    pool_outputs: int

    def by_rule(self, rule):
        """Operations as a published figure counts them.

        "A": MACs, convolution biases, 2 per norm output, pooling inputs and outputs (thop before 0.1)
        "B": A and the linear biases (PaddleClas's documented figures)
        "C": MACs, 4 per norm output, pooling inputs and outputs (thop 0.1)
        """
        pools = self.pool_inputs + self.pool_outputs
        if rule == "C":
            return self.macs + 4 * self.norm_elements + pools
        a = self.macs + self.conv_biases + 2 * self.norm_elements + pools
        return a + (self.linear_biases if rule == "B" else 0)


def plan_counts(plan, source):
    """Count an unfolded plan's operations and parameters.

    Parameters
    ----------
    plan : tuple of Step
    source : Source, tells which poolings are modules that counters see, and which layers are convolutions

    Returns
    -------
    Counts
    """
    shapes = {INPUT: ()} | {step.name: step.shape for step in plan}
    pools = [s for s in plan if s.op == "global_avg_pool" and (s.name == "pool" or source.counts_se_pool)]
    biased = [(step, math.prod(step.shape)) for step in plan if step.param("bias")]
    return Counts(
        macs=sum(step_macs(step) for step in plan),
        learned=sum(map(step_learned, plan)),
        entries=sum(map(math.prod, plan_param_shapes(plan).values())),
        conv_biases=sum(n for step, n in biased if not is_linear(step)),
        linear_biases=sum(n for step, n in biased if is_linear(step)),
        norm_elements=sum(math.prod(step.shape) for step in plan if step.op == "batch_norm"),
        pool_inputs=sum(math.prod(shapes[step.inputs[0]]) for step in pools),
        pool_outputs=sum(math.prod(step.shape) for step in pools),
    )


def is_linear(step):
    """Whether a step is a linear layer in its source too, and not a 1x1 convolution on one pixel."""
    return step.op == "linear" and len(step.param("weight").shape) == 2


def matching_rule(published_mflops, counts):
    """The rule by which a published figure comes out to its printed digits, "MACs", "A", "B" or "C", or "" if none."""
    digits = len(str(published_mflops).partition(".")[2]) if "." in str(published_mflops) else 0
    for rule in ("MACs", "B", "A", "C"):
        count = counts.macs if rule == "MACs" else counts.by_rule(rule)
        if round(count / 1e6, digits) == round(published_mflops, digits):
            return rule
    return ""
