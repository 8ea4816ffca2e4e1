"""From a layer's accumulators to stored integers, by each engine's rule, bit for bit.

Integer engines replace a real factor by m * 2^(e - 31), m of 31 bits, and round twice, once or not at all; float engines
multiply in float32. The rules are told apart by rare ties and by the last bit of the factor.

Source: tensorflow/lite/kernels/internal/quantization_util.cc and common.h; gemmlowp/fixedpoint/fixedpoint.h; XNNPACK
src/qs8-requantization; onnxruntime/core/mlas/lib/quantize.cpp
"""

import numpy as np

F32 = np.float32
I64 = np.int64
#: A bias from which on sums may pass 32 bits: the products of 8-bit numbers alone stay below it, up to 16,000 of them.
NEAR_END = 1 << 30


def quantize_multiplier(real):
    """The integers (m, e) that stand for positive factors: real is about m * 2^(e - 31), 2^30 <= m < 2^31.

    real : (C,) or () float64 -> two int64 arrays of its shape
    """
    fraction, exponent = np.frexp(np.asarray(real, np.float64))
    m, e = np.floor(fraction * 2.0**31 + 0.5).astype(I64), exponent.astype(I64)
    full = m == 1 << 31
    m, e = np.where(full, m >> 1, m), e + full
    vanishes = e < -31
    return np.where(vanishes, 0, m), np.where(vanishes, 0, e)


def divide_by_power(x, exponent):
    """x / 2^exponent, halves away from zero; int64."""
    half = (I64(1) << exponent) >> 1
    return (x + half - ((x < 0) & (half > 0))) >> exponent


def in_32_bits(x):
    """What engines' sums and shifts leave of int64: what does not fit wraps round, as it does behind a dead squeeze."""
    return x.astype(np.int32).astype(I64)


def _high(x, m, e):
    """x * m * 2^-31 after the left shift that the factor needs, halves up: gemmlowp's doubling high product."""
    if np.any(e > 0):
        x = np.where(e > 0, in_32_bits(x << np.maximum(e, 0)), x)
    return (x * m + (1 << 30)) >> 31


def double(x, m, e):
    """Rounded twice: halves up, then halves away from zero. TFLite's usual build, CMSIS-NN."""
    return divide_by_power(_high(x, m, e), np.maximum(-e, 0))


def up(x, m, e):
    """Rounded twice, halves up both times. NEON's instructions, and the optimised kernels that follow them."""
    right = np.maximum(-e, 0)
    return (_high(x, m, e) + ((I64(1) << right) >> 1)) >> right


def single(x, m, e):
    """Rounded once, halves up. TFLite and CMSIS-NN built with their macro for it."""
    return (x * m + (I64(1) << (30 - e))) >> (31 - e)


def truncate(x, m, e):
    """Not rounded, shifted alone. No engine's; what ports do by mistake."""
    return (x * m) >> (31 - e)


#: rule -> what it does to int64 accumulators with a factor's (m, e)
INTEGER_RULES = {"double": double, "up": up, "single": single, "truncate": truncate}


def up_by_8(x, m, e):
    """`up` as vectors of 8 channels compute it; the channels left over, less than 8, are rounded by `double`.

    x : (N, C, ...), of which m and e may lack axes

    Source: tensorflow/lite/kernels/internal/optimized/integer_ops/depthwise_conv.h and its Quantize, of all channels of
    a pixel
    """
    y, whole = up(x, m, e), x.shape[1] // 8 * 8
    y[:, whole:] = double(x[:, whole:], *(np.broadcast_to(part, x.shape)[:, whole:] for part in (m, e)))
    return y


#: The same of layers, whose channels lie along the second axis.
LAYER_RULES = {**INTEGER_RULES, "up_by_8": up_by_8}


