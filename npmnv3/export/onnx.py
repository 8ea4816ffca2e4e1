"""A network as an ONNX graph: one node a step, under the step's name.

The graph is the plan. Each node and the tensor it gives are called as the step is, each initializer as the source calls
the parameter; batch norms stay apart, or are folded in float64. Pooled channels are (N, C, 1, 1) on their way to a
gate, which multiplies a map, and (N, C) on their way to the classifier.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from .. import __version__
from ..dumps.writing import replacing
from ..errors import UsageError, WeightsError, check_arguments, require
from ..model.classifier import check_model
from ..network.steps import INPUT

if TYPE_CHECKING:
    import os

    import onnx as onnx_package

    from ..model import Model

OPSET = 17
IR_VERSION = 8  # the oldest with this opset, so that older readers understand the file
PROBABILITIES = "probabilities"  # the output where softmax is asked for

FLOATS = "only float networks are written as ONNX; its integers are for `npmnv3 freeze` and `npmnv3 vectors`"

# Steps that are nodes without parameters and attributes.
_PLAIN = {
    "relu": "Relu",
    "hard_swish": "HardSwish",
    "global_avg_pool": "GlobalAveragePool",
    "mul": "Mul",
    "add": "Add",
    "identity": "Identity",
}


def export_onnx(
    model: Model,
    path: str | os.PathLike[str],
    *,
    side: tuple[int, int] | None = None,
    folded: bool | None = None,
    dynamic_batch: bool = False,
    softmax: bool = False,
) -> onnx_package.ModelProto:
    """Write a model as an ONNX file.

    Parameters
    ----------
    model : Model
    path : str or os.PathLike
    side : (height, width) of the input in pixels, default the model's own
    folded : bool, batch norm folded into the layers before it; default as in the model's weights
    dynamic_batch : bool, a batch of any size; default one picture
    softmax : bool, the output is "probabilities" instead of "logits"

    Returns
    -------
    onnx.ModelProto as written: float32, opset 17, input "input" (N, 3, H, W), output (N, classes); its metadata say
    which network it is, how its pictures are prepared and what its classes are called

    Raises
    ------
    UsageError
        Norms to be kept where the weights have none, an input too small, or a quantised model.
    WeightsError
        A weight is beyond float32's range.
    WriteError
        The file cannot be written.
    MissingExtraError
        Without the package onnx.

    Examples
    --------
    >>> proto = npmnv3.export_onnx(npmnv3.load("ppocr/text_direction"), "direction.onnx", dynamic_batch=True)
    >>> proto.graph.node[0].name, proto.graph.node[-1].name
    ('stem.conv', 'logits')
    """
    check_model(model)
    check_arguments("a path", path=path)
    check_arguments("True or False", dynamic_batch=dynamic_batch, softmax=softmax)
    if model.kernels:
        raise UsageError(f"{model.name} is quantised: {FLOATS}")
    onnx = require("onnx", "onnx", "exporting to ONNX")
    check_arguments("True or False", optional=True, folded=folded)
    folded = model.folded if folded is None else folded
    if model.folded and not folded:
        raise UsageError(
            f"the batch norms of {model.variant.full_name} cannot be kept: its weights have them folded already"
        )
    plan, arrays = model.plan_for(side, folded), model.arrays(folded=folded)
    proto = plan_to_onnx(plan, arrays, side or model.side, batch="N" if dynamic_batch else 1, softmax=softmax)
    metadata = _metadata(model, folded)
    proto.doc_string = (
        f"{model.variant.full_name}, {model.num_classes} classes, batch norm {metadata['batch_norm']}. "
        "Nodes and tensors are named as npmnv3's steps, weights as the source names them; "
        "the metadata tell labels and preprocessing."
    )
    onnx.helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto, full_check=True)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(proto.SerializeToString(deterministic=True))
    return proto


def _metadata(model, folded):
    """What the file says of its network: {key: text}; structured values are JSON."""
    variant = model.variant
    return {
        "source": variant.source.name,
        "variant": variant.name,
        "num_classes": str(model.num_classes),
        "batch_norm": "folded" if folded else "kept",
        "labels": json.dumps(list(model.labels), ensure_ascii=False),
        "preprocess": json.dumps(asdict(model.preprocess)),
        "origin": str(model.attributes.get("origin", "")),
        "licence": str(model.attributes.get("licence") or variant.source.licence),
    }


def plan_to_onnx(plan, arrays, side, *, batch=1, softmax=False):
    """A plan and its parameters as an ONNX model.

    Parameters
    ----------
    plan : tuple of Step
    arrays : {source's name: array} in the operations' layout, as `canonical_arrays` gives them; stored as float32
    side : (height, width) of the plan's input, pixels
    batch : int, or a name for a batch of any size
    softmax : bool, end in a Softmax

    Returns
    -------
    onnx.ModelProto
    """
    helper = require("onnx", "onnx", "exporting to ONNX").helper
    graph = _Graph(plan, arrays, batch)
    for step in plan:
        graph.add(step)
    if softmax:
        graph.node("Softmax", [plan[-1].name], PROBABILITIES, plan[-1].shape, axis=1)
    output = graph.tensors.pop()
    tensors = (graph.tensor(INPUT, (plan[0].param("weight").canonical[1], *side)), output)
    return helper.make_model(
        helper.make_graph(graph.nodes, "npmnv3", tensors[:1], tensors[1:], graph.weights, value_info=graph.tensors),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="npmnv3",
        producer_version=__version__,
    )


class _Graph:
    """Collects nodes, initializers and the tensors between them."""

    def __init__(self, plan, arrays, batch):
        import onnx

        self.onnx, self.arrays, self.batch = onnx, arrays, batch
        self.to_gates = _steps_to_gates(plan)
        self.nodes, self.weights, self.tensors = [], [], []

    def node(self, op, inputs, output, shape, **attributes):
        self.nodes.append(self.onnx.helper.make_node(op, inputs, [output], name=output, **attributes))
        self.tensors.append(self.tensor(output, shape))

    def tensor(self, name, shape):
        return self.onnx.helper.make_tensor_value_info(name, self.onnx.TensorProto.FLOAT, [self.batch, *shape])

    def weight(self, name, array):
        with np.errstate(over="ignore"):
            array = np.asarray(array, np.float32, order="C")
        if not np.isfinite(array).all():
            raise WeightsError(f"{name} has values beyond float32's range, which is what an ONNX file is written in")
        self.weights.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def add(self, step):
        """The node of a step, and before a pooled tensor that goes to the classifier a flattening one."""
        gate = step.name in self.to_gates
        shape = (*step.shape, 1, 1) if gate else step.shape
        if step.op == "global_avg_pool" and not gate:
            self.node("GlobalAveragePool", step.inputs, f"{step.name}.map", (*step.shape, 1, 1))
            self.node("Flatten", [f"{step.name}.map"], step.name, shape, axis=1)
        elif step.op in _PLAIN:
            self.node(_PLAIN[step.op], step.inputs, step.name, shape)
        else:
            op, weights, attributes = self._operation(step, gate)
            self.node(op, [*step.inputs, *weights], step.name, shape, **attributes)

    def _operation(self, step, gate):
        """(ONNX's operation, names of its initializers, attributes) of a step with parameters or constants."""
        if step.op == "hard_sigmoid":
            return "HardSigmoid", [], {"alpha": step.slope, "beta": 0.5}
        if step.op == "max_pool2d":
            return "MaxPool", [], {"kernel_shape": [step.kernel] * 2, "strides": step.stride}
        if step.op == "scale":
            return "Mul", [self.weight(f"{step.name}.factor", step.factor)], {}
        if step.op == "batch_norm":
            return "BatchNormalization", self._params(step, "gamma", "beta", "mean", "variance"), {"epsilon": step.eps}
        if step.op == "linear" and not gate:
            return "Gemm", self._params(step, "weight", "bias"), {"transB": 1}
        return self._conv(step)

    def _conv(self, step):
        """Any convolution, and a linear layer on the way to a gate."""
        param = step.param("weight")
        weight = self.arrays[param.name]
        depthwise = step.op == "depthwise_conv2d"
        weight = weight[:, None] if depthwise else weight.reshape(*weight.shape, *(1,) * (4 - weight.ndim))
        top, bottom, left, right = step.pad
        return (
            "Conv",
            [self.weight(param.name, weight), *self._params(step, "bias")],
            {
                "kernel_shape": weight.shape[2:],
                "strides": step.stride,
                "pads": (top, left, bottom, right),
                "group": len(weight) if depthwise else 1,
            },
        )

    def _params(self, step, *roles):
        """Names of the step's initializers of these roles, those that it has."""
        params = [param for role in roles if (param := step.param(role))]
        return [self.weight(param.name, self.arrays[param.name]) for param in params]


def _steps_to_gates(plan):
    """Names of the steps from a pooling to the gate that multiplies a map."""
    steps, found = {step.name: step for step in plan}, set()
    for gate in (step.inputs[1] for step in plan if step.op == "mul"):
        step = steps[gate]
        found.add(gate)
        while step.op != "global_avg_pool":
            step = steps[step.inputs[0]]
            found.add(step.name)
    return found
