"""The values of paddle's program: what each is computed from, with what only renames or reshapes taken out."""

import math
from dataclasses import dataclass, field

SAME_ELEMENTS = ("reshape", "flatten", "squeeze", "unsqueeze", "cast", "assign", "share_data", "share_data_")
_CONSTANTS = ("full", "full_int_array", "fill_constant", "assign_value", "assign_value_")
PARAMETER = "parameter"


@dataclass(eq=False)
class Value:
    """What one operation gives, or a parameter.

    kind : str, the operation's, or "parameter"
    name : str, of the value
    inputs : list of Value, what it is computed from; None where nothing in the program makes one
    """

    kind: str
    name: str
    inputs: list = field(default_factory=list)
    attributes: dict = field(default_factory=dict)
    whole: object = ...  # what it is a part of computing, found out once

    @property
    def number(self):
        """The constant that it is, None where it is none."""
        value = self.attributes.get("value")
        if isinstance(value, tuple) and len(value) == 1:
            value = value[0]
        return value if self.kind in _CONSTANTS and isinstance(value, (int, float)) else None


def fetched(operations, parameters):
    """The values that the operations give, in order; `parameters` are the names of the arrays."""
    current = {name: Value(PARAMETER, name) for name in parameters}  # names may be written to again
    results = []
    for operation in operations:
        inputs = [current.get(name) for name in operation.inputs]
        if operation.kind == "fetch":
            results += inputs[:1]
            continue
        for i, name in enumerate(operation.outputs):
            made = Value(operation.kind, name, inputs, operation.attributes)
            if i and operation.kind not in ("batch_norm", "dropout"):  # whose others are statistics and masks
                made = Value(f"{operation.kind}, output {i}", name, inputs)
            if not (i and name in parameters):
                current[name] = made
                plain(made)  # from the first on, so that no chain of them is too deep
    return [value for value in map(plain, results) if value is not None]


def plain(value):
    """The value behind what changes no element; hard-swish and hard-sigmoid as one, also where they are in parts."""
    if value is not None and value.whole is ...:
        value.whole = plain(value.inputs[0]) if value.inputs and _is_plain(value) else _whole(value)
    return value and value.whole


def _whole(value):
    """x * relu6(x + 3) / 6 and x * hard-sigmoid(x) as hard-swish, relu6(x + 3) / 6 as hard-sigmoid."""
    if value.kind not in ("scale", "multiply", "divide") or not value.inputs:
        return value
    rest, factor = _numerator(value)
    if rest is not None and math.isclose(factor, 1 / 6, rel_tol=1e-5):
        if (x := _clipped(rest)) is not None:
            return Value("hardsigmoid", value.name, [x], {"slope": 1 / 6, "offset": 0.5})
        for x, other in _both_ways(rest):
            if _clipped(other) is x is not None:
                return Value("hardswish", value.name, [x])
    for x, other in _both_ways(value):
        sixth = other is not None and other.kind == "hardsigmoid" and _is_sixth(other)
        if sixth and plain(other.inputs[0]) is x is not None:
            return Value("hardswish", value.name, [x])
    return value


def _numerator(value):
    """(what is multiplied by a constant, the constant), (None, 1) where nothing is."""
    if value.kind == "scale" and gain_of(value) is not None:
        return plain(value.inputs[0]), gain_of(value)
    if value.kind in ("multiply", "divide") and len(value.inputs) == 2 and None not in value.inputs:
        number = value.inputs[1].number
        if number:
            return plain(value.inputs[0]), number if value.kind == "multiply" else 1 / number
    return None, 1


def _clipped(value):
    """x of relu6(x + 3), None for anything else."""
    if value is None or value.kind != "relu6" or value.attributes.get("threshold", 6) != 6:
        return None
    inner = plain(value.inputs[0]) if value.inputs else None
    if inner is None or inner.kind != "scale" or _argument(inner, "scale", 1) != 1 or inner.attributes.get("bias") != 3:
        return None
    return plain(inner.inputs[0])


def _both_ways(value):
    """The two factors of a product, in both orders."""
    if value.kind != "multiply" or len(value.inputs) != 2:
        return ()
    a, b = value.inputs[0], value.inputs[1]
    a, b = (each if each is None or each.kind == PARAMETER else plain(each) for each in (a, b))
    return (a, b), (b, a)


def _is_sixth(value):
    slope, offset = value.attributes.get("slope"), value.attributes.get("offset")
    return all(isinstance(number, (int, float)) for number in (slope, offset)) and (
        math.isclose(slope, 1 / 6, rel_tol=1e-5) and offset == 0.5
    )


def _is_plain(value):
    if value.kind in SAME_ELEMENTS:
        return True
    return value.kind in ("scale", "dropout") and gain_of(value) == 1


def gain_of(value):
    """By what a value multiplies its only input, None where it does not do that alone."""
    attributes = value.attributes
    if value.kind == "dropout" and attributes.get("is_test"):
        if attributes.get("mode") == "upscale_in_train":
            return 1
        share = _argument(value, "dropout_prob", 2)
        return None if attributes.get("mode") != "downgrade_in_infer" or share is None else 1 - share
    if value.kind == "scale" and attributes.get("bias", 0) == 0:
        return _argument(value, "scale", 1)
    return None


def _argument(value, name, place):
    """A number that is an attribute in paddle 2, an input in paddle 3; None where it is computed."""
    if len(value.inputs) > place and value.inputs[place] is not None:
        return value.inputs[place].number
    number = value.attributes.get(name)
    return number if isinstance(number, (int, float)) and math.isfinite(number) else None


def sources(value):
    """The values that it is computed from, without parameters and constants, each behind what changes nothing."""
    inputs = [plain(each) for each in value.inputs]
    return [each for each in inputs if each is None or each.kind != PARAMETER and each.kind not in _CONSTANTS]


def parameters_of(value):
    """Names of the parameters among what it is computed from, in order."""
    inputs = [plain(each) for each in value.inputs]
    return [each.name for each in inputs if each is not None and each.kind == PARAMETER]
