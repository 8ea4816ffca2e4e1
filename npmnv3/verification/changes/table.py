"""The faults that ports have: a table of the fault's ID, what a verdict says of it, and the change of the network.

Any change can be tried everywhere, in some blocks only, or on top of another.
"""

from ...network.spec import round8
from ..fixed_point import FRACTION_BITS
from .blocks import (
    act_after_add,
    act_before_add,
    add_residual,
    drop_residual,
    no_act_after_add,
    plain_skip,
    projected_skip,
)
from .edits import ACTIVATIONS, Change, each, in_parts, is_main, is_squeeze, set_field, swap_op
from .head import (
    gained,
    half_sums,
    head_act_before_norm,
    head_act_in_pool,
    head_act_moved,
    head_without_bias,
    head_without_norm,
    no_classifier_bias,
    pool_after_head,
    pool_before_last,
    pooled,
    reordered,
)
from .loops import before_activation, counted, gates_shifted, pooled_short, residual_overwritten, tail_left_out
from .se import (
    add_se_norm,
    constant_gate,
    dead_squeeze,
    drop_bias,
    drop_se_norm,
    live_norms,
    no_gate,
    se_order,
    se_width,
)
from .spatial import (
    bordered,
    dilated,
    mirror,
    padded,
    same_pad,
    stride_dropped,
    stride_late,
    stride_moved,
    stride_on,
    symmetric,
)
from .weights import (
    a_channel,
    a_fraction,
    a_power_of_two,
    a_tensor,
    a_tensor_skewed,
    a_tensor_wide,
    borrowed,
    dynamic_range,
    exchange,
    first_major,
    is_depthwise,
    is_full,
    is_matrix,
    is_spatial,
    is_square,
    laid_out,
    no_bias,
    no_scale,
    other_major,
    quantized,
    swapped_axes,
    turned,
    twins,
)


def _side_at_224(net, shape):
    """Pixels a side that a map would have at an input of 224 x 224."""
    return min((112, 56, 28, 14, 7), key=lambda side: abs(side - shape[1] * 224 / net.input_shape[1]))


def _is_gate(name):
    return name.endswith(".gate")


