"""Vectors of quantised networks: what the engine stores, what a port stores, and the C checker that compares the two."""

import json
import re
import zlib

import goldens
import numpy as np
import pytest
import quantized_files
from command_line import run
from vector_kits import check, needs_compiler

import npmnv3
from npmnv3.errors import UsageError
from npmnv3.export.vectors import make_integer_kit, make_kit, write_kit
from npmnv3.export.vectors.integer_words import OPERATIONS
from npmnv3.network.integer_plan import INTEGER_OPS, LAYERS, IntegerPlan, IntegerStep
from npmnv3.ops.grids import Grid
from npmnv3.ops.kernel_sets import KERNEL_SETS
from npmnv3.ops.requantize import INTEGER_RULES

EXAMPLES = goldens.ROOT / "weights" / "examples"
SOME = "stem*,blocks.3.*,last*,max_pool,pool,logits*"


@pytest.fixture(scope="module")
def dumps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dumps")
    return {name: quantized_files.dump(name, folder) for name in (quantized_files.TEXT, quantized_files.SMALL)}


@pytest.fixture(scope="module")
def kit(dumps):
    model = npmnv3.load(dumps[quantized_files.TEXT], kernels="tflite-reference", engine="numpy")
    return make_integer_kit(model, quantized_files.golden(quantized_files.TEXT)[1])


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


def test_the_command(dumps, tmp_path, capsys):
    dump, base = dumps[quantized_files.TEXT], ["--only", SOME, "--format", "hex"]
    code, out, _ = run(capsys, "vectors", dump, *base, "--kernels", "tflite-reference", "-o", tmp_path / "kit")
    told = float(out.split("about ")[1].split(" MB")[0])
    sizes = sum(file.stat().st_size for file in (tmp_path / "kit").glob("*.hex")) / 1e6
    assert (
        code == 0 and "integers of tflite-reference as hex" in out and told == pytest.approx(sizes, rel=0.3, abs=0.06)
    )
    code, _, err = run(capsys, "vectors", dump, *base, "-o", tmp_path / "none")
    assert code == 2 and "--kernels" in err and "tflite-optimized" in err
    code, _, err = run(
        capsys, "vectors", dump, *base, "--kernels", "xnnpack", "--dtype", "int8", "-o", tmp_path / "none"
    )
    assert code == 2 and "--dtype int8 is for networks in floats" in err
    code, _, err = run(
        capsys, "vectors", "ppocr/text_direction", *base, "--kernels", "xnnpack", "-o", tmp_path / "none"
    )
    assert code == 2 and "is for quantised dumps" in err and not (tmp_path / "none").exists()


QUANTISED = [
    # scheme, kernel set asked for, kernel set of the vectors, what else is asked of the quantiser
    ("tflite", None, "tflite-reference", ["--per-tensor"]),
    ("tflite", "xnnpack", "xnnpack", ["--ranges", "percentile=99.99", "--cut"]),
    ("onnx", None, "onnxruntime", ["--wide", "stem"]),
    ("onnx", "onnxruntime-avx2", "onnxruntime-avx2", ["--correct-bias"]),
    ("symmetric", None, "onnxruntime", ["--ranges", "percentile=99.99"]),
    ("symmetric", "tflite-reference", "tflite-reference", ["--per-tensor", "--wide", "stem"]),
    ("pow2", None, "tflite-micro", []),
    ("pow2", "single-rounding", "single-rounding", ["--cut"]),
]


