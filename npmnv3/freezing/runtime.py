"""What a frozen classifier does: pictures in, classes out.

`compose` copies from here what a network needs. What differs from one frozen file to the next is generated there; here
such names are stand-ins.
"""

import argparse
import base64
import io
import json
import os
import stat
import sys
import tokenize
import warnings
from types import SimpleNamespace

import numpy as np

from ..errors import PictureError, check_unmasked, one_line
from ..ops.definitions import (
    add,
    conv2d,
    depthwise_conv2d,
    global_avg_pool,
    hard_sigmoid,
    hard_swish,
    linear,
    max_pool2d,
    mul,
    pointwise_conv2d,
    relu,
    scale,
)
from ..pictures.decode import DAMAGE, exif_of, from_array, kept_bits, open_image, to_rgb, turn, way_of
from ..pictures.pixels import centre, line_of_text, luminance, normalise, short_side, short_side_opencv, squashed
from ..pictures.plain import check_size, read
from ..pictures.resample import opencv_linear, pillow

#: What the generated code may use beside this module's own functions.
__all__ = [
    "SimpleNamespace",
    "base64",
    "centre",
    "luminance",
    "normalise",
    "opencv_linear",
    "pillow",
    "turn",
    "os",
    "line_of_text",
    "short_side",
    "short_side_opencv",
    "squashed",
    "add",
    "conv2d",
    "depthwise_conv2d",
    "global_avg_pool",
    "hard_sigmoid",
    "hard_swish",
    "linear",
    "max_pool2d",
    "mul",
    "pointwise_conv2d",
    "relu",
    "scale",
]

RECIPE = SimpleNamespace(side=(0, 0))
LABELS = ()
LAYERS = {}


def preprocess(rgb, name):
    raise NotImplementedError


def network(x):
    raise NotImplementedError


def classify(picture, top=5):
    """The most probable classes of a picture.

    Parameters
    ----------
    picture : path of a picture or of an .npy file; or array: (H, W, 3) uint8, RGB, or (3, H, W) floats, preprocessed
    top : int, classes

    Returns
    -------
    list of (label, probability), the most probable first

    Raises
    ------
    PictureError
    """
    return [(LABELS[index], probability) for index, probability in ranked(picture, top)]


def ranked(picture, top):
    """As `classify`, but of (index, probability)."""
    scores = logits(picture).astype(np.float64)
    weights = np.exp(scores - scores.max())
    probabilities = weights / weights.sum() if len(scores) > 1 else 1 / (1 + np.exp(-scores))
    return [(int(i), float(probabilities[i])) for i in np.argsort(-scores, kind="stable")[:top]]


def logits(picture):
    """The network's answer for a picture (see `classify`): (classes,) float32."""
    x = prepare(picture)
    if np.isnan(x).any():
        raise PictureError(f"{name_of(picture)}: has NaN in it; is this a preprocessed picture?")
    with np.errstate(over="ignore", invalid="ignore"):
        scores = network(x[None])[0]
    if not np.isfinite(scores).all():
        raise PictureError(f"{name_of(picture)}: the network's answer is not finite; is this a preprocessed picture?")
    return scores


def prepare(picture):
    """The network's input, (3, H, W) float32, from whatever `classify` takes."""
    name = name_of(picture)
    if not isinstance(picture, np.ndarray):
        picture = read_array(name) if name.endswith(".npy") else decode(name)
    if picture.dtype.kind != "f":
        return preprocess(from_array(picture, name), name)
    check_unmasked(picture, name, PictureError)
    if picture.ndim == 4 and len(picture) == 1:
        picture = picture[0]
    expected = (len(RECIPE.channels), *RECIPE.side)
    if picture.shape != expected:
        raise PictureError(f"{name}: floats of shape {picture.shape}, expected {expected}; pictures are uint8")
    return np.ascontiguousarray(picture, np.float32)


def name_of(picture):
    """What messages call a picture."""
    return "the array" if isinstance(picture, np.ndarray) else os.fsdecode(picture)


