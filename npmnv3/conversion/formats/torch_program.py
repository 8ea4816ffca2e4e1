"""What an exported program (torch.export.save) says that its modules are set to: its graph in JSON, node by node.

Source: torch/_export/serde/schema.py
"""

import json

from ...errors import WeightsError
from .torch_operations import UNKNOWN, operation_name, program_of

MAX_BYTES = 64 << 20
_NORM = ("batch_norm", "_native_batch_norm", "native_batch_norm", "cudnn_batch_norm")
_CONV = ("conv2d", "convolution")
_PAD = ("pad", "constant_pad_nd")
_WINDOW = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}  # as these are where the program leaves them out


def read_settings(text, where):
    """What the modules are set to, as `modules.module_settings` has it of whole modules.

    Batch norms and convolutions go by the names of their parameters, activations and pools by numbers behind their module's.

    Parameters
    ----------
    text : bytes, JSON
    where : str, what messages call it

    Returns
    -------
    (settings, operations, notes) : {dotted name: {"class": str, and what it is set to}}, tuple of Operation, empty where
        the graph cannot be followed, and sentences on what could not be told

    Raises
    ------
    WeightsError
        No JSON.
    """
    try:
        program = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"not a program: {where} is no JSON ({str(error)[:200]})") from error
    unknown = "its program is written in a way that is not known here: "
    try:
        told = _settings(program["graph_module"])
    except UNKNOWN:
        return {}, (), (f"{unknown}epsilons, padding and activations are not checked",)
    if not any("eps" in settings for settings in told.values()):
        unknown, operations = "its program has no batch norm in one piece: epsilons are not checked, ", ()
    else:
        operations = _operations(program["graph_module"])
    return told, operations, () if operations else (f"{unknown}nor the order of its operations, its sums and products",)


def _operations(module):
    try:
        return program_of(module)
    except UNKNOWN:
        return ()


def _settings(module):
    names = dict(filter(None, map(_parameter, module["signature"]["input_specs"])))
    told, padded = {}, {}  # padded: {name: how}
    for number, node in enumerate(module["graph"]["nodes"]):
        op, arguments = operation_name(node["target"]), {one["name"]: one["arg"] for one in node["inputs"]}
        if op in _PAD:
            mode = str(arguments.get("mode", {}).get("as_string", "constant"))
            padded |= {out["as_tensor"]["name"]: mode for out in node["outputs"]}
        name, settings = _told(op, arguments, names, padded)
        told[name or f"{_module(node)}.{number}".lstrip(".")] = settings
    return told


def _parameter(spec):
    """(name in the graph, dotted name) of what is a parameter or a buffer."""
    for kind in ("parameter", "buffer"):
        if kind in spec:
            return str(spec[kind]["arg"]["name"]), str(spec[kind][f"{kind}_name"])
    return None


def _told(op, arguments, names, padded):
    """(dotted name, "" of what has no parameters; settings) of a node."""
    if op.startswith(_NORM):
        eps = arguments.get("eps", arguments.get("epsilon"))
        return _owner(arguments, names), {"class": "BatchNorm2d", "eps": float(_number(eps))}
    if op in _CONV:
        mode = padded.get(arguments["input"]["as_tensor"]["name"])
        kind = "Conv2dSame" if mode == "constant" else "Conv2d"
        window = {"padding_mode": mode} if mode and mode != "constant" else {}
        window |= {what: _window(arguments.get(what), default) for what, default in _WINDOW.items()}
        return _owner(arguments, names), {"class": kind, **window}
    if op == "hardtanh":  # which relu6 becomes
        ends = [_number(arguments.get(name, {"as_int": n})) for name, n in (("min_val", -1), ("max_val", 1))]
        return "", {"class": "" if ends == [0, 6] else op}
    # A gate, or ReLU6, is a part of some hard-swishes, so that counting it tells nothing.
    return "", {"class": "" if op in ("hardsigmoid", "relu6") else op}


def _owner(arguments, names):
    """The name of the module whose parameters a node reads."""
    found = [
        arguments[role]["as_tensor"]["name"]
        for role in ("weight", "running_mean")
        if "as_tensor" in arguments.get(role, {})
    ]
    return next((names[name].rpartition(".")[0] for name in found if name in names), "")


def _window(argument, default):
    if argument is None:
        return default
    if "as_string" in argument:
        return (0, 0) if argument["as_string"] == "valid" else str(argument["as_string"])
    numbers = tuple(map(int, argument["as_ints"]))
    return numbers * 2 if len(numbers) == 1 else numbers


def _number(argument):
    return argument["as_float"] if "as_float" in argument else argument["as_int"]


def _module(node):
    """The dotted name of the module in which a node was traced, "" where nothing says it."""
    stack = node.get("metadata", {}).get("nn_module_stack", "")
    fields = str(stack).split(";")[-1].split(",")
    return fields[1] if len(fields) > 2 else ""
