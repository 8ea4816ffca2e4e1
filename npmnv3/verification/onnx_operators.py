"""Operators for onnx's reference evaluator: those that it lacks or does otherwise than engines do."""

import numpy as np


def operators():
    """list of classes, for `ReferenceEvaluator(new_ops=...)`."""
    from onnx.reference.op_run import OpRun

    class BatchNormalization(OpRun):
        """As in inference: the evaluator's own of opsets 9 to 13 mixes the batch's statistics in."""

        op_domain = ""

        def _run(self, x, scale, bias, mean, var, epsilon=None, **training):
            axes = (-1, *(1,) * (x.ndim - 2))
            factor = (scale / np.sqrt(var + x.dtype.type(epsilon))).reshape(axes)
            return ((x - mean.reshape(axes)) * factor + bias.reshape(axes),)

    class QuantizeLinear(OpRun):
        """Of opsets before 19, too."""

        op_domain = ""

        def _run(self, x, scale, zero=None, axis=1, **_):
            return (quantize(x, scale, np.uint8(0) if zero is None else zero, axis),)

    class DequantizeLinear(OpRun):
        """Of opsets before 19, too."""

        op_domain = ""

        def _run(self, x, scale, zero=None, axis=1, **_):
            return (dequantize(x, scale, zero, axis),)

    class QLinearConv(OpRun):
        """Through float32: what engines do in integers comes to the same but for ties."""

        op_domain = ""

        def _run(self, x, xs, xz, w, ws, wz, ys, yz, bias=None, group=1, pads=None, strides=None, **_):
            weight = dequantize(w, ws, wz, 0)
            out = convolve(dequantize(x, xs, xz), weight, group or 1, pads or (0, 0, 0, 0), strides or (1, 1))
            if bias is not None:
                out += (bias * (xs * ws)).reshape(1, -1, 1, 1)
            return (quantize(out, ys, yz),)

    class QLinearMul(OpRun):
        op_domain = "com.microsoft"

        def _run(self, a, as_, az, b, bs, bz, ys, yz):
            return (quantize(dequantize(a, as_, az) * dequantize(b, bs, bz), ys, yz),)

    class QLinearAdd(OpRun):
        op_domain = "com.microsoft"

        def _run(self, a, as_, az, b, bs, bz, ys, yz):
            return (quantize(dequantize(a, as_, az) + dequantize(b, bs, bz), ys, yz),)

    class QLinearGlobalAveragePool(OpRun):
        op_domain = "com.microsoft"

        def _run(self, x, xs, xz, ys, yz, channels_last=0):
            axes = (1, 2) if channels_last else (2, 3)
            return (quantize(dequantize(x, xs, xz).mean(axis=axes, keepdims=True), ys, yz),)

    class QGemm(OpRun):
        op_domain = "com.microsoft"

        def _run(self, a, as_, az, b, bs, bz, c=None, ys=None, yz=None, alpha=1.0, transA=0, transB=0):
            b = dequantize(b, bs, bz, 0 if transB else 1)
            a = dequantize(a, as_, az)
            out = np.float32(alpha) * ((a.T if transA else a) @ (b.T if transB else b))
            if c is not None:
                out += c * (as_ * bs * np.float32(alpha))
            return (out.astype(np.float32) if ys is None else quantize(out, ys, yz),)

    return [
        BatchNormalization,
        QuantizeLinear,
        DequantizeLinear,
        QLinearConv,
        QLinearMul,
        QLinearAdd,
        QLinearGlobalAveragePool,
        QGemm,
    ]


def _along(values, axis, ndim):
    values = np.asarray(values)
    return (
        values.reshape([-1 if i == axis % ndim else 1 for i in range(ndim)]) if values.size > 1 else values.reshape(())
    )


def quantize(x, scale, zero, axis=1):
    """round(x / scale) + zero, saturated to the zero point's dtype; scale and zero point one, or one along an axis."""
    zero = np.asarray(zero)
    limits = np.iinfo(zero.dtype)
    levels = np.rint(x / _along(scale, axis, x.ndim)) + _along(zero, axis, x.ndim).astype(np.int32)
    return np.clip(levels, limits.min, limits.max).astype(zero.dtype)


def dequantize(x, scale, zero=None, axis=1):
    """(x - zero) * scale, in the scale's dtype."""
    scale, offset = np.asarray(scale), np.zeros(()) if zero is None else np.asarray(zero)
    ndim = max(x.ndim, 1)
    whole = x.astype(np.int32) - _along(offset.astype(np.int32), axis, ndim)
    return (whole * _along(scale, axis, ndim)).astype(scale.dtype).reshape(x.shape)


def convolve(x, weight, group, pads, strides):
    """A grouped convolution, (N, C, H, W) by (O, C / group, KH, KW); pads as ONNX orders them: top, left, bottom, right."""
    top, left, bottom, right = pads
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    taps = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(2, 3))
    taps = taps[:, :, :: strides[0], :: strides[1]]
    n, c, h, w = taps.shape[:4]
    parts = taps.reshape(n, group, c // group, h, w, -1)
    kernels = weight.reshape(group, len(weight) // group, c // group, -1)
    return np.einsum("ngchwk,gock->ngohw", parts, kernels, optimize=True).reshape(n, len(weight), h, w)
