"""Which neighbours are done together: a depthwise convolution, what makes its input, and what projects its output."""


def done_together(layers, readers, tensors):
    """The layers from the first on that are best done together: expand, depthwise, project, or parts of that.

    Parameters
    ----------
    layers : sequence of Layer, those that are still to be done
    readers : Counter {tensor's name: number of layers that read it}
    tensors : names of the tensors that are in memory

    Returns
    -------
    list of Layer, at least the first
    """
    first, after = layers[0], layers[1:]
    group = [first]
    makes = first.op in ("pointwise", "conv") and not first.add and not first.gate
    if makes and after and after[0].op == "depthwise" and after[0].inputs == (first.name,):
        in_ring = first.op == "conv" and len(after) > 1 and after[1].add == first.name
        in_ring = in_ring and _projects(*after[:2], readers)
        if readers[first.name] == (2 if in_ring else 1):
            group.append(after[0])
    rest = layers[len(group) :]
    ready = rest and (not rest[0].add or rest[0].add in (*tensors, first.name))
    if ready and _projects(group[-1], rest[0], readers):
        group.append(rest[0])
    return group


def _projects(layer, after, readers):
    """Whether `after` is a pointwise layer that alone reads a depthwise one, with nothing between."""
    alone = layer.op == "depthwise" and not layer.pool and readers[layer.name] == 1
    return alone and after.op == "pointwise" and after.inputs == (layer.name,) and not after.gate


def roles(group):
    """(producer or None, depthwise, projection or None) of layers that are done together."""
    at = next(index for index, layer in enumerate(group) if layer.op == "depthwise")
    return (group[0] if at else None), group[at], (group[at + 1] if len(group) > at + 1 else None)
