"""An ONNX file as a port: run with every inner tensor exposed."""

import os

import numpy as np

from ..errors import UsageError, require


def run_onnx(path, x):
    """Run a graph and give back every floating tensor in it.

    ONNX Runtime runs it if it is installed, with its graph optimizations off so that exposing tensors does not change
    them; else the reference evaluator of the onnx package.

    Parameters
    ----------
    path : path of the .onnx file
    x : (N, 3, H, W) float32

    Returns
    -------
    {tensor's name: array} in the graph's order, the input first

    Raises
    ------
    UsageError, MissingExtraError
    """
    onnx = require("onnx", "onnx", f"running {path}")
    try:
        model = _with_shapes(onnx, onnx.load(os.fspath(path)))
        onnx.checker.check_model(model)
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
    name = inputs[0].name
    batch = _fixed_batch(inputs[0], path, x)
    parts = [_run(onnx, path, model, name, x[i : i + batch]) for i in range(0, len(x), batch)]
    first = {key: value for key, value in parts[0].items() if key not in weights}
    if len(parts) == 1:
        return {name: x, **first}
    return {
        name: x,
        **{key: np.concatenate([part[key] for part in parts]) for key, value in first.items() if value.ndim},
    }


def _with_shapes(onnx, model):
    """The model with what the checker wants and nothing here needs: shapes of all values that it tells of."""
    for value in [v for v in model.graph.value_info if not v.type.tensor_type.HasField("shape")]:
        model.graph.value_info.remove(value)
    bare = [v for v in model.graph.output if not v.type.tensor_type.HasField("shape")]
    inferred = {v.name: v.type for v in onnx.shape_inference.infer_shapes(model).graph.output} if bare else {}
    for value in bare:
        value.type.CopyFrom(inferred[value.name])
    return model


def _fixed_batch(value, path, x):
    """Pictures that the graph takes at a time; its input's other sides are checked."""
    sides = [max(d.dim_value, 0) for d in value.type.tensor_type.shape.dim]
    if len(sides) != 4 or any(side and side != have for side, have in zip(sides[1:], x.shape[1:])):
        raise UsageError(
            f"{path}: its input {value.name} is {sides} (0: any), the pictures are {list(x.shape)}; give an input of its size"
        )
    return sides[0] or len(x)


def _run(onnx, path, model, name, x):
    """All tensors of one run: {name: array}."""
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.UNDEFINED)
    try:
        import onnxruntime
    except ImportError:
        return _run_reference(path, model, name, x)
    typed = onnx.shape_inference.infer_shapes(model)
    known = {v.name: v.type.tensor_type.elem_type for v in (*typed.graph.value_info, *typed.graph.output)}
    wanted = [
        o
        for node in model.graph.node
        for o in node.output
        if o and known.get(o, 0) in kinds and node.op_type != "Constant"
    ]
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    present = {o.name for o in exposed.graph.output}
    for output in wanted:
        if output not in present and output in known:
            exposed.graph.output.append(onnx.helper.make_tensor_value_info(output, known[output], None))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(exposed.SerializeToString(), options, providers=["CPUExecutionProvider"])
        names = [o.name for o in session.get_outputs()]
        values = session.run(names, {name: x})
    except Exception as error:  # ONNX Runtime's errors have no common base of their own
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise UsageError(f"{path}: ONNX Runtime cannot run it: {error}") from error
    found = dict(zip(names, values))
    return {key: found[key] for key in wanted if key in found and found[key].dtype.kind == "f" and found[key].size > 1}


def _run_reference(path, model, name, x):
    """By the onnx package's own evaluator, node by node; each node's result is kept."""
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.op_run import OpRun

    class BatchNormalization(OpRun):
        """As in inference: the evaluator's own of opsets 9 to 13 mixes the batch's statistics in."""

        op_domain = ""

        def _run(self, x, scale, bias, mean, var, epsilon=None, **training):
            axes = (-1, *(1,) * (x.ndim - 2))
            factor = (scale / np.sqrt(var + x.dtype.type(epsilon))).reshape(axes)
            return ((x - mean.reshape(axes)) * factor + bias.reshape(axes),)

    exposed = type(model)()
    exposed.CopyFrom(model)
    present = {o.name for o in exposed.graph.output}
    constant = {o for node in model.graph.node if node.op_type == "Constant" for o in node.output}
    for node in model.graph.node:
        new = (o for o in node.output if o and o not in present | constant)
        exposed.graph.output.extend(type(model.graph.output[0])(name=o) for o in new)
    evaluator = ReferenceEvaluator(exposed, new_ops=[BatchNormalization])
    values = evaluator.run(None, {name: x})
    return {
        key: np.asarray(value)
        for key, value in zip(evaluator.output_names, values)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size > 1
    }
