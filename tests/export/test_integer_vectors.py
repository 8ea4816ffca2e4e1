"""Vectors of quantised networks: what the engine stores, and what a port computes with."""

import json
import re
import zlib

import numpy as np
import pytest
import quantized_files

import npmnv3
from npmnv3.errors import UsageError
from npmnv3.export.vectors import make_integer_kit, make_kit, write_kit
from npmnv3.export.vectors.integer_words import OPERATIONS
from npmnv3.network.integer_plan import INTEGER_OPS, LAYERS
from npmnv3.ops.kernel_sets import KERNEL_SETS
from npmnv3.ops.requantize import INTEGER_RULES


def test_the_vectors_are_the_engines(kit):
    """TensorFlow Lite's own integers, one golden tensor after another."""
    golden, _ = quantized_files.golden(quantized_files.TEXT)
    steps = [kit.vectors[step.name].array for step in kit.steps]
    assert len(golden) == len(steps) == 113
    for step, found, expected in zip(kit.steps, steps, golden.values()):
        assert found.dtype == np.int8
        np.testing.assert_array_equal(found.ravel(), expected.ravel(), step.name)


def _double(x, m, e):
    """The manifest's rule of this name."""
    high = (x * 2 ** np.maximum(e, 0).astype(int) * m.astype(int) + (1 << 30)) >> 31
    right = np.maximum(-e.astype(int), 0)
    return np.sign(high) * ((np.abs(high) + ((1 << right) >> 1)) >> right)


def test_a_layer_is_computed_from_its_row_of_the_manifest_alone(kit, tmp_path):
    """A 1x1 convolution, as somebody who reads no more than the manifest would write it."""
    write_kit(kit, tmp_path / "kit", "npy")
    manifest = json.loads((tmp_path / "kit" / "manifest.json").read_text())
    assert manifest["rules"].keys() == {"double", "table"} and manifest["kernels"] == "tflite-reference"
    row = next(step for step in manifest["steps"] if step["name"] == "blocks.1.project")
    tensors, read = manifest["tensors"], lambda key: np.load(tmp_path / "kit" / manifest["tensors"][key]["file"])
    x, y, params = read(row["inputs"][0]), read(row["output"]), {r: read(k) for r, k in row["params"].items()}
    assert (row["layout"], row["rule"], params["bias"].dtype) == ("OI", "double", np.int32)
    acc = params["weight"].astype(int) @ (x.reshape(len(x), -1).astype(int) - tensors[row["inputs"][0]]["zero_point"])
    acc += params["bias"].astype(int)[:, None]
    rounded = (
        _double(acc, params["multiplier"][:, None], params["shift"][:, None]) + tensors[row["output"]]["zero_point"]
    )
    np.testing.assert_array_equal(np.clip(rounded, *row["clamp"]).reshape(y.shape), y)
    for key, about in tensors.items():
        assert about["crc32"] == zlib.crc32(read(key).tobytes()) and about["shape"] == list(read(key).shape)


def test_sums_and_means_are_computed_from_the_manifests_words_alone(kit):
    """x = each real(input) * 2^20 rounded by the rule, added; x = the sum of real(input) over height and width."""
    manifest = kit.manifest("bin")
    rows, zero = {row["name"]: row for row in manifest["steps"]}, lambda key: manifest["tensors"][key]["zero_point"]
    operations = {"blocks.2": "add", "blocks.3.se.pool": "global_avg_pool"}
    for name, op in operations.items():
        row = rows[name]
        real = [kit.vectors[key].array.astype(int) - zero(key) for key in row["inputs"]]
        m, e = (kit.vectors[row["params"][role]].array for role in ("multiplier", "shift"))
        if op == "add":
            x = sum(_double(number << 20, m[i], e[i]) for i, number in enumerate(real))
        else:
            x = real[0].sum((1, 2))
        assert (row["op"], row["rule"]) == (op, "double")
        found = np.clip(_double(x, m[-1], e[-1]) + zero(row["output"]), *row["clamp"])
        np.testing.assert_array_equal(found, kit.vectors[name].array, name)


@pytest.mark.parametrize("kernels", sorted(KERNEL_SETS))
def test_the_manifest_says_what_its_words_mean(dumps, kernels):
    kit = make_integer_kit(npmnv3.load(dumps[quantized_files.SMALL], kernels=kernels, engine="numpy"))
    manifest = kit.manifest("bin")
    steps, told = manifest["steps"], [*manifest["rules"].values(), *manifest["operations"].values()]
    assert manifest["operations"].keys() == {row["op"] for row in steps}
    assert manifest["rules"].keys() == {row["rule"] for row in steps} - {""}
    used = set(re.findall(r"\b(?:by the rule|high|real|rne|F)\b", " ".join(told)))
    assert used <= {term.partition("(")[0] for term in manifest["terms"]}


def test_every_operation_has_words():
    assert OPERATIONS.keys() == INTEGER_OPS.keys()


@pytest.mark.parametrize("kernels", sorted(KERNEL_SETS))
def test_everything_that_a_port_needs(dumps, kernels):
    model = npmnv3.load(dumps[quantized_files.SMALL], kernels=kernels, engine="numpy")
    kit = make_integer_kit(model)
    rules = KERNEL_SETS[kernels]
    for step in kit.steps:
        roles = {key.rpartition("/")[2] for key in kit.vectors if key.startswith(f"{step.name}/")}
        numbers = {"multiplier", "shift"} if rules.layers in INTEGER_RULES else {"factor"}
        if step.op in LAYERS:
            assert roles == {"weight", "bias", *numbers}
            (count,) = {len(kit.vectors[f"{step.name}/{role}"].array) for role in numbers}
            assert count == step.shape[0]
        elif step.op == "hard_swish":
            assert roles == {"table"} and kit.vectors[f"{step.name}/table"].array.shape == (256,)
        elif step.op in ("add", "global_avg_pool", "mul", "scale"):
            assert roles & {"multiplier", "factor"}
        else:
            assert not roles


def test_files_hold_the_numbers(kit, dumps, tmp_path):
    model = npmnv3.load(dumps[quantized_files.TEXT], kernels="xnnpack", engine="numpy")
    for one in (kit, make_integer_kit(model, only="stem*,blocks.0.*")):
        for format in ("bin", "hex"):
            folder = tmp_path / f"{one.kernels.name}.{format}"
            write_kit(one, folder, format)
            for key, row in json.loads((folder / "manifest.json").read_text())["tensors"].items():
                expected, file = one.vectors[key].array, folder / row["file"]
                if format == "bin":
                    found = np.fromfile(file, np.dtype(row["dtype"]).newbyteorder("<"))
                else:  # two's complement, as many digits as the type has
                    lines = file.read_text().splitlines()
                    assert {len(line) for line in lines} == {2 * expected.itemsize}
                    words = [int(line, 16) for line in lines]
                    found = np.array(words, f"<u{expected.itemsize}").view(expected.dtype)
                np.testing.assert_array_equal(found.reshape(row["shape"]), expected, f"{format}: {key}")


def test_bad_requests_are_refused(dumps):
    model = npmnv3.load(dumps[quantized_files.TEXT], kernels="tflite-reference", engine="numpy")
    with pytest.raises(UsageError, match="no step fits"):
        make_integer_kit(model, only="nothing")
    with pytest.raises(UsageError, match="2 pictures, expected 1"):
        make_integer_kit(model, np.zeros((2, 3, 48, 192), np.float32))
    with pytest.raises(UsageError, match="make_integer_kit"):
        make_kit(model)
