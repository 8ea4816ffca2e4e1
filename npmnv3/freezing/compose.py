"""Write the source of a frozen classifier: what is its own is generated here, the rest copied from the package."""

from dataclasses import fields

from .. import __version__
from ..network.steps import INPUT
from ..pictures.pixels import size_rule
from .excerpt import NUMPY, excerpt

WIDTH = 120  # characters of a line
RUNTIME = f"{__package__}.runtime"
RESIZE = {
    "cv2_linear": "opencv_linear(rgb, *size)",
    "bilinear": 'pillow(rgb, *size, "bilinear")',
    "bicubic": 'pillow(rgb, *size, "bicubic")',
}
UNPACK = {"float32": 'unpack_float("<f4", {})', "float16": 'unpack_float("<f2", {})', "int8-weights": "unpack_int8({})"}
IMPORT = {"pyz": "with the file classifier.pyz on sys.path", "py": "with the folder of classifier.py on sys.path"}
CHECK = """\
NEEDED: "Python 3.9 or later and NumPy 1.22 or later"  # a Python 2 stops here, and shows this line
try:
    import numpy as np

    if sys.version_info < (3, 9) or tuple(map(int, np.__version__.split(".")[:2])) < (1, 22):
        raise ImportError("NumPy " + np.__version__)
except ImportError as error:
    found = "this is Python %d.%d: %s" % (*sys.version_info[:2], error)
    message = "this needs Python 3.9 or later and NumPy 1.22 or later; " + found
    raise (SystemExit if __name__ == "__main__" else ImportError)(message) from None"""
MAIN = 'if __name__ == "__main__":\n    sys.exit(main())'
#: Where the weights are: beside the module in its archive, or in the module itself.
FROM_ARCHIVE = '__loader__.get_data(os.path.join(os.path.dirname(__file__), "weights.bin"))'
FROM_MODULE = 'base64.b85decode(WEIGHTS.replace("\\n", ""))'


def layer_shapes(plan):
    """{layer's name: shape of its weight in the operations' own layout}, of a folded plan in order of execution."""
    return {_layer(step): step.param("weight").canonical for step in plan if step.param("weight")}


def module_source(plan, recipe, labels, dtype, about, weights=None):
    """The frozen module's source.

    Parameters
    ----------
    plan : tuple of Step, folded
    recipe : Preprocess
    labels : sequence of str, or None for the indices as text
    dtype : "float32", "float16" or "int8-weights", how the weights are stored
    about : str, name and origin of the network, lines of the docstring
    weights : str, the weights in base85; default they lie in weights.bin beside the module

    Returns
    -------
    str
    """
    own = [f"{recipe_constant(recipe)}\n\n{_layers(plan)}", picture_functions(recipe), _network(plan, recipe)]
    stored = f"stored as {dtype} with batch norm folded into them; the arithmetic is float32."
    unpack = f"# layer -> (weight, bias), float32\nW = {UNPACK[dtype]}"
    about = docstring(plan, stored, about, weights)
    return assembled(about, own, [labels_constant(plan, labels)], weights, unpack, RUNTIME)


def assembled(about, own, tables, weights, unpack, home, instead=None):
    """A frozen module's source: what is its own, what that needs of the package, and last what runs when it is loaded.

    Parameters
    ----------
    about : str, its docstring
    own : list of str, the definitions that are generated
    tables : list of str, the constants that stand after what they are made with
    weights : str, the weights in base85, or None, as for `module_source`
    unpack : str, the statement that unpacks the weights; {} stands for their bytes
    home, instead : as for `excerpt`
    """
    text = [] if weights is None else [f'WEIGHTS = """\n{weights}\n"""']
    unpack = unpack.format(FROM_ARCHIVE if weights is None else FROM_MODULE)
    end = "\n\n".join([*tables, *text, unpack, MAIN])
    imports, sections = excerpt("\n".join([*own, end, "classify"]), home, instead)
    return "\n\n".join([about, _checked(imports), "\n\n\n".join([*own, *sections, end])]) + "\n"


def _checked(imports):
    """The import statements, NumPy's in a piece of code that says what is needed where that is not there."""
    lines = [line for line in imports.split("\n") if line != NUMPY]
    return "\n".join([*lines, *[""] * bool(lines[-1]), CHECK])


def docstring(plan, stored, about, weights):
    """The frozen module's; `stored` says how the weights are, and what computes."""
    suffix = "pyz" if weights is None else "py"
    return f'''"""{about}

    python classifier.{suffix} picture.png [--top 5] [--json]

    import classifier                   # {IMPORT[suffix]}
    classifier.classify("picture.png")  # or an array: [(label, probability), ...]
    classifier.logits("picture.png")    # ({plan[-1].shape[0]},) float32

Needs Python 3.9 or later and NumPy 1.22 or later. With Pillow it opens more kinds of pictures than PNG and PPM.
Below are the network, its operations, what makes pictures its input, the command line, the classes and the weights,
{stored}
Made by npmnv3 {__version__} freeze. SPDX-License-Identifier of the code: Apache-2.0
"""'''


def recipe_constant(recipe):
    """The recipe, as a constant."""
    values = [f"{field.name}={literal(getattr(recipe, field.name))}" for field in fields(recipe)]
    return f"RECIPE = {filled('SimpleNamespace(', values, ')')}"


def _layers(plan):
    """The layers' shapes, as a constant."""
    layers = [f"    {literal(name)}: {shape},\n" for name, shape in layer_shapes(plan).items()]
    return (
        f"# The shape of each layer's weight: (O, I, KH, KW), (C, KH, KW) or (O, I).\nLAYERS = {{\n{''.join(layers)}}}"
    )


