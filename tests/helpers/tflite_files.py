"""A network as a .tflite, as TensorFlow Lite's converter writes it: weights as floats, halves, or int8 with float tensors."""

import numpy as np
from flatbuffer_files import Graph

from npmnv3.network.folding import canonical_arrays, fold_norms

CONV, DEPTHWISE, DENSE, MEAN, MUL, ADD, HARD_SWISH, DEQUANTIZE = 3, 4, 9, 40, 18, 0, 117, 6
RELU_0_TO_1 = 152
NONE, RELU, RELU6 = 0, 1, 3
SAME = 0


def write(model, weights="f4", gate=MUL):
    """A model as TensorFlow Lite has it: activations fused, the gate's 3 in its layer's bias, channels last.

    gate : MUL of what is cut at 6, or RELU_0_TO_1, which cuts behind product and sum
    """
    stored, plan = model.plan_for(), model.plan_for(folded=True)
    arrays = fold_norms(stored, plan, canonical_arrays(stored, model.params, np.float64))
    graph, at, after = Graph(), {}, {step.inputs[0]: step for step in plan}
    shape = (1, *model.variant.side, 3)
    at["input"] = graph.tensor("input", shape)
    for step in plan:
        if step.name in at:  # fused into the layer before
            continue
        x = [at[name] for name in step.inputs]
        shape = (1, *step.shape[1:], step.shape[0]) if len(step.shape) == 3 else (1, 1, 1, step.shape[0])
        if step.param("weight"):
            at[step.name] = _layer(graph, step, after.get(step.name), arrays, x, shape, at, weights, gate)
        elif step.op == "hard_swish":
            at[step.name] = graph.operator(HARD_SWISH, x, shape)
        elif step.op == "hard_sigmoid" and gate == RELU_0_TO_1:
            for code, number in ((MUL, 1 / 6), (ADD, 0.5)):
                constant = graph.constant("constant", np.array(number, np.float32))
                x = [graph.operator(code, [*x, constant], shape, {0: ("b", NONE)})]
            at[step.name] = graph.operator(gate, x, shape)
        elif step.op == "hard_sigmoid":
            sixth = graph.constant("sixth", np.array(1 / 6, np.float32))
            at[step.name] = graph.operator(MUL, [*x, sixth], shape, {0: ("b", NONE)})
        elif step.op == "global_avg_pool":
            axes = graph.constant("axes", np.array([1, 2], np.int32))
            at[step.name] = graph.operator(MEAN, [*x, axes], shape, {0: ("b", 1)})
        elif step.op == "identity":
            at[step.name] = x[0]
        else:
            at[step.name] = graph.operator({"mul": MUL, "add": ADD}[step.op], x, shape, {0: ("b", NONE)})
    return graph.bytes()


def _layer(graph, step, following, arrays, x, shape, at, weights, gate):
    weight = arrays[step.param("weight").name].astype(np.float32)
    bias = arrays[step.param("bias").name].astype(np.float32)
    fused = NONE
    if following and following.op == "relu":
        fused = RELU
    if following and following.op == "hard_sigmoid" and gate == MUL:
        fused, bias = RELU6, bias + np.float32(3)
    depthwise = step.op == "depthwise_conv2d"
    if depthwise:
        weight = weight.transpose(1, 2, 0)[None]
    else:
        weight = weight.reshape(*weight.shape, *(1,) * (4 - weight.ndim)).transpose(0, 2, 3, 1)
    name = f"{step.name};weight"
    if weights == "i1":
        scale = np.abs(weight).max() / 127
        w = graph.constant(name, np.rint(weight / scale).astype(np.int8), scale=[scale])
    elif weights == "f2":
        w = graph.constant(name, weight.astype(np.float16))
        w = graph.operator(DEQUANTIZE, [w], weight.shape)
    else:
        w = graph.constant(name, weight)
    height, width = step.stride
    options = {0: ("b", SAME), 1: ("i", width), 2: ("i", height), 3 + depthwise: ("b", fused)}
    if depthwise:
        options[3] = ("i", 1)
    out = graph.operator(
        DEPTHWISE if depthwise else CONV, [*x, w, graph.constant("b", bias)], shape, options, step.name
    )
    if fused == RELU:
        at[following.name] = out
    return out
