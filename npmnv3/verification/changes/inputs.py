"""The preprocessing as a ladder of its own: every way to get a picture wrong before the network sees it.

What is an affine map of the channels can be tried on the reference's input alone; what happens before (decoding,
resizing, cropping) needs the picture.
"""

from dataclasses import replace

import numpy as np

from ...network.steps import INPUT
from ...pictures import recipes
from .edits import Change

#: short sides that people resize to
SIZES = (224, 230, 232, 235, 236, 240, 246, 248, 249, 250, 255, 257, 256, 260, 272, 280, 288, 292, 299, 320)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: grey of red, green and blue
HALF = ((0.5,) * 3, (0.5,) * 3)


def input_changes(x, recipe, pictures=()):
    """Changes of the input.

    Parameters
    ----------
    x : (N, 3, H, W) float32, the reference's input
    recipe : Preprocess, how it came about
    pictures : sequence of N pictures, or empty if only `x` is there

    Returns
    -------
    list of Change
    """
    affine = [(fault, text, make(x.astype(np.float64), recipe)) for fault, text, make in AFFINE]
    found = [_change(fault, text, made) for fault, text, made in affine if made.shape == x.shape]
    if len(pictures) == len(x):
        found += [
            _change(fault, text, lambda m=make: np.stack([m(p, recipe) for p in pictures]))
            for fault, text, make in _recipes(recipe)
        ]
    return found


def _change(fault, text, made):
    """A change to the input `made`: an array, or a function that makes it once and when it is wanted."""
    cache = []

    def apply(net, where):
        if not where(INPUT) or net.pictures is not None:
            return None
        if not cache:
            cache.append(np.ascontiguousarray(made() if callable(made) else made, np.float32))
        return replace(net, pictures=cache[0])

    return Change(fault, text, apply)


# --- from the tensor alone


def _axes(values):
    return np.asarray(values, np.float64)[:, None, None]


def _unit(x, recipe):
    """The values in 0..1 behind a normalized input."""
    return x * _axes(recipe.std) + _axes(recipe.mean)


def _normalized(unit, mean, std):
    return (unit - _axes(mean)) / _axes(std)


def _as(mean, std):
    return lambda x, r: _normalized(_unit(x, r), mean, std)


def _with(function):
    return lambda x, r: function(_unit(x, r), r.mean, r.std)


def _fp16(values):
    return np.asarray(values, np.float16).astype(np.float64)


