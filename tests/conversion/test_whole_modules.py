"""Whole modules (torch.save(model)) and exported programs: what they are set to is held against the network, which a state
dict cannot tell."""

import json
import zipfile

import checkpoint_files as files
import numpy as np
import pytest
from states import random_state

from npmnv3.conversion import convert
from npmnv3.conversion.formats import read_checkpoint
from npmnv3.errors import WeightsError
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant

SMALL, TWIN = "timm/mobilenetv3_small_100", "timm/tf_mobilenetv3_small_100"
TORCHVISION = "torchvision/mobilenet_v3_small"
ACTIVATIONS = {"relu": "ReLU", "hard_swish": "Hardswish", "hard_sigmoid": "Hardsigmoid"}


def settings_of(model, change):
    """{module: (class, attributes)} of a network as its framework would set its modules, after `change(module, told)`."""
    told = {}
    for step in make_plan(get_variant(model), 3):
        name = step.params[0].name.rpartition(".")[0] if step.params else f"acts.{step.name.replace('.', '_')}"
        if step.op == "batch_norm":
            told[name] = ["BatchNorm2d", {"eps": step.eps}]
        elif step.kernel:
            before, by_size = step.pad[::2], step.pad[::2] != step.pad[1::2]
            window = {"stride": step.stride, "padding": (0, 0) if by_size else before, "dilation": (1, 1)}
            told[name] = ["Conv2dSame" if by_size else "Conv2d", window]
        elif step.op in ACTIVATIONS:
            told[name] = [ACTIVATIONS[step.op], {}]
    for name, about in told.items():
        change(name, about)
    return told


def torchvisions(change):
    """{module: (class, attributes)} of torchvision's small network, its activations in their places, after `change(told)`."""
    told, layer = {}, ""
    for step in make_plan(get_variant(TORCHVISION), 3):
        layer = step.params[0].name.rpartition(".")[0] if step.params else layer
        block, _, last = layer.rpartition(".")
        if step.op in ACTIVATIONS:
            place = {"fc1": "activation", "fc2": "scale_activation", "0": "1", "1": "2"}[last]
            told[f"{block}.{place}"] = [ACTIVATIONS[step.op], {}]
        se, ends = last.startswith("fc"), block == "classifier"
        told[block] = ["Sequential" if ends else "SqueezeExcitation" if se else "Conv2dNormActivation", {}]
        if step.op == "add":
            told[layer.partition(".block")[0]] = ["InvertedResidual", {"use_res_connect": True}]
    change(told)
    return told


def whole_module(path, model, change=lambda name, about: None, script=None, told=None, code=()):
    """Write a network as a whole module, or as a scripted one whose norms' code is `script`, with an epsilon put in."""
    state = {name: np.array(array, order="C") for name, array in random_state(model, 3).items()}
    told = told or settings_of(model, change)
    kinds = {"f": "Float", "i": "Long"}

    def made(prefix):
        arrays, inner = {}, {}
        for i, (name, array) in enumerate(state.items()):
            if name.startswith(prefix):
                first, dot, _ = name.removeprefix(prefix).partition(".")
                if dot:
                    inner[first] = None
                else:
                    arrays[first] = files.tensor(str(i), array, kind=kinds[array.dtype.kind])
        inner |= {name.removeprefix(prefix).partition(".")[0]: None for name in told if name.startswith(prefix)}
        kind, more = told.get(prefix.rstrip("."), ("Net", {}))
        parts = {name: made(f"{prefix}{name}.") for name in inner}
        if script:
            return files.Call(f"__torch__.mine.{kind}.{kind}", opcode=b"\x81", state=arrays | parts)
        return files.module(arrays, parts, name=f"mine.{kind}", more=more.items())

    norm = next((more["eps"] for kind, more in told.values() if "eps" in more), None)
    code = code or ([("archive/code/__torch__/mine/BatchNorm2d.py", (script % norm).encode())] if script else [])
    path.write_bytes(files.torch_zip(made(""), {str(i): array for i, array in enumerate(state.values())}, extra=code))
    return path


@pytest.mark.parametrize("model", [SMALL, TWIN, TORCHVISION])
def test_what_modules_are_set_to_tells_twins_apart(model, tmp_path):
    done = convert(whole_module(tmp_path / "a.pth", model), tmp_path / "a.npz")
    assert (done.model, done.warnings) == (model, ())


def _epsilon(name, about):
    if "eps" in about[1]:
        about[1]["eps"] = 1e-5


def _dilation(name, about):
    if name == "features.9.block.1.0":
        about[1].update(dilation=(2, 2), padding=(4, 4), stride=(1, 1))