@needs_compiler
@pytest.mark.parametrize("scheme, asked, kernels, options", QUANTISED)
def test_a_network_in_floats_is_quantised_first(scheme, asked, kernels, options, tmp_path, capsys, monkeypatch):
    """The vectors of what `quantize -o` writes, and the C checker passes."""
    monkeypatch.setattr("npmnv3.quantization.alone.PICTURES", 0)  # what each part costs is not asked here
    base = ["--scheme", scheme, "--calibrate", EXAMPLES, *options, *(["--kernels", asked] if asked else [])]
    vectors = ["vectors", "ppocr/text_direction", *base, "--input", EXAMPLES / "sign_upright.png", "--format", "c"]
    code, out, err = run(capsys, *vectors, "-o", tmp_path / "kit")
    assert code == 0 and f"of the integers of {kernels} as c" in out, err
    assert (f"no NPU's arithmetic: it is {kernels}'s here" in out) == (scheme in ("symmetric", "pow2"))
    done, lines = check(tmp_path / "kit")
    assert done == 0 and re.fullmatch(r"(\d+) of \1 steps are equal, integer for integer", lines[-1])
    dump = tmp_path / "q.npz"
    code, _, err = run(capsys, "quantize", "ppocr/text_direction", *base, "--no-recipes", "-o", dump)
    assert code == 0, err
    model = npmnv3.load(dump, kernels=kernels, engine="numpy")
    x = npmnv3.preprocess(EXAMPLES / "sign_upright.png", model)[None]
    kit, manifest = make_integer_kit(model, x), json.loads((tmp_path / "kit" / "manifest.json").read_text())
    assert {key: vector.crc32 for key, vector in kit.vectors.items()} == {
        key: row["crc32"] for key, row in manifest["tensors"].items()
    }


# fmt: off
REFUSED = [
    # arguments                                              what is said
    (["--scheme", "tflite"],                                 "--scheme tflite needs --calibrate PICTURES"),
    (["--scheme", "tflight", "--calibrate", "x"],            "nearest: tflite"),
    (["--scheme", "symmetric"],                              "--scheme symmetric needs --calibrate PICTURES"),
    (["--scheme", "pow2", "--calibrate", "x", "--kernels", "npu"],  "argument --kernels: invalid choice"),
    (["--scheme", "fp16", "--calibrate", "x"],               "fp16 has no integers to write"),
    (["--scheme", "bf16", "--calibrate", "x"],               "bf16 has no integers to write"),
    (["--scheme", "onnx", "--calibrate", "x", "--dtype", "int8"], "--dtype int8 is of vectors in floats"),
    (["--scheme", "onnx", "--calibrate", "no/such/folder"],  "no/such/folder"),
    (["--scheme", "onnx", "--calibrate", EXAMPLES, "--wide", "nose"], "nose"),
    (["--calibrate", "x"],                                   "--calibrate says how to quantise; name a --scheme"),
    (["--per-tensor"],                                       "--per-tensor says how to quantise"),
    (["--ranges", "mse"],                                    "--ranges says how to quantise"),
]
# fmt: on


@pytest.mark.parametrize("arguments, said", REFUSED)
def test_what_cannot_be_quantised_is_refused(arguments, said, tmp_path, capsys):
    base = ["--format", "hex", "-o", tmp_path / "kit"]
    code, _, err = run(capsys, "vectors", "ppocr/text_direction", *base, *arguments)
    assert code in (1, 2) and said in err and not (tmp_path / "kit").exists()


def test_what_is_quantised_is_not_quantised_again(dumps, tmp_path, capsys):
    base = ["--format", "hex", "-o", tmp_path / "kit", "--scheme", "tflite", "--calibrate", EXAMPLES]
    code, _, err = run(capsys, "vectors", dumps[quantized_files.TEXT], *base)
    assert code == 2 and "--scheme tflite is for networks in floats" in err and "has integers of its own" in err


def test_bad_requests_are_refused(dumps):
    model = npmnv3.load(dumps[quantized_files.TEXT], kernels="tflite-reference", engine="numpy")
    with pytest.raises(UsageError, match="no step fits"):
        make_integer_kit(model, only="nothing")
    with pytest.raises(UsageError, match="2 pictures, expected 1"):
        make_integer_kit(model, np.zeros((2, 3, 48, 192), np.float32))
    with pytest.raises(UsageError, match="make_integer_kit"):
        make_kit(model)
