"""What models and reports show in a notebook: whole, and nothing in it is a file's markup."""

import dataclasses
import html.parser
import re

import goldens
import numpy as np
import pytest
import quantized_files

import npmnv3

PICTURE = goldens.ROOT / "weights" / "examples" / "sign_upright.png"
EVIL = "<script>alert(1)</script>\"'&<b onclick=x>"
#: All that may be in the HTML.
TAGS = {"table", "tr", "td", "th", "p", "b", "ul", "li", "details", "summary"}


class Checker(html.parser.HTMLParser):
    """The texts of a piece of HTML; an error where an element is another, is not closed, or has more than a style."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.tags = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        assert tag in TAGS, f"<{tag}> in the HTML"
        assert {name for name, _ in attributes} <= {"style"}, attributes
        self.open.append(tag)
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append(text)

    def handle_comment(self, text):
        raise AssertionError(f"a comment: {text}")


def shown(value):
    return Checker(value._repr_html_())


@pytest.fixture(scope="module")
def model():
    return npmnv3.load("ppocr/text_direction", engine="numpy")


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    return quantized_files.dump(quantized_files.TEXT, tmp_path_factory.mktemp("dumps"))


def test_a_model(model):
    found = shown(model)
    steps = len(model.plan)
    assert found.tags.count("tr") == 8 + 1 + steps  # facts, header, steps
    for text in (
        "ppocr/text_direction",
        "3x48x192, prepared as ppocr",
        "numpy float32",
        "Apache-2.0",
        f"{steps} steps",
    ):
        assert text in found.texts, text
    assert {step.name for step in model.plan} <= set(found.texts)


def test_a_models_origin_and_licence_are_no_markup(model, tmp_path):
    path = tmp_path / "mine.h5"
    npmnv3.write_dump(path, model.params, model=model.name, labels=[EVIL, "b"], origin=EVIL, licence=f"</table>{EVIL}")
    found = shown(npmnv3.load(path, engine="numpy"))
    assert EVIL in "".join(found.texts) and f"</table>{EVIL}" in "".join(found.texts)


def test_a_quantised_model(dump):
    model = npmnv3.load(dump, kernels="xnnpack")
    model.attributes |= {"origin": EVIL, "licence": EVIL}
    found = shown(model)
    assert {"xnnpack", f"{len(model.plan.steps)} steps", *(step.name for step in model.plan.steps)} <= set(found.texts)
    assert "".join(found.texts).count(EVIL) == 2


def test_a_report_of_hostile_names(model):
    """A port's own name, its tensors' names, those that fit no step, and the notes."""
    x = npmnv3.preprocess(PICTURE, model)[None]
    tensors = {EVIL: model(x) + 1, f"other {EVIL}": np.zeros((3, 5, 7), np.float32)}
    report = npmnv3.verify(model, tensors, x, map={EVIL: "logits"}, explain=False)
    report = dataclasses.replace(report, port=EVIL, notes=[EVIL])
    found = shown(report)
    text = "".join(found.texts)
    assert not report.fine and "diverges" in found.texts and f"ppocr/text_direction against {EVIL}" in text
    assert EVIL in found.texts and f"other {EVIL}" in text and "1 tensors" in found.texts
    assert "rgba" in report._repr_html_()  # the row that diverges is tinted
    fine = shown(npmnv3.verify(model, {"logits": model(x)}, x))
    assert "fine" in fine.texts and "logits" in fine.texts


def test_the_causes_of_a_report(model):
    x = npmnv3.preprocess(PICTURE, model)[None]
    row = {"fault": EVIL, "text": EVIL, "certainty": EVIL, "steps": [EVIL], "snr_db": 1.0, "snr_before_db": 0.0}
    report = npmnv3.verify(model, {"logits": model(x) + 1}, x, explain=False)
    assert "".join(shown(dataclasses.replace(report, explained_by=[row])).texts).count(EVIL) == 3


def test_a_report_of_integers(model, dump):
    report = npmnv3.verify(model, dump, PICTURE)  # other weights than the network's
    found = shown(dataclasses.replace(report, port=EVIL, notes=[EVIL], unmatched=[{"port": EVIL, "shape": [1]}]))
    text = "".join(found.texts)
    assert "diverges" in found.texts and "Weights: " in text and text.count(EVIL) == 3


def test_what_quantising_costs(model):
    report = npmnv3.quantize(model, PICTURE, scheme="bf16", shown=False)
    found = shown(dataclasses.replace(report, data=EVIL, notes=(EVIL,), left_out=()))
    text = "".join(found.texts)
    assert "fine" in found.texts and "100.0% as in floats" in text and text.count(EVIL) == 2
    assert re.search("storage", text)
