"""An integer port of a quantised network in its own plain code, into which tests put faults of rules.

It shares nothing with the package but the network's description: sums by `einsum` over windows in int64, factors as Python
fractions of integers, one number after another where a rule is more than a formula.
"""

import functools
import math
from dataclasses import dataclass, field

import numpy as np


def multiplier(real):
    """(m, e): real is about m * 2^(e - 31)."""
    fraction, exponent = math.frexp(real)
    m = math.floor(fraction * (1 << 31) + 0.5)
    return (m >> 1, exponent + 1) if m == 1 << 31 else (m, exponent)


def twice_rounded(acc, real):
    """TFLite's reference: halves up at 2^31, then halves away from zero."""
    m, e = multiplier(real)
    high = (acc * (1 << max(e, 0)) * m + (1 << 30)) // (1 << 31)
    right = max(-e, 0)
    size = (np.abs(high) + ((1 << right) >> 1)) // (1 << right)
    return np.where(high < 0, -size, size)


def twice_up(acc, real):
    m, e = multiplier(real)
    high = (acc * (1 << max(e, 0)) * m + (1 << 30)) // (1 << 31)
    right = max(-e, 0)
    return (high + ((1 << right) >> 1)) // (1 << right)


def once(acc, real):
    m, e = multiplier(real)
    return (acc * m + (1 << (30 - e))) // (1 << (31 - e))


def cut(acc, real):
    m, e = multiplier(real)
    return (acc * m) // (1 << (31 - e))


def in_floats(acc, real):
    return np.rint(acc.astype(np.float32) * np.float32(real)).astype(np.int64)


def half_up_in_floats(acc, real):
    return np.floor(acc.astype(np.float32) * np.float32(real) + np.float32(0.5)).astype(np.int64)


_METHODS = {name: name for name in ("pad2d", "identity", "max_pool2d", "mul", "add", "global_avg_pool", "hard_swish")}
_METHODS["scale"] = "times_constant"


