"""What stands beside a prediction: whether the scheme's own converter can do what is advised, and how far to believe it."""

import shutil

import goldens
import pytest
from evaluation_material import class_folders

import npmnv3
from npmnv3.evaluation import open_dataset
from npmnv3.quantization.calibrate import Pictures
from npmnv3.quantization.converters import CONVERTERS, lacking, options, possible
from npmnv3.quantization.judge import Outcome
from npmnv3.quantization.overlap import overlap
from npmnv3.quantization.parameters import Recipe
from npmnv3.quantization.ranges import Ranges
from npmnv3.quantization.recipes import CHANGES

EXACT = Outcome(100, 83.0, (74.0, 89.0), 100.0, float("inf"))
PLAIN, POOR = Outcome(100, 60.0, (50.0, 69.0), 62.0, 1.4), Outcome(100, 0.0, (0.0, 4.0), 0.0, -5.7)
GOOD = Outcome(100, 84.0, (76.0, 90.0), 89.0, 6.5)
TAILS = Ranges("percentile", 99.99)


def tried(scheme):
    """The usual case: per channel is not enough, and the percentile with a wide stem is."""
    wide = Recipe(scheme, False, TAILS, ("stem",))
    return wide, [(Recipe(scheme, True, Ranges()), POOR), (Recipe(scheme, False, Ranges()), PLAIN), (wide, GOOD)]


@pytest.mark.parametrize("name", CONVERTERS)
def test_every_option_is_taken_or_refused(name):
    converter = CONVERTERS[name]
    recipes = [Recipe(name, True, Ranges())]
    recipes += [Recipe(name, **{"ranges": Ranges()} | change) for change in CHANGES]
    needed = {option for recipe in recipes for option in options(recipe)}
    assert needed == converter.takes.keys() | converter.refuses.keys()
    assert not converter.takes.keys() & converter.refuses.keys()


def test_tensorflow_lite_cannot_do_what_saves_it():
    found = possible(*tried("tflite"), EXACT)
    assert [str(found.best[0]), found.best[1], found.best[2]] == ["per channel, minmax", PLAIN, False]
    text = found.text()
    for words in ("cannot do that", "no percentile", "refuses 16-bit tensors before a hard-swish", "does not save"):
        assert words in text
    assert "Its best of what was tried: per channel, minmax: top-1 60.0, 62.0% as in floats" in text
    data = found.as_json()
    assert not data["can"] and data["best"]["top1"] == 60.0 and not data["best"]["saves"] and len(data["lacks"]) == 2


def test_onnx_runtime_can():
    found = possible(*tried("onnx"), EXACT)
    assert found.lacks == () and found.best[1] == GOOD and found.as_json()["can"]
    assert "CalibPercentile 99.98, which is for both ends" in found.text() and "QUInt16" in found.text()
    assert lacking(CONVERTERS["onnx"], Recipe("onnx", False, TAILS, correct_bias=True)) == (
        "it has no bias correction",
    )


@pytest.mark.parametrize("scheme", ("symmetric", "pow2"))
def test_a_simulation_has_no_converter(scheme):
    assert possible(*tried(scheme), EXACT) is None


def test_copies_are_found_by_what_they_hold(tmp_path):
    judged = class_folders(tmp_path / "judged", 2)
    files = sorted(judged.rglob("*.JPEG"))
    copies, others = tmp_path / "copies", tmp_path / "others"
    copies.mkdir()
    for number, file in enumerate(files[:3]):
        shutil.copy(file, copies / f"{number}.jpg")
    (copies / "longer.jpg").write_bytes(files[0].read_bytes() + b"\0")
    others.mkdir()
    (others / "same size.jpg").write_bytes(files[0].read_bytes()[:-1] + b"\0")
    model, data = npmnv3.load("ppocr/text_direction", engine="numpy"), open_dataset(judged)
    assert overlap(Pictures(copies, model), data) == 3
    assert overlap(Pictures(others, model), data) == 0
    assert overlap(Pictures([files[0].read_bytes(), str(files[1]), files[2]], model), data) == 3


def test_all_of_it_stands_beside_the_figures(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("npmnv3.quantization.alone.PICTURES", 1)
    from npmnv3.quantization.page import _tried, page

    picture = goldens.ROOT / "weights/examples/sign_upright.png"
    report = npmnv3.quantize("ppocr/text_direction", picture, ranges="percentile=99.99", recipes=False, shown=False)
    lines, html, data = report.text().splitlines(), page(report), report.as_json()
    first = next(i for i, line in enumerate(lines) if line.startswith("predicted"))
    assert "from 6 points below such a prediction to 2 above" in lines[first + 2]
    assert lines[first + 4].startswith("as asked") and "cannot do that: it has no percentile" in lines[first + 5]
    assert data["converter"]["best"] is None and data["caveats"] == list(report.caveats)
    for words in ("TensorFlow&#39;s converter", "from 6 points below"):
        assert words in html
    assert "<th>top-1</th>" not in html  # there are no labels
    assert "it has no percentile" in report._repr_html_()
    monkeypatch.setattr("npmnv3.quantization.page.encoded", lambda figure: figure)
    axes = _tried(report).axes[0]
    assert report.exact.top1 is None and len(axes.patches) == len(report.tried)
    assert [bar.get_y() + bar.get_height() / 2 for bar in axes.patches] == pytest.approx(list(axes.get_yticks()))
