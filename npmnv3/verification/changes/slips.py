"""Slips of who writes a port's loops by hand: looked for where no fault that is better known explains a port."""

from .blocks import act_on_projection
from .edits import Change, each, is_main, swap_op
from .loops import counted, gates_twice, never_reset, residual_of_earlier, unread
from .norms import FOLDS, folded, is_projections
from .weights import bias_twice, is_depthwise, is_spatial, laid_out, last_taps_cut, mirrored, upside_down

SIXTHS = (0.1667, 0.167)  # 1/6 as people round it

# fmt: off
SLIPS = (
    *(Change(fault, text, folded(f"fold{number}", rule)) for number, (fault, text, rule) in enumerate(FOLDS)),
    *(Change(fault, f"{text}, in the projections", folded(f"fold{number}", rule, is_projections), rare=True)
      for number, (fault, text, rule) in enumerate(FOLDS)),
    *each("projection_activation",
        ("the block's activation on its projection, which has none", act_on_projection("")),
        ("ReLU on the projections, which have none", act_on_projection("relu")),
        ("hard-swish on the projections, which have none", act_on_projection("hard_swish"), "rare")),
    Change("residual", "the residual of the block before", residual_of_earlier),
    *each("activation",
        ("hard-swish without its bound of 6", swap_op(("hard_swish",), "hard_swish_unbounded", is_main)),
        ("hard-swish that is never below 0", swap_op(("hard_swish",), "hard_swish_positive", is_main)),
        ("a hard-sigmoid that is not cut", swap_op(("hard_sigmoid",), "hard_sigmoid_line")),
        ("a hard-sigmoid that is not cut at 1", swap_op(("hard_sigmoid",), "hard_sigmoid_from_0")),
        ("a hard-sigmoid that is not cut at 0", swap_op(("hard_sigmoid",), "hard_sigmoid_to_1"))),
    *(change for sixth in SIXTHS for change in (
        Change("activation", f"hard-swish with 1/6 as {sixth}",
               swap_op(("hard_swish",), "hard_swish_times", is_main, slope=sixth)),
        Change("hard_sigmoid_slope", f"hard-sigmoid with 1/6 as {sixth}",
               swap_op(("hard_sigmoid",), "hard_sigmoid_times", slope=sixth)),
        Change("hard_sigmoid_slope", f"hard-sigmoid with 1/6 as {sixth} before 0.5 is added",
               swap_op(("hard_sigmoid",), "hard_sigmoid_sloped", slope=sixth)))),
    Change("se_order", "each channel times its gate, twice", gates_twice, rare=True),
    Change("pooling", "sums of pixels in place of means", counted(lambda n: 1)),
    Change("pooling", "sums of pixels in place of means in squeeze-and-excitation", counted(lambda n: 1, lambda n: n != "pool")),
    *each("padding",
        ("kernels never read the first row and column", unread(1, 0, 1, 0), "rare"),
        ("kernels never read the last row and column", unread(0, 1, 0, 1)),
        ("kernels never read the last row", unread(0, 1, 0, 0), "rare")),
    *(Change("weight_layout", f"{which} {text}", laid_out(mark, fits, make), layer=layer, rare=layer or fits is is_spatial)
      for which, fits, layer in (("depthwise kernels", is_depthwise, False), ("kernels", is_spatial, False),
                                 ("kernels", is_spatial, True))
      for mark, text, make in (("mirrored", "mirrored left to right", mirrored), ("flipped", "upside down", upside_down),
                               ("short", "without their last row and column", last_taps_cut))),
    Change("bias_twice", "biases of linear layers added twice", bias_twice),
    *each("accumulator",
        ("sums never reset from pixel to pixel in 1x1 layers", never_reset("pointwise_conv2d"), "rare"),
        ("sums never reset from pixel to pixel", never_reset("conv2d", "depthwise_conv2d", "pointwise_conv2d"), "rare")),
)
# fmt: on
