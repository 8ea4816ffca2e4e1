"""Programs of torch as files: exported ones (torch.export.save), and the code of a traced module."""

import json
import zipfile

import checkpoint_files as files
import numpy as np
from module_files import TORCHVISION, by_kind, settings_of, whole_module
from states import random_state

from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant


def exported(path, model, change=lambda name, about: None, decomposed=False, damage=lambda program: None):
    """Write a network as torch.export.save does: weights, and the graph's nodes in JSON as far as they are of interest."""
    state, specs = random_state(model, 3), []
    config = {name: _listed(f"weight_{i}", array) for i, (name, array) in enumerate(state.items())}
    for name in state:
        kind = (
            "buffer"
            if name.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked")
            else "parameter"
        )
        specs.append({kind: {"arg": {"name": name.replace(".", "_")}, f"{kind}_name": name}})
    specs.append({"user_input": {"arg": {"as_tensor": {"name": "x"}}}})
    nodes, given = _graph(model, settings_of(model, change), decomposed)
    signature = {"input_specs": specs, "output_specs": [{"user_output": {"arg": {"as_tensor": {"name": given}}}}]}
    shapes = {"x": (1, 3, *get_variant(model).side), **{name.replace(".", "_"): a.shape for name, a in state.items()}}
    sizes = {name: {"sizes": [{"as_int": n} for n in shape]} for name, shape in shapes.items()}
    program = {"graph_module": {"graph": {"nodes": nodes, "tensor_values": sizes}, "signature": signature}}
    damage(program["graph_module"])
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data/weights/model_weights_config.json", json.dumps({"config": config}))
        for i, array in enumerate(state.values()):
            archive.writestr(f"m/data/weights/weight_{i}", np.ascontiguousarray(array).tobytes())
        archive.writestr("m/models/model.json", json.dumps(program))
    return path


def _listed(path, array):
    strides = [int(np.prod(array.shape[i + 1 :])) for i in range(array.ndim)]
    sizes = {"sizes": [{"as_int": n} for n in array.shape], "strides": [{"as_int": n} for n in strides]}
    meta = {"dtype": {"f4": 7, "i8": 5}[array.dtype.str[1:]], "storage_offset": {"as_int": 0}, **sizes}
    return {"path_name": path, "use_pickle": False, "tensor_meta": meta}


def _graph(model, told, decomposed):
    """(nodes, name of the last) of a network, step by step; `told` as `settings_of` has it."""
    nodes, values = [], {"input": "x"}
    for step in make_plan(get_variant(model), 3):
        inputs = [values[name] for name in step.inputs]
        params = {param.role: param.name.replace(".", "_") for param in step.params if param.role != "count"}
        module = step.params[0].name.rpartition(".")[0] if step.params else f"acts.{step.name.replace('.', '_')}"
        values[step.name] = inputs[0]
        for op, arguments in operations_of(step, inputs, params, *told.get(module, ("", {})), decomposed):
            values[step.name] = f"value_{len(nodes)}"
            arguments = {name: _argument(value, values[step.name]) for name, value in arguments.items()}
            nodes.append(node(op, arguments, values[step.name]))
    return nodes, values["logits"]


def _argument(value, out):
    """A value of the graph (BEFORE is what the node before gave), or numbers, as torch spells them in JSON."""
    if isinstance(value, str):
        return {"as_tensor": {"name": value.replace(BEFORE, f"value_{int(out[6:]) - 1}")}}
    kind = {bool: "as_bool", int: "as_int", float: "as_float", tuple: "as_ints"}[type(value)]
    return {kind: list(value) if kind == "as_ints" else value}


BEFORE = "before"


