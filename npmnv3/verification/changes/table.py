"""The faults that ports have: a table of the fault's ID, what a verdict says of it, and the change of the network.

Any change can be tried everywhere, in some blocks only, or on top of another.
"""

from ...network.spec import round8
from .blocks import (
    act_after_add,
    act_before_add,
    add_residual,
    drop_residual,
    no_act_after_add,
    plain_skip,
    projected_skip,
)
from .edits import ACTIVATIONS, Change, in_parts, is_main, is_squeeze, set_field, swap_op
from .head import (
    gained,
    head_act_before_norm,
    head_act_moved,
    head_without,
    no_classifier_bias,
    pool_after_head,
    pool_before_last,
    reordered,
)
from .se import add_se_norm, drop_bias, drop_se_norm, live_norms, se_order, se_width
from .spatial import bordered, mirror, padded, same_pad, stride_dropped, stride_late, stride_moved, stride_on, symmetric


def _is_gate(name):
    return name.endswith(".gate")


# fmt: off
CHANGES = (
    Change("hard_sigmoid_slope", "hard-sigmoid slope 1/6", set_field("hard_sigmoid", slope=1 / 6), alone=True),
    Change("hard_sigmoid_slope", "hard-sigmoid slope 0.2", set_field("hard_sigmoid", slope=0.2), alone=True),
    Change("hard_sigmoid_slope", "hard-sigmoid slope 0.25", set_field("hard_sigmoid", slope=0.25)),
    Change("dropout_scale", "the factor 0.8 of paddle's dropout, where it is not due", gained(0.8, False)),
    Change("dropout_scale", "no factor 0.8 before the classifier", gained(1.0, False)),
    Change("dropout_scale", "the factor 1.25 of a training dropout before the classifier", gained(1.25, False)),
    Change("dropout_scale", "the factor 0.8 of the dropout twice", gained(0.64, False)),
    Change("dropout_scale", "the factor 0.2 instead of 0.8 before the classifier", gained(0.2, False)),
    Change("dropout_scale", "the factor 0.5 before the classifier", gained(0.5, False)),
    Change("dropout_scale", "the factor 0.8 on the logits", gained(0.8, True)),
    Change("dropout_scale", "the factor 1.25 on the logits", gained(1.25, True)),
    Change("se_order", "squeeze-and-excitation on the other side of the activation", se_order, alone=True),
    Change("se_bias_missing", "no biases in squeeze-and-excitation",
           drop_bias(".se.squeeze.fc", ".se.excite", ".se.squeeze"), alone=True),
    Change("se_bias_missing", "no bias in the squeeze layers", drop_bias(".se.squeeze.fc", ".se.squeeze")),
    Change("se_bias_missing", "no bias in the excite layers", drop_bias(".se.excite")),
    Change("se_norm", "no batch norm in squeeze-and-excitation", drop_se_norm, alone=True),
    Change("se_norm", "a batch norm of the batch's own statistics in squeeze-and-excitation", add_se_norm),
    Change("se_width", "squeeze width expand // 4", se_width(lambda e, i, own: e // 4)),
    Change("se_width", "squeeze width round(expand / 4)", se_width(lambda e, i, own: round(e / 4))),
    Change("se_width", "squeeze width expand / 4, rounded to a multiple of 8",
           se_width(lambda e, i, own: round8(e / 4))),
    Change("se_width", "squeeze width expand // 4, at least 8", se_width(lambda e, i, own: max(e // 4, 8))),
    Change("se_width", "squeeze layers of half the width", se_width(lambda e, i, own: own // 2)),
    Change("se_width", "squeeze layers of three quarters of the width", se_width(lambda e, i, own: own * 3 // 4)),
    Change("se_width", "squeeze width from the block's input, // 4", se_width(lambda e, i, own: i // 4)),
    Change("se_width", "squeeze width from the block's input / 4, rounded to a multiple of 8",
           se_width(lambda e, i, own: round8(i / 4))),
    Change("se_width", "squeeze width expand // 16", se_width(lambda e, i, own: e // 16)),
    Change("se_width", "squeeze width expand // 8", se_width(lambda e, i, own: e // 8)),
    Change("se_width", "squeeze width expand / 4, rounded up to a multiple of 8",
           se_width(lambda e, i, own: -(-e // 32) * 8)),
    Change("se_width", "squeeze width expand / 4, rounded down to a multiple of 8",
           se_width(lambda e, i, own: max(e // 32 * 8, 8))),
    Change("se_activation", "hard-swish inside squeeze-and-excitation",
           swap_op(("relu",), "hard_swish", is_squeeze), alone=True),
    Change("se_activation", "ReLU inside squeeze-and-excitation",
           swap_op(("hard_swish",), "relu", is_squeeze), alone=True),
    Change("se_activation", "no activation inside squeeze-and-excitation",
           swap_op(ACTIVATIONS, "identity", is_squeeze)),
    Change("se_activation", "ReLU6 inside squeeze-and-excitation", swap_op(ACTIVATIONS, "relu6", is_squeeze)),
    Change("se_activation", "swish inside squeeze-and-excitation", swap_op(ACTIVATIONS, "swish", is_squeeze)),
    Change("se_activation", "hard-sigmoid inside squeeze-and-excitation",
           swap_op(ACTIVATIONS, "hard_sigmoid", is_squeeze, slope=1 / 6)),
    *(Change("norm_eps", f"batch-norm epsilon {eps:g}", set_field("batch_norm", eps=eps), alone=eps in (1e-3, 1e-5))
      for eps in (1e-3, 1e-5, 1e-4, 1e-2, 1e-6, 0.0)),
    Change("norm_eps", "batch norm with the batch's own statistics (training mode)", live_norms, whole=True),
    Change("padding", 'TensorFlow\'s "same" padding at stride 2', padded(same_pad), alone=True),
    Change("padding", "symmetric padding at stride 2", padded(symmetric), alone=True),
    Change("padding", "the odd pixel of padding on the top and left", padded(mirror), alone=True),
    Change("padding", 'TensorFlow\'s "same" padding in the depthwise convolutions',
           padded(same_pad, lambda n: n.startswith("blocks"))),
    Change("padding", "borders repeat the outermost pixel", bordered("border_edge")),
    Change("padding", "borders mirror the picture", bordered("border_reflect")),
    Change("residual", "no residual additions", drop_residual(plain_skip), alone=True),
    Change("residual", "a residual addition where there is none", add_residual, alone=True),
    Change("skip_path", "no projected skip paths", drop_residual(projected_skip), alone=True),
    Change("skip_path", "no skip paths at all",
           drop_residual(lambda net, step: any(projected_skip(net, s) for s in net.plan if s.op == "add"))),
    Change("skip_path", "no activation after the addition", no_act_after_add, alone=True),
    Change("skip_path", "the activation before the addition", act_before_add, alone=True),
    Change("skip_path", "the block's activation after the addition", act_after_add("", True), alone=True),
    Change("skip_path", "ReLU after the addition", act_after_add("relu", True)),
    Change("skip_path", "the block's activation on every block's output", act_after_add("", False)),
    Change("skip_path", "ReLU on every block's output", act_after_add("relu", False)),
    *(Change("activation", f"{name} in place of hard-swish",
             swap_op(("hard_swish",), op, is_main, slope=1 / 6), alone=op in ("relu", "hard_sigmoid"))
      for op, name in (("relu", "ReLU"), ("hard_sigmoid", "hard-sigmoid"), ("swish", "swish"), ("relu6", "ReLU6"),
                       ("identity", "nothing"), ("sigmoid", "sigmoid"), ("gelu", "GELU"))),
    Change("activation", "hard-swish of slope 0.2", swap_op(("hard_swish",), "sloped_swish", is_main, slope=0.2)),
    *(Change("activation", f"{name} in place of hard-swish in the {part}",
             swap_op(("hard_swish",), op, in_parts(part), slope=1 / 6))
      for part in ("stem", "last", "head", "blocks")
      for op, name in (("relu", "ReLU"), ("hard_sigmoid", "hard-sigmoid"), ("identity", "nothing"))),
    *(Change("activation", f"{name} in place of ReLU",
             swap_op(("relu",), op, is_main, slope=1 / 6), alone=op == "hard_swish")
      for op, name in (("hard_swish", "hard-swish"), ("relu6", "ReLU6"), ("identity", "nothing"), ("swish", "swish"),
                       ("leaky_relu", "leaky ReLU"), ("hard_sigmoid", "hard-sigmoid"))),
    *(Change("activation", f"{name} in place of the gates' hard-sigmoid",
             swap_op(("hard_sigmoid",), op, _is_gate), alone=op == "hard_swish")
      for op, name in (("sigmoid", "sigmoid"), ("hard_swish", "hard-swish"), ("relu", "ReLU"), ("identity", "nothing"),
                       ("relu6", "ReLU6"))),
    Change("head_order", "pooling before the last convolution", pool_before_last, whole=True),
    Change("head_order", "pooling after the head", pool_after_head, whole=True),
    Change("head_order", "the head's activation before its layer", head_act_moved),
    Change("head_order", "the head's activation before its norm", head_act_before_norm),
    Change("head_order", "no bias in the head", head_without("bias")),
    Change("head_order", "no batch norm in the head", head_without("norm")),
    Change("head_order", "no bias in the classifier", no_classifier_bias),
    Change("stride", "the stride on the expanding 1x1 convolution", stride_on("expand"), alone=True),
    Change("stride", "the stride on the projecting 1x1 convolution", stride_on("project"), alone=True),
    Change("stride", "the stride a block early", stride_moved(-1), alone=True),
    Change("stride", "the stride a block late", stride_moved(1), alone=True),
    Change("stride", "no stride", stride_dropped, alone=True),
    Change("stride", "strides start at the second pixel", stride_late, alone=True),
    *(Change("class_shift", f"classes shifted by {by:+d}", reordered("roll", by)) for by in (1, -1)),
    Change("class_shift", "a background class in front", reordered("background")),
    Change("class_shift", "a background class behind", reordered("background_last")),
)
# fmt: on
