"""The C checker of a quantised network's vectors: it compiles, passes, and names what was changed."""

import re

import numpy as np
import pytest
import quantized_files
from vector_kits import SOME, check, needs_compiler

import npmnv3
from npmnv3.export.vectors import make_integer_kit, write_kit
from npmnv3.network.integer_plan import IntegerPlan, IntegerStep
from npmnv3.ops.grids import Grid
from npmnv3.ops.kernel_sets import KERNEL_SETS


@needs_compiler
@pytest.mark.parametrize(
    ("name", "kernels", "only"),
    [
        (quantized_files.TEXT, "tflite-reference", "*"),
        (quantized_files.TEXT, "tflite-reference", SOME.replace("stem*,", "")),
        *((quantized_files.SMALL, kernels, "*") for kernels in sorted(KERNEL_SETS)),
    ],
)
def test_the_c_checker_compiles_without_a_warning_and_passes(dumps, tmp_path, name, kernels, only):
    model = npmnv3.load(dumps[name], kernels=kernels, engine="numpy")
    kit = make_integer_kit(model, quantized_files.golden(name)[1], only=only)
    write_kit(kit, tmp_path / "kit", "c")
    code, lines = check(tmp_path / "kit")
    assert code == 0, [line for line in lines if line.startswith("BAD")][:5]
    assert lines[-1] == f"{len(kit.steps)} of {len(kit.steps)} steps are equal, integer for integer"
    assert bool(list((tmp_path / "kit").glob("*.bin"))) == (only == "*")  # else the numbers are in headers


@needs_compiler
@pytest.mark.parametrize("key", ["blocks.3.depthwise.conv", "blocks.3.project/weight", "stem/table", "logits/bias"])
def test_the_c_checker_names_what_was_changed(kit, tmp_path, key):
    write_kit(kit, tmp_path / "kit", "c")
    file = tmp_path / "kit" / f"{key.replace('/', '.')}.bin"
    numbers = bytearray(file.read_bytes())
    numbers[7] ^= 0x40
    file.write_bytes(numbers)
    code, lines = check(tmp_path / "kit")
    assert code == 1 and lines[0] == f"BAD  {key} ({file.name}): not the numbers that were written"
    assert lines[-1].endswith("vectors were changed")
    if "/" not in key:
        assert f"the first that is not: {key}" in lines[-1]
        (line,) = (line for line in lines if line.startswith(f"BAD  {key}: "))
        assert re.search(r": 1 of \d+ integers differ, the first at 7 \(channel 0, row 0, column 7\): found", line)
    assert check(tmp_path / "kit", "nothing")[0] == 2


@needs_compiler
@pytest.mark.parametrize(("rule", "other"), [("DOUBLE", "UP"), ("DOUBLE", "SINGLE"), ("DOUBLE", "TRUNCATE")])
def test_the_c_checker_tells_the_rules_apart(kit, tmp_path, rule, other):
    write_kit(kit, tmp_path / "kit", "c")
    header = tmp_path / "kit" / "vectors.h"
    header.write_text(header.read_text().replace(f"CONV2D, {rule}, ", f"CONV2D, {other}, "))
    code, lines = check(tmp_path / "kit")
    assert code == 1 and sum(line.startswith("BAD") for line in lines) > 10 and "vectors were changed" not in lines[-1]


