"""Activations of integers as tables: what a kernel set stores for every integer of the input's grid, from the least to
the largest."""

import numpy as np

from .requantize import F32, I64, divide_by_power, quantize_multiplier


def every(grid):
    """All integers of a grid, in order."""
    return np.arange(grid.low, grid.high + 1)


def relu_table(grid, out):
    return out.quantize(np.maximum(grid.dequantize(every(grid)), F32(0)))


def hard_sigmoid_table(grid, out, slope, offset):
    real = grid.dequantize(every(grid)) * F32(slope) + F32(offset)
    return out.quantize(np.clip(real, F32(0), F32(1)))


def hard_sigmoid_sixth_table(grid, out):
    """QNNPACK's. Source: pytorch aten/src/ATen/native/quantized/cpu/qnnpack/src/hardsigmoid.c"""
    return _by_reciprocal(_six(grid.dequantize(every(grid))) / F32(6), out)


def hard_swish_float_table(grid, out):
    real = grid.dequantize(every(grid))
    return out.quantize(real * np.clip(real * F32(1 / 6) + F32(0.5), F32(0), F32(1)))


def hard_swish_sixth_table(grid, out):
    """QNNPACK's. Source: pytorch aten/src/ATen/native/quantized/cpu/qnnpack/src/hardswish.c"""
    real = grid.dequantize(every(grid))
    return _by_reciprocal(real * _six(real) / F32(6), out)


def _six(real):
    return np.clip(real + F32(3), F32(0), F32(6))


def _by_reciprocal(real, out):
    """Real numbers as integers, the zero point added before they are rounded."""
    steps = real * (F32(1) / F32(out.scale)) + F32(out.zero_point)
    return np.rint(np.clip(steps, out.low, out.high)).astype(out.dtype)


def hard_swish_fixed_table(grid, out):
    """TFLite's hard-swish of every 8-bit integer: two factors of 16 bits, products of 16 bits rounded at each step.

    Source: tensorflow/lite/kernels/internal/reference/hard_swish.h
    """
    fine = F32(grid.scale) / F32(128)
    m_out, e_out = _sixteen_bits(fine / F32(out.scale))
    m_relu, e_relu = _sixteen_bits(fine / F32(3 / 32768))
    x = (((every(grid) - grid.zero_point) * 128 + 32768) % 65536 - 32768).astype(I64)  # wraps as 16 bits do
    p = _high16(x, m_out)
    r = _saturate16(x << (e_relu - 1)) if e_relu > 0 else x
    r = _high16(r, m_relu)
    r = _saturate16(r << 1) if e_relu > 0 else divide_by_power(r, I64(-e_relu))
    r = (r + (1 << 15)) >> 1  # in 0..2^15, which stands for 0..1
    product = r * p
    value = _saturate16(np.sign(product) * (np.abs(product) >> 15))
    return np.clip(divide_by_power(value, I64(-e_out)) + out.zero_point, out.low, out.high).astype(out.dtype)


def _sixteen_bits(real):
    m, e = quantize_multiplier(np.float64(real))
    return min(int(m) + (1 << 15) >> 16, 32767), int(e)


def _high16(x, m):
    return _saturate16((x * m + (1 << 14)) >> 15)


def _saturate16(x):
    return np.clip(x, -32768, 32767)
