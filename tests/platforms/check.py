"""Run a frozen classifier, and the package itself, on pictures; write the logits down, or compare them with those.

    python check.py write|compare EXPECTED.json FROZEN.pyz DUMP.npz PICTURE...

Needs NumPy alone and Python 3.9 (the package is left out below 3.10). Prints a table's row; exit code 1 if a logit is
further off than float32 rounding allows, or if something that has to be the same bytes everywhere is not: a network's
input, resampled pictures, and what the package freezes DUMP.npz to and writes as a dump.
"""

import hashlib
import json
import os
import platform
import sys
import tempfile

import numpy as np

ROUNDING = 64 * 2.0**-24  # of the largest logit; sums of up to 5000 products in another order stay well below
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir)
SIZES = ((90, 70, 60, 33), (61, 83, 128, 97), (1, 300, 48, 31), (300, 5, 40, 5))  # (height, width) to (height, width)


def frozen_results(archive, pictures):
    """[[SHA-256 of the network's input, logits]] of the frozen file."""
    sys.path.insert(0, archive)
    import classifier

    return [[digest(classifier.prepare(picture)), classifier.logits(picture).tolist()] for picture in pictures]


def package_results(dump, pictures):
    """The same of the package."""
    import npmnv3

    model = npmnv3.load(dump, engine="numpy")
    inputs = [npmnv3.preprocess(picture, model) for picture in pictures]
    return [[digest(x), model(x[None])[0].tolist()] for x in inputs]


def same_everywhere(dump):
    """{what: SHA-256} of what the package has to make to the same bytes on every machine."""
    import npmnv3
    from npmnv3.pictures.resample import opencv_linear, pillow

    with tempfile.TemporaryDirectory() as folder:
        digests = {}
        for dtype in ("float16", "int8-weights"):
            path = os.path.join(folder, "classifier.pyz")
            npmnv3.freeze(npmnv3.load(dump, engine="numpy"), path, dtype)
            digests[f"frozen as {dtype}"] = file_digest(path)
        again = os.path.join(folder, "again.npz")
        npmnv3.write_dump(again, npmnv3.load(dump, engine="numpy").params, model="ppocr/text_direction")
        digests["written as a dump"] = file_digest(again)
    for height, width, *size in SIZES:
        picture = (
            (np.arange(height * width * 3, dtype=np.uint64) * 2654435761 >> 24)
            .astype(np.uint8)
            .reshape(height, width, 3)
        )
        made = [opencv_linear(picture, *size), pillow(picture, *size, "bilinear"), pillow(picture, *size, "bicubic")]
        digests[f"{height} x {width} resized to {size[0]} x {size[1]}"] = digest(np.stack(made))
    return digests


def file_digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def digest(x):
    return hashlib.sha256(x.astype("<f4").tobytes()).hexdigest()


def all_results(archive, dump, pictures):
    """Everything that is compared: frozen, and of the package on a Python that is new enough for it."""
    results = {"frozen": frozen_results(archive, pictures)}
    if sys.version_info >= (3, 10):  # noqa: UP036 (frozen files run on older ones)
        sys.path.insert(0, ROOT)
        results |= {"package": package_results(dump, pictures), "same": same_everywhere(dump)}
    return results


def judge(found, expected):
    """(a table's cell, whether all is well) of one way's results."""
    differences = []
    for (input_found, logits), (input_expected, reference) in zip(found, expected):
        logits, reference = np.array(logits), np.array(reference)
        differences.append(float(np.abs(logits - reference).max()))
        if input_found != input_expected:
            return "WRONG: the network's input is another", False
        if not differences[-1] <= ROUNDING * float(np.abs(reference).max()):
            return f"WRONG: logits {logits}, expected {reference}", False
    equal = differences.count(0.0)
    cell = (
        "bit-equal" if equal == len(differences) else f"{max(differences):.1e}, {equal} of {len(differences)} bit-equal"
    )
    return cell, True


def main(mode, file, archive, dump, *pictures):
    results = all_results(archive, dump, pictures)
    if mode == "write":
        with open(file, "w") as out:
            json.dump(results, out)
        return 0
    with open(file) as source:
        expected = json.load(source)
    bits = 64 if sys.maxsize > 2**32 else 32
    frozen, frozen_well = judge(results["frozen"], expected["frozen"])
    package, package_well = judge(results["package"], expected["package"]) if "package" in results else ("-", True)
    row = [
        f"{platform.python_implementation()} {platform.python_version()}",
        np.__version__,
        f"{bits} bit, {sys.byteorder}",
    ]
    print(" | ".join([*row, frozen, package]))
    others = [what for what, made in results.get("same", {}).items() if made != expected["same"][what]]
    for what in others:
        print(f"WRONG: {what} is not the same bytes")
    return 0 if frozen_well and package_well and not others else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
