"""verify: what printing with few digits leaves of float32 is no fault, and is said."""

import numpy as np
import pytest

from npmnv3.verification.decimals import printing
from npmnv3.verification.noise import rounded
from npmnv3.verification.run import verify

FORMATS = {"%.1f": "1 decimal", "%.3f": "3 decimals", "%.6f": "6 decimals", "%g": "6 significant digits"}
NAMES = ("stem", "blocks.0", "blocks.3", "blocks.4", "blocks.7", "blocks.10", "logits")


def printed(tensors, names, format):
    """Tensors without names, as they come back from a text."""
    return {
        f"t{i}": np.array([float(format % x) for x in tensors[name].ravel()], np.float32).reshape(tensors[name].shape)
        for i, name in enumerate(names)
    }


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("names", [("logits",), NAMES], ids=["logits", "some"])
def test_it_is_no_fault(maker, model, format, names):
    report = verify(model, printed(maker.clean(np.float32), names, format), maker.x)
    assert report.fine and report.precision == "float32" and "if it computes" not in report.sentence, report.text()
    assert f"printed with {FORMATS[format]}: that rounding is no fault" in report.text(), report.text()


@pytest.mark.parametrize("names", [("logits",), NAMES], ids=["logits", "some"])
def test_a_fault_is_named_all_the_same(maker, model, names):
    slope = maker.faults()["hard_sigmoid_slope", "the other slope"](np.float32)
    (found,) = verify(model, printed(slope, names, "%.2f"), maker.x).explained_by
    assert (found["fault"], found["certainty"]) == ("hard_sigmoid_slope", "certain"), found


def test_what_was_not_printed_is_not_taken_for_it():
    x = np.random.default_rng(4).standard_normal(4096).astype(np.float32)
    for floats in (x, 1e-3 * x, 1e4 * x, np.maximum(x, 0), rounded(x, "float16"), rounded(x, "bfloat16"), np.round(x)):
        assert printing(floats) is None
    assert printing(np.round(x, 4)) == ("decimals", 4)
    assert printing(np.zeros(64, np.float32)) is None
    integers = np.random.default_rng(5).integers(-128, 128, 4096)
    assert printing((integers * 0.0371 + 0.4).astype(np.float32)) is None