# fmt: off
AFFINE = (
    ("channel_order", "BGR in place of RGB", lambda x, r: x[:, ::-1]),
    ("channel_order", "BGR in place of RGB, normalized with RGB's mean and std",
     _with(lambda u, m, s: _normalized(u[:, ::-1], m, s))),
    ("input_axes", "the picture's height and width exchanged", lambda x, r: x.swapaxes(2, 3)),
    ("input_axes", "the picture mirrored left to right", lambda x, r: x[..., ::-1]),
    ("input_axes", "the picture upside down", lambda x, r: x[..., ::-1, :]),
    ("input_axes", "the picture turned by 180 degrees", lambda x, r: x[..., ::-1, ::-1]),
    ("input_layout", "channels last read as if they came first", lambda x, r: x.transpose(0, 2, 3, 1).reshape(x.shape)),
    ("input_layout", "channels first read as if they came last",
     lambda x, r: x.reshape(len(x), *x.shape[2:], x.shape[1]).transpose(0, 3, 1, 2)),
    *(("channel_order", f"{name} in all three channels", lambda x, r, c=c: np.repeat(x[:, c : c + 1], x.shape[1], axis=1))
      for c, name in enumerate(("red", "green", "blue"))),
    ("channel_order", "grey in all three channels",
     _with(lambda u, m, s: _normalized(np.repeat(np.tensordot(u, LUMA, (1, 0))[:, None], 3, axis=1), m, s))),
    ("input_scale", "values 0..1 without normalization", _with(lambda u, m, s: u)),
    ("input_scale", "bytes 0..255 without normalization", _with(lambda u, m, s: 255 * u)),
    ("input_scale", "bytes 0..255 normalized as if they were 0..1", _with(lambda u, m, s: _normalized(255 * u, m, s))),
    ("input_scale", "divided by 255 twice", _with(lambda u, m, s: _normalized(u / 255, m, s))),
    ("input_scale", "normalized twice", _with(lambda u, m, s: _normalized(_normalized(u, m, s), m, s))),
    ("input_scale", "rescaled to -1..1 twice", _with(lambda u, m, s: (2 * u - 1) * 2 - 1)),
    ("input_scale", "normalized, then rescaled to -1..1", lambda x, r: 2 * x - 1),
    ("input_scale", "rescaled to -1..1, then normalized", _with(lambda u, m, s: _normalized(2 * u - 1, m, s))),
    ("input_scale", "normalized, then divided by 255", lambda x, r: x / 255),
    ("input_scale", "normalized, then multiplied by 255", lambda x, r: x * 255),
    ("input_scale", "rescaled to -1..1 after normalization's bytes: x / 127.5 - 1 of the normalized input", lambda x, r: x / 127.5 - 1),
    ("mean_std", "mean and std 0.5", _as(*HALF)),
    ("mean_std", "ImageNet's mean and std", _as(*IMAGENET)),
    ("mean_std", "mean and std in BGR's order", _with(lambda u, m, s: _normalized(u, m[::-1], s[::-1]))),
    ("mean_std", "the mean alone, no std", _with(lambda u, m, s: u - _axes(m))),
    ("mean_std", "the std alone, no mean", _with(lambda u, m, s: u / _axes(s))),
    ("mean_std", "multiplied by the std", _with(lambda u, m, s: (u - _axes(m)) * _axes(s))),
    ("mean_std", "the mean added", _with(lambda u, m, s: (u + _axes(m)) / _axes(s))),
    ("mean_std", "mean 0, std 1 on -1..1", _with(lambda u, m, s: 2 * u - 1)),
    ("mean_std", "one mean and std for all channels", _with(lambda u, m, s: (u - np.mean(m)) / np.mean(s))),
    ("mean_std", "mean and std of 1/128: (byte - 127) / 128", _with(lambda u, m, s: (255 * u - 127) / 128)),
    ("mean_std", "mean and std rounded to float16", _with(lambda u, m, s: _normalized(u, _fp16(m), _fp16(s)))),
    ("mean_std", "the input rounded to float16", lambda x, r: _fp16(x)),
    ("mean_std", "mean and std rounded to two digits", _with(lambda u, m, s: _normalized(u, np.round(m, 2), np.round(s, 2)))),
)
# fmt: on


# --- from the picture


def _recipes(recipe):
    """(fault, text, function (picture, recipe) -> (3, H, W)) for each other way to decode, resize and crop."""
    if recipe.fit == "line":
        return
    names = {
        "bilinear": "antialiased bilinear",
        "bicubic": "antialiased bicubic",
        "cv2_linear": "bilinear without antialias",
    }
    for interpolation, name in names.items():
        fault = "resize" if {interpolation, recipe.interpolation} == {"bilinear", "cv2_linear"} else "interpolation"
        fault = "resize" if interpolation == "cv2_linear" else fault
        yield fault, f"{name} resizing", _by(interpolation=interpolation)
    yield "resize", "bicubic resizing without antialias", _sampled(_cubic, 0.5)
    yield "resize", "bilinear resizing with aligned corners", _sampled(_linear, None)
    yield "interpolation", "nearest-neighbour resizing", _sampled(_nearest, 0.5)
    yield "interpolation", "nearest-neighbour resizing from the pixels' corners", _sampled(_nearest, 0.0)
    side = recipe.side[0]
    for resize in SIZES:
        if side <= resize != recipe.resize:
            yield "resize", f"short side resized to {resize}", _by(resize=resize)
    yield "squash", f"squashed to {recipe.resize} x {recipe.resize}, then cropped", _by(fit="squash")
    yield "squash", f"squashed to {side} x {side}", _by(fit="squash", resize=side)
    for interpolation in sorted(set(names) - {recipe.interpolation}):
        yield (
            "squash",
            f"squashed to {side} x {side}, {names[interpolation]}",
            _by(fit="squash", resize=side, interpolation=interpolation),
        )
        yield (
            "squash",
            f"squashed to {recipe.resize} x {recipe.resize}, {names[interpolation]}, then cropped",
            _by(fit="squash", interpolation=interpolation),
        )
    for down, right in ((0, 1), (1, 0), (1, 1), (0, -1), (-1, 0), (-1, -1)):
        yield "resize", f"the crop moved by {down:+d} down and {right:+d} to the right", _moved(down, right)
    yield "resize", "the crop from the top left corner", _moved(-10_000, -10_000)
    other = {"pil": "cv2", "cv2": "pil"}[recipe.decode]
    yield "decoder", "EXIF rotation applied" if other == "cv2" else "EXIF rotation not applied", _by(decode=other)
    yield "decoder", "a decoder that repeats chroma instead of interpolating it", _blocky_chroma


