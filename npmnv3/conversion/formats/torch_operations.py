"""An exported program's graph as operations by paddle's names, so that one comparison serves both (`match.by_wiring`)."""

from ...network.padding import same_padding
from .record import Operation
from .torch_sizes import Sides, pair

#: What is raised where a program is not written as expected: it is not followed then.
UNKNOWN = (ValueError, LookupError, TypeError, AttributeError, OverflowError, StopIteration)
_NORMS = ("batch_norm", "cudnn_batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training")
_SAME_ELEMENTS = frozenset(
    "view reshape _unsafe_view flatten squeeze unsqueeze contiguous clone alias detach _to_copy to lift_fresh_copy".split()
)
_DROPOUTS = ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
_OF_WEIGHTS = ("t", "permute", "transpose", "to")  # what is done to a weight before it is multiplied
_NAMES = {"_softmax": "softmax", "_log_softmax": "log_softmax", "_adaptive_avg_pool2d": "adaptive_avg_pool2d"}
_TENSOR, _NUMBER = "as_tensor", "as_sym_int"
_WHOLE = (1, 2, 3, 4, 5, 12)  # types of integers and of truth values, as programs number them


def operation_name(target):
    """`hardswish` of torch.ops.aten.hardswish.default; what changes its input in place is the same."""
    words = target.split(".")
    return words[3].rstrip("_") if words[:3] == ["torch", "ops", "aten"] and len(words) > 3 else ""


def program_of(module):
    """The operations in order of a program's "graph_module", with parameters by their dotted names; none where it does
    not say what it gives."""
    signature, values = module["signature"], module["graph"].get("tensor_values", {})
    names, made = {}, []
    for spec in signature["input_specs"]:
        kind = next(iter(spec))
        arg = spec[kind]["arg"]
        if kind in ("parameter", "buffer"):
            names[arg["name"]] = spec[kind][f"{kind}_name"]
        elif _TENSOR in arg:
            made.append(Operation("data", (), (arg[_TENSOR]["name"],), {}))
    graph = Graph(names, {name: [size.get("as_int") for size in value["sizes"]] for name, value in values.items()})
    sides = Sides(graph.sizes, [operation.outputs[0] for operation in made])
    for node in module["graph"]["nodes"]:
        op, args = (operation_name(node["target"]), {one["name"]: _plain(one["arg"], sides) for one in node["inputs"]})
        outputs = tuple(name for out in node["outputs"] for name in _tensors(out))
        if numbers := [out[_NUMBER]["as_name"] for out in node["outputs"] if _NUMBER in out]:
            sides.compute(op or node["target"], list(args.values()), numbers[0])
            continue
        sides.follow(op, args, outputs)
        made += graph.translated(op or node["target"], args, outputs)
    results = [spec["user_output"]["arg"] for spec in signature.get("output_specs", ()) if "user_output" in spec]
    outputs = [arg[_TENSOR]["name"] for arg in results if _TENSOR in arg]
    return (*made, *(Operation("fetch", (name,), (), {}) for name in outputs)) if outputs else ()


class Name(str):
    """A tensor's name among other arguments."""


class Graph:
    """What is known of a graph's values on the way through it.

    names : {name in the graph: dotted name of a parameter or buffer}
    sizes : {name: shape of the tensor}, as far as they are known
    """

    def __init__(self, names, sizes):
        self.names, self.sizes = names, sizes
        self.padded, self.above_zero = {}, {}  # {name: (what was padded, by how much)}, {name: what was clipped}
        self.means = {}  # {name: (of what it is a mean, over which axis, whether that is kept)}
        self.stacked = {}  # {name: (the two that are stacked, along which axis)}

    def translated(self, op, args, outputs):
        """The operations of a node: none where it only turns or casts a weight.

        op : str, torch's name
        args : {argument: Name, number, text, tuple of those, or None for anything else}
        outputs : tuple of names
        """
        op = _NAMES.get(op, op)
        lists = [value if isinstance(value, tuple) else (value,) for value in args.values()]
        inputs = tuple(self.names.get(one, one) for values in lists for one in values if isinstance(one, Name))
        if op in _OF_WEIGHTS and inputs and inputs[0] in self.names.values() and args.get("dtype") not in _WHOLE:
            self.names[outputs[0]] = inputs[0]
            return []
        if op in ("pad", "constant_pad_nd") and args.get("mode", "constant") == "constant" and not args.get("value"):
            self.padded[outputs[0]] = (args["self"], args.get("pad"))
        if op == "stack" and len(inputs) == 2:
            self.stacked[outputs[0]] = inputs, args.get("dim", 0)
        if op == "sum" and inputs[0] in self.stacked and not args.get("keepdim"):
            pair, axis = self.stacked[inputs[0]]
            op, inputs = ("add", pair) if args.get("dim") == (axis,) else (op, inputs)
        if op in ("conv2d", "convolution"):
            return [self._convolution(args, inputs, outputs)]
        if op == "clamp" and args.get("max") == 6 and args.get("min") is None and inputs[0] in self.above_zero:
            args, inputs = args | {"min": 0}, (self.above_zero[inputs[0]],)
        if op == "mean" and isinstance(args.get("dim"), tuple) and len(args["dim"]) == 1:
            args, inputs = self._mean(args, inputs, outputs)
        kind, attributes, inputs = _meaning(op, args, inputs)
        if op == "clamp" and kind == "relu":
            self.above_zero[outputs[0]] = inputs[0]
        return [Operation(kind, inputs, outputs, attributes)]

    def _mean(self, args, inputs, outputs):
        """(args, inputs) of a mean over one axis: with the mean that it is taken of, one over height and width."""
        dim, (source, before, kept) = args["dim"][0], self.means.get(inputs[0], (None, 0, True))
        self.means[outputs[0]] = inputs[0], dim % 4, args.get("keepdim")
        axis = dim % 4 if kept else dim % 3 + (dim % 3 >= before)
        return (args | {"dim": (2, 3)}, (source,)) if source and {before, axis} == {2, 3} else (args, inputs)

    def _convolution(self, args, inputs, outputs):
        stride, padding = pair(args.get("stride"), 1), args.get("padding")
        attributes = {"strides": stride, "dilations": pair(args.get("dilation"), 1), "groups": args.get("groups", 1)}
        source, pads = args["input"], (0, 0, 0, 0)
        if isinstance(padding, str):
            return Operation("conv2d", inputs, outputs, attributes | {"padding_algorithm": padding.upper()})
        if source in self.padded:
            source, pads = self.padded[source]
            if pads == self._same(source, args["weight"], stride):
                attributes["padding_algorithm"] = "SAME"
            pads = (0, 0, 0, 0) if len(pads) != 4 else (*pads[2:], *pads[:2])
            inputs = (self.names.get(source, source), *inputs[1:])
        rows, columns = pair(padding, 0)
        attributes["paddings"] = tuple(a + b for a, b in zip(pads, (rows, rows, columns, columns), strict=True))
        return Operation("conv2d", inputs, outputs, attributes)

    def _same(self, source, weight, stride):
        """By how much TensorFlow's rule pads: (left, right, top, bottom), None where the sizes are unknown."""
        try:
            sides, kernel = (self.sizes[name][2:] for name in (source, weight))
            (top, bottom), (left, right) = same_padding(sides, kernel, stride)
        except (LookupError, TypeError):
            return None
        return left, right, top, bottom


