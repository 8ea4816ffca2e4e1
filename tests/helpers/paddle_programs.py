"""Inference files of paddle, written from a plan: the program of either paddle and the parameters beside it."""

import paddle_files

from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant

_NORM = ("mean", "variance", "gamma", "beta")  # behind x, as paddle 3 orders them
_OLD = {  # paddle 2's names and slots
    "conv2d": ("conv2d", ("Input", "Filter"), "Output"),
    "depthwise_conv2d": ("depthwise_conv2d", ("Input", "Filter"), "Output"),
    "batch_norm_": ("batch_norm", ("X", "Mean", "Variance", "Scale", "Bias"), "Y"),
    "hardswish": ("hard_swish", ("X",), "Out"),
    "hardsigmoid": ("hard_sigmoid", ("X",), "Out"),
    "add": ("elementwise_add", ("X", "Y"), "Out"),
    "multiply": ("elementwise_mul", ("X", "Y"), "Out"),
    "matmul": ("matmul_v2", ("X", "Y"), "Out"),
    "reshape": ("reshape2", ("X",), "Out"),
    "flatten": ("flatten_contiguous_range", ("X",), "Out"),
    "data": ("feed", ("X",), "Out"),
}
_NEW = {"dropout_implementation": "mode"}  # attributes that paddle 3 calls otherwise


def operations(model, num_classes, names, folded=False):
    """[[kind, inputs, output, attributes]] of a network, its parameters called as `names` has it."""
    rows = [["data", [], "x", {}]]
    values = {"input": "x"}
    for step in make_plan(get_variant(model), num_classes, folded=folded):
        inputs = [values[name] for name in step.inputs]
        params = {param.role: names[param.name] for param in step.params}
        values[step.name] = _add(rows, step, inputs, params)
    return [*rows, ["fetch", [values["logits"]], "out", {}]]


def _add(rows, step, inputs, params):
    name, attributes = step.name, {}
    if step.op == "identity":
        return inputs[0]
    kind = {
        "pointwise_conv2d": "conv2d",
        "linear": "conv2d",
        "hard_swish": "hardswish",
        "hard_sigmoid": "hardsigmoid",
        "batch_norm": "batch_norm_",
        "global_avg_pool": "pool2d",
        "max_pool2d": "pool2d",
        "mul": "multiply",
        "scale": "dropout",
    }.get(step.op, step.op)
    if step.name == "logits":
        rows.append(["flatten", inputs, "flat", {"start_axis": 1}])
        inputs, kind = ["flat"], "matmul"
    if kind.endswith("conv2d"):
        pads = list(step.pad) if step.kernel else [0, 0]
        attributes = {"strides": list(step.stride), "paddings": pads, "padding_algorithm": "EXPLICIT"}
        attributes |= {"groups": step.shape[0] if kind.startswith("depthwise") else 1, "dilations": [1, 1]}
    elif kind == "batch_norm_":
        attributes = {"epsilon": step.eps, "is_test": True}
    elif kind == "hardsigmoid":
        attributes = {"slope": step.slope, "offset": 0.5}
    elif kind == "pool2d" and step.kernel:
        attributes = {"pooling_type": "max", "ksize": [2, 2], "strides": list(step.stride), "paddings": [0, 0]}
    elif kind == "pool2d":
        attributes = {"pooling_type": "avg", "ksize": [1, 1], "adaptive": True}
    elif kind == "dropout":
        attributes = {"is_test": True, "dropout_implementation": "downgrade_in_infer", "dropout_prob": 1 - step.factor}
    taken = (
        [params[role] for role in _NORM] if kind == "batch_norm_" else [params["weight"]] if "weight" in params else []
    )
    rows.append([kind, [*inputs, *taken], name, attributes])
    if kind != "batch_norm_" and "bias" in params:
        rows.append(["reshape", [params["bias"]], f"{name}.b", {}])
        rows.append(["add", [name, f"{name}.b"], f"{name}+b", {}])
        return f"{name}+b"
    return name


def write(stem, model, state, *, json=False, folded=False, change=None, internal="w_{}.b"):
    """Write STEM.pdiparams and its program; `change` may give other rows for `operations`' ones. Returns the path."""
    internal = {name: internal.format(i) for i, name in enumerate(state)}  # whose sorted order is not the program's
    num_classes = next(reversed(state.values())).shape[0]
    rows = operations(model, num_classes, internal, folded)
    rows = rows if change is None else change(rows)
    shapes = {internal[name]: array.shape for name, array in state.items()}
    suffix, program = (".json", _new(shapes, rows)) if json else (".pdmodel", _old(shapes, rows))
    stem.with_suffix(suffix).write_bytes(program)
    path = stem.with_suffix(".pdiparams")
    path.write_bytes(paddle_files.pdiparams({internal[name]: array for name, array in state.items()}))
    return path


def _old(shapes, rows):
    """A program of paddle 2."""
    made = []
    for kind, inputs, output, attributes in rows:
        old, slots, gives = _OLD.get(kind, (kind, ("X", "Y"), "Out"))
        slots = sorted(zip(slots, ([name] for name in inputs), strict=False))  # as paddle writes them
        made.append((old, dict(slots), {gives: [output]}, attributes))
    return paddle_files.pdmodel(shapes, made)


def _new(shapes, rows):
    """A program of paddle 3, where some attributes are inputs."""
    made = []
    for i, (kind, inputs, output, attributes) in enumerate(rows):
        told = {_NEW.get(name, name): value for name, value in attributes.items()}
        for name, op in (("dropout_prob", "full"), ("scale", "full"), ("ksize", "full_int_array")):
            if name in told and (name != "scale" or kind == "scale"):
                made.append((f"1.{op}", [], [f"constant {i}"], {"value": told.pop(name)}))
                inputs = [*inputs, *["none"] * (name == "dropout_prob"), f"constant {i}"]
        made.append((f"1.{kind}", inputs, [output], told))
    return paddle_files.pir_json(shapes, made)
