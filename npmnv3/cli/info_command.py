"""`npmnv3 info`: a network, layer by layer."""

import json
import os

from ..errors import UsageError
from ..network.counts import plan_counts, step_learned, step_macs
from ..network.plan import make_plan
from ..network.variants import list_models
from .arguments import add_json, add_kernels, add_network, add_side, add_weight_dtype, input_side
from .list_command import describe
from .output import print_table

#: Pictures by which the effect of narrower weights is measured.
RANDOM_PICTURES = 8

HELP = "show a model layer by layer: name, operation, shapes, multiply-accumulates, parameters"


def add_arguments(parser):
    add_network(parser, "model", "a model's name, see `npmnv3 list`; or a dump's path", metavar="MODEL")
    parser.add_argument("--classes", type=int, metavar="N", help="number of classes (default: the published)")
    add_side(parser)
    add_kernels(parser, text="of a quantised dump: name the rule of each step with these kernels")
    add_weight_dtype(parser)
    add_json(parser)


def run(args):
    from ..dumps.dumps import is_quantized, not_quantized

    if is_quantized(args.model):
        return _run_quantized(args)
    if args.kernels:
        raise not_quantized("--kernels", args.model)
    return _run_network(args)


def _run_quantized(args):
    """Every integer step of a quantised dump."""
    from .integer_steps import print_integer_steps

    if args.classes is not None or args.side is not None:
        raise UsageError(f"{args.model} is quantised: its classes and its input are what they are (--classes, --side)")
    if args.weight_dtype != "float32":
        raise UsageError(f"--weight-dtype is for floats, but {args.model} is quantised")
    print_integer_steps(args.model, args.kernels, args.json)
    return 0


def _network(args):
    """(variant, classes, whether batch norm is folded, the input's side) of a name or of a dump."""
    if not os.path.exists(args.model) or args.model in list_models():
        from ..model.loading import named_variant

        variant = named_variant(args.model)
        return variant, args.classes, False, variant.side
    from ..dumps.dumps import load_weights

    dump = load_weights(args.model, num_classes=args.classes, keep=False)
    return dump.variant, dump.num_classes, dump.folded, dump.side


def _run_network(args):
    """Every step of a network in floats, and what it costs."""
    from ..engines.memory import peak_bytes

    variant, classes, folded, default_side = _network(args)
    side = input_side(args.side, default_side)
    plan = make_plan(variant, classes, side, folded=folded)
    counts = plan_counts(plan, variant.source)
    total = {
        "macs": counts.macs,
        "params": counts.learned,
        "state_entries": counts.entries,
        "peak_bytes": peak_bytes(plan),
        **_llvm_memory(variant, classes, side, args.weight_dtype),
    }
    if args.weight_dtype != "float32":
        total["weight_dtype"] = {"dtype": args.weight_dtype, **_narrow_weights(args, variant, side)}
    steps = [_step(step) for step in plan]
    if args.json:
        print(json.dumps({**describe(variant), **total, "steps": steps}, indent=1))
        return 0
    print(f"{variant.full_name}: input {_shape((variant.in_channels, *side))}, licence: {variant.source.licence}")
    print()
    _print_steps(steps)
    print()
    _print_total(total)
    return 0


def _print_steps(steps):
    rows = [
        (
            step["name"],
            step["op"],
            _geometry(step),
            _shape(step["shape"]),
            f"{step['macs']:,}" if step["macs"] else "",
            f"{step['params']:,}" if step["params"] else "",
        )
        for step in steps
    ]
    print_table(rows, ("step", "operation", "kernel", "output", "MACs", "parameters"), "<<<>>>")


