"""The golden data: what the sources' own frameworks gave for weights that `golden/recipe.py` draws.

A cut of it lies in tests/golden: all logits, and a few values of each tap; `golden/cut_goldens.py` made it. Where the
full set is at hand (../shared/golden, seen from the project's root) that is used.
"""

import hashlib
import pathlib
import sys

import h5py
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
CUT = ROOT / "tests" / "golden"

sys.path.insert(0, str(CUT))
import recipe  # noqa: E402


def path(model):
    """The golden file of `source/variant`: the full one if it is here, else the cut."""
    name = model.replace("/", "--") + ".h5"
    full = SHARED / "golden" / "goldens" / name
    return full if full.exists() else CUT / "networks" / name


def models():
    """Names of the networks that have goldens."""
    return sorted(file.stem.replace("--", "/") for file in (CUT / "networks").glob("*.h5"))


def inputs():
    """(4, 3, 224, 224) float32: three photographs as torchvision prepares them, and one standard normal."""
    with h5py.File(CUT / "inputs.h5") as file:
        crops, table = file["crop224"][...], file["lut"][...]
        expected = file.attrs["inputs_sha256"]
    photos = [np.stack([table[c][crop[:, :, c]] for c in range(3)]) for crop in crops]
    seed = int.from_bytes(hashlib.sha256(b"npmnv3/inputs/normal").digest()[:8], "big")
    normal = np.random.Generator(np.random.PCG64(seed)).standard_normal(3 * 224 * 224).astype(np.float32)
    x = np.stack([*photos, normal.reshape(3, 224, 224)])
    assert hashlib.sha256(x.tobytes()).hexdigest() == expected, "the inputs are not the golden run's"
    return x


def state(model):
    """The network's state dict, ordered as its source orders it; each array is checked against its golden hash."""
    with h5py.File(path(model)) as file:
        source, variant = file.attrs["source"], file.attrs["variant"]
        names, kinds, digests = (file[f"state/{key}"].asstr()[...] for key in ("name", "kind", "sha16"))
        shapes = [tuple(int(n) for n in row if n >= 0) for row in file["state/shape"][...]]
        ends = np.cumsum(file["stored/length"][...])
        kept = dict(zip(file["stored/name"].asstr()[...], np.split(file["stored/value"][...], ends[:-1])))
    arrays = {}
    for name, shape, kind, digest in zip(names, shapes, kinds, digests):
        drawn = kept[name].reshape(shape) if kind in recipe.STORED else recipe.draw(source, variant, name, shape, kind)
        assert recipe.digest(drawn) == digest, f"{model} {name}: not the golden run's values"
        arrays[name] = drawn
    return arrays


def logits(model):
    """{"f32", "f64" and, for ppcls, "exact": (4, 1000)}."""
    with h5py.File(path(model)) as file:
        return {key: file["logits"][key][...] for key in file["logits"]}


def bounds(logits, dtype):
    """How far from these logits, (N, classes) float64, those of a run in `dtype` may be: (N, 1)."""
    largest = np.abs(logits).max(axis=1, keepdims=True)
    return 1e-3 + 1e-4 * largest if dtype == "float32" else np.full_like(largest, 1e-9)


def counts(model):
    """The framework's own counts, {name: number}."""
    import json

    with h5py.File(path(model)) as file:
        return json.loads(file.attrs["counts"])


def taps(model):
    """[(role, shape, flat indices, float64 values)] of the first input, in order of execution."""
    with h5py.File(path(model)) as file:
        group = file["taps"]
        rows = zip(group["role"].asstr()[...], group["shape"][...], group["index"][...], group["f64"][...])
        return [
            (role, tuple(int(n) for n in shape if n >= 0), index[index >= 0], values[index >= 0])
            for role, shape, index, values in rows
        ]
