"""What weights/README.md says another tool has to write is read as it stands."""

import textwrap

import goldens
import numpy as np

import npmnv3


def test_the_dump_that_the_readme_writes(tmp_path, monkeypatch):
    text = (goldens.ROOT / "weights" / "README.md").read_text("utf-8").split("<!-- quantised-dump -->", 1)[1]
    code = textwrap.dedent(text.split("\n`npmnv3 info", 1)[0])
    assert 10 <= len(code.strip().splitlines()) <= 16
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "weights/README.md", "exec"), {})
    model = npmnv3.load("q.npz", kernels="tflite-reference", engine="numpy")
    tensors = model.trace(np.random.default_rng(0).uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32), integers=True)
    assert tensors["stem"].shape == (1, 8, 16, 16) and len(np.unique(tensors["stem"])) > 10
    assert tensors["logits"].dtype == np.int8 and tensors["logits"].shape == (1, 10)
