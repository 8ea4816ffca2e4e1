"""The windows of a graph's pools, beside a plan for pictures of the size that the graph takes."""

from .fit import layers_of


def window_faults(plan, places):
    """Sentences on pools whose window is another than the network's.

    Parameters
    ----------
    plan : tuple of Step, with as many layers with weights as the graph
    places : their Places
    """
    pools, wrong = _pools(plan), []
    for step, place in zip(layers_of(plan), places):
        for layer in place.after:
            pool, sides = pools.get((step.name, layer.op), (None, ()))
            window = layer.attributes.get("kernel_shape")
            if pool is None or not window:
                continue
            strides, whole = layer.attributes.get("strides", (1, 1)), layer.op == "AveragePool"
            expected = sides if whole else (pool.kernel, pool.kernel)
            pads = any(layer.attributes.get("pads", ())) or _is_padded(layer, sides, window, strides)
            if window != expected or pads or not whole and strides != pool.stride:
                told = (
                    f"{_by(window)} pixels of {_by(sides)}"
                    + f" by steps of {_by(strides)}" * (not whole)
                    + ", padded" * pads
                )
                wrong.append(f"{layer.op} {layer.name[:80]!r} takes {told}, expected {_by(expected)}")
    return wrong


def _pools(plan):
    """{(name of the layer before, ONNX's name of the operation): (step, (height, width) of what it takes)}"""
    shapes, found, before = {}, {}, ""
    for step in plan:
        shapes[step.name] = step.shape
        before = step.name if step.param("weight") else before
        if step.op in _OPERATIONS:
            found[before, _OPERATIONS[step.op]] = step, shapes[step.inputs[0]][1:]
    return found


_OPERATIONS = {"global_avg_pool": "AveragePool", "max_pool2d": "MaxPool"}


def _is_padded(layer, sides, window, strides):
    """Whether "same" adds pixels."""
    same = layer.attributes.get("auto_pad", "").startswith("SAME")
    return same and any(n % step or step != size for n, size, step in zip(sides, window, strides))


def _by(sides):
    return "x".join(map(str, sides))