def _meaning(op, numbers, inputs):
    """(kind, attributes, inputs) of what is no convolution."""
    if op in _NORMS:
        eps = numbers.get("eps", numbers.get("epsilon"))
        return "batch_norm", {"is_test": not numbers.get("training", False), "epsilon": eps}, inputs
    if numbers.get("dtype") in _WHOLE:
        return "a conversion to whole numbers", {}, inputs
    if op in _SAME_ELEMENTS or op in _DROPOUTS and not numbers.get("train"):
        return "assign", {}, inputs[:1]
    if op == "adaptive_avg_pool2d":
        size = pair(numbers.get("output_size"), 1)
        return "pool2d", {"pooling_type": "avg", "adaptive": True, "kernel_size": size}, inputs
    if op == "mean" and isinstance(numbers.get("dim"), tuple):
        return "mean", {"axis": numbers["dim"]}, inputs
    if op == "hardsigmoid":
        return op, {"slope": 1 / 6, "offset": 0.5}, inputs
    ends = numbers.get("min_val", numbers.get("min")), numbers.get("max_val", numbers.get("max"))
    if op in ("hardtanh", "clamp") and ends == (0, 6):
        return "relu6", {}, inputs
    if op in ("clamp", "clamp_min") and ends == (0, None):
        return "relu", {}, inputs
    if op in ("linear", "mm", "addmm"):
        inputs = (*inputs[1:], inputs[0]) if op == "addmm" else inputs
        return "matmul", {"alpha": numbers.get("alpha", 1) * numbers.get("beta", 1)}, inputs
    return _arithmetic(op, numbers, inputs)


def _arithmetic(op, numbers, inputs):
    """Sums and products, of two values or of one and a number."""
    words = {"add": "add", "sub": "subtract", "mul": "multiply", "div": "divide"}
    other, alpha = numbers.get("other"), numbers.get("alpha", 1)
    if op not in words or numbers.get("rounding_mode") or alpha != 1:
        return op if alpha == 1 else f"{op} of {alpha} times a value", {}, inputs
    if len(inputs) > 1 or not _is_number(other) or op == "div" and not other:
        return words[op], {}, inputs
    scale, bias = {"add": (1, other), "sub": (1, -other), "mul": (other, 0)}.get(op) or (1 / other, 0)
    return "scale", {"scale": scale, "bias": bias}, inputs


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _tensors(arg):
    """The tensors of an argument or output: one, a list of them, or none."""
    one = arg.get(_TENSOR)
    return [Name(each["name"]) for each in ([one] if one else arg.get("as_tensors") or ()) if isinstance(each, dict)]


def _plain(arg, sides):
    """An argument as `Graph.translated` has it."""
    kind, value = next(iter(arg.items()))
    if kind in (_NUMBER, "as_sym_ints"):
        return sides.number(value) if kind == _NUMBER else tuple(map(sides.number, value))
    if kind == _TENSOR:
        return Name(value["name"])
    if kind in ("as_ints", "as_floats", "as_tensors"):
        return tuple(_tensors(arg) if kind == "as_tensors" else value)
    return value if kind in ("as_int", "as_float", "as_bool", "as_string", "as_scalar_type") else None
