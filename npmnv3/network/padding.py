"""TensorFlow's "same" padding: ceil(n / stride) outputs, and the odd zero at the end."""


def same_padding(sides, kernels, strides):
    """Zeros (before, after) along each axis, of n pixels: a tuple of pairs."""
    totals = (max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(sides, kernels, strides))
    return tuple((total // 2, total - total // 2) for total in totals)
