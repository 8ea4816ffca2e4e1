"""What the manifest of integer vectors says in words, so that a port can be written from the manifest alone."""

#: Of the rules and the operations.
TERMS = {
    "high(x, m, e)": "floor((x * 2^max(e, 0) * m + 2^30) / 2^31)",
    "F(x)": "x rounded to float32",
    "rne(x)": "the nearest integer, of halves the even one",
    "real(q)": "q - its tensor's zero point, an exact integer",
    "by the rule": "x becomes an integer by the step's rule; the output's zero point is added; the result is cut to clamp",
}
#: The rule by which a step's exact number x becomes the stored integer.
RULES = {
    "double": "high, then divided by 2^max(-e, 0), halves away from zero",
    "up": "high, then divided by 2^max(-e, 0), halves up",
    "up_by_8": "high, then divided by 2^max(-e, 0), halves up, of the last C mod 8 channels halves away from zero",
    "single": "floor((x * m + 2^(30 - e)) / 2^(31 - e))",
    "truncate": "floor(x * m / 2^(31 - e))",
    "real": "x * (input's scale * weight's scale / output's scale) in float64, halves away from zero",
    "float": "rne(F(F(x) * factor)), cut before the zero point is added",
    "float_offset": "of products rne(F(F(F(x) * factor) + zero point)); of means rne(F(F(F(sum of q) * factor) + offset))",
    "shift": "add: (x1 * m1 + x2 * m2 + 2^(shift - 1)) >> shift, floor",
    "shift_away": "add: (x1 * m1 + x2 * m2) / 2^shift, halves away from zero",
    "fused": "add: rne(F(q1 * factor1 + F(q2 * factor2 + offset))), each F of one exact product and sum",
    "twice": "mean: double, then divided by the number of pixels, halves away from zero",
    "offset": "mean: the sum of q by up, of the last C mod 16 channels by double; offset stands for the zero points",
    "table": "the entry of the table at q - (least integer of the input's dtype)",
}
_LAYER = (
    "x = bias + the window's sum of real(input) * (weight - its zero point), 0 beyond the edges, in 32 bits; by the rule, with "
    "the output channel's numbers; scales: the input's, the output's, then the weights'; if it saturates, input * weight of "
    "every two neighbours (channels fastest, then columns, rows; the zero point beyond the edges) are added cut to 16 bits, and x "
    "is less by what is cut"
)
_MEAN = "x = the sum of real(input) over height and width, their number being in the factor; by the rule"
OPERATIONS = {
    **dict.fromkeys(("conv2d", "depthwise_conv2d", "pointwise_conv2d", "linear", "fully_connected"), _LAYER),
    **dict.fromkeys(("global_avg_pool", "mean_to_vector"), _MEAN),
    **dict.fromkeys(("relu", "hard_swish", "hard_sigmoid"), "by the table"),
    "mul": "x = real(first) * real(second), whose one number a channel is for all of it; by the rule",
    "scale": "x = real(input) * real(constant); by the rule",
    "add": "x = two numbers, each real(input) * 2^20 rounded by the rule with its own of the three m and e, added; by the rule, "
    "with the third; shift, shift_away: x1 and x2 are real(input), fused: q1 and q2 the inputs",
    "fill": "the constant everywhere",
    "pad2d": "the input, with its zero point in the pad",
    "max_pool2d": "the largest of each square of kernel rows and columns, side by side",
    "identity": "the input's integers, in one row",
}