def _swish(name, about):
    about[0] = {"Hardswish": "SiLU"}.get(about[0], about[0])


def _relu_in_head(name, about):
    about[0] = "ReLU" if name == "acts.head" else about[0]


def _max_pool(name, about):
    if name == "features.0.0":
        about[1]["pool_type"] = "max"


@pytest.mark.parametrize(
    "change, told",
    [
        (_epsilon, "epsilon differs: features.0.1 has 1e-05, expected 0.001"),
        (_dilation, r"dilation differs: features.9.block.1.0 has \(2, 2\)"),
        (_swish, "19 of SiLU, expected 0"),
        (_relu_in_head, "15 of relu, expected 14"),
        (_max_pool, "pooling differs: features.0.0 pools by 'max'"),
    ],
)
def test_a_network_that_computes_otherwise_is_refused(change, told, tmp_path):
    with pytest.raises(WeightsError, match=told):
        convert(whole_module(tmp_path / "a.pth", TORCHVISION, change), tmp_path / "a.npz")


def _class(name, kind):
    return lambda told: told[name].__setitem__(0, kind)


def _swapped(told):
    _class("features.2.block.0.2", "Hardswish")(told)
    _class("features.7.block.1.2", "ReLU")(told)


def _made_of_relu6(told):
    _class("features.0.2", "MySwish")(told)
    told["features.0.2.act"] = ["ReLU6", {}]


def _all(old, new):
    return lambda told: [_class(name, new)(told) for name, about in told.items() if about[0] == old]


def _setting(name, **more):
    return lambda told: told.setdefault(name, ["Conv2d", {}])[1].update(more)


@pytest.mark.parametrize(
    "change, told",
    [
        (_all("Hardswish", "ReLU6"), "features.0.2 is ReLU6, expected hard_swish"),
        (_all("ReLU", "ReLU6"), "features.1.block.0.2 is ReLU6, expected relu"),
        (_class("features.5.block.0.2", "Identity"), "features.5.block.0 has no activation, expected hard_swish"),
        (_class("classifier.1", "Dropout"), "classifier has no activation, expected hard_swish"),
        (
            _class("features.1.block.1.activation", "Identity"),
            "1.block.1 has hard_sigmoid, expected relu and hard_sigmoid",
        ),
        (_swapped, "2.block.0.2 is Hardswish, expected relu, features.7.block.1.2 is ReLU, expected hard_swish"),
        (_class("features.2.block.2", "LayerNorm"), "1 of LayerNorm, expected 0"),
        (_setting("features.5", use_res_connect=False), "features.5 has use_res_connect False, expected True"),
        (_setting("features.0.0", padding_mode="reflect"), "features.0.0 has 'reflect' padding, expected zeros"),
    ],
)
def test_activations_sums_and_padding_are_compared_place_by_place(change, told, tmp_path):
    with pytest.raises(WeightsError, match=told):
        convert(whole_module(tmp_path / "a.pth", TORCHVISION, told=torchvisions(change)), tmp_path / "a.npz")


@pytest.mark.parametrize(
    "change, note",
    [
        (lambda told: None, ""),
        (lambda told: told.pop("features.1.block.1.scale_activation"), "layers of features.1.block.1 is not told"),
        (_class("features.0.2", "MySwish"), "layers of features.0 is not told"),
        (_made_of_relu6, "layers of features.0 is not told"),
        (_class("features.0.2", "HardSwishMe"), ""),
        (_all("Hardswish", "h_swish"), ""),
        (
            lambda told: told.update({"classifier.4": ["Softmax", {}]}),
            "modules have softmax; the dump ends with the logits",
        ),
    ],
)
def test_activations_that_cannot_be_told_are_taken_with_a_note(change, note, tmp_path):
    done = convert(whole_module(tmp_path / "a.pth", TORCHVISION, told=torchvisions(change)), tmp_path / "a.npz")
    assert "what Net may compute beside their modules is not told" in done.notes[-1]
    assert any(note in told for told in done.notes) and (note or len(done.notes) == 1)


