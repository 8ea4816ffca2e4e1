"""ONNX graphs in other valid orders of their nodes, and with QuantizeLinear and DequantizeLinear around every node."""

import numpy as np
from onnx import helper, numpy_helper

SCALE, ZERO, WEIGHT_ZERO = "scale", "zero", "weight_zero"
BIAS_SCALE, BIAS_ZERO = "bias_scale", "bias_zero"


def reorder(model, choose):
    """Put the nodes into another topological order, in place.

    Parameters
    ----------
    choose : function, the place of the next node in a list of those that could come next
    """
    waiting, nodes = list(model.graph.node), []
    given = {tensor.name for tensor in model.graph.initializer} | {value.name for value in model.graph.input}
    while waiting:
        ready = [node for node in waiting if given.issuperset(filter(None, node.input))]
        nodes.append(ready[choose(ready)])
        waiting.remove(nodes[-1])
        given.update(nodes[-1].output)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def quantize(model):
    """Quantise a folded graph in place: 8 bits, one scale for every tensor and weight, relus left to the grids before
    them."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    relus = {node.input[0]: node.output[0] for node in model.graph.node if node.op_type == "Relu"}
    source = model.graph.input[0].name
    nodes = _grid_nodes(source)
    for node in [node for node in model.graph.node if node.op_type != "Relu"]:
        node.output[0] = relus.get(node.output[0], node.output[0])
        for place, name in enumerate(node.input):
            if name in constants:
                grid = (SCALE, WEIGHT_ZERO) if constants[name].ndim > 1 else (BIAS_SCALE, BIAS_ZERO)
                nodes.append(helper.make_node("DequantizeLinear", [name, *grid], [f"{name}.real"]))
            node.input[place] = f"{name}.real"
        nodes += [node, *_grid_nodes(node.output[0])]
    model.graph.output[0].name += ".real"
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    rng = np.random.default_rng(4)
    stored = {
        name: rng.integers(-99, 99, a.shape).astype("i1" if a.ndim > 1 else "i4") for name, a in constants.items()
    }
    stored |= {SCALE: np.float32(0.1), ZERO: np.uint8(128), WEIGHT_ZERO: np.int8(0)}
    stored |= {BIAS_SCALE: np.float32(0.1) ** 2, BIAS_ZERO: np.int32(0)}
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), name) for name, a in stored.items())


def _grid_nodes(name):
    return [
        helper.make_node("QuantizeLinear", [name, SCALE, ZERO], [f"{name}.integers"]),
        helper.make_node("DequantizeLinear", [f"{name}.integers", SCALE, ZERO], [f"{name}.real"]),
    ]