def labels_constant(plan, labels):
    """The names of the classes, as a constant."""
    if labels is None:
        return f"LABELS = tuple(map(str, range({plan[-1].shape[0]})))"
    return f"LABELS = {filled('(', [literal(label) for label in labels], ')')}"


def literal(value):
    """`repr`, but with double quotes where that needs no escapes."""
    text = repr(value)
    return f'"{text[1:-1]}"' if isinstance(value, str) and '"' not in text else text


def filled(start, items, end):
    """Items in one line of at most 120 characters, or in several."""
    line = f"{start}{', '.join(items)}{end}"
    if len(items) > 1 and len(line) + len("LABELS = ") <= WIDTH:
        return line
    lines = [start]
    for item in items:
        if lines[-1] == start or len(lines[-1]) + len(item) + 2 > WIDTH:
            lines.append("   ")
        lines[-1] += f" {item},"
    return "\n".join([*lines, end])


def picture_functions(recipe):
    """The functions by which this recipe differs from others."""
    lines = [
        "def preprocess(rgb, name):",
        f'    """The network\'s input, {(len(recipe.channels), *recipe.side)} float32, of a picture, (H, W, 3) uint8."""',
        *["    rgb = luminance(rgb)"] * (recipe.channels == "L"),
        f"    size = {size_rule(recipe).__name__}(*rgb.shape[:2], RECIPE)",
        '    check_size(*size, f"{name}, resized for {RECIPE.name}")',
        f"    rgb = {RESIZE[recipe.interpolation]}",
        *["    rgb = centre(rgb, RECIPE)"] * (recipe.fit != "line"),
        "    return normalise(rgb, RECIPE)",
        "",
        "",
        "def upright(rgb, exif):",
    ]
    if recipe.decode == "cv2":
        lines += ['    """The picture turned as its EXIF block says."""', "    return turn(rgb, exif)"]
    else:
        lines += ['    """The picture as it is stored: this network was trained so."""', "    return rgb"]
    return "\n".join(lines)


def _network(plan, recipe):
    """The network as functions, one a block, and one for the whole."""
    at = [index for index, step in enumerate(plan) if step.name.startswith("blocks.")]
    blocks = {}
    for step in plan[at[0] : at[-1] + 1]:
        blocks.setdefault("block_" + step.name.split(".")[1], []).append(step)
    before, functions = plan[at[0] - 1], []
    for name, steps in blocks.items():
        doc = f'    """An inverted residual: {before.shape} to {steps[-1].shape}."""'
        functions.append([f"def {name}(x):", doc, *_returning(_lines(steps, before.name))])
        before = steps[-1]
    shapes = f"Logits (1, {plan[-1].shape[0]}) of x {(1, len(recipe.channels), *recipe.side)}, preprocessed"
    doc = f'    """{shapes}. Comments give shapes, less the first axis."""'
    stem, tail = _lines(plan[: at[0]], INPUT), _lines(plan[at[-1] + 1 :], before.name)
    loop = ["    for block in BLOCKS:", "        x = block(x)"]
    functions.append([f"BLOCKS = {filled('(', list(blocks), ')')}"])
    functions.append(["def network(x):", doc, *stem, *loop, *_returning(tail)])
    return "\n\n\n".join(map("\n".join, functions))


ACTIVATIONS = ("relu", "hard_swish", "hard_sigmoid", "scale")
FIELDS = {
    "conv2d": ("stride", "pad"),
    "depthwise_conv2d": ("stride", "pad"),
    "hard_sigmoid": ("slope",),
    "max_pool2d": ("kernel",),
    "scale": ("factor",),
}


def _lines(steps, entry):
    """Statements that run these steps, which begin with the tensor `entry` in x and end with the last one's in x.

    Three variables do: x, the gate of squeeze-and-excitation, and what a skip connection carries.
    """
    holds = {"x": entry}  # variable -> name of the tensor in it
    lines, pending = [], None
    if any(entry in step.inputs for step in steps[1:]):
        holds["skip"] = entry
        lines.append("    skip = x")
    for index, step in enumerate(steps):
        if step.op == "identity":
            holds["x"] = step.name
            continue
        target = "skip" if ".shortcut" in step.name else "gate" if ".se." in step.name or ".gate" in step.name else "x"
        arguments = [pending] if pending else [_variable(holds, name, target) for name in step.inputs]
        call = _call(step, arguments)
        follower = steps[index + 1] if index + 1 < len(steps) else None
        if follower and follower.op in ACTIVATIONS and follower.inputs == (step.name,):
            pending = call  # nothing else in these networks uses what an activation is given
            continue
        pending = None
        lines.append(f"    {target} = {call}  # {step.shape}")
        holds[target] = step.name
    return lines


def _returning(lines):
    return [*lines[:-1], lines[-1].replace("x = ", "return ", 1)]


def _variable(holds, tensor, target):
    """The variable that holds a tensor; `target` where there are several."""
    variables = [variable for variable, name in holds.items() if name == tensor]
    return target if target in variables else variables[0]


def _call(step, arguments):
    if step.param("weight"):
        arguments = [*arguments, f'*W["{_layer(step)}"]']
    fields = {name: getattr(step, name) for name in FIELDS.get(step.op, ())}
    options = [f"{name}={'1 / 6' if value == 1 / 6 else value}" for name, value in fields.items()]
    return f"{step.op}({', '.join([*arguments, *options])})"


def _layer(step):
    return step.name.removesuffix(".conv").removesuffix(".fc")