def _by(**fields):
    return lambda picture, recipe: recipes.preprocess(picture, replace(recipe, **fields))


def _finish(crop, recipe):
    """(H, W, 3) in 0..255 to (3, H, W), as the recipe does."""
    order = ["RGB".index(c) for c in recipe.channels]
    unit = np.asarray(crop, np.float64)[..., order].transpose(2, 0, 1) / 255
    return _normalized(unit, recipe.mean, recipe.std)


def _moved(down, right):
    def make(picture, recipe):
        resized = recipes.stages(picture, recipe)["resized"]
        spare = [have - side for side, have in zip(recipe.side, resized.shape)]
        if min(spare) < 0:
            return recipes.preprocess(picture, recipe)
        top, left = (min(max(round(gap / 2) + by, 0), gap) for gap, by in zip(spare, (down, right)))
        return _finish(resized[top : top + recipe.side[0], left : left + recipe.side[1]], recipe)

    return make


def _linear(distance):
    return np.maximum(1 - np.abs(distance), 0)


def _cubic(distance, a=-0.75):
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = (((d - 5) * d + 8) * d - 4) * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def _nearest(distance):
    return ((distance > -0.5) & (distance <= 0.5)).astype(np.float64)


def _sampled(kernel, centre):
    """Resizing by a kernel of fixed width in source pixels; a value lies at `centre` of its pixel, None: corners align."""

    def weights(n, out):
        at = (
            np.arange(out) * (n - 1) / max(out - 1, 1)
            if centre is None
            else (np.arange(out) + centre) * n / out - centre
        )
        if kernel is _nearest and centre == 0.0:
            at = np.floor(at)
        taps = np.arange(-2, 3)[None, :] + np.floor(at).astype(int)[:, None]
        matrix = np.zeros((out, n))
        values = kernel(taps - at[:, None])
        for column in range(taps.shape[1]):
            np.add.at(matrix, (np.arange(out), np.clip(taps[:, column], 0, n - 1)), values[:, column])
        return matrix

    def make(picture, recipe):
        stages = recipes.stages(picture, recipe)
        decoded, (height, width) = stages["decoded"].astype(np.float64), stages["resized"].shape[:2]
        rows = np.einsum("oh,hwc->owc", weights(decoded.shape[0], height), decoded, optimize=True)
        resized = np.einsum("pw,owc->opc", weights(decoded.shape[1], width), rows, optimize=True)
        resized = np.clip(np.round(resized), 0, 255)
        spare = [have - side for side, have in zip(recipe.side, resized.shape)]
        top, left = (max(round(gap / 2), 0) for gap in spare)
        return _finish(resized[top : top + recipe.side[0], left : left + recipe.side[1]], recipe)

    return make


def _blocky_chroma(picture, recipe):
    """Chroma averaged over 2 x 2 pixels: near to what decoders without "fancy upsampling" give."""
    rgb = recipes.stages(picture, recipe)["decoded"].astype(np.float64)
    luma = rgb @ [0.299, 0.587, 0.114]
    chroma = rgb - luma[..., None]
    h, w = (n // 2 * 2 for n in luma.shape)
    means = chroma[:h, :w].reshape(h // 2, 2, w // 2, 2, 3).mean(axis=(1, 3))
    chroma[:h, :w] = means.repeat(2, axis=0).repeat(2, axis=1)
    return recipes.preprocess(np.clip(np.round(luma[..., None] + chroma), 0, 255).astype(np.uint8), recipe)
