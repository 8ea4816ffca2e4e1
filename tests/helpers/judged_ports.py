"""The golden quantised models as integer ports that are wrong, and what is said of them."""

import functools

import numpy as np
import quantized_goldens as golden
from integer_ports import IntegerPort

import npmnv3
from npmnv3.conversion.quantized import read_quantized_model
from npmnv3.conversion.quantized.names import name_tensors

NAMES = (f"{golden.SMALL}.int8", f"{golden.TEXT}.int8", f"{golden.KERAS}.int8_per_tensor")


@functools.cache
def plan_of(name):
    return name_tensors(read_quantized_model(golden.path(name))[0], golden.model_of(name)).plan


@functools.cache
def right(name):
    """The tensors of the port without a fault."""
    return IntegerPort(plan_of(name)).run(golden.tensors(name)["input"].transpose(0, 3, 1, 2))


def port(name, plan=None, **fault):
    """(report, first tensor that is off) of a port with a fault, or of another plan; its tensors are numbered, and channels last."""
    found = IntegerPort(plan or plan_of(name), **fault).run(right(name)["input"])
    first = next(key for key in found if not np.array_equal(found[key], right(name)[key]))
    given = {
        f"{i:03d}": array.transpose(0, 2, 3, 1) if array.ndim == 4 else array for i, array in enumerate(found.values())
    }
    return npmnv3.verify(golden.model_of(name), golden.path(name), tensors=given), first


def said(report):
    """Texts of the rules that explain the first tensor as well as the best does."""
    rules = report.causes[0].rules
    return [
        rule.text for rule in rules if (len(rule.explains), rule.agrees) == (len(rules[0].explains), rules[0].agrees)
    ]
