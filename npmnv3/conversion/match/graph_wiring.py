"""What a graph's layers read, and what its sums and products join: skip paths and gates, which no layer's own numbers tell.

A value goes by the number of the layer with weights that it comes from, the latest one where several were joined.
"""

import collections

from .fit import layers_of
from .graph_places import is_weighted

_OPS = {"Sum": "Add"}  # another name of the same
_JOINS = {"add": "Add", "mul": "Mul"}  # a plan's operations of two values


def wiring_faults(plan, layers):
    """Sentences on what a graph connects otherwise than a network; none where the graph's own order is all that is known.

    Parameters
    ----------
    plan : tuple of Step, with as many layers with weights as the graph
    layers : sequence of formats.record.Layer
    """
    if any(layer.inputs is None for layer in layers):
        return []
    names = [step.name for step in layers_of(plan)]
    reads, joins = _trace((layer.inputs, is_weighted(layer), _OPS.get(layer.op, layer.op)) for layer in layers)
    places = {step.name: i for i, step in enumerate(plan)}
    wanted_reads, wanted = _trace(
        (
            [places[name] for name in step.inputs if name in places],
            bool(step.param("weight")),
            _JOINS.get(step.op, step.op),
        )
        for step in plan
    )
    told = [*names, "the input"]  # which is -1
    faults = [
        f"{name} reads what {told[found]} gives, expected {told[expected]}"
        for name, found, expected in zip(names, reads, wanted_reads)
        if found != expected
    ]
    for join, what in ((wanted - joins, "no {} of {} and {}"), (joins - wanted, "{} of {} and {}, expected none")):
        faults += [what.format(op, names[a], names[b]) for op, a, b in join.elements()]
    return faults


def _trace(nodes):
    """(what each layer with weights reads, Counter of (operation, number, number) of what is joined).

    Parameters
    ----------
    nodes : iterable of (places of the nodes that it reads, whether it has weights, its operation)
    """
    values, reads, joins = [], [], collections.Counter()
    for inputs, weighted, op in nodes:
        found = sorted({values[place] for place in inputs if values[place] is not None})
        if weighted:
            reads.append(found[-1] if found else -1)
            values.append(len(reads) - 1)
            continue
        if len(found) > 1:
            joins[op, found[0], found[-1]] += 1
        values.append(found[-1] if found else None)
    return reads, joins
