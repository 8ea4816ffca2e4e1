"""verify: its page, as a file and in a browser."""

import base64
import io
import shutil
import subprocess

import numpy as np
import pytest

import npmnv3
from npmnv3.verification.run import verify


@pytest.fixture(scope="module")
def model():
    return npmnv3.load("ppocr/text_direction", engine="numpy")  # its weights ship with npmnv3


@pytest.fixture(scope="module")
def page_of_a_fault(model):
    """The page of a port with a name that is no name, and a fault with a long one."""
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    from npmnv3.verification.page import page

    x = np.random.default_rng(4).standard_normal((1, 3, 48, 192)).astype(np.float32)
    tensors = model.trace(x)
    some = {name: tensor for name, tensor in tensors.items() if name != "blocks.3"}
    port = some | {"<script>alert(1)</script>": tensors["blocks.3"], "logits": 0.8 * tensors["logits"]}
    report = verify(model, port, x)
    told = {"text": "what it is " * 30, "certainty": "", "steps": (), "snr_db": 1.0, "snr_before_db": 0.0}
    report.alternatives.append({"fault": "long", **told})
    return page(report)


def test_the_page_is_one_file(page_of_a_fault):
    text = page_of_a_fault
    assert "<script>" not in text and "&lt;script&gt;" in text
    assert "http" not in text.replace("http-equiv", "") and text.count("data:image/png;base64,") == 3
    assert text.index("diverges") < text.index("<img")


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_shows_the_page(page_of_a_fault, tmp_path):
    from PIL import Image

    (tmp_path / "page.html").write_text(page_of_a_fault, "utf-8")
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    picture = tmp_path / "page.png"
    shot = [
        "--hide-scrollbars",
        "--window-size=1200,1600",
        f"--screenshot={picture}",
        (tmp_path / "page.html").as_uri(),
    ]
    subprocess.run([CHROMIUM, *flags, *shot], check=True, capture_output=True, timeout=120)
    with Image.open(picture) as image:
        shown = np.asarray(image.convert("RGB")).astype(int)
    assert shown.shape == (1600, 1200, 3)
    for colour, what in (
        ((185, 28, 28), "the verdict's bar"),
        ((194, 65, 12), "the local error"),
        ((29, 78, 216), "the inherited"),
    ):
        seen = (np.abs(shown - colour).max(axis=2) < 8).sum()
        assert seen > 100, f"{what} is not on the page"
    assert (shown[:, -10:] == 255).all(), "something runs out of the page"


def test_the_picture_on_the_page_has_its_own_shape(model):
    pytest.importorskip("matplotlib")
    from PIL import Image

    from npmnv3.verification.page import _picture

    with Image.open(io.BytesIO(base64.b64decode(_picture(np.zeros((3, *model.side)))))) as image:
        assert image.width > 3 * image.height