@dataclass
class IntegerPort:
    """plan : IntegerPlan. layer_rule, mul_rule, mean_rule : callables; weights, biases : {layer: array} in place of the
    plan's;
    zero_points : {tensor: integer}, read and written so; pad_with : integer in place of the zero point; scale_of : callable
    on every activation's scale; bare : "input" or "output", whose zero point its layers leave out; no_act : layers
    whose activation is left out; saturates, per_tensor, mean_twice : flags;
    table : callable (real numbers) -> real numbers in place of the hard-swish's table; sum_of : callable (port, step,
        x, y) -> what
    a sum is made of in place of step, x and y"""

    plan: object
    layer_rule: object = twice_rounded
    mul_rule: object = twice_rounded
    weights: dict = field(default_factory=dict)
    biases: dict = field(default_factory=dict)
    zero_points: dict = field(default_factory=dict)
    pad_with: int | None = None
    scale_of: object = float
    bare: str = ""
    no_act: tuple = ()
    saturates: bool = False
    per_tensor: bool = False
    mean_twice: bool = False
    table: object = None
    sum_of: object = None

    def zero(self, name):
        return self.zero_points.get(name, self.plan.grids[name].zero_point)

    def scale(self, name):
        return float(np.float32(self.scale_of(self.plan.grids[name].scale)))

    def run(self, q):
        """{step: (N, ...) integers of its dtype}, the input first, of the input's integers."""
        values = {"input": q}
        for step in self.plan.steps:
            grid = self.plan.grids[step.name]
            steps = getattr(self, _METHODS.get(step.op, "layer"))(
                step, *(values[name].astype(np.int64) for name in step.inputs)
            )
            values[step.name] = np.clip(steps, grid.low, grid.high).astype(grid.dtype)
        return values

    def layer(self, step, x):
        array = {role: self.plan.arrays[f"{step.name}.{role}"] for role in ("weight", "bias", "weight_scale")}
        weight = self.weights.get(step.name, array["weight"]).astype(np.int64)
        bias = self.biases.get(step.name, array["bias"]).astype(np.int64)
        scales = np.broadcast_to(array["weight_scale"], len(bias))
        scales = np.full(len(bias), scales.max()) if self.per_tensor else scales
        z = 0 if self.bare == "input" else self.zero(step.inputs[0])
        real = self._real(step, x, z, weight)
        acc = np.moveaxis(self._sums(step, real, weight), -1, 1)
        acc = acc + bias.reshape(-1, *(1,) * (acc.ndim - 2))
        s_in, s_out = self.scale(step.inputs[0]), self.scale(step.name)
        rows = [self.layer_rule(acc[:, c], s_in * float(np.float32(scales[c])) / s_out) for c in range(len(bias))]
        if self.bare == "output":
            return np.maximum(np.stack(rows, 1), 0) if step.act else np.stack(rows, 1)
        return self._act(step, np.stack(rows, 1) + self.zero(step.name))

    def _real(self, step, x, z, weight):
        """(N, places..., taps) of what meets the kernel."""
        x = x - z
        if x.ndim == 2:
            return x[:, None, :]
        top, bottom, left, right = step.pad
        fill = 0 if self.pad_with is None else self.pad_with - z
        x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
        kh, kw = weight.shape[-2:] if step.op in ("conv2d", "depthwise_conv2d") else (1, 1)
        windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), (2, 3))
        return windows[:, :, :: step.stride[0], :: step.stride[1]]

    def _sums(self, step, real, weight):
        if step.op == "depthwise_conv2d":
            return np.einsum("nchwij,cij->nhwc", real, weight)
        if step.op == "linear":
            return np.einsum("npk,ok->npo", real, weight)[:, 0]
        weight = weight.reshape(len(weight), weight.shape[1], *real.shape[-2:])
        if not self.saturates:
            return np.einsum("nchwij,ocij->nhwo", real, weight)
        return self._saturated(step, real, weight)

    def _saturated(self, step, real, weight):
        """Pairs along (rows, columns, channels) of the input as uint8, cut at 16 bits."""
        z = self.zero(step.inputs[0]) + (128 if self.plan.grids[step.inputs[0]].dtype == "int8" else 0)
        taps = (real + z).transpose(0, 2, 3, 4, 5, 1)
        taps = taps.reshape(*taps.shape[:3], -1)
        kernel = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)
        total = -z * kernel.sum(1) + np.zeros((*taps.shape[:3], 1), np.int64)
        for k in range(0, kernel.shape[1], 2):
            pair = taps[..., k : k + 2] @ kernel[:, k : k + 2].T
            total = total + np.clip(pair, -32768, 32767)
        return total

    def _act(self, step, steps):
        if step.name in self.no_act:
            return steps
        z = self.zero(step.name)
        low = z if step.act else -(1 << 30)
        high = (
            z + math.floor(float(np.float32(6) / np.float32(self.scale(step.name))) + 0.5)
            if step.act == "relu6"
            else 1 << 30
        )
        return np.clip(steps, low, high)

    def pad2d(self, step, x):
        top, bottom, left, right = step.pad
        fill = self.zero(step.inputs[0]) if self.pad_with is None else self.pad_with
        return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)

    def identity(self, step, x):
        return x.reshape(len(x), *step.shape)

    def max_pool2d(self, step, x):
        k = step.kernel
        n, c, h, w = x.shape
        return x[:, :, : h // k * k, : w // k * k].reshape(n, c, h // k, k, w // k, k).max((3, 5))

    def times_constant(self, step, x):
        constant, scale, zero = (
            self.plan.arrays[f"{step.name}.{r}"] for r in ("constant", "weight_scale", "weight_zero_point")
        )
        real = self.scale(step.inputs[0]) * float(scale[0]) / self.scale(step.name)
        acc = (x - self.zero(step.inputs[0])) * (int(constant) - int(zero[0]))
        return self._act(step, self.mul_rule(acc, real) + self.zero(step.name))

    def mul(self, step, x, y):
        y = y.reshape(*y.shape, *(1,) * (x.ndim - y.ndim))
        acc = (x - self.zero(step.inputs[0])) * (y - self.zero(step.inputs[1]))
        real = self.scale(step.inputs[0]) * self.scale(step.inputs[1]) / self.scale(step.name)
        return self.mul_rule(acc, real) + self.zero(step.name)

    def add(self, step, x, y):
        if self.sum_of:
            step, x, y = self.sum_of(self, step, x, y)
        scales = [self.scale(name) for name in step.inputs]
        twice = 2 * max(scales)
        parts = [
            twice_rounded((q - self.zero(name)) << 20, scale / twice)
            for q, name, scale in zip((x, y), step.inputs, scales)
        ]
        return twice_rounded(sum(parts), twice / ((1 << 20) * self.scale(step.name))) + self.zero(step.name)

    def global_avg_pool(self, step, x):
        pixels, z = x.shape[2] * x.shape[3], self.zero(step.inputs[0])
        total = x.sum((2, 3)) - pixels * z
        m, e = multiplier(self.scale(step.inputs[0]) / self.scale(step.name))
        if self.mean_twice:
            scaled = twice_rounded(total, math.ldexp(m, e - 31))
            return np.sign(scaled) * ((np.abs(scaled) + pixels // 2) // pixels) + self.zero(step.name)
        k = min(int(math.log2(pixels)), 32, 31 + e)
        m, e = (m << k) // pixels, e - k
        high = (total * (1 << max(e, 0)) * m + (1 << 30)) // (1 << 31)
        right = max(-e, 0)
        size = (np.abs(high) + ((1 << right) >> 1)) // (1 << right)
        return np.where(high < 0, -size, size) + self.zero(step.name)

    def hard_swish(self, step, x):
        z_in, z_out, s_in, s_out = (
            self.zero(step.inputs[0]),
            self.zero(step.name),
            self.scale(step.inputs[0]),
            self.scale(step.name),
        )
        grid = self.plan.grids[step.inputs[0]]
        every = range(grid.low, grid.high + 1)
        if self.table is not None:
            real = self.table(np.array([(q - z_in) * s_in for q in every]))
            table = np.rint(real / s_out).astype(np.int64) + z_out
        else:
            table = np.array([_fixed_hard_swish(q, z_in, z_out, s_in, s_out) for q in every])
        return table[x - grid.low]


@functools.cache  # ports of one plan have the same tables
def _fixed_hard_swish(q, z_in, z_out, s_in, s_out):
    fine = np.float32(np.float32(s_in) / np.float32(128))
    (m_out, e_out), (m_relu, e_relu) = (
        multiplier(float(np.float32(fine / part))) for part in (np.float32(s_out), np.float32(3 / 32768))
    )
    m_out, m_relu = (min((m + (1 << 15)) >> 16, 32767) for m in (m_out, m_relu))
    x = ((q - z_in) * 128 + 32768) % 65536 - 32768
    p = _high16(x, m_out)
    r = _sat16(x << (e_relu - 1)) if e_relu > 0 else x
    r = _high16(r, m_relu)
    r = _sat16(r << 1) if e_relu > 0 else _divided(r, -e_relu)
    v = _sat16(int(((r + (1 << 15)) >> 1) * p / 32768))
    return max(min(_divided(v, -e_out) + z_out, 127), -128)


def _high16(x, m):
    return _sat16((x * m + (1 << 14)) >> 15)


def _sat16(x):
    return max(min(x, 32767), -32768)


def _divided(x, bits):
    size = (abs(x) + ((1 << bits) >> 1)) >> bits
    return -size if x < 0 else size