SCRIPTS = {
    "traced": "    x = torch.batch_norm(argument_1, weight, bias, running_mean, running_var, False, 0.01, %r, True)\n",
    "scripted": "    _3 = _0(input, running_mean, running_var, weight, bias, bn_training, 0.01, %r, )\n    return _3\n",
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_the_code_of_scripted_norms_tells_their_epsilon(script, tmp_path):
    right = convert(whole_module(tmp_path / "a.pt", TORCHVISION, script=script), tmp_path / "a.npz")
    assert right.model == TORCHVISION
    with pytest.raises(WeightsError, match="epsilon differs: features.0.1 has 1e-05, expected 0.001"):
        convert(whole_module(tmp_path / "b.pt", TORCHVISION, _epsilon, script=script), tmp_path / "b.npz")


@pytest.mark.parametrize("script", ["running_var, 1.e, 2-.3-)  # %r", "running_var, %r) running_var, 0.5)", "%r"])
def test_code_that_tells_no_epsilon_is_none(script, tmp_path):
    assert convert(whole_module(tmp_path / "a.pt", TORCHVISION, script=script), tmp_path / "a.npz").model == TORCHVISION


def test_settings_go_by_the_names_of_the_parameters(tmp_path):
    found = read_checkpoint(whole_module(tmp_path / "a.pth", TORCHVISION))
    assert found.modules["features.0.1"] == {"class": "BatchNorm2d", "eps": 0.001}
    assert found.modules["features.0.0"]["stride"] == (2, 2)


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
    program = {"graph_module": {"graph": {"nodes": nodes}, "signature": signature}}
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
        for op, arguments in _ops(step, inputs, params, *told.get(module, ("", {})), decomposed):
            values[step.name] = f"value_{len(nodes)}"
            arguments = {name: _argument(value, values[step.name]) for name, value in arguments.items()}
            nodes.append(_node(op, arguments, values[step.name]))
    return nodes, values["logits"]


def _argument(value, out):
    """A value of the graph (BEFORE is what the node before gave), or numbers, as torch spells them in JSON."""
    if isinstance(value, str):
        return {"as_tensor": {"name": value.replace(BEFORE, f"value_{int(out[6:]) - 1}")}}
    kind = {bool: "as_bool", int: "as_int", float: "as_float", tuple: "as_ints"}[type(value)]
    return {kind: list(value) if kind == "as_ints" else value}


BEFORE = "before"


def _ops(step, inputs, params, kind, more, decomposed):
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


def _node(op, arguments, out="out"):
    inputs = [{"name": name, "arg": arg, "kind": 1} for name, arg in arguments.items()]
    stack = {"nn_module_stack": "L__self__,,mine.Net;L__self__features_0,features.0,torch.nn.Module"}
    target = f"torch.ops.aten.{op}.default"
    return {"target": target, "inputs": inputs, "outputs": [{"as_tensor": {"name": out}}], "metadata": stack}


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize("model", [SMALL, TWIN, TORCHVISION])
def test_an_exported_programs_graph_tells_twins_apart(model, decomposed, tmp_path):
    done = convert(exported(tmp_path / "a.pt2", model, decomposed=decomposed), tmp_path / "a.npz")
    assert (done.model, done.warnings) == (model, ()) and "its graph compared" in done.notes[0]


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize(
    "change, told",
    [
        (_epsilon, "epsilon differs: features.0.1 has 1e-05, expected 0.001"),
        (_dilation, r"dilation differs: features.9.block.1.0 has \(2, 2\)"),
        (_swish, "19 of silu, expected 0"),
        (_relu_in_head, "15 of relu, expected 14"),
    ],
)
def test_an_exported_program_that_computes_otherwise_is_refused(change, told, decomposed, tmp_path):
    with pytest.raises(WeightsError, match=told):
        convert(exported(tmp_path / "a.pt2", TORCHVISION, change, decomposed), tmp_path / "a.npz")


def _nodes_of(module, op):
    return [node for node in module["graph"]["nodes"] if node["target"].split(".")[3].rstrip("_") == op]


def _bypass(op, place, of=0):
    """Take an operation out of a program's graph: what read it reads what it read."""

    def damage(module):
        node = _nodes_of(module, op)[place]
        name, read = node["outputs"][0]["as_tensor"]["name"], node["inputs"][of]["arg"]
        for other in module["graph"]["nodes"]:
            for one in other["inputs"]:
                one["arg"] = read if one["arg"] == {"as_tensor": {"name": name}} else one["arg"]
        module["graph"]["nodes"].remove(node)

    return damage


def _renamed(op, to):
    return lambda module: [node.update(target=f"torch.ops.aten.{to}.default") for node in _nodes_of(module, op)]


def _appended(op, **arguments):
    """Put an operation behind the logits."""

    def damage(module):
        given = module["signature"]["output_specs"][0]["user_output"]["arg"]
        numbers = {name: {"as_float": value} for name, value in arguments.items()}
        module["graph"]["nodes"].append(_node(op, {"self": dict(given)} | numbers, "last"))
        given["as_tensor"] = {"name": "last"}

    return damage


@pytest.mark.parametrize(
    "damage, told",
    [
        (_bypass("add", -1), "for add, at blocks.10"),
        (_bypass("hardswish", 3), "the program has no hard_swish, at blocks.4.expand"),
        (_appended("mul", other=3.0), "the program has multiply by 3 besides, at logits"),
        (_appended("neg"), "the program has neg besides, at logits"),
        (_renamed("mul", "maximum"), "the program has maximum for mul, at blocks.8.se"),
    ],
)
def test_an_exported_programs_order_sums_and_products_are_compared(damage, told, tmp_path):
    with pytest.raises(WeightsError, match=told):
        convert(exported(tmp_path / "a.pt2", TORCHVISION, damage=damage), tmp_path / "a.npz")


@pytest.mark.parametrize(
    "damage, note",
    [
        (lambda module: module["signature"].pop("output_specs"), "nor the order of its operations"),
        (lambda module: module.pop("signature"), "in a way that is not known here"),
        (lambda module: module["graph"].update(nodes=7), "in a way that is not known here"),
        (lambda module: module["graph"]["nodes"][1].update(target=None), "in a way that is not known here"),
        (lambda module: module["graph"].update(nodes=[]), "no batch norm in one piece"),
    ],
)
def test_a_program_that_tells_nothing_is_said_to(damage, note, tmp_path):
    done = convert(exported(tmp_path / "a.pt2", TORCHVISION, damage=damage), tmp_path / "a.npz")
    assert done.model == TORCHVISION and any(note in told for told in done.notes)


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


def traced(path, change=lambda lines: None):
    """Write torchvision's small network as a traced module, its code one forward, after `change(lines)`."""
    told, values, lines = settings_of(TORCHVISION, lambda name, about: None), {"input": "x"}, []
    for step in make_plan(get_variant(TORCHVISION), 3):
        params = {param.role: _member(param.name) for param in step.params if param.role != "count"}
        module = step.params[0].name.rpartition(".")[0] if step.params else f"acts.{step.name.replace('.', '_')}"
        values[step.name] = values[step.inputs[0]]
        inputs = [values[name] for name in step.inputs]
        for op, arguments in _ops(step, inputs, params, *told.get(module, ("", {})), False):
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
    code = [("archive/code/__torch__/mine/Net.py", text.encode())]
    return whole_module(path, TORCHVISION, script="%s", code=code)


def _line(pattern, to, place=0):
    def change(lines):
        index = [i for i, line in enumerate(lines) if pattern in line][place]
        lines[index : index + 1] = to(lines[index])

    return change


def _last(call):
    return _line("return", lambda line: [f"last = {call}".replace("OUT", line.split()[1]), "return last"])


@pytest.mark.parametrize(
    "change, told",
    [
        (_last("torch.mul(OUT, 3.)"), "the program has multiply by 3 besides, at logits"),
        (
            _line("torch.add(", lambda line: [line.replace("torch.add(", "torch.sub(")]),
            "the program has subtract for add, at blocks.2",
        ),
        (
            _line("torch.hardswish", lambda line: [line.replace("hardswish_", "relu6")]),
            "the program has relu6 for hard_swish, at stem",
        ),
        (
            _line("adaptive_avg", lambda line: [line.replace("_avg_", "_max_")], -1),
            "adaptive_max_pool2d for global_avg_pool, at pool",
        ),
        (
            _line("conv2d", lambda line: [line.replace("[1, 1], [1, 1], 1)", "[0, 0], [1, 1], 1)")]),
            r"pads \(0, 0, 0, 0\)",
        ),
    ],
)
def test_the_code_of_a_trace_is_compared(change, told, tmp_path):
    done = convert(traced(tmp_path / "a.pt"), tmp_path / "a.npz")
    assert done.model == TORCHVISION and "its code is that of a trace, and is compared" in done.notes
    with pytest.raises(WeightsError, match=told):
        convert(traced(tmp_path / "b.pt", change), tmp_path / "b.npz")


@pytest.mark.parametrize(
    "change",
    [
        _line("return", lambda line: ["if bool(self.training):", "  pass", line]),
        _line("return", lambda line: ["x = " + "(" * 500 + "x" + ")" * 500, line]),
        _line("return", lambda line: ["x = (self).forward(x, )", line]),
        _line("return", lambda line: ["x = __import__('os')", line]),
        _line("return", lambda line: ["x = CONSTANTS.c9", line]),
        _line("return", lambda line: ["x = = 3", line]),
        _line("return", lambda line: []),
    ],
)
def test_code_that_cannot_be_followed_is_said_to(change, tmp_path):
    done = convert(traced(tmp_path / "a.pt", change), tmp_path / "a.npz")
    assert done.model == TORCHVISION and any("its code is not followed" in note for note in done.notes)
