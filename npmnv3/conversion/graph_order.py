"""One order of a graph's nodes, by what they read: any topological order is a valid file, and optimisers move nodes.

The nodes with weights come by depth-first search from the output, the deeper path into a join before the other one: a
block's own layers before its shortcut. Every other node follows the last of them that it depends on, but padding stands
before the layer that it is for. No two layers of a network here trade places then.
"""

from dataclasses import replace

WEIGHTED = ("Conv", "Gemm", "MatMul")  # operations of a `record.Layer` with weights
_PADS = ("Pad", "pad2d")


def canonical_order(reads, weighted, pads):
    """The places of a graph's nodes in that order.

    Parameters
    ----------
    reads : sequence of the places of the nodes that each one reads, all of them before its own
    weighted, pads : sequences of bool, which of the nodes have weights, and which pad
    """
    depths = []
    for sources, heavy in zip(reads, weighted, strict=True):
        depths.append(max((depths[place] for place in sources), default=0) + bool(heavy))
    walk = _depth_first(reads, depths)
    behind = _last_layers(walk, reads, weighted, pads)
    return sorted(walk, key=lambda place: (behind[place], not weighted[place]))


def in_canonical_order(layers):
    """The same `record.Layer`s in that order."""
    order = _order([layer.inputs for layer in layers], [layer.op for layer in layers], WEIGHTED)
    moved = {place: i for i, place in enumerate(order)}
    return tuple(replace(layers[i], inputs=tuple(moved[place] for place in layers[i].inputs)) for i in order)


def steps_in_canonical_order(steps, weighted_ops):
    """The same steps, of a plan or a quantised graph, in that order."""
    places, reads = {}, []
    for i, step in enumerate(steps):
        reads.append([places[name] for name in step.inputs if name in places])
        places.setdefault(step.name, i)
    return tuple(steps[place] for place in _order(reads, [step.op for step in steps], weighted_ops))


def _order(reads, ops, weighted_ops):
    return canonical_order(reads, [op in weighted_ops for op in ops], [op in _PADS for op in ops])


def _depth_first(reads, depths):
    """Every node behind all that it reads; of two paths the one with more layers first, then the first to be read.

    Of several ends the nearest to the input comes first: what leads nowhere stands where it branches off.
    """
    inner = {place for sources in reads for place in sources}
    ends = [place for place in range(len(reads)) if place not in inner]
    stack = [(place, False) for place in sorted(reversed(ends), key=depths.__getitem__, reverse=True)]
    walk, seen = [], set()
    while stack:
        place, done = stack.pop()
        if done:
            walk.append(place)
        elif place not in seen:
            seen.add(place)
            stack.append((place, True))
            stack += [(source, False) for source in sorted(reversed(reads[place]), key=depths.__getitem__)]
    return walk


def _last_layers(walk, reads, weighted, pads):
    """{node: number of the layer with weights that it is or that it follows}, -1 before the first.

    Padding, and what depends on no layer, such as arithmetic on sizes, stands right before what reads it.
    """
    numbers, count = {}, 0
    for place in walk:
        numbers[place] = count if weighted[place] else max((numbers[source] for source in reads[place]), default=-1)
        count += bool(weighted[place])
    late = {place for place in walk if numbers[place] < 0 or pads[place]}
    before = {}
    for place in reversed(walk):
        if place in late:
            numbers[place] = before.get(place, numbers[place])
        for source in reads[place]:
            before[source] = min(before.get(source, count), numbers[place] - bool(weighted[place]))
    return numbers
