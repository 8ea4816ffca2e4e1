"""Resampling of 8-bit pictures in NumPy, byte for byte what OpenCV and Pillow give.

Both libraries compute in fixed point, each in its own, so "bilinear" is two different pictures:

* `opencv_linear` looks at two source pixels a side whatever the scale (no antialias): OpenCV's INTER_LINEAR.
* `pillow` widens the filter with the scale when it shrinks (antialias): Pillow's BILINEAR and BICUBIC.

Arrays are (H, W, C) uint8; sizes are pixels.
"""

import numpy as np

OPENCV_ONE = np.float32(1 << 11)  # what OpenCV takes as 1.0
PILLOW_ONE = 1 << 22  # what Pillow takes as 1.0
BAND = 1 << 16  # bytes in hand at a time: what is made of them stays in the cache, and is little for any picture


def opencv_linear(picture, height, width):
    """Resize as cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR).

    At exactly half the size OpenCV takes INTER_AREA instead; the bytes are the same.

    Parameters
    ----------
    picture : (H, W, C) uint8
    height, width : int, pixels, from 1

    Returns
    -------
    (height, width, C) uint8; the picture itself where there is nothing to do

    Source: OpenCV 4.6 to 5.0, modules/imgproc/src/resize.cpp; the same bytes as its builds for x86-64.
    """
    old_height, old_width, channels = picture.shape
    if (height, width) == (old_height, old_width):
        return picture
    left, right, left_weight, right_weight = _two_taps(old_width, width)
    top, bottom, top_weight, bottom_weight = _two_taps(old_height, height)
    columns = np.arange(channels)
    left, right = ((x[:, None] * channels + columns).ravel() for x in (left, right))
    left_weight, right_weight = left_weight.repeat(channels), right_weight.repeat(channels)
    rows = picture.reshape(old_height, -1)

    def blend(part, source, weight):
        chosen = rows[source[part]]
        across = chosen.take(left, axis=1) * left_weight
        across += chosen.take(right, axis=1) * right_weight
        across >>= 4  # OpenCV drops these bits to multiply in 16 bits
        across *= weight[part, None]
        across >>= 16
        return across

    out = np.empty((height, width * channels), np.uint8)
    step = max(1, BAND // out.shape[1])
    for start in range(0, height, step):
        part = slice(start, start + step)
        out[part] = (blend(part, top, top_weight) + blend(part, bottom, bottom_weight) + 2) >> 2
    return out.reshape(height, width, channels)


def _two_taps(old, new):
    """The two source pixels of each output pixel, clipped to the picture, and their int32 weights (sum: 1 << 11)."""
    scale = 1.0 / (new / old)  # OpenCV goes through the inverse
    place = ((np.arange(new) + 0.5) * scale - 0.5).astype(np.float32)
    low = np.floor(place)
    fraction = place - low
    low = low.astype(np.intp)
    weights = [np.rint(part * OPENCV_ONE).astype(np.int32) for part in (1 - fraction, fraction)]
    return (np.clip(low, 0, old - 1), np.clip(low + 1, 0, old - 1), *weights)  # Pythons before 3.8 read it, too


def _bilinear(x):
    return np.maximum(1.0 - x, 0.0)


def _bicubic(x):
    """Keys' cubic with a = -0.5, in the order of operations that Pillow rounds in."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


FILTERS = {"bilinear": (_bilinear, 1.0), "bicubic": (_bicubic, 2.0)}  # of the distance, and the reach, in pixels


def pillow(picture, height, width, interpolation):
    """Resize as Pillow's Image.resize((width, height), BILINEAR or BICUBIC) of an RGB picture.

    Parameters
    ----------
    picture : (H, W, C) uint8
    height, width : int, pixels, from 1
    interpolation : "bilinear" or "bicubic"

    Returns
    -------
    (height, width, C) uint8; the picture itself where there is nothing to do

    Source: Pillow 13.0, src/libImaging/Resample.c (see `pillow_passes` for what older ones do otherwise).
    """
    for new_height, new_width in pillow_passes(picture.shape[:2], (height, width)):
        if new_width != picture.shape[1]:
            across = _filter_rows(picture.transpose(1, 0, 2), new_width, interpolation)
            picture = np.ascontiguousarray(across.transpose(1, 0, 2))
        else:
            picture = _filter_rows(picture, new_height, interpolation)
    return picture


def pillow_passes(old, new):
    """The sizes that Pillow goes through: one axis a pass, an axis that keeps its size is left alone.

    Each pass rounds to bytes, so their order shows. Rows come first where that saves much work, which Pillow does
    since 13.0; older ones always start with the columns, and differ by a few levels in tall pictures.

    Parameters
    ----------
    old, new : (height, width), pixels

    Returns
    -------
    list of (height, width), the last one `new`; empty if there is nothing to do
    """
    (old_height, old_width), (height, width) = old, new
    rows_first = old_height > height and old_height - height > 2 * (old_width - width)
    sizes = [old, (height, old_width) if rows_first else (old_height, width), new]
    return [size for before, size in zip(sizes, sizes[1:]) if size != before]


def _filter_rows(picture, new, interpolation):
    """Resample the first axis: (N, M, C) uint8 to (new, M, C)."""
    old, *others = picture.shape
    rows = picture.reshape(old, -1)
    place, weights = _wide_taps(old, new, interpolation)
    out = np.empty((new, rows.shape[1]), np.uint8)
    step = max(1, BAND // (weights.shape[1] * out.shape[1]))
    for start in range(0, new, step):
        part = slice(start, start + step)
        begin = place[start, 0]
        band = np.zeros((len(place[part]), place[part][-1, -1] + 1 - begin))
        np.put_along_axis(band, place[part] - begin, weights[part], axis=1)
        chosen = rows[begin : begin + band.shape[1]].astype(np.float64)
        total = band[:, : len(chosen)] @ chosen  # multiples of 2**-22 below 2**31: exact, in whatever order
        out[part] = np.clip(np.floor(total + 0.5), 0, 255)
    return out.reshape(new, *others)


def _wide_taps(old, new, interpolation):
    """Source pixels of each output pixel, (new, taps) intp, and their weights, multiples of 2**-22 in float64.

    Places beyond the picture's end have weight 0.
    """
    shape, reach = FILTERS[interpolation]
    scale = old / new
    stretch = max(scale, 1.0)
    centre = (np.arange(new) + 0.5) * scale
    first = np.maximum((centre - reach * stretch + 0.5).astype(np.intp), 0)
    last = np.minimum((centre + reach * stretch + 0.5).astype(np.intp), old)
    place = first[:, None] + np.arange((last - first).max())
    weights = shape(np.abs((place - centre[:, None] + 0.5) * (1.0 / stretch)))
    weights[place >= last[:, None]] = 0.0
    weights /= np.cumsum(weights, axis=1)[:, -1:]  # one after another, as Pillow adds; np.sum adds in pairs
    return place, np.trunc(weights * PILLOW_ONE + np.copysign(0.5, weights)) / PILLOW_ONE
