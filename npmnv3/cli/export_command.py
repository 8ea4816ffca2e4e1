"""`npmnv3 export`: a network with its weights as an ONNX file."""

import os

from ..errors import UsageError
from ..progress import working
from .arguments import add_model, add_side, input_side, refuse_quantized
from .output import counted_classes

HELP = "write a model as an ONNX file: one node a step, weights under their source's names"


def add_arguments(parser):
    add_model(parser)
    parser.add_argument("-o", "--output", required=True, metavar="X.onnx", help="the file to write")
    parser.add_argument("--classes", type=int, metavar="N", help="number of classes (default: what the weights hold)")
    norms = parser.add_mutually_exclusive_group()
    norms.add_argument(
        "--folded", dest="folded", action="store_true", default=None, help="fold batch norm into the convolutions"
    )
    norms.add_argument(
        "--keep-norms",
        dest="folded",
        action="store_false",
        help="keep batch norm apart (default, if the weights have it)",
    )
    parser.add_argument("--dynamic-batch", action="store_true", help="a batch of any size (default: one picture)")
    add_side(parser)
    parser.add_argument("--softmax", action="store_true", help="give probabilities, not logits")


def run(args):
    from ..export.onnx import FLOATS, export_onnx
    from ..model import load

    if not args.output.endswith(".onnx"):
        raise UsageError(f"--output is {args.output!r}, expected a name that ends in .onnx")
    refuse_quantized(args, FLOATS)
    with working("exporting"):
        model = load(args.model, args.weights, args.classes, engine="numpy")
        side = input_side(args.side, model.side)
        proto = export_onnx(
            model, args.output, side=side, folded=args.folded, dynamic_batch=args.dynamic_batch, softmax=args.softmax
        )
    shape = [dim.dim_param or dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    norms = next(prop.value for prop in proto.metadata_props if prop.key == "batch_norm")
    print(
        f"{args.output}: {model.variant.full_name}, {counted_classes(model.num_classes)}, input {'x'.join(map(str, shape))}, "
        f"output {proto.graph.output[0].name}, batch norm {norms}, {len(proto.graph.node)} nodes, "
        f"{os.path.getsize(args.output):,} bytes"
    )
    return 0
