"""Ports whose tensors are a dict that torch, safetensors, pickle or NumPy saved, and logits that a program printed."""

import pickle

import numpy as np
import pytest
from checkpoint_files import safetensors, tensor, torch_file, torch_zip

from npmnv3.errors import UsageError
from npmnv3.verification.port import load_port

TENSORS = {"relu1": np.arange(6, dtype=np.float32).reshape(1, 6), "logits": np.ones((1, 4), np.float32)}


def saved(path, tensors):
    """Write these to the path, in the form that its ending says."""
    if path.suffix == ".npy":
        np.save(path, tensors)
    else:
        path.write_bytes({".pt": torch_file, ".safetensors": safetensors, ".pkl": pickle.dumps}[path.suffix](tensors))
    return path


@pytest.mark.parametrize("name", ["p.pt", "p.safetensors", "p.pkl", "p.npy"])
def test_dict_of_tensors_is_a_port(name, tmp_path):
    found = load_port(saved(tmp_path / name, TENSORS), None)
    assert [(t.name, t.array.tolist()) for t in found] == [(n, a.tolist()) for n, a in TENSORS.items()]
    weights = {"fc.weight": np.ones((4, 6), np.float32), "fc.bias": np.ones(4, np.float32)}
    with pytest.raises(UsageError, match=f"{name}: holds weights, not a run's tensors; give an .onnx file"):
        load_port(saved(tmp_path / name, weights), None)


def test_what_holds_no_dict_of_tensors_or_several_is_refused(tmp_path):
    logits = TENSORS["logits"]
    for data, told in (
        (torch_file(TENSORS, wrap=lambda state: {"inputs": state, "outputs": state}), "several dicts of tensors"),
        (torch_zip([tensor("0", logits)], {"0": logits}), "no dict of a run's tensors, as torch.save"),
        (b"", "no dict of a run's tensors, as torch.save"),
    ):
        (tmp_path / "p.pt").write_bytes(data)
        with pytest.raises(UsageError, match=f"p.pt: .*{told}"):
            load_port(tmp_path / "p.pt", None)


@pytest.mark.parametrize(
    ("text", "logits"),
    [
        ("0.5\n-1.25e-1\n", [0.5, -0.125]),
        ("0.5, 1\n2, 3\n", [[0.5, 1], [2, 3]]),
        ("[[0.5 1.\n  2.]]", [0.5, 1, 2]),
        ("\ufeff{0.5};", [0.5]),
    ],
)
def test_logits_as_text(text, logits, tmp_path):
    (tmp_path / "p.txt").write_text(text, encoding="utf-8")
    (found,) = load_port(tmp_path / "p.txt", None)
    assert found.name == "logits" and found.array.tolist() == logits and found.array.dtype == np.float32
    (tmp_path / "p.csv").write_text(f"logits {text}", encoding="utf-8")
    with pytest.raises(UsageError, match="p.csv: expected the logits as numbers, and nothing else .*logits"):
        load_port(tmp_path / "p.csv", None)
