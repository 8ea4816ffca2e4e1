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
        (torch_zip(tensor("0", logits), {"0": logits}), "no dict of a run's tensors, as torch.save"),
        (b"", "no dict of a run's tensors, as torch.save"),
    ):
        (tmp_path / "p.pt").write_bytes(data)
        with pytest.raises(UsageError, match=f"p.pt: .*{told}"):
            load_port(tmp_path / "p.pt", None)


def test_a_list_of_tensors_is_a_port_without_names(tmp_path):
    logits = TENSORS["logits"]
    (tmp_path / "p.pt").write_bytes(torch_zip([tensor("0", logits)], {"0": logits}))
    (found,) = load_port(tmp_path / "p.pt", None)
    assert np.array_equal(found.array, logits)


def test_what_lies_among_the_tensors(tmp_path):
    """Scales are numbers, texts are passed over, and nothing that may be a tensor is lost or taken for something else."""
    told = {"logits": np.array([[1, -2]], np.int8), "logits.scale": 0.5, "logits.zero_point": 1, "made by": "me"}
    (found,) = load_port(saved(tmp_path / "p.pkl", {**told, "of": ["a.jpg"], "loss": None}), None)
    assert found.array.tolist() == [[0, -1.5]] and found.scale == 0.5
    for other in ([np.ones(3)], (1.0, 2.0), np.array([None]), np.float32(1), {"a": 1}):
        with pytest.raises(UsageError, match=r"p.pkl: holds what is neither a tensor nor a plain number \(y\)"):
            load_port(saved(tmp_path / "p.pkl", {**TENSORS, "y": other}), None)
    with pytest.raises(UsageError, match=r"p.pkl: uint16 may be integers or bfloat16 \(y\)"):
        load_port(saved(tmp_path / "p.pkl", {**TENSORS, "y": np.ones(3, np.uint16)}), None)


@pytest.mark.parametrize(
    ("text", "logits"),
    [
        ("0.5\n-1.25e-1\n", [0.5, -0.125]),
        ("0.5, 1\n2, 3\n", [[0.5, 1], [2, 3]]),
        ("[[0.5 1.\n  2.]]", [0.5, 1, 2]),
        ("\ufeff{0.5};", [0.5]),
        ("1,2\n0.5,3\n", [[1, 2], [0.5, 3]]),
        ("0: 0.5\n1: 2\n2: 3\n", [0.5, 2, 3]),
        ("1,0.5\n2,2\n3,3\n", [0.5, 2, 3]),
        ("0x1.8p+1\n-0X1P-3", [3, -0.125]),
        ("{0.5f, -1.25e-1F};", [[0.5, -0.125]]),
    ],
)
def test_logits_as_text(text, logits, tmp_path):
    (tmp_path / "p.txt").write_text(text, encoding="utf-8")
    (found,) = load_port(tmp_path / "p.txt", None)
    assert found.name == "logits" and found.array.tolist() == logits and found.array.dtype == np.float32
    (tmp_path / "p.csv").write_text(f"logits {text}", encoding="utf-8")
    with pytest.raises(UsageError, match="p.csv: expected the logits as numbers, and nothing else .*logits"):
        load_port(tmp_path / "p.csv", None)


def test_a_table_with_headings_and_a_log_of_numbers_by_name(tmp_path):
    (tmp_path / "p.csv").write_text("index,value\n0,0.5\n1,2\n2,3\n")
    assert load_port(tmp_path / "p.csv", None)[0].array.tolist() == [0.5, 2, 3]
    (tmp_path / "p.log").write_text("boot ok\n[ 0.10] pool[0] = 3\n[ 0.11] logits[0]: -0.5,\n[ 0.12] logits[1]: 2e0\n")
    assert [(one.name, one.array.tolist()) for one in load_port(tmp_path / "p.log", None)] == [
        ("pool", [3]),
        ("logits", [-0.5, 2]),
    ]


def test_a_header_of_c_s_arrays(tmp_path):
    text = """#define N 2 /* int8_t y[1] = {1}; */
    const float stem[2][2][1] __attribute__((aligned(16))) = {{{1.0f}, {2}}, {{3e0}, {4}}};
    int8_t q[] = {-128, 127};"""
    (tmp_path / "p.h").write_text(text)
    stem, q = load_port(tmp_path / "p.h", None)
    assert stem.array.tolist() == [[[1], [2]], [[3], [4]]] and q.array.tolist() == [-128, 127] and q.is_raw_integer


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("y[0] = 1\ny[2] = 3\n", r"y\[2\] comes where y\[1\] should"),
        ("float y[3] = {1, 2};", "reshape"),
        ("float y[2] = {A, 2};", "'A'"),
        ("float y[] = {1}; float y[] = {2};", "y is defined twice"),
        ("int8_t y[] = {128};", "y is declared int8_t and holds other numbers"),
    ],
)
def test_printed_tensors_that_are_not_whole_are_refused(text, told, tmp_path):
    (tmp_path / "p.log").write_text(text)
    with pytest.raises(UsageError, match=f"p.log: expected .*{told}"):
        load_port(tmp_path / "p.log", None)


@pytest.mark.parametrize("text", ["1,5;2,5;-3,25e-1\n", "0,5\n-1,25\n", "[1,5 2]"])
def test_decimal_commas_are_not_taken_for_two_numbers(text, tmp_path):
    (tmp_path / "p.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="p.csv: expected .*may be one number or two: write a decimal point"):
        load_port(tmp_path / "p.csv", None)
    (tmp_path / "p.csv").write_text("0x3f800000\n", encoding="utf-8")
    with pytest.raises(UsageError, match="0x3f800000"):
        load_port(tmp_path / "p.csv", None)


def test_logits_broken_into_lines_are_those_of_the_pictures(tmp_path):
    """NumPy prints 1000 logits as 250 lines of 4; PowerShell writes UTF-16."""
    (tmp_path / "p.txt").write_text("[1. 2.\n 3. 4.]\n", encoding="utf-16")
    for pictures in (1, 2):
        (found,) = load_port(tmp_path / "p.txt", np.zeros((pictures, 3, 8, 8), np.float32))
        assert found.array.tolist() == np.arange(1.0, 5.0).reshape(pictures, -1).tolist()
