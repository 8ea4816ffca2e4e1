"""Write the source of a frozen integer classifier: its network and tables are generated here, the rest is the package's."""

import itertools

from ..engines.integer_engine import rule_field
from ..network.integer_plan import LAYERS
from ..network.steps import INPUT
from ..ops import factors, integers, requantize, saturation, tables
from .compose import WIDTH, assembled, docstring, filled, labels_constant, literal, picture_functions, recipe_constant

HOME = f"{__package__}.integer_runtime"
INTEGERS, REQUANTIZE, SATURATION, TABLES = (module.__name__ for module in (integers, requantize, saturation, tables))
KINDS = {"int8": "i1", "uint8": "u1"}
UNPACK = """\
# layer -> (weight in floats, bias, scales of the weight, Pairs that saturate or None)
W = unpack_integers({})"""
ABOUT_SUMS = "# Whose sums of products are exact, as all their numbers are small integers."
#: What kernels of one kind never call, by the kernel set's field and the words with which they do.
ALONE = (
    ("add", set(factors.SHIFTS), INTEGERS, "_add_shift"),
    ("add", {"fused"}, INTEGERS, "_add_fused"),
    ("add", set(requantize.INTEGER_RULES), INTEGERS, "_add_fixed"),
    ("saturates", {True}, SATURATION, "lost_to_saturation"),
    ("saturates", {True}, SATURATION, "saturating_pairs"),
)


def integer_source(plan, recipe, labels, kernels, about, weights=None):
    """The frozen module's source.

    Parameters
    ----------
    plan : IntegerPlan
    recipe : Preprocess
    labels : sequence of str, or None for the indices as text
    kernels : KernelSet
    about : str, name and origin of the network, lines of the docstring
    weights : str, the weights in base85; default they lie in weights.bin beside the module

    Returns
    -------
    str
    """
    own = [recipe_constant(recipe), _kernels(kernels), _layers(plan), picture_functions(recipe), _network(plan)]
    stored = f"stored as their 8 bits; the arithmetic is integers, bit for bit those of the kernels {kernels.name}."
    about = docstring(plan.steps, stored, about, weights)
    tables = [_grids(plan), labels_constant(plan.steps, labels)]
    return assembled(about, own, tables, weights, UNPACK, HOME, _instead(plan, kernels))


def _instead(plan, kernels):
    """What of the integer operations is replaced: tables by the entries in use, what is never called by nothing."""
    layers = [step for step in plan.steps if step.op in LAYERS]
    products = ", ".join(f"{op}={op}" for op in sorted({integers.LIKE.get(step.op, step.op) for step in layers}))
    pools = [step for step in plan.steps if integers.LIKE.get(step.op, step.op) == "global_avg_pool"]
    fields = {rule_field(step, plan) for step in layers}
    means = {getattr(kernels, rule_field(step, plan)) for step in pools}
    used = {getattr(kernels, field) for field in (*fields, "mul", "add")} | means
    changes = {
        (INTEGERS, "definitions"): f"{ABOUT_SUMS}\ndefinitions = SimpleNamespace(\n    {products},\n)",
        (INTEGERS, "MEANS"): f"MEANS = {_functions(integers.MEANS, means)}",
        (REQUANTIZE, "INTEGER_RULES"): f"INTEGER_RULES = {_functions(requantize.INTEGER_RULES, used)}",
    }
    absent = [(module, name) for field, words, module, name in ALONE if getattr(kernels, field) not in words]
    swishes = [
        plan.grids[name].dtype for step in plan.steps if step.op == "hard_swish" for name in (*step.inputs, step.name)
    ]
    fixed = len(set(swishes)) == 1 and swishes[0] in KINDS  # where no rule in fixed point is, floats are used
    needed = {kernels.hard_swish} | ({"float"} if kernels.hard_swish == "fixed" and not fixed else set())
    absent += [(TABLES, f"hard_swish_{word}_table") for word in ("fixed", "float", "sixth") if word not in needed]
    absent += [(TABLES, "hard_sigmoid_sixth_table")] * ("sixth" not in needed)
    absent += [(REQUANTIZE, rule) for rule in ("real", "up_by_8") if rule not in used]
    return changes | {(module, name): f"{name} = None  # which these kernels do not need" for module, name in absent}


def _functions(table, words):
    """The entries of a table of functions that are in use, as source."""
    entries = (f"{literal(word)}: {function.__name__}" for word, function in table.items() if word in words)
    return f"{{{', '.join(entries)}}}"


def _kernels(kernels):
    rules = [f"{name}={literal(value)}" for name, value in vars(kernels).items() if name != "name"]
    return f"# The rules of {kernels.name}: how sums become stored integers.\nKERNELS = {filled('SimpleNamespace(', rules, ')')}"


def _grids(plan):
    """The scale, zero point and type of every tensor, as a constant."""
    lines = [
        f"    {literal(name)}: Grid({grid.scale!r}, {grid.zero_point}, {literal(grid.dtype)}),\n"
        for name, grid in plan.grids.items()
    ]
    return f"# tensor -> what its integers stand for\nGRIDS = {{\n{''.join(lines)}}}"


def _layers(plan):
    """The form of each layer's arrays, as a constant."""
    lines = []
    for step in plan.steps:
        if step.op in LAYERS:
            weight, _, scale, zero = plan.params(step)
            lines.append(
                f"    {literal(step.name)}: ({literal(step.op)}, {literal(step.inputs[0])}, "
                f"{literal(KINDS[str(weight.dtype)])}, {weight.shape}, {len(scale)}, {len(zero)}),\n"
            )
    about = (
        "# layer -> operation, what it reads, type and shape of its weight, number of its scales and of its zero points"
    )
    return f"{about}\nLAYERS = {{\n{''.join(lines)}}}"


