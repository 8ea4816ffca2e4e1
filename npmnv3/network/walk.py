"""The one way through a plan: step after step, each tensor dropped when nothing needs it any more.

Every engine, trace, simulation and comparison stands on `walk`; they differ in what a step does (`run`) and in what
they do with its tensor before the next one.
"""

import functools

from .steps import INPUT, OPS


@functools.lru_cache(maxsize=64)
def last_uses(plan):
    """For each step of a plan, the names of its inputs that no later step reads: a tuple of tuples."""
    last = {name: index for index, step in enumerate(plan) for name in step.inputs}
    return tuple(
        tuple(name for name in dict.fromkeys(step.inputs) if last[name] == index) for index, step in enumerate(plan)
    )


def readers(plan):
    """{name of the input or of a step: the steps that read its tensor, in order}."""
    found = {name: [] for name in (INPUT, *(step.name for step in plan))}
    for step in plan:
        for name in dict.fromkeys(step.inputs):
            found[name].append(step)
    return found


def walk(plan, values, run, keep=frozenset()):
    """Run a plan, and stop after each step.

    Parameters
    ----------
    plan : tuple of Step
    values : dict {name: tensor} that holds the plan's inputs; each step's tensor is put into it, and taken out after
        its last use
    run : callable (step, list of its inputs' tensors) -> its tensor
    keep : names of the tensors that stay; what no step reads, such as the logits, always does

    Yields
    ------
    Step, when its tensor is in `values`. Whoever walks may put another one there: later steps then read that.

    Example
    -------
        values = {"input": x}
        for step in walk(plan, values, lambda step, inputs: apply(step, inputs, arrays, definitions)):
            print(step.name, values[step.name].shape)
    """
    for step, done in zip(plan, last_uses(plan)):
        values[step.name] = run(step, [values[name] for name in step.inputs])
        yield step
        for name in done:
            if name not in keep:
                del values[name]


def apply(step, inputs, arrays, operations):
    """Run one step.

    Parameters
    ----------
    step : Step
    inputs : sequence of arrays, one for each of `step.inputs`, with the batch axis
    arrays : {parameter's name: array}, in the operations' own layout (`Param.to_canonical`) and the inputs' dtype
    operations : what has the operations' functions by their names: `ops.definitions` or `ops.loops`

    Returns
    -------
    (N, *step.shape), dtype of the inputs
    """
    roles, fields = OPS[step.op]
    params = [arrays[param.name] for role in roles if (param := step.param(role))]
    return getattr(operations, step.op)(*inputs, *params, **{name: getattr(step, name) for name in fields})