# fmt: off
CHANGES = (
    *each("hard_sigmoid_slope",
        ("hard-sigmoid slope 1/6", set_field("hard_sigmoid", slope=1 / 6), "alone"),
        ("hard-sigmoid slope 0.2", set_field("hard_sigmoid", slope=0.2), "alone"),
        ("hard-sigmoid slope 0.25", set_field("hard_sigmoid", slope=0.25))),
    *each("dropout_scale",
        ("the factor 0.8 of paddle's dropout, where it is not due", gained(0.8, False)),
        ("no factor 0.8 before the classifier", gained(1.0, False)),
        ("the factor 1.25 of a training dropout before the classifier", gained(1.25, False)),
        ("the factor 0.8 of the dropout twice", gained(0.64, False)),
        ("the factor 0.2 instead of 0.8 before the classifier", gained(0.2, False)),
        ("the factor 0.5 before the classifier", gained(0.5, False)),
        ("the factor 0.8 on the logits", gained(0.8, True)),
        ("the factor 1.25 on the logits", gained(1.25, True))),
    Change("se_order", "squeeze-and-excitation on the other side of the activation", se_order, alone=True),
    Change("se_order", "the gate on what the activation gets, whose result is lost", before_activation("mul"), alone=True),
    *(Change("se_order", f"each channel times the gate of the {which} one", gates_shifted(by), alone=True)
      for which, by in (("next", -1), ("previous", 1))),
    *each("se_bias_missing",
        ("no biases in squeeze-and-excitation", drop_bias(".se.squeeze.fc", ".se.excite", ".se.squeeze"), "alone"),
        ("no bias in the squeeze layers", drop_bias(".se.squeeze.fc", ".se.squeeze"), "alone"),
        ("no bias in the excite layers", drop_bias(".se.excite"), "alone")),
    Change("se_norm", "no batch norm in squeeze-and-excitation", drop_se_norm, alone=True),
    Change("se_norm", "a batch norm of the batch's own statistics in squeeze-and-excitation", add_se_norm, kin="gate"),
    Change("se_constant", "gates of the excite layers' biases alone: their weights are zero", constant_gate,
           alone=True, kin="gate"),
    Change("se_constant", "gates of the excite layers' biases alone: the squeeze layers give zeros", dead_squeeze,
           alone=True, kin="gate"),
    *each("se_width",
        ("squeeze width expand // 4", se_width(lambda e, i, own: e // 4)),
        ("squeeze width round(expand / 4)", se_width(lambda e, i, own: round(e / 4))),
        ("squeeze width expand / 4, rounded to a multiple of 8", se_width(lambda e, i, own: round8(e / 4))),
        ("squeeze width expand // 4, at least 8", se_width(lambda e, i, own: max(e // 4, 8))),
        ("squeeze layers of half the width", se_width(lambda e, i, own: own // 2)),
        ("squeeze layers of three quarters of the width", se_width(lambda e, i, own: own * 3 // 4)),
        ("squeeze width from the block's input, // 4", se_width(lambda e, i, own: i // 4)),
        ("squeeze width from the block's input / 4, rounded to a multiple of 8", se_width(lambda e, i, own: round8(i / 4))),
        ("squeeze width expand // 16", se_width(lambda e, i, own: e // 16)),
        ("squeeze width expand // 8", se_width(lambda e, i, own: e // 8)),
        ("squeeze width expand / 4, rounded up to a multiple of 8", se_width(lambda e, i, own: -(-e // 32) * 8)),
        ("squeeze width expand / 4, rounded down to a multiple of 8", se_width(lambda e, i, own: max(e // 32 * 8, 8)))),
    *each("se_activation",
        ("hard-swish inside squeeze-and-excitation", swap_op(("relu",), "hard_swish", is_squeeze), "alone"),
        ("ReLU inside squeeze-and-excitation", swap_op(("hard_swish",), "relu", is_squeeze), "alone"),
        ("no activation inside squeeze-and-excitation", swap_op(ACTIVATIONS, "identity", is_squeeze)),
        ("ReLU6 inside squeeze-and-excitation", swap_op(ACTIVATIONS, "relu6", is_squeeze)),
        ("swish inside squeeze-and-excitation", swap_op(ACTIVATIONS, "swish", is_squeeze)),
        ("hard-sigmoid inside squeeze-and-excitation", swap_op(ACTIVATIONS, "hard_sigmoid", is_squeeze, slope=1 / 6))),
    *(Change("norm_eps", f"batch-norm epsilon {eps:g}", set_field("batch_norm", eps=eps), alone=eps in (1e-3, 1e-5))
      for eps in (1e-3, 1e-5, 1e-4, 1e-2, 1e-6, 0.0)),
    Change("train_mode", "batch norm with the batch's own statistics (training mode)", live_norms, alone=True),
    Change("se_missing", "no squeeze-and-excitation", no_gate, alone=True),
    *each("padding",
        ('TensorFlow\'s "same" padding at stride 2', padded(same_pad), "alone"),
        ("symmetric padding at stride 2", padded(symmetric), "alone"),
        ("the odd pixel of padding on the top and left", padded(mirror), "alone"),
        ('TensorFlow\'s "same" padding in the depthwise convolutions', padded(same_pad, lambda n: n.startswith("blocks"))),
        ("borders repeat the outermost pixel", bordered("border_edge")),
        ("borders mirror the picture", bordered("border_reflect"))),
    Change("dilation", "depthwise kernels dilated by 2", dilated),
    *each("residual",
        ("no residual additions", drop_residual(plain_skip), "alone"),
        ("the block's own output added to itself, which was written over its input", residual_overwritten, "alone"),
        ("a residual addition where there is none", add_residual, "alone")),
    *each("skip_path",
        ("no projected skip paths", drop_residual(projected_skip), "alone"),
        ("no skip paths at all",
         drop_residual(lambda net, step: any(projected_skip(net, s) for s in net.plan if s.op == "add"))),
        ("no activation after the addition", no_act_after_add, "alone"),
        ("the activation before the addition", act_before_add, "alone"),
        ("the block's activation after the addition", act_after_add("", True), "alone"),
        ("ReLU after the addition", act_after_add("relu", True)),
        ("the block's activation on every block's output", act_after_add("", False)),
        ("ReLU on every block's output", act_after_add("relu", False))),
    *(Change("activation", f"{name} in place of hard-swish",
             swap_op(("hard_swish",), op, is_main, slope=1 / 6), alone=op in ("relu", "hard_sigmoid"))
      for op, name in (("relu", "ReLU"), ("hard_sigmoid", "hard-sigmoid"), ("swish", "swish"), ("relu6", "ReLU6"),
                       ("identity", "nothing"), ("sigmoid", "sigmoid"), ("gelu", "GELU"))),
    Change("activation", "hard-swish of slope 0.2", swap_op(("hard_swish",), "sloped_swish", is_main, slope=0.2)),
    Change("activation", "hard-swish without its division by 6", swap_op(("hard_swish",), "hard_swish_undivided", is_main)),
    Change("activation", "hard-swish cut at 0 and 6 after its product", swap_op(("hard_swish",), "hard_swish_cut_late", is_main)),
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
                       ("relu6", "ReLU6"), ("hard_sigmoid_undivided", "hard-sigmoid without its division by 6"))),
    *each("head_order",
        ("pooling before the last convolution", pool_before_last, "whole"),
        ("pooling after the head", pool_after_head, "whole"),
        ("the head's activation before its layer", head_act_moved),
        ("the head's activation before its layer", head_act_in_pool),
        ("the head's activation before its norm", head_act_before_norm),
        ("no batch norm in the head", head_without_norm)),
    *each("bias_missing",
        ("no bias in the head", head_without_bias),
        ("no bias in the classifier", no_classifier_bias)),
    Change("log_softmax", "log-softmax of the logits, which the network does not have", reordered("log_softmax")),
    *each("softmax",
        ("softmax of the probabilities, which are a softmax already", reordered("softmax_twice")),
        ("sigmoid of the logits", reordered("sigmoid"))),
    *each("pool_size",
        ("the last pooling over a fixed 7 x 7 pixels", pooled(lambda net, shape: 7, lambda n: n == "pool")),
        ("all poolings over the pixels there are at 224 x 224", pooled(_side_at_224, lambda n: True), "alone"),
        ("the poolings of squeeze-and-excitation over the pixels there are at 224 x 224",
         pooled(_side_at_224, lambda n: n != "pool"))),
    Change("pooling", "the maximum in place of the mean", swap_op(("global_avg_pool",), "global_max_pool"), alone=True),
    *each("pooling",
        ("pooling of what the activation gets", before_activation("global_avg_pool")),
        ("sums of pixels divided by one too few", counted(lambda n: n - 1)),
        ("sums of pixels divided by one too many", counted(lambda n: n + 1)),
        ("the last pixel left out of the pooled sums", pooled_short(lambda width: 1)),
        ("the last row left out of the pooled sums", pooled_short(lambda width: width))),
    *each("stride",
        ("the stride on the expanding 1x1 convolution", stride_on("expand"), "alone"),
        ("the stride on the projecting 1x1 convolution", stride_on("project"), "alone"),
        ("the stride a block early", stride_moved(-1), "alone"),
        ("the stride a block late", stride_moved(1), "alone"),
        ("no stride", stride_dropped, "alone"),
        ("strides start at the second pixel", stride_late, "alone")),
    *(Change("class_shift", f"classes shifted by {by:+d}", reordered("roll", by)) for by in (1, -1)),
    *each("class_shift",
        ("a background class in front", reordered("background")),
        ("a background class behind", reordered("background_last"))),
    *each("weight_layout",
        ("depthwise kernels rotated by 180 degrees", laid_out("turned", is_depthwise, turned)),
        ("depthwise kernels with height and width exchanged", laid_out("transposed", is_depthwise, swapped_axes))),
    *(Change("weight_layout", text, laid_out(mark, fits, make), layer=layer, rare=layer and mark in ("major", "first"))
      for layer in (False, True)
      for mark, text, fits, make in (
          ("turned", "kernels rotated by 180 degrees (convolution for correlation)", is_spatial, turned),
          ("transposed", "kernels with height and width exchanged", is_spatial, swapped_axes),
          ("transposed", "a square weight transposed", is_square, swapped_axes),
          ("major", "weights stored with the outputs last, read as if they came first", is_matrix, other_major),
          ("major", "depthwise kernels stored with the channels last, read as if they came first", is_depthwise, other_major),
          ("major", "kernels stored with the outputs last, read as if they came first", is_full, other_major),
          ("first", "weights stored with the outputs first, read as if they came last", is_matrix, first_major),
          ("first", "depthwise kernels stored with the channels first, read as if they came last", is_depthwise, first_major),
          ("first", "kernels stored with the outputs first, read as if they came last", is_full, first_major))),
    *(Change("tail", f"inputs beyond a multiple of {n} left out of the sums of {which} layers", tail_left_out(n, *ops))
      for n in (4, 8, 16)
      for which, ops in (("1x1 and linear", ("pointwise_conv2d", "linear")), ("1x1", ("pointwise_conv2d",)),
                         ("linear", ("linear",)))),
    *each("bias_missing",
        ("no bias, or no beta of the norm", no_bias),
        ("no bias, or no beta of the norm", no_bias, "layer")),
    Change("norm_scale_missing", "no gamma of the norm", no_scale, layer=True, rare=True),
    *each("quantized_layer",
        ("weights int8 with a scale a channel, what they meet int8 with a range a picture (dynamic range)",
         dynamic_range(a_channel, 1024), "ties"),
        ("weights int8 with one scale a tensor, what they meet int8 with a range a picture (dynamic range)",
         dynamic_range(a_tensor), "ties"),
        ("weights int8 with one scale and zero point a tensor, what they meet int8 with a range a picture (dynamic range)",
         dynamic_range(a_tensor_skewed), "ties"),
        ("weights int8 with one scale a tensor", quantized(a_tensor)),
        ("weights int8 with a scale a channel", quantized(a_channel)),
        ("weights int8 with one scale a tensor", quantized(a_tensor), "layer"),
        ("weights int8 with one scale a tensor, norms folded in", quantized(a_tensor, True), "layer", "rare"),
        ("weights int8 with one scale and zero point a tensor", quantized(a_tensor_skewed), "layer", "rare"),
        ("weights int8 with one scale a tensor, -128 included", quantized(a_tensor_wide), "layer", "rare"),
        ("weights int8 with a scale a channel", quantized(a_channel), "layer", "rare")),
)
FOLDED = ((False, ""), (True, ", norms folded in"))
HALF_SUMS = (Change("fp16_accumulation", "sums kept in float16, product after product", half_sums, whole=True),)
#: of ports in fixed point, by the bits that their tensors have: what leaves weights fewer
FIXED_WEIGHTS = {
    bits: (*(Change("quantized_layer", f"weights of {few} fraction bits{norms}", quantized(a_fraction(few), folded))
             for folded, norms in FOLDED for few in range(bits - 1, max(bits - 7, 1), -1)),
           *(Change("quantized_layer", f"weights of 8 bits with a power of two a tensor{norms}",
                    quantized(a_power_of_two, folded)) for folded, norms in FOLDED))
    for bits in set(FRACTION_BITS.values())
}
#: what kernels on their side cannot be told from where the picture may be, too
COLUMNS_FIRST = (
    Change("columns_first", "all maps stored with their columns first, the picture too: no fault",
           laid_out("columns first", is_spatial, swapped_axes), whole=True),
)
# fmt: on


def block_exchanges(net):
    """[(Change, (block, block))]: two blocks of one shape that have each other's weights."""
    return [
        (Change("weights_swapped", f"the weights of {a} and {b} exchanged", exchange(a, b), whole=True), (a, b))
        for a, b in twins(net)
    ]


def weight_changes(net):
    """Exchanges of weights between the blocks, and the layers, of a network: list of Change."""
    pairs = [change for change, _ in block_exchanges(net)]
    return pairs + [Change("weights_swapped", text, apply, layer=True) for text, apply in borrowed(net)]
