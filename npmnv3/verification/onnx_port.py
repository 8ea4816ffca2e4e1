"""An ONNX file as a port: run with every inner tensor exposed."""

import os

import numpy as np

from ..errors import UsageError, require

INPUT_TYPES = {1: np.float32, 10: np.float16, 11: np.float64}  # of TensorProto, that pictures may be cast to
KINDS = "fiu"
#: operator -> places among its inputs of the scale and zero point of what it gives
QUANTIZED = {
    "QuantizeLinear": (1, 2),
    **dict.fromkeys("QLinearConv QLinearMatMul QLinearAdd QLinearMul".split(), (6, 7)),
    **dict.fromkeys("QLinearGlobalAveragePool QLinearAveragePool QLinearSigmoid QLinearLeakyRelu".split(), (3, 4)),
    "QLinearConcat": (0, 1),
    "QGemm": (7, 8),
}
PASSED_ON = "Reshape Flatten Squeeze Unsqueeze Transpose MaxPool Identity".split()  # integers stay as they are


def run_onnx(path, x):
    """Run a graph and give back every tensor in it that depends on the input.

    ONNX Runtime runs it if it is installed, with its graph optimizations off so that exposing tensors does not change
    them; else the reference evaluator of the onnx package.

    Parameters
    ----------
    path : path of the .onnx file; weights that it keeps in files beside it are found there
    x : (N, 3, H, W) float32; cast to what the graph takes

    Returns
    -------
    {tensor's name: array} in the order of execution, the input first; of integers also NAME.scale and NAME.zero_point

    Raises
    ------
    UsageError, MissingExtraError
    """
    onnx = require("onnx", "onnx", f"running {path}")
    try:
        if not os.path.getsize(path):
            raise ValueError("it is empty: the copy or the download went wrong")
        model = onnx.load(os.fspath(path))
        nodes = _in_order(model.graph, path)
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise UsageError(f"{path}: not a readable ONNX file: {error}") from error
    except Exception as error:  # protobuf's own, which has no public name
        if type(error).__name__ != "DecodeError":
            raise
        raise UsageError(f"{path}: not a readable ONNX file: {error}") from error
    weights = {w.name for w in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in weights]
    if len(inputs) != 1:
        raise UsageError(
            f"{path}: has {len(inputs)} inputs ({', '.join(i.name for i in inputs)}), expected one picture"
        )
    name, dtype = inputs[0].name, _input_type(inputs[0], path)
    batch = _fixed_batch(inputs[0], path, x)
    wanted = _dependent(nodes, name)
    parts = [_run(path, model, wanted, name, x[i : i + batch].astype(dtype)) for i in range(0, len(x), batch)]
    found = {name: x, **_joined(parts)}
    return found | _scales(onnx, model.graph, nodes, found)


def _in_order(graph, path):
    """The graph's nodes, each behind those that it needs; they are put so in the graph, too."""
    import onnx

    known = {w.name for w in graph.initializer} | {w.values.name for w in graph.sparse_initializer} | {""}
    known |= {i.name for i in graph.input}
    rest, ordered = list(graph.node), []
    if not rest:
        raise onnx.checker.ValidationError("the graph has no nodes")
    while rest:
        ready = [node for node in rest if known.issuperset(node.input)]
        if not ready:
            raise UsageError(f"{path}: no tensor is called {next(n for n in rest[0].input if n not in known)!r}")
        first = rest.index(ready[0])
        while first < len(rest) and known.issuperset(rest[first].input):
            known |= set(rest[first].output)
            ordered.append(rest.pop(first))
    del graph.node[:]
    graph.node.extend(ordered)
    return ordered


def _input_type(value, path):
    """The dtype that pictures are given in."""
    kind = value.type.tensor_type.elem_type
    if kind not in INPUT_TYPES:
        raise UsageError(
            f"{path}: its input {value.name} is of ONNX's type {kind}, expected float32, float16 or float64 pictures; take "
            "the graph before its input was quantised"
        )
    return INPUT_TYPES[kind]


def _fixed_batch(value, path, x):
    """Pictures that the graph takes at a time; its input's other sides are checked."""
    if not value.type.tensor_type.HasField("shape"):
        return len(x)
    sides = [max(d.dim_value, 0) for d in value.type.tensor_type.shape.dim]
    if len(sides) != 4 or any(side and side != have for side, have in zip(sides[1:], x.shape[1:])):
        raise UsageError(
            f"{path}: its input {value.name} is {sides} (0: any), the pictures are {list(x.shape)}; give an input of its size"
        )
    return sides[0] or len(x)


def _dependent(nodes, name):
    """Names of the tensors that depend on the input, in order: what does not, such as a dequantised weight, is no result."""
    known, found = {name}, []
    for node in nodes:
        if known & set(node.input):
            fresh = [o for o in node.output if o]
            known |= set(fresh)
            found += fresh
    return found


def _joined(parts):
    if len(parts) == 1:
        return parts[0]
    return {key: np.concatenate([part[key] for part in parts]) for key, value in parts[0].items() if value.ndim}


def _scales(onnx, graph, nodes, found):
    """{NAME.scale, NAME.zero_point: array} of the integers whose quantisation is constant."""
    constants = {w.name: w for w in graph.initializer}
    scales, result = {}, {}
    for node in nodes:
        if node.op_type in PASSED_ON and node.input[0] in scales:
            scales[node.output[0]] = scales[node.input[0]]
        places = QUANTIZED.get(node.op_type)
        names = [node.input[i] if i < len(node.input) else "" for i in places] if places else []
        if names and names[0] in constants:
            scales[node.output[0]] = [
                onnx.numpy_helper.to_array(constants[n]) if n in constants else None for n in names
            ]
    for name, (scale, zero) in scales.items():
        if name in found and found[name].dtype.kind in "iu":
            result[f"{name}.scale"] = scale
            if zero is not None:
                result[f"{name}.zero_point"] = zero
    return result


def _run(path, model, wanted, name, x):
    """The wanted tensors of one run: {name: array}."""
    exposed = type(model)()
    exposed.CopyFrom(model)
    present = {o.name for o in exposed.graph.output}
    exposed.graph.output.extend(type(model.graph.output[0])(name=o) for o in wanted if o not in present)
    try:
        import onnxruntime
    except ImportError:
        found = _run_reference(path, exposed, name, x)
    else:
        found = _run_onnxruntime(onnxruntime, path, exposed, name, x)
    return {
        key: found[key]
        for key in wanted
        if isinstance(found.get(key), np.ndarray) and found[key].dtype.kind in KINDS and found[key].size > 1
    }


def _run_onnxruntime(onnxruntime, path, exposed, name, x):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(exposed.SerializeToString(), options, providers=["CPUExecutionProvider"])
        names = [o.name for o in session.get_outputs()]
        return dict(zip(names, session.run(names, {name: x})))
    except Exception as error:  # ONNX Runtime's errors have no common base of their own
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise UsageError(f"{path}: ONNX Runtime cannot run it: {error}") from error


def _run_reference(path, exposed, name, x):
    """By the onnx package's own evaluator, node by node."""
    from onnx.reference import ReferenceEvaluator

    from .onnx_operators import operators

    try:
        evaluator = ReferenceEvaluator(exposed, new_ops=operators())
    except NotImplementedError as error:
        raise UsageError(
            f"{path}: onnx's reference evaluator cannot run it: {error}; with onnxruntime installed it may run"
        ) from error
    return dict(zip(evaluator.output_names, evaluator.run(None, {name: x})))
