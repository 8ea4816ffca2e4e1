"""How a window slides over a padded map: TensorFlow's "same" padding, and how many places a window has."""


def same_padding(sides, kernels, strides):
    """Zeros (before, after) along each axis, so that it has ceil(n / stride) outputs, the odd one at the end: tuple of pairs."""
    totals = (max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(sides, kernels, strides))
    return tuple((total // 2, total - total // 2) for total in totals)


def output_sides(sides, kernels, strides, pad):
    """(height, width) of what windows give that slide over a map; pad is (top, bottom, left, right) pixels."""
    return tuple(
        (n + before + after - k) // s + 1
        for n, k, s, before, after in zip(sides, kernels, strides, pad[::2], pad[1::2])
    )