def _network(plan):
    """The network as functions, one a block where blocks have names, and one for the whole."""
    groups = [(name, list(steps)) for name, steps in itertools.groupby(plan.steps, _block)]
    last = plan.steps[-1]
    functions, whole, names = [], [], _Names(INPUT)
    for index, (block, steps) in enumerate(groups):
        later = {name for _, others in groups[index + 1 :] for step in others for name in step.inputs} | {last.name}
        entries, exits = _ends(steps, later)
        if block and len(entries) == len(exits) == 1:
            inner = _Names(entries[0])
            body = _lines(steps, plan, inner, set(exits))
            doc = f'    """{len(steps)} integer operations of a block, on (1, C, H, W)."""'
            functions.append([f"def block_{block}(x):", doc, *body, f"    return {inner.variable(exits[0])}"])
            source = names.variable(entries[0])
            names.free(set(entries) - later)
            target = names.take(exits[0])
            whole.append(f"    {target} = block_{block}({source})  # {steps[-1].shape}")
        else:
            whole += _lines(steps, plan, names, later)
    shape = (1, *plan.input_shape)
    doc = (
        f'    """Logits (1, {last.shape[0]}) of x {shape}, preprocessed. Comments give shapes, less the first axis."""'
    )
    ends = (
        [f"    x = GRIDS[{literal(INPUT)}].quantize(x, fused=KERNELS.fused_picture)"],
        [f"    return GRIDS[{literal(last.name)}].dequantize({names.variable(last.name)})"],
    )
    functions.append(["def network(x):", doc, *ends[0], *whole, *ends[1]])
    return "\n\n\n".join(map("\n".join, functions))


def _block(step):
    """The number of the step's block, as text; "" outside of blocks and of tensors with other names."""
    parts = step.name.split(".")
    return parts[1] if parts[0] == "blocks" and len(parts) > 1 and parts[1].isascii() and parts[1].isdigit() else ""


def _ends(steps, later):
    """(tensors that these steps read and do not make, tensors that they make and later steps read), each once."""
    made = {step.name for step in steps}
    entries = dict.fromkeys(name for step in steps for name in step.inputs if name not in made)
    return list(entries), [step.name for step in steps if step.name in later]


class _Names:
    """Which variable holds which tensor. A new tensor takes the first variable that holds nothing that is still needed."""

    def __init__(self, entry):
        self._holds = {"x": entry}

    def variable(self, tensor):
        return next(variable for variable, name in self._holds.items() if name == tensor)

    def free(self, tensors):
        self._holds = {variable: name for variable, name in self._holds.items() if name not in tensors}

    def take(self, tensor):
        names = itertools.chain("xyzuvw", (f"x{number}" for number in itertools.count(2)))
        variable = next(name for name in names if name not in self._holds)
        self._holds[variable] = tensor
        return variable


def _lines(steps, plan, names, later):
    """Statements that run these steps; of what they make, later steps read `later`."""
    lines = []
    for index, step in enumerate(steps):
        needed = later | {name for other in steps[index + 1 :] for name in other.inputs}
        variables = [names.variable(name) for name in step.inputs]
        names.free(set(step.inputs) - needed)
        target = names.take(step.name)
        lines += _statement(target, _call(step, variables, plan), step.shape)
    return lines


def _statement(target, call, shape):
    """An assignment, in as few lines as it takes."""
    head, arguments = call
    line = (
        f"    {target} = {head}{', '.join(arguments)})  # {shape}" if arguments else f"    {target} = {head}  # {shape}"
    )
    if len(line) <= WIDTH:
        return [line]
    lines = [f"    {target} = {head}  # {shape}", "       "]
    for argument in arguments:
        if len(lines[-1]) > len("       ") and len(lines[-1]) + len(argument) + 2 > WIDTH:
            lines.append("       ")
        lines[-1] += f" {argument},"
    return [*lines, "    )"]


def _call(step, variables, plan):
    """(head of the call with its parenthesis, arguments)."""
    if step.op == "fill":
        return "np.full(", [f"{(1, *step.shape)}, {int(plan.params(step)[0])}, {literal(plan.grids[step.name].dtype)}"]
    grids = f"**between({', '.join(map(literal, (*step.inputs, step.name)))})"
    act = [f"act={literal(step.act)}"] * bool(step.act)
    if step.op == "identity":
        return f"{variables[0]}.reshape({(1, *step.shape)})", []
    if step.op == "max_pool2d":
        return "max_pool2d(", [*variables, f"kernel={step.kernel}"]
    if step.op == "pad2d":
        around = (0, 0), (0, 0), step.pad[:2], step.pad[2:]  # by what stands for 0
        return "np.pad(", [*variables, str(around), f"constant_values=GRIDS[{literal(step.inputs[0])}].zero_point"]
    if step.op in LAYERS:
        space = [f"stride={step.stride}"] * (step.stride != (1, 1)) + [f"pad={step.pad}"] * any(step.pad)
        return "layer(", [literal(step.op), *variables, f"*W[{literal(step.name)}]", grids, *act, *space]
    if step.op == "scale":
        constant, scale, zero = plan.params(step)
        dtype = plan.grids[step.inputs[0]].dtype
        own = f"Grid({float(scale[0])!r}, {int(zero[0])}, {literal(dtype)})"
        pair = f"grids=(GRIDS[{literal(step.inputs[0])}], {own})"
        return "scale(", [
            *variables,
            str(int(constant)),
            pair,
            f"out=GRIDS[{literal(step.name)}]",
            "kernels=KERNELS",
            *act,
        ]
    if step.op == "hard_sigmoid":
        return "hard_sigmoid(", [*variables, grids, f"slope={step.slope!r}", f"offset={step.offset!r}"]
    return f"{step.op}(", [*variables, grids, *act]