def odd_model(kernels):
    from npmnv3.dumps.quantized import Quantized
    from npmnv3.model.quantized import QuantizedModel

    rng = np.random.default_rng(0)
    steps = (
        IntegerStep('a/"b', "conv2d", ("input",), (17, 4, 4), stride=(2, 2), pad=(0, 1, 0, 1)),
        IntegerStep("../c", "mul", ('a/"b', 'a/"b'), (17, 4, 4), act="relu6"),
        IntegerStep("d\n", "global_avg_pool", ("../c",), (17,)),
        IntegerStep("f", "fill", (), (17,)),
        IntegerStep("g", "add", ("d\n", "f"), (17,)),
        IntegerStep("e", "linear", ("g",), (5,)),
    )
    arrays = {
        'a/"b.weight': rng.integers(-128, 128, (17, 3, 3, 3), np.int8),
        'a/"b.weight_zero_point': np.zeros(1, np.int32),
        "e.weight": rng.integers(0, 256, (5, 17), np.uint8),
        "e.weight_zero_point": np.arange(120, 125, dtype=np.int32),
        "f.constant": np.array(7, np.uint8),
    }
    for name, count in (('a/"b', 17), ("e", 5)):
        arrays[f"{name}.bias"] = rng.integers(-999, 999, count).astype(np.int32)
        arrays[f"{name}.weight_scale"] = rng.uniform(0.001, 0.01, count).astype(np.float32)
    scales = {"input": (2 / 255, 128), 'a/"b': (0.05, 130), "../c": (0.03, 3), "d\n": (0.01, 2), "e": (0.02, 120)}
    scales |= {"f": (0.1, 3), "g": (0.012, 1)}
    grids = {name: Grid(float(np.float32(scale)), zero, "uint8") for name, (scale, zero) in scales.items()}
    return QuantizedModel(Quantized(IntegerPlan(steps, grids, arrays, (3, 8, 8)), None, 5), kernels, "numpy")


@needs_compiler
@pytest.mark.parametrize("kernels", ["onnxruntime", "onnxruntime-avx2", "tflite-reference"])
def test_the_c_checker_on_a_network_of_another_tool(kernels, tmp_path):
    """uint8, zero points a channel, an odd K, names that no file or C can have, and products that saturate."""
    model = odd_model(kernels)
    x = np.random.default_rng(1).uniform(-1, 1, (1, *model.plan.input_shape)).astype(np.float32)
    kit = make_integer_kit(model, x)
    assert kernels != "onnxruntime-avx2" or not np.array_equal(
        kit.vectors["t001"].array, make_integer_kit(odd_model("onnxruntime"), x).vectors["t001"].array
    )
    write_kit(kit, tmp_path / "kit", "c")
    code, lines = check(tmp_path / "kit")
    assert code == 0 and lines[-1] == "6 of 6 steps are equal, integer for integer", lines
    assert [step["name"] for step in kit.manifest("c")["steps"]][0] == 'a/"b'


@needs_compiler
@pytest.mark.parametrize("kernels", ["onnxruntime", "xnnpack"])
def test_the_c_checker_on_tensors_of_16_bits(kernels, tmp_path):
    """A hard-swish in two operations, whose products pass 32 bits, and a relu apart."""
    from npmnv3.dumps.quantized import Quantized
    from npmnv3.model.quantized import QuantizedModel

    steps = (
        IntegerStep("gate", "hard_sigmoid", ("input",), (3, 8, 8), slope=1 / 6, offset=0.5),
        IntegerStep("swish", "mul", ("input", "gate"), (3, 8, 8)),
        IntegerStep("pool", "global_avg_pool", ("swish",), (3,)),
        IntegerStep("relu", "relu", ("pool",), (3,)),
    )
    scales = {"input": (6 / 65535, 20000), "gate": (1 / 65535, 0), "swish": (6 / 65535, 20000), "pool": (0.01, 100)}
    scales["relu"] = 0.007, 3
    grids = {
        name: Grid(float(np.float32(scale)), zero, "uint8" if name in ("pool", "relu") else "uint16")
        for name, (scale, zero) in scales.items()
    }
    plan = IntegerPlan(steps, grids, {}, (3, 8, 8))
    model = QuantizedModel(Quantized(plan, None, 3), kernels, "numpy")
    x = np.random.default_rng(0).uniform(-1.8, 4, (1, 3, 8, 8)).astype(np.float32)
    real = x.astype(np.float64) * np.clip(x.astype(np.float64) / 6 + 0.5, 0, 1)
    assert np.abs(model.trace(x)["swish"] - real).max() < 3e-4
    write_kit(make_integer_kit(model, x), tmp_path / "kit", "c")
    code, lines = check(tmp_path / "kit")
    assert code == 0 and lines[-1] == "4 of 4 steps are equal, integer for integer", lines
