"""Heights and widths in an exported program, and the numbers that it computes of them, such as those of TensorFlow's
padding."""

from .torch_values import SIDES, compute

_WHOLE = ("mean", "adaptive_avg_pool2d")  # what leaves one pixel


class Sides:
    """Sides of tensors for pictures of the program's own size, or of `SIDES` where it takes any.

    sizes : {name: shape of the tensor, None for what is unknown}; what is unknown is filled in here
    inputs : names of the pictures
    """

    def __init__(self, sizes, inputs):
        self.sizes, self.numbers = sizes, {}
        for name in inputs:
            self._set_sides(name, SIDES)

    def _set_sides(self, name, sides):
        shape = self.sizes.get(name, ())
        if len(shape) == 4:
            shape[2:] = [new if known is None else known for known, new in zip(shape[2:], sides, strict=True)]

    def number(self, arg):
        """A number of the program: itself, or by its name; None where it is not computed of sizes."""
        return arg["as_int"] if "as_int" in arg else self.numbers.get(arg["as_name"])

    def compute(self, target, args, name):
        """Compute a number of others, or read it of a tensor."""
        op = target.rpartition(".")[2].removeprefix("sym_")
        if "sym_size" in target:
            self.numbers[name] = self.sizes[args[0]][args[1]]
        elif None not in args:
            number = compute(op, args)
            self.numbers[name] = number if isinstance(number, (int, float)) else None

    def follow(self, op, args, outputs):
        """Set the sides of an operation's output."""
        layer = op in ("conv2d", "convolution")
        values = [args["input"]] if layer else [one for one in args.values() if isinstance(one, str)]
        shapes = [self.sizes.get(value, ()) for value in values]
        sides = [shape[2:] for shape in shapes if len(shape) == 4 and None not in shape[2:]]
        if not sides or not outputs:
            return
        if layer:
            sides = [self._output_sides(args)]
        elif op in ("pad", "constant_pad_nd"):
            left, right, top, bottom = args["pad"]
            sides = [(sides[0][0] + top + bottom, sides[0][1] + left + right)]
        self._set_sides(outputs[0], (1, 1) if op in _WHOLE else tuple(map(max, zip(*sides))))

    def _output_sides(self, args):
        """The sides of a convolution's output."""
        window = (self.sizes[args["weight"]][2:], *(args.get(what) for what in ("stride", "padding", "dilation")))
        if isinstance(window[2], str):  # "same" comes with strides of 1 alone
            return self.sizes[args["input"]][2:]
        kernel, stride, pads, spread = (pair(value, usual) for value, usual in zip(window, (1, 1, 0, 1)))
        ways = zip(self.sizes[args["input"]][2:], kernel, stride, pads, spread, strict=True)
        return [(n + 2 * pad - (k - 1) * d - 1) // s + 1 for n, k, s, pad, d in ways]


def pair(value, default):
    """(height, width) of an argument that is two numbers, one for both, or none."""
    value = (default,) if value is None else tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return value * 2 if len(value) == 1 else value
