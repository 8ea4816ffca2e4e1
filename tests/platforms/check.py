"""Run a frozen classifier, and the package itself, on pictures; write the logits down, or compare them with those.

    python check.py write|compare EXPECTED.json FROZEN.pyz DUMP.npz PICTURE...

Needs NumPy alone and Python 3.9 (the package is left out below 3.10). Prints a table's row; exit code 1 if a logit is
further off than float32 rounding allows, or an input is not the same bits.
"""

import hashlib
import json
import os
import platform
import sys

import numpy as np

ROUNDING = 64 * 2.0**-24  # of the largest logit; sums of up to 5000 products in another order stay well below
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir)


def frozen_results(archive, pictures):
    """[(SHA-256 of the network's input, logits)] of the frozen file."""
    sys.path.insert(0, archive)
    import classifier

    return [(digest(classifier.prepare(picture)), classifier.logits(picture)) for picture in pictures]


def package_results(dump, pictures):
    """The same of the package; None on a Python that is too old for it."""
    if sys.version_info < (3, 10):
        return None
    sys.path.insert(0, ROOT)
    import npmnv3

    model = npmnv3.load(dump, engine="numpy")
    inputs = [npmnv3.preprocess(picture, model) for picture in pictures]
    return [(digest(x), model(x[None])[0]) for x in inputs]


def digest(x):
    return hashlib.sha256(x.astype("<f4").tobytes()).hexdigest()


def compare(found, expected):
    """(worst difference, how many pictures' logits are the same bits, whether all is well)."""
    worst, equal, well = 0.0, 0, True
    for (digest_found, logits), (digest_expected, numbers) in zip(found, expected):
        reference = np.array(numbers, np.float64)
        difference = float(np.abs(logits.astype(np.float64) - reference).max())
        well &= digest_found == digest_expected and difference <= ROUNDING * float(np.abs(reference).max())
        equal += difference == 0.0
        worst = max(worst, difference)
    return worst, equal, well


def main(mode, file, archive, dump, *pictures):
    results = {"frozen": frozen_results(archive, pictures), "package": package_results(dump, pictures)}
    if mode == "write":
        with open(file, "w") as out:
            json.dump({key: [(d, x.tolist()) for d, x in rows] for key, rows in results.items()}, out)
        return 0
    with open(file) as source:
        expected = json.load(source)
    bits = 64 if sys.maxsize > 2**32 else 32
    row = [f"{platform.python_implementation()} {platform.python_version()}", np.__version__, f"{bits} bit, {sys.byteorder}"]
    fine = True
    for key, rows in results.items():
        if rows is None:
            row.append("-")
            continue
        worst, equal, well = compare(rows, expected[key])
        fine &= well
        row.append(f"{worst:.1e}, {equal} of {len(rows)} bit-equal" if well else f"WRONG: {worst:.3g} off, or another input")
    print(" | ".join(row))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
