"""The windows of a graph's pools, beside a plan for pictures of the size that the graph takes."""

from .fit import layers_of


def window_faults(plan, places):
    """Sentences on pools whose window is another than the network's.

    Parameters
    ----------
    plan : tuple of Step, with as many layers with weights as the graph
    places : their Places
    """
    pools = _pools(plan)
    pairs = (
        (pools.get((s.name, layer.op)), layer) for s, place in zip(layers_of(plan), places) for layer in place.after
    )
    return [fault for pool, layer in pairs if pool and (fault := _fault(*pool, layer))]


def _fault(step, sides, layer):
    """A sentence on a pool beside the network's, which takes a map of these sides, or ""."""
    window, strides = layer.attributes.get("kernel_shape"), layer.attributes.get("strides", (1, 1))
    if not window:
        return ""
    whole = step.op == "global_avg_pool"
    expected = sides if whole else (step.kernel, step.kernel)
    padded = any(layer.attributes.get("pads", ())) or _is_padded(layer, sides, window, strides)
    if window == expected and not padded and (whole or strides == step.stride):
        return ""
    steps = "" if whole else f" by steps of {_by(strides)}"
    taken = f"{_by(window)} pixels of {_by(sides)}{steps}{', padded' * padded}"
    return f"{layer.op} {layer.name[:80]!r} takes {taken}, expected {_by(expected)}"


def _pools(plan):
    """{(name of the layer before, ONNX's name of the operation): (step, (height, width) of what it takes)}"""
    shapes, pools, before = {}, {}, ""
    for step in plan:
        shapes[step.name] = step.shape
        before = step.name if step.param("weight") else before
        if step.op in _OPERATIONS:
            pools[before, _OPERATIONS[step.op]] = step, shapes[step.inputs[0]][1:]
    return pools


_OPERATIONS = {"global_avg_pool": "AveragePool", "max_pool2d": "MaxPool"}


def _is_padded(layer, sides, window, strides):
    """Whether "same", or counting windows that are cut off, adds pixels."""
    ways = list(zip(sides, window, strides))
    if layer.attributes.get("ceil_mode"):
        return any((n - size) % step for n, size, step in ways)
    same = layer.attributes.get("auto_pad", "").startswith("SAME")
    return same and any(n % step or step != size for n, size, step in ways)


def _by(sides):
    return "x".join(map(str, sides))
