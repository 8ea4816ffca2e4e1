"""Small generated datasets and a small network for the tests of evaluation."""

import csv
import io
import struct
import tarfile
import zlib
from dataclasses import replace

import numpy as np
from PIL import Image

from npmnv3 import load, preprocess, write_dump
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant
from npmnv3.pictures.recipes import RECIPES

MODEL = "timm/mobilenetv3_small_050"
#: On fewer pixels than the model's own: what is evaluated, and quantised, is the same on any number of them.
RECIPE = replace(RECIPES[get_variant(MODEL).preprocess], name="small", resize=110, side=(96, 96))
CLASSES = tuple(f"class_{i}" for i in range(6))


def write_network(path, seed=0, model=MODEL, labels=CLASSES):
    """A dump of random weights whose answers differ from picture to picture: the classifier's bias sees to that."""
    rng = np.random.default_rng(seed)
    state = {}
    for step in make_plan(get_variant(model), len(labels)):
        for param in step.params:
            shape = param.shape
            if param.role == "weight":
                values = rng.standard_normal(shape) * (2 / max(1, np.prod(shape[1:]))) ** 0.5
            else:
                values = np.ones(shape) if param.role in ("gamma", "variance") else rng.standard_normal(shape) * 0.1
            state[param.name] = np.ones(shape, np.int64) if param.role == "count" else values.astype(np.float32)
    state["classifier.bias"][:] = 0
    x = np.stack([preprocess(picture(1000 + i), RECIPE) for i in range(8)])
    state["classifier.bias"] -= load(model, state, engine="numpy")(x).mean(axis=0)
    write_dump(path, state, model=model, labels=labels, preprocess=RECIPE)
    return str(path)


def picture(seed, kind="JPEG"):
    """The bytes of a smooth picture of 60 x 48 pixels."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8))
    file = io.BytesIO()
    coarse.resize((60, 48), Image.Resampling.BICUBIC).save(file, kind)
    return file.getvalue()


def class_folders(root, each=4, classes=CLASSES):
    """Fill `root` with `each` pictures a class."""
    for number, name in enumerate(classes):
        folder = root / name
        folder.mkdir(parents=True)
        for i in range(each):
            (folder / f"{i:03d}.JPEG").write_bytes(picture(100 * number + i))
    return root


def write_tar(path, members):
    """A tar of {name: bytes}."""
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def pairs(dataset):
    """(file's name, its label) of every picture of a data set."""
    return [(picture.file, picture.label) for picture in dataset.pictures]


def rows(data):
    """The rows of a CSV of results, as dicts, of its bytes."""
    return list(csv.DictReader(io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")))


def huge_png():
    """A PNG that says it is 30,000 x 30,000."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


#: Files that are no pictures, or none that are read; and names that are unusual, of files that are.
BAD = {
    "cut.jpg": picture(1)[:400],
    "empty.jpg": b"",
    "huge.png": huge_png(),
    'odd, "quoted"\nname.jpg': b"?",
    "text.jpg": b"this is no picture\n",
}
GOOD = ("größe und ähnliches 猫.jpg", "two words.jpeg")


def damaged_folder(root):
    """Class folders with bad files and unusual names in them, and a folder that no class is called."""
    class_folders(root, 1)
    for name, data in BAD.items():
        (root / CLASSES[2] / name).write_bytes(data)
    for number, name in enumerate(GOOD):
        (root / CLASSES[2] / name).write_bytes(picture(number))
    (root / "no such class").mkdir()
    (root / "no such class" / "a.jpg").write_bytes(picture(5))
    return root
