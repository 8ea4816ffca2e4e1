"""`npmnv3 vectors` of quantised networks, and of networks in floats that it quantises first."""

import json
import re

import goldens
import pytest
import quantized_files
from command_line import run
from vector_kits import SOME, check, needs_compiler

import npmnv3
from npmnv3.export.vectors import make_integer_kit

EXAMPLES = goldens.ROOT / "weights" / "examples"


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