def _print_total(total):
    """What `_run_network` found, in sentences."""
    entries = total["state_entries"]
    print(f"{total['macs']:,} MACs; {total['params']:,} parameters, {entries:,} numbers in the state dict")
    print(f"engine numpy: {4 * entries:,} bytes of weights and {total['peak_bytes']:,} of tensors at most, in float32")
    print(f"engine numba: loops compiled for {_compiled()}")
    if "kernels" in total:
        print(
            f"engine llvm: {total['packed_weight_bytes']:,} bytes of packed weights, workspace "
            f"{total['workspace_bytes']:,} for one picture, {total['batch_workspace_bytes']:,} a thread for many"
        )
        print(f"kernels: {total['kernels']}")
    if "weight_dtype" in total:
        print(f"weights in {total['weight_dtype']['dtype']}: {_sentence(total['weight_dtype'])}")


def _narrow_weights(args, variant, side):
    """What narrower weights do to the logits of random pictures; {} where the weights are not here."""
    import numpy as np

    from ..errors import MissingWeightsError
    from ..model import load

    if not os.path.isfile(args.model) and args.classes not in (None, variant.num_classes):
        return {}  # published are those of other classes
    try:
        exact = load(args.model, num_classes=args.classes, engine="llvm", fetch=False)
    except MissingWeightsError:
        return {}
    narrow = load(args.model, num_classes=args.classes, engine="llvm", weight_dtype=args.weight_dtype, fetch=False)
    pictures = np.random.default_rng(0).standard_normal((RANDOM_PICTURES, exact.in_channels, *side)).astype(np.float32)
    exact_logits, narrow_logits = exact(pictures), narrow(pictures)
    return {
        "pictures": len(pictures),
        "spread": float(exact_logits.std()),
        "largest_change": float(np.abs(exact_logits - narrow_logits).max()),
        "changed_decisions": int((exact_logits.argmax(1) != narrow_logits.argmax(1)).sum()),
    }


def _sentence(narrow):
    if "pictures" not in narrow:
        return "what they change is not measured, as this network's weights are not here"
    return (
        f"of {narrow['pictures']} random pictures the logits change by at most {narrow['largest_change']:.2g} (their "
        f"spread is {narrow['spread']:.2g}), {narrow['changed_decisions']} first classes do"
    )


def _step(step):
    return {
        "name": step.name,
        "op": step.op,
        "inputs": list(step.inputs),
        "shape": list(step.shape),
        "kernel": step.kernel,
        "stride": list(step.stride),
        "pad": list(step.pad),
        "macs": step_macs(step),
        "params": step_learned(step),
        "param_names": [param.name for param in step.params],
    }


def _shape(shape):
    return "x".join(map(str, shape))


def _geometry(step):
    """`5x5 /2 pad 1,2`: kernel, stride, zeros before and after where they differ."""
    if not step["kernel"]:
        return ""
    strides = step["stride"]
    stride = f" /{strides[0]}" if strides[0] == strides[1] else f" /{strides[0]},{strides[1]}"
    top, bottom, left, right = step["pad"]
    pad = "" if top == bottom and left == right else f" pad {top},{bottom}"
    return f"{step['kernel']}x{step['kernel']}" + (stride if max(strides) > 1 else "") + pad


def _compiled():
    """The dtypes for which Numba's loops are compiled already, in words."""
    from ..ops.compiled import compiled

    return " and ".join(d for d in ("float32", "float64") if compiled(d)) or "no dtype yet (npmnv3 warmup does it)"


def _llvm_memory(variant, classes, side, weight_dtype):
    """The llvm engine's bytes of packed weights, of workspace, and where its kernels are kept; {} where it cannot run."""
    from ..engines.llvm import LlvmEngine, available, warm_up

    if not available():
        return {}
    import numpy as np

    def plan_of(size):
        return make_plan(variant, classes, size)

    params = {param.name: np.zeros(param.shape, np.float32) for step in plan_of(None) for param in step.params}
    engine = LlvmEngine(plan_of, params, threads=1, weight_dtype=weight_dtype)
    folder, library = warm_up(weight_dtype == "float16")
    alone, many = engine.workspace_bytes(side)
    return {
        "packed_weight_bytes": engine.weight_bytes,
        "workspace_bytes": alone,
        "batch_workspace_bytes": many,
        "kernels": library.problem or f"kept in {folder}",
    }