def read_file(path):
    """The bytes of a file."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe may never end, nor a device
            raise PictureError(f"{path}: is {'a folder' if os.path.isdir(path) else 'not a file'}")
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:  # ValueError: a path that no system can have, such as one with a NUL
        raise PictureError(f"{path}: cannot be opened ({getattr(error, 'strerror', None) or error})") from error


def read_array(path):
    """The array of an .npy file."""
    try:
        return np.lib.format.read_array(io.BytesIO(read_file(path)), allow_pickle=False)
    except (*DAMAGE, tokenize.TokenError) as error:
        raise PictureError(f"{path}: is not an .npy file of numbers ({type(error).__name__}: {error})") from error


def decode(path):
    """(H, W, 3) uint8, RGB, of a picture file: with Pillow or, PNG and PPM only, without, to the same bytes."""
    data = read_file(path)
    try:
        from PIL import Image
    except ImportError:
        return upright(*read(data, path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of transparency, which is dropped
            image = open_image(Image, io.BytesIO(data))
            check_size(image.height, image.width, path)
            kept = kept_bits(image, RECIPE.decode)
            image.load()
            rgb = to_rgb(image, way_of(image, RECIPE.decode))
            return upright(rgb if kept is None else rgb & kept, exif_of(image))
    except Image.UnidentifiedImageError as error:
        raise PictureError(f"{path}: is not a picture in a format that is read here, or damaged") from error
    except (*DAMAGE, Image.DecompressionBombError) as error:
        raise PictureError(f"{path}: is not a picture that can be read ({type(error).__name__}: {error})") from error


def upright(rgb, exif):
    raise NotImplementedError


def unpack_float(stored, data):
    """Every layer's (weight, bias) in float32; they lie in `data` one after another, weights in the type `stored`."""
    record = [(name, [("weight", stored, shape), ("bias", "<f4", shape[:1])]) for name, shape in LAYERS.items()]
    layers = np.frombuffer(data, np.dtype(record))[0]
    return {name: tuple(array.astype(np.float32) for array in layers[name]) for name in LAYERS}


def unpack_int8(data):
    """Every layer's (weight, bias) in float32; a weight is stored as int8, in units of its output channel's scale."""
    numbers = [("scale", "<f4"), ("bias", "<f4")]
    record = [(name, [("weight", "i1", shape), *((*n, shape[:1]) for n in numbers)]) for name, shape in LAYERS.items()]
    layers = np.frombuffer(data, np.dtype(record))[0]
    unpacked = {}
    for name in LAYERS:
        weight, scale, bias = layers[name]
        scaled = weight.T * scale.astype(np.float32)
        unpacked[name] = np.ascontiguousarray(scaled.T), bias.astype(np.float32)
    return unpacked


def main(argv=None):
    """Classify the pictures named on the command line; 0, or 1 if one could not be read, or 2 (from argparse)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="PNG, PPM, .npy; with Pillow also JPEG etc.")
    parser.add_argument("--top", type=int, default=5, metavar="K", help="classes to print (default 5)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line and picture")
    args = parser.parse_args(argv)
    if args.top < 1:
        parser.error(f"--top is {args.top}, expected a whole number from 1")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file's name may be any bytes, a label any text
    failed = 0
    try:
        for file in args.pictures:
            answer = answer_for(file, args.top)
            failed |= "error" in answer
            show(file, answer, args.json)
    except OSError as error:  # of our output; keep Python from complaining when it closes the stream
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # whoever read it has gone
            failed = True
            complain(f"standard output: {error.strerror}")
    return int(failed)


def answer_for(file, top):
    """What there is to say of one picture: {"predictions": [...]}, or {"error": ...}."""
    try:
        return {"predictions": [{"index": i, "label": LABELS[i], "probability": p} for i, p in ranked(file, top)]}
    except PictureError as error:
        return {"error": str(error)}


def show(file, answer, as_json):
    """Print what there is to say of one picture; an error goes to the standard error too."""
    if "error" in answer:
        complain(one_line(answer["error"]))
    if as_json:
        print(json.dumps({"file": file, **answer}), flush=True)
    elif "predictions" in answer:
        rows = [
            f"  {best['probability']:9.4%}  {best['index']:4d}  {one_line(best['label'])}"
            for best in answer["predictions"]
        ]
        print(one_line(file), *rows, sep="\n", flush=True)


def complain(text):
    """Print on standard error; what that cannot take, be it full or closed, is lost, and the work goes on."""
    if sys.stderr is None:
        return
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # else Python would try again as it ends
