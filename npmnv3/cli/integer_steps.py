"""The steps of a quantised dump, as `npmnv3 info` prints them."""

import json

from ..network.integer_plan import LAYERS
from ..network.steps import INPUT
from .output import counted_classes, print_table


def print_integer_steps(path, kernels, as_json):
    """Print what each step stores and computes with: shapes, scales, zero points; with a kernel set, its rules."""
    from ..dumps.quantized import read_quantized

    quantized = read_quantized(path)
    plan = quantized.plan
    rows = [_described(step, plan, kernels) for step in plan.steps]
    name = quantized.variant.full_name if quantized.variant else None
    if as_json:
        about = {
            "model": name,
            "num_classes": quantized.num_classes,
            "scheme": quantized.scheme,
            "kernels": kernels or quantized.kernels or None,
            "input": {"shape": list(plan.input_shape), **_grid(plan, INPUT)},
        }
        print(json.dumps({**about, "steps": rows}, indent=1))
        return
    input_grid = _grid(plan, INPUT)
    shape = "x".join(map(str, plan.input_shape))
    scheme = f" ({quantized.scheme})" if quantized.scheme else ""
    print(
        f"{name or 'no known network'}, quantised{scheme}: {counted_classes(quantized.num_classes)}, input {shape} "
        f"{input_grid['dtype']}, scale {input_grid['scale']:.6g}, zero point {input_grid['zero_point']}"
    )
    print()
    header = ["step", "operation", "output", "dtype", "scale", "zero point", "act", "weights' scale"]
    print_table(
        [_row(row, bool(kernels)) for row in rows], header + ["rule"] * bool(kernels), "<<<<>><<" + "<" * bool(kernels)
    )
    print()
    weights = sum(plan.arrays[f"{step.name}.weight"].size for step in plan.steps if step.op in LAYERS)
    meant = f"meant for the kernels of {quantized.kernels}" if quantized.kernels else "of no one kernel set"
    print(f"{len(rows)} steps, {weights:,} weights of 8 bits; {meant}: --kernels names whose integers they become")


def _grid(plan, name):
    grid = plan.grids[name]
    return {"scale": grid.scale, "zero_point": grid.zero_point, "dtype": grid.dtype}


def _described(step, plan, kernels):
    row = {"name": step.name, "op": step.op, "inputs": list(step.inputs), "shape": list(step.shape), "act": step.act}
    row |= _grid(plan, step.name)
    for field in ("kernel", "stride", "pad"):
        row[field] = getattr(step, field)
    if step.op in LAYERS:
        weight, _, scale, zero = plan.params(step)
        row["weight"] = {
            "shape": list(weight.shape),
            "dtype": str(weight.dtype),
            "scale": scale.tolist(),
            "zero_point": zero.tolist(),
        }
    if kernels:
        from ..export.vectors.integer_constants import rule_of
        from ..ops.kernel_sets import get_kernel_set

        row["rule"] = rule_of(step, plan, get_kernel_set(kernels))
    return row


def _row(row, rule):
    cells = row["name"], row["op"], "x".join(map(str, row["shape"])), row["dtype"], f"{row['scale']:.6g}"
    return *cells, str(row["zero_point"]), row["act"], _weights(row.get("weight")), *([row["rule"]] if rule else [])


def _weights(weight):
    """`16 channels, 0.0012 to 0.034` or `0.034, one`."""
    if weight is None:
        return ""
    scales = weight["scale"]
    if len(scales) == 1:
        return f"{scales[0]:.4g}, one for all"
    return f"{len(scales)} channels, {min(scales):.4g} to {max(scales):.4g}"
