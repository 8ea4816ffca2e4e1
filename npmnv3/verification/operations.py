"""Operations that no published network has and faulty ones do."""

import numpy as np


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _erf(x):
    """Abramowitz and Stegun 7.1.26, to 1.5e-7."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.sign(x) * (1 - series * np.exp(-x * x))


def _softmax(step, x):
    """exp(x) over its sum, along the last axis, without overflow."""
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _log_softmax(step, x):
    """Logarithm of `_softmax`."""
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def _border(mode):
    def pad(step, x):
        top, bottom, left, right = step.pad
        return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), mode=mode)

    return pad


def _batch_statistics(step, x):
    """A norm in training mode, without its affine part."""
    axes = (0, *range(2, x.ndim))
    eps = np.asarray(step.eps, x.dtype)
    return (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, keepdims=True) + eps)


def _pool_window(step, x):
    """The mean of the first `kernel` x `kernel` pixels; where there are fewer, zeros count as pixels."""
    return x[:, :, : step.kernel, : step.kernel].sum(axis=(2, 3)) / np.asarray(step.kernel**2, x.dtype)


def _pool_short(step, x):
    """The mean of all pixels, the last `kernel` of them left out of the sum."""
    pixels = x.reshape(*x.shape[:2], -1)
    return pixels[:, :, : -step.kernel].sum(axis=2) / np.asarray(pixels.shape[2], x.dtype)


def _grid(step, x):
    """The nearest of 256 levels, zero among them, from a picture's least number to its largest (or to zero).

    In float32, and halves away from zero, as TFLite does: in float64 another level may be the nearest.
    """
    axes = tuple(range(1, x.ndim))
    low = np.minimum(x.min(axis=axes, keepdims=True), 0).astype(np.float64)
    high = np.maximum(x.max(axis=axes, keepdims=True), 0).astype(np.float64)
    scale = np.where(high > low, high - low, 1) / 255
    zero = np.round(-low / scale) - 128
    levels = zero.astype(np.float32) + x.astype(np.float32) * (1 / scale.astype(np.float32))
    nearest = np.clip(np.trunc(levels + np.copysign(np.float32(0.5), levels)), -128, 127)
    return ((nearest - zero) * scale.astype(np.float32)).astype(x.dtype)


def _add_part(step, x, skip):
    """The sum, of `factor` times the second, in a part along one axis, `pad` = (axis, first, behind the last, -); else `x`."""
    axis, first, end, _ = step.pad
    part = (*(slice(None),) * axis, slice(first, end))
    made = np.array(x)
    made[part] += skip[part] * x.dtype.type(step.factor)
    return made


def _unread(step, x):
    """Zeros in the outermost `pad` rows and columns."""
    top, bottom, left, right = step.pad
    kept = np.zeros_like(x)
    inner = (..., slice(top, x.shape[2] - bottom), slice(left, x.shape[3] - right))
    kept[inner] = x[inner]
    return kept


def _running_sum(step, x):
    """Each channel's pixels summed up so far."""
    return x.reshape(*x.shape[:2], -1).cumsum(axis=2).reshape(x.shape)


def _line(step, x):
    return x * x.dtype.type(step.slope) + x.dtype.type(0.5)


#: operation -> function (step, *inputs), in the inputs' dtype
FAULTY = {
    "relu6": lambda step, x: np.clip(x, 0, 6),
    "sigmoid": lambda step, x: _sigmoid(x),
    "swish": lambda step, x: x * _sigmoid(x),
    "gelu": lambda step, x: (x * (1 + _erf(x / np.sqrt(2).astype(x.dtype))) / 2).astype(x.dtype, copy=False),
    "leaky_relu": lambda step, x: np.where(x > 0, x, x * x.dtype.type(0.01)),
    "sloped_swish": lambda step, x: x * np.clip(x * x.dtype.type(step.slope) + x.dtype.type(0.5), 0, 1),
    "hard_swish_undivided": lambda step, x: x * np.clip(x + 3, 0, 6),
    "hard_swish_cut_late": lambda step, x: np.clip(x * (x + 3) / 6, 0, 6),
    "hard_sigmoid_undivided": lambda step, x: np.clip(x + 3, 0, 6),
    "hard_swish_times": lambda step, x: x * np.clip(x + 3, 0, 6) * x.dtype.type(step.slope),
    "hard_swish_unbounded": lambda step, x: x * np.maximum(x + 3, 0) / 6,
    "hard_swish_positive": lambda step, x: np.maximum(x, 0) * np.minimum(x + 3, 6) / 6,
    "hard_sigmoid_times": lambda step, x: np.clip(x + 3, 0, 6) * x.dtype.type(step.slope),
    "hard_sigmoid_sloped": lambda step, x: np.clip(_line(step, x), 0, 1),
    "hard_sigmoid_line": _line,
    "hard_sigmoid_from_0": lambda step, x: np.maximum(_line(step, x), 0),
    "hard_sigmoid_to_1": lambda step, x: np.minimum(_line(step, x), 1),
    "softmax": _softmax,
    "softmax_twice": lambda step, x: _softmax(step, _softmax(step, x)),
    "log_softmax": _log_softmax,
    "subsample": lambda step, x: x[:, :, :: step.stride[0], :: step.stride[1]],
    "border_edge": _border("edge"),
    "border_reflect": _border("reflect"),
    "batch_statistics": _batch_statistics,
    "pool_window": _pool_window,
    "pool_short": _pool_short,
    "pool_scaled": lambda step, x: x.mean(axis=(2, 3)) * x.dtype.type(step.factor),
    "global_max_pool": lambda step, x: x.max(axis=(2, 3)),
    "add_part": _add_part,
    "unread": _unread,
    "running_sum": _running_sum,
    "grid": _grid,
    "zero": lambda step, x: np.zeros_like(x),
    "roll": lambda step, x: np.roll(x, int(step.factor), axis=1),
    "background": lambda step, x: np.pad(x, ((0, 0), (1, 0)), constant_values=np.nan),  # nobody knows that logit
    "background_last": lambda step, x: np.pad(x, ((0, 0), (0, 1)), constant_values=np.nan),
}
