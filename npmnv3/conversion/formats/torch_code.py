"""The code of traced and scripted modules as operations: parsed and followed with the attributes in the file, never run."""

import ast

from .modules import is_module
from .record import Operation
from .stand_ins import Opaque, Stored
from .torch_calls import Program
from .torch_operations import UNKNOWN
from .torch_values import OF_TENSORS, PICTURES, Computed, Function, Module, Tensor, Unclear, compute, truth

_SHAPED = ("annotate", "unchecked_cast")  # whose last argument is the value
_OF_LISTS = ("cat", "concat", "stack")  # operations that take a list of tensors
_ROOT, _HOOKS = "__torch__", "hooks"


def program_of_code(top, names, code, constants):
    """(operations in order, "") of the Foreign `top`, as `torch_operations.program_of` has them; ((), why) where its
    code is not followed.

    names : {dotted name of a parameter or buffer: what the operations are to call it}
    code : function of a file's name that gives its text, None where it is too long or missing
    constants : list of numbers and Stored tensors, None for anything else
    """
    try:
        follower = _Follower(names, code, constants)
        results = follower.run(Module("", top))
        results = results if isinstance(results, (tuple, list)) else (results,)
        outputs = [Operation("fetch", (value.name,), (), {}) for value in results if isinstance(value, Tensor)]
    except Unclear as error:
        return (), f" ({error})" * bool(str(error))
    except (SyntaxError, RecursionError, MemoryError, ArithmeticError, *UNKNOWN):
        return (), ""
    return (Operation("data", (), ("the input",), {}), *follower.program.made, *outputs) if outputs else (), ""


def constant_name(number):
    """How the operations call a constant that is a tensor."""
    return f"CONSTANTS.c{number}"


