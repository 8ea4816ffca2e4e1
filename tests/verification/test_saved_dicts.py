"""Ports whose tensors are a dict that torch, safetensors, pickle or NumPy saved."""

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
