"""What calls of torch's functions in a module's code make: operations, as exported programs have them."""

from .record import Operation
from .torch_operations import Graph, Name
from .torch_values import PICTURES, SIDES, Computed, Tensor, Unclear, is_unknown

MAX_STEPS = 100_000  # statements, expressions and values that are looked at
# Results that share memory with what they are made of.
_VIEWS = frozenset(
    "view reshape flatten squeeze unsqueeze contiguous alias detach to slice select permute transpose t chunk split unbind "
    "narrow unfold diagonal as_strided".split()
)
# Names of arguments as exported programs have them, by operation; others have numbers.
_ARGUMENTS = {
    "_convolution": "input weight bias stride padding dilation transposed output_padding groups",
    "conv2d": "input weight bias stride padding dilation groups",
    "batch_norm": "input weight bias running_mean running_var training momentum eps",
    "linear": "input weight bias",
    "addmm": "self mat1 mat2",
    "mean": "self dim keepdim",
    "sum": "self dim keepdim",
    "stack": "tensors dim",
    "adaptive_avg_pool2d": "self output_size",
    "pad": "self pad mode value",
    "constant_pad_nd": "self pad value",
    "hardtanh": "self min_val max_val",
    "clamp": "self min max",
    "clamp_min": "self min",
    "dropout": "input p train",
    "add": "self other alpha",
    "sub": "self other alpha",
    "mul": "self other",
    "div": "self other",
}


class Program:
    """The operations so far; `names` are those of parameters and buffers, {dotted name: what they are to be called}."""

    def __init__(self, names):
        self.graph, self.made, self.steps = Graph(dict(names), {}), [], 0

    def step(self):
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise Unclear("it is too long")

    def new(self, what):
        """A name of its own."""
        self.step()
        return f"{what} {self.steps}"

    def operation(self, op, arguments, named):
        """The result of a call, whose operation is added to the program."""
        op, in_place = op.rstrip("_"), op.endswith("_") and not op.endswith("__")
        if op.endswith("dropout") and arguments[2] is False:
            return arguments[0]
        if op == "avg_pool2d" and _is_whole(*arguments[1:]):
            op, arguments = "adaptive_avg_pool2d", [arguments[0], [1, 1]]
        if op in ("expand", "expand_as") and arguments[0].shape is not PICTURES:  # as a product or a sum does by itself
            return Tensor(arguments[0].name, family=arguments[0].family)
        known = _ARGUMENTS.get("dropout" if op.endswith("dropout") else op, "").split()
        roles = known + [f"argument {i}" for i in range(len(known), len(arguments))]
        by_role = dict(zip(roles, arguments, strict=False)) | named
        if op in ("pad", "constant_pad_nd"):
            self._pad(by_role)
        if op == "to":  # exported programs number types from 1 on
            by_role["dtype"] = next((value + 1 for value in arguments if type(value) is int), None)
        if "out" in named:
            raise Unclear("it writes into a tensor")
        if known and any(is_unknown(value) for role, value in by_role.items() if role != "other"):
            op = f"{op} by what is not told"
        op, out = op.replace("_convolution", "convolution"), self.new(op)
        if op == "convolution" and by_role["transposed"]:
            op = "conv_transpose2d"
        self.made += self.graph.translated(op, {role: _plain(value) for role, value in by_role.items()}, (out,))
        first = arguments[0] if isinstance(arguments[0], Tensor) else None
        if in_place:
            self._overwrite(first, out, op)
            return first
        return Tensor(out, family=first.family if first and op in _VIEWS else None)

    def _overwrite(self, tensor, name, op):
        """Write a value to a tensor, and thereby something to all that share its memory."""
        for other in tensor.family:
            if other is not tensor:
                inputs, other.name = (other.name, name), self.new("a part")
                self.made.append(Operation(f"{op} in a part", inputs, (other.name,), {}))
        tensor.name = name

    def _pad(self, arguments):
        """Replace padding that is computed of sizes by its numbers."""
        if not is_unknown(arguments["pad"]):
            return
        arguments["pad"] = [value.number if isinstance(value, Computed) else value for value in arguments["pad"]]
        if None in arguments["pad"]:
            raise Unclear("how it pads is computed")
        self.graph.sizes[arguments["self"].name] = (1, 1, *SIDES)


def _is_whole(size, stride=(), padding=(0,), *_):
    """Whether an average is taken over the whole height and width."""
    sides = [value.number for value in size if isinstance(value, Computed)]
    return sides == list(SIDES) and not any(padding)


def _plain(value):
    """A value as `Graph.translated` has it."""
    if isinstance(value, (list, tuple)):
        return tuple(map(_plain, value))
    return Name(value.name) if isinstance(value, Tensor) else None if is_unknown(value) else value