def operations_of(step, inputs, params, kind, more, decomposed):
    """A step's operations; a convolution's window is left out where it is torch's default, as torch does."""
    x = {"self": inputs[0]}
    weights = {"weight": params.get("weight"), "bias": params.get("bias")}
    weights = {"input": inputs[0]} | {name: value for name, value in weights.items() if value}
    if step.op == "batch_norm":
        norm = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "variance"}
        op = "_native_batch_norm_legit_no_training" if decomposed else "batch_norm"
        yield op, {"input": inputs[0]} | {to: params[role] for to, role in norm.items()} | {"eps": more["eps"]}
    elif step.name == "logits":
        yield "flatten", x
        yield "linear", weights | {"input": BEFORE}
    elif step.params:
        if kind == "Conv2dSame":
            yield "constant_pad_nd" if decomposed else "pad", x | {"pad": (*step.pad[2:], *step.pad[:2])}
            weights["input"] = BEFORE
        usual = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
        told = {what: more.get(what, usual[what]) for what in usual}
        told = {what: value for what, value in told.items() if value != usual[what] or decomposed}
        groups = {"groups": step.shape[0]} if step.op == "depthwise_conv2d" else {}
        yield "convolution" if decomposed else "conv2d", weights | told | groups
    elif (kind, decomposed) == ("Hardswish", True):
        yield "add", x | {"other": 3}
        yield "hardtanh", {"self": BEFORE, "min_val": 0.0, "max_val": 6.0}
        yield "mul", x | {"other": BEFORE}
        yield "div", {"self": BEFORE, "other": 6}
    elif kind:
        yield {"Hardswish": "hardswish_"}.get(kind, kind.lower()), x
    elif step.op in ("mul", "add"):
        yield step.op, x | {"other": inputs[1]}
    elif step.op == "global_avg_pool":
        yield (
            "mean" if decomposed else "adaptive_avg_pool2d",
            x | ({"dim": (-1, -2)} if decomposed else {"output_size": (1, 1)}),
        )


def node(op, arguments, out="out"):
    inputs = [{"name": name, "arg": arg, "kind": 1} for name, arg in arguments.items()]
    stack = {"nn_module_stack": "L__self__,,mine.Net;L__self__features_0,features.0,torch.nn.Module"}
    target = f"torch.ops.aten.{op}.default"
    return {"target": target, "inputs": inputs, "outputs": [{"as_tensor": {"name": out}}], "metadata": stack}


_POSITIONS = {
    "conv2d": {"bias": None, "stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1},
    "batch_norm": {"bias": 0, "running_mean": 0, "running_var": 0, "training": False, "momentum": 0.1, "eps": 0},
    "hardswish_": {},
}


def _member(name):
    """`features.0.weight` as code reads it of `self`."""
    text, (*inner, last) = "self", name.split(".")
    for part in inner:
        text = f'getattr({text}, "{part}")'
    return f"{text}.{last}"


def traced(path, change=lambda lines: None, told=None):
    """Write torchvision's small network as a traced module, its code one forward, after `change(lines)`; `told` as
    `whole_module` has it."""
    return whole_module(path, TORCHVISION, told=told, scripts=by_kind, extra=[_code(_member, change)])


def frozen(path, change=lambda lines: None):
    """The same as torch.jit.freeze leaves it without folding: its weights are constants, in the order of use."""
    state = {name: array for name, array in random_state(TORCHVISION, 3).items() if "num_batches" not in name}
    places = {name: f"CONSTANTS.c{i}" for i, name in enumerate(state)}
    constants = tuple(files.tensor(str(i), np.ascontiguousarray(array)) for i, array in enumerate(state.values()))
    stored = [
        (f"archive/constants/{i}", np.ascontiguousarray(array).tobytes()) for i, array in enumerate(state.values())
    ]
    extra = [_code(places.get, change), ("archive/constants.pkl", files.pickled(constants, 2)), *stored]
    path.write_bytes(files.torch_zip(files.Call(by_kind("", "Net"), opcode=b"\x81", state={}), {}, extra=extra))
    return path


def _code(member, change):
    """(name in the archive, text) of a class whose forward is the whole network; `member` tells how it reads a parameter."""
    told, values, lines = settings_of(TORCHVISION, lambda name, about: None), {"input": "x"}, []
    for step in make_plan(get_variant(TORCHVISION), 3):
        params = {param.role: member(param.name) for param in step.params if param.role != "count"}
        module = step.params[0].name.rpartition(".")[0] if step.params else f"acts.{step.name.replace('.', '_')}"
        values[step.name] = values[step.inputs[0]]
        inputs = [values[name] for name in step.inputs]
        for op, arguments in operations_of(step, inputs, params, *told.get(module, ("", {})), False):
            values[step.name] = f"_{len(lines)}"
            given = (
                {"input": 0, "weight": 0} | _POSITIONS[op] | arguments
                if op in _POSITIONS and len(arguments) > 1
                else arguments
            )
            given = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
            given = [str(value).replace(BEFORE, f"_{len(lines) - 1}") for value in given.values()]
            lines.append(f"{values[step.name]} = torch.{op}({', '.join(given)})")
    lines.append(f"return {values['logits']}")
    change(lines)
    text = "class Net(Module):\n  def forward(self: Net, x: Tensor) -> Tensor:\n" + "".join(
        f"    {line}\n" for line in lines
    )
    return "archive/code/__torch__/mine/Net.py", text.encode()