def real(x, factor):
    """The product with the factor itself, in float64, halves away from zero. TFLite's reference FULLY_CONNECTED.

    Source: tensorflow/lite/kernels/internal/reference/integer_ops/fully_connected.h
    """
    y = np.abs(x * factor)
    whole = np.floor(y)
    return np.copysign(whole + (y - whole >= 0.5), x)


def requantize(acc, bias, rule, factor, out, low, high, *, wide=False):
    """Accumulators as the integers of a grid.

    Parameters
    ----------
    acc : (N, C, ...), exact sums of products in any dtype
    bias : (C,) int32
    rule : a key of FLOAT_FACTORS, "real" or a key of LAYER_RULES
    factor : (C,) or (1,), `layer_factor` for this rule
    out : Grid
    low, high : int, where the result is cut
    wide : bool, sums have 64 bits, as those of 16-bit inputs; else 32, and with a bias near their end they wrap round

    Returns
    -------
    (N, C, ...) of the grid's dtype
    """
    along = (-1, *(1,) * (acc.ndim - 2))
    factor = factor.reshape(along)
    acc = acc.astype(I64)
    acc += bias.reshape(along)
    if not wide and np.abs(bias.astype(I64)).max(initial=0) >= NEAR_END:
        acc = in_32_bits(acc)
    if rule in FLOAT_FACTORS:
        return round_float(acc.astype(F32) * factor, out, low, high)
    steps = real(acc, factor) if rule == "real" else LAYER_RULES[rule](acc, *quantize_multiplier(factor))
    return np.clip(steps + out.zero_point, low, high).astype(out.dtype)


def integer_factor(scale, weight_scale, out_scale):
    """What one step of the accumulator is worth in steps of the output, in float64 from float32 scales."""
    return np.float64(F32(scale)) * np.asarray(weight_scale, F32).astype(np.float64) / np.float64(F32(out_scale))


def float_factor(scale, weight_scale, out_scale):
    """The same, every operation rounded to float32."""
    return F32(scale) * np.asarray(weight_scale, F32) / F32(out_scale)


def reciprocal_factor(scale, weight_scale, out_scale):
    """The same, times the reciprocal of the output's scale where others divide by it.

    Source: pytorch aten/src/ATen/native/quantized/cpu/QnnpackUtils.h; qmul_kernel of its kernels/QuantizedOpKernels.cpp
    """
    return F32(scale) * np.asarray(weight_scale, F32) * (F32(1) / F32(out_scale))


#: The rules that multiply a sum, in float32, by a factor that is made so.
FLOAT_FACTORS = {"float": float_factor, "reciprocal": reciprocal_factor}
#: By what a KernelSet says of a product's factor: tensorflow/lite/kernels/mul.cc multiplies and divides floats,
#: tensorflow/lite/micro/kernels/mul_common.cc casts them first, QNNPACK takes a reciprocal.
FACTORS = {"float32": float_factor, "float64": integer_factor, "reciprocal": reciprocal_factor}


def layer_factor(op, rule, kernels, scale, weight_scale, out_scale):
    """The factor that a rule takes for a layer, (C,) or (1,): float32 of FLOAT_FACTORS, else float64.

    Source: tensorflow/lite/kernels/kernel_util.cc, where a FULLY_CONNECTED with one scale multiplies two floats, and
    casts then
    """
    if rule in FLOAT_FACTORS:
        return FLOAT_FACTORS[rule](scale, weight_scale, out_scale)
    if op == "fully_connected" and kernels.fully_connected_factor == "float32" and len(weight_scale) == 1:
        return float_factor(scale, weight_scale, 1).astype(np.float64) / np.float64(F32(out_scale))
    return integer_factor(scale, weight_scale, out_scale)


def round_float(y, out, low, high):
    """Real steps, float32, as integers of a grid: cut first, then halves to even."""
    zero = out.zero_point
    return (np.rint(np.clip(y, F32(low - zero), F32(high - zero))).astype(np.int32) + zero).astype(out.dtype)
