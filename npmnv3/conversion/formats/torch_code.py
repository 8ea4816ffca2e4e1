"""The code of traced modules as operations: straight lines of calls, which are parsed and followed, never run.

Scripted modules have branches and calls of functions besides; theirs is not followed.
"""

import ast

from .modules import CODE
from .record import Operation
from .torch_operations import UNKNOWN, Graph

MAX_STEPS = 50_000  # expressions that are followed
_SIZES = ("size", "dim", "numel", "NumToTensor", "int", "float", "bool")  # numbers that no comparison needs
_SHAPED = ("annotate", "unchecked_cast")  # whose last argument is the value
# Names of arguments as exported programs have them, by operation; others have numbers.
_ARGUMENTS = {
    "_convolution": "input weight bias stride padding dilation transposed output_padding groups",
    "conv2d": "input weight bias stride padding dilation groups",
    "batch_norm": "input weight bias running_mean running_var training momentum eps",
    "linear": "input weight bias",
    "addmm": "self mat1 mat2",
    "mean": "self dim keepdim",
    "adaptive_avg_pool2d": "self output_size",
    "pad": "self pad mode value",
    "constant_pad_nd": "self pad value",
    "hardtanh": "self min_val max_val",
    "clamp": "self min max",
    "dropout": "input p train",
    "add": "self other alpha",
    "sub": "self other alpha",
    "mul": "self other",
    "div": "self other",
}


class Unclear(Exception):
    """The code has something that is not followed."""


class _Tensor(str):
    """A value's name."""


class _Module(str):
    """A module's dotted name."""


def program_of_code(modules, arrays, code, constants):
    """Operations in order, as `torch_operations.program_of` has them; empty where the code cannot be followed.

    Parameters
    ----------
    modules : {dotted name: settings}, as `Checkpoint` has them
    arrays : names of parameters and buffers
    code : function of a file's name that gives its text, None where it is too long or missing
    constants : list of numbers, None for those that are none
    """
    try:
        follower = _Follower(modules, arrays, code, constants)
        given = follower.forward(_Module(""), [_Tensor("the input")])
    except (Unclear, SyntaxError, RecursionError, MemoryError, *UNKNOWN):
        return ()
    given = given if isinstance(given, (tuple, list)) else (given,)
    outputs = [Operation("fetch", (str(value),), (), {}) for value in given if isinstance(value, _Tensor)]
    return (Operation("data", (), ("the input",), {}), *follower.made, *outputs) if outputs else ()


class _Follower:
    def __init__(self, modules, arrays, code, constants):
        self.modules, self.arrays, self.code, self.constants = modules, set(arrays), code, constants
        self.graph, self.made, self.classes, self.steps = Graph({}, {}), [], {}, 0

    def forward(self, module, arguments):
        """What a module gives for these arguments."""
        function = self._function(module)
        values = {
            argument.arg: value for argument, value in zip(function.args.args, [module, *arguments], strict=False)
        }
        for statement in function.body:
            if isinstance(statement, ast.Return):
                return self._value(statement.value, values)
            if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
                raise Unclear
            self._assign(statement.targets[0], self._value(statement.value, values), values)
        raise Unclear

    def _function(self, module):
        settings = self.modules[module]
        path = settings[CODE]
        if path not in self.classes:
            text = self.code(path)
            self.classes[path] = ast.parse(text).body if text is not None else []
        for kind in self.classes[path]:
            if isinstance(kind, ast.ClassDef) and kind.name == settings["class"]:
                return next(part for part in kind.body if isinstance(part, ast.FunctionDef) and part.name == "forward")
        raise Unclear

    def _assign(self, target, value, values):
        if isinstance(target, ast.Name):
            values[target.id] = value
        elif isinstance(target, ast.Tuple) and isinstance(value, (tuple, list)):
            for part, item in zip(target.elts, value, strict=True):
                self._assign(part, item, values)
        else:
            raise Unclear

    def _value(self, node, values):
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise Unclear
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return values[node.id]
        if isinstance(node, (ast.List, ast.Tuple)):
            return tuple(self._value(part, values) for part in node.elts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self._value(node.operand, values)
        if isinstance(node, ast.Attribute):
            return self._attribute(node, values)
        if isinstance(node, ast.Call) and not node.keywords:
            return self._call(node, values)
        raise Unclear

    def _attribute(self, node, values):
        if isinstance(node.value, ast.Name) and node.value.id == "CONSTANTS":
            return self.constants[int(node.attr.removeprefix("c"))]
        return self._part(self._value(node.value, values), node.attr)

    def _part(self, owner, name):
        if not isinstance(owner, _Module):
            raise Unclear
        name = f"{owner}.{name}".lstrip(".")
        return _Tensor(name) if name in self.arrays else _Module(name) if name in self.modules else None

    def _call(self, node, values):
        words = _words(node.func)
        if words[-1] in _SHAPED:
            return self._value(node.args[-1], values)
        arguments = [self._value(argument, values) for argument in node.args]
        if words[-1] in _SIZES:
            return None
        if words == ["getattr"] and len(arguments) == 2:
            return self._part(*arguments)
        if words[0] == "torch" and len(words) == 2:
            return self._operation(words[1], arguments)
        owner = self._value(node.func.value, values) if isinstance(node.func, ast.Attribute) else None
        if not isinstance(owner, _Module) or words[-1] != "forward":
            raise Unclear
        return self.forward(owner, arguments)

    def _operation(self, op, arguments):
        """A call as the node of an exported program, which the same table gives its meaning."""
        if not any(isinstance(value, _Tensor) for value in arguments):
            return None
        known = _ARGUMENTS.get(op.rstrip("_"), "").split()
        names = known + [f"argument {i}" for i in range(len(known), len(arguments))]
        inputs = [{"name": name, "arg": _argument(value)} for name, value in zip(names, arguments, strict=False)]
        op, out = op.rstrip("_").replace("_convolution", "convolution"), f"value {self.steps} of {op}"
        if (op, *arguments[6:7]) == ("convolution", True):
            op = "conv_transpose2d"
        node = {"target": f"torch.ops.aten.{op}", "inputs": inputs, "outputs": [{"as_tensor": {"name": out}}]}
        self.made += self.graph.translated(node)
        return _Tensor(out)


def _words(node):
    """`ops.prim.NumToTensor` in parts; of what is computed before the last point only the last part."""
    if isinstance(node, ast.Attribute):
        owner = node.value
        inner = (
            _words(owner)
            if isinstance(owner, ast.Name)
            else ["", owner.attr if isinstance(owner, ast.Attribute) else ""]
        )
        return [*inner, node.attr]
    return [node.id if isinstance(node, ast.Name) else ""]


def _argument(value):
    """A value as exported programs spell arguments."""
    if isinstance(value, _Tensor):
        return {"as_tensor": {"name": str(value)}}
    if isinstance(value, tuple) and value and all(isinstance(one, _Tensor) for one in value):
        return {"as_tensors": [{"name": str(one)} for one in value]}
    if isinstance(value, tuple) and None not in value:
        return {"as_ints": value}
    kinds = {bool: "as_bool", int: "as_int", float: "as_float", str: "as_string"}
    return {kinds.get(type(value), "as_none"): value}