class _Follower:
    def __init__(self, names, code, constants):
        self.program, self.code, self.constants = Program(names), code, constants
        self.parsed, self.parameters = {}, {}

    def run(self, top):
        """What the outermost module gives; its hooks are not in its code."""
        if _HOOKS in self._class(top):
            raise Unclear("it has hooks")
        return self._method(top, "forward", [Tensor("the input", PICTURES)])

    # Where code is

    def _file(self, where):
        """{name: function, or {name: method} of a class}"""
        path = where.replace(".", "/") + ".py"
        if path not in self.parsed:
            text = self.code(path)
            self.parsed[path] = _definitions(ast.parse(text)) if text is not None else {}
        return self.parsed[path]

    def _class(self, module):
        where, _, name = module.stored.name.rpartition(".")
        return self._file(where)[name]

    def _method(self, module, name, arguments):
        return self._called(self._class(module)[name], [module, *arguments])

    def _function(self, function):
        """The definition of a function, or of a method that is called as one, as hooks are."""
        where, _, name = function.name.rpartition(".")
        above, _, kind = where.rpartition(".")
        return (self._file(where) or self._file(above)[kind])[name]

    # Statements

    def _called(self, function, arguments):
        """What a function gives for these arguments."""
        parameters, defaults = function.args.args, function.args.defaults
        if not len(parameters) - len(defaults) <= len(arguments) <= len(parameters):
            raise Unclear
        values = [
            *arguments,
            *(self._value(one, {}) for one in defaults[len(defaults) - len(parameters) + len(arguments) :]),
        ]
        returned = self._follow(function.body, {one.arg: value for one, value in zip(parameters, values)})
        return returned[0] if returned else None

    def _follow(self, body, values):
        """(what is returned,) or None."""
        for statement in body:
            self.program.step()
            returned = None
            if isinstance(statement, ast.Return):
                return (self._value(statement.value, values),)
            if isinstance(statement, ast.If):
                returned = self._follow(self._branch(statement, values), values)
            elif isinstance(statement, (ast.For, ast.While)):
                returned = self._loop(statement, values)
            elif isinstance(statement, ast.Assign) and len(statement.targets) == 1:
                self._assign(statement.targets[0], self._value(statement.value, values), values)
            elif isinstance(statement, ast.AnnAssign) and statement.value:
                self._assign(statement.target, self._value(statement.value, values), values)
            elif isinstance(statement, ast.Expr):
                self._value(statement.value, values)
            elif not isinstance(statement, ast.Pass):
                raise Unclear(f"it has a statement {type(statement).__name__}")
            if returned:
                return returned
        return None

    def _branch(self, statement, values):
        """The statements of an `if` that are followed: where the condition is unknown, those that end in no error."""
        holds = truth(self._value(statement.test, values))
        ways = [statement.body, statement.orelse] if holds is None else [statement.body if holds else statement.orelse]
        ways = [way for way in ways if not _raises(way)]
        if len(ways) != 1:
            raise Unclear("an `if` depends on what is computed, or ends in an error")
        return ways[0]

    def _loop(self, loop, values):
        turn, counted = 0, isinstance(loop, ast.For)
        count = self._value(loop.iter, values) if counted else None
        while True:
            holds = truth(turn < count if type(count) is int else None if counted else self._value(loop.test, values))
            if holds is None:
                raise Unclear("a loop depends on what is computed")
            if not holds:
                return None
            self.program.step()
            if counted:
                self._assign(loop.target, turn, values)
            turn += 1
            returned = self._follow(loop.body, values)
            if returned:
                return returned

    def _assign(self, target, value, values):
        if isinstance(target, ast.Name):
            values[target.id] = value
        elif isinstance(target, ast.Tuple) and isinstance(value, (tuple, list, Tensor)):
            if isinstance(value, Tensor):  # of several outputs, the first
                value = [value, *(Tensor(self.program.new("a further output")) for _ in target.elts[1:])]
            for part, item in zip(target.elts, value, strict=True):
                self._assign(part, item, values)
        else:
            raise Unclear

    # Expressions

    def _value(self, node, values):
        self.program.step()
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return values[node.id]
        if isinstance(node, (ast.List, ast.Tuple)):
            items = [self._value(part, values) for part in node.elts]
            return items if isinstance(node, ast.List) else tuple(items)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self._value(node.operand, values)
        if isinstance(node, ast.Subscript):
            return compute("__getitem__", [self._value(part, values) for part in (node.value, node.slice)])
        if isinstance(node, ast.Attribute):
            return self._attribute(node, values)
        if isinstance(node, ast.Call):
            return self._call(node, values)
        raise Unclear

    def _attribute(self, node, values):
        words = _words(node)
        if words[0] == "CONSTANTS":
            number = int(node.attr.removeprefix("c"))
            value = self.constants[number]
            return Computed() if value is None else self._stored(constant_name(number), value)
        if words[0] == _ROOT:
            return Function(".".join(words))
        return self._part(self._value(node.value, values), node.attr)

    def _part(self, owner, name):
        """An attribute of a module."""
        if not isinstance(owner, Module):
            raise Unclear
        value, full = owner.stored.state.get(name, Computed()), f"{owner.name}.{name}".lstrip(".")
        if name == "training":
            return False  # whatever it was when it was saved: eval() sets it
        if is_module(value):
            return Module(full, value)
        return self._stored(full, value)

    def _stored(self, name, value):
        """What code gets of a value in the file: a tensor by its name."""
        if isinstance(value, Stored):
            self.program.graph.sizes[name] = value.shape
            return self.parameters.setdefault(name, Tensor(name, value.shape))
        return Computed() if isinstance(value, Opaque) else value

    def _call(self, node, values):
        words = _words(node.func)
        if words[-1] in _SHAPED:
            return self._value(node.args[-1], values)
        if words == ["uninitialized"]:
            return Computed()
        if words == ["range"] and len(node.args) == 1:
            return self._value(node.args[0], values)
        arguments = [self._value(argument, values) for argument in node.args]
        named = {word.arg: self._value(word.value, values) for word in node.keywords}
        if words == ["getattr"]:
            return self._part(*arguments)
        if words[0] == _ROOT or words[0] in values and len(words) == 1:
            called = self._value(node.func, values)
            if named or not isinstance(called, Function):
                raise Unclear
            return self._called(self._function(called), arguments)
        if words[0] not in ("torch", "ops") and isinstance(node.func, ast.Attribute):
            owner = self._value(node.func.value, values)
            if named or not isinstance(owner, Module):
                raise Unclear
            return self._method(owner, node.func.attr, arguments)
        if words[0] not in ("torch", "ops", "int", "float", "bool"):
            raise Unclear(f"it calls {words[0][:80]}")
        tensors = [value for value in self._flat(*arguments, *named.values()) if isinstance(value, Tensor)]
        of_list = bool(arguments) and isinstance(arguments[0], list) and words[-1] not in _OF_LISTS
        if not tensors or of_list or words[-1] in OF_TENSORS:
            return Computed() if named else compute(words[-1], arguments)
        if words[0] != "torch" or len(words) != 2:
            raise Unclear(f"it calls {'.'.join(words)[:80]}")
        return self.program.operation(words[1], arguments, named)

    def _flat(self, *arguments):
        """Arguments and what lists among them hold, each a step."""
        for value in arguments:
            for item in value if isinstance(value, (list, tuple)) else (value,):
                self.program.step()
                yield item


def _definitions(node):
    definitions = {}
    for part in node.body:
        if isinstance(part, ast.FunctionDef):
            definitions[part.name] = part
        elif isinstance(part, ast.ClassDef):
            definitions[part.name] = _definitions(part)
        elif isinstance(part, ast.Assign) and "hooks__" in _words(part.targets[0])[0] and part.value.elts:
            definitions[_HOOKS] = part
    return definitions


def _raises(body):
    """Whether statements end in an error."""
    calls = [statement.value for statement in body if isinstance(statement, ast.Expr)]
    return any(isinstance(call, ast.Call) and _words(call.func)[-1] == "RaiseException" for call in calls)


def _words(node):
    """`ops.prim.NumToTensor` in parts; of what is computed before the last point only the last part."""
    if isinstance(node, ast.Attribute):
        owner = node.value
        return [*(_words(owner) if isinstance(owner, (ast.Name, ast.Attribute)) else [""]), node.attr]
    return [node.id if isinstance(node, ast.Name) else ""]
