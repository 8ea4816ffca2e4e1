"""What real engines gave is exactly a kernel set's, in whatever form it comes."""

import html
import html.parser
import json
import xml.etree.ElementTree as ET

import goldens
import numpy as np
import pytest
import quantized_goldens as golden
from command_line import run

import npmnv3
from npmnv3.conversion import convert
from npmnv3.conversion.quantized import read_quantized_model
from npmnv3.dumps.labels import softmax
from npmnv3.engines.integer_engine import IntegerEngine
from npmnv3.errors import UsageError, WeightsError
from npmnv3.network.integer_plan import IntegerPlan, IntegerStep
from npmnv3.ops.grids import Grid
from npmnv3.ops.kernel_sets import KERNEL_SETS
from npmnv3.verification.quantized.matching import match
from npmnv3.verification.quantized.probabilities import _are_probabilities
from npmnv3.verification.quantized.run import verify_quantized
from npmnv3.verification.quantized.tensors import read_tensors

pytestmark = pytest.mark.skipif(not golden.FOLDER.is_dir(), reason="the golden quantised models are not here")

WHOLE = [
    (name, kernels)
    for name in golden.TFLITE
    for kernels in golden.CHANGED
    if not (name.startswith(golden.TEXT) and kernels != "tflite-reference")
]


@pytest.mark.parametrize("name, kernels", WHOLE)
def test_every_tensor_of_tflite_is_its_kernel_sets(name, kernels):
    given = golden.tensors(name, kernels)
    report = npmnv3.verify(golden.model_of(name), golden.path(name), tensors=given)
    assert report.fine and kernels in report.kernels, report.text()
    assert report.kernel_sets[0]["of"] == len(given) - 1 == len(report.tensors)
    assert f"all {len(given) - 1} tensors are exactly" in report.sentence
    assert not report.unmatched and not report.causes


@pytest.mark.parametrize("name", golden.ONNX)
def test_every_tensor_of_onnxruntime_is_its_kernel_sets(name):
    given = golden.tensors(name)
    report = npmnv3.verify(golden.model_of(name), golden.path(name), tensors=given)
    saturates = name.endswith("u8s8_per_channel")
    assert report.kernels[0] == ("onnxruntime-avx2" if saturates else "onnxruntime"), report.text()
    assert ("onnxruntime" in report.kernels) is not saturates
    assert report.fine and len(report.tensors) == len(given) - 1


@pytest.mark.parametrize("kernels, change", [("tflite-optimized", "opt-ref"), ("xnnpack", "xnn-ref")])
def test_means_and_the_last_tensor_alone(kernels, change):
    """Inputs that the port does not have are computed: the last tensor then answers for all before it."""
    name = f"{golden.TEXT}.int8"
    with np.load(golden.FOLDER / f"{name}.npz") as file:
        changed = {entry.split("/")[1] for entry in file.files if entry.startswith(f"{change}/")}
    whole = golden.tensors(name, kernels)
    given = {key: value for key, value in whole.items() if key in changed or key == "input"}
    report = npmnv3.verify(golden.model_of(name), golden.path(name), tensors=given)
    assert report.fine and report.kernels[0] == kernels, report.text()


def test_names_do_not_matter(tmp_path):
    """A folder whose files are named by chance and hold either layout, and bare bytes in their order."""
    name = f"{golden.SMALL}.int8"
    given = golden.tensors(name)
    rng = np.random.default_rng(0)
    names = [f"t{number:04d}" for number in rng.permutation(len(given))]
    for index, (file, array) in enumerate(zip(names, given.values())):
        swap = index % 2 and array.ndim == 4
        np.save(tmp_path / f"{file}.npy", array.transpose(0, 3, 1, 2) if swap else array)
    report = npmnv3.verify(golden.model_of(name), golden.path(name), tensors=tmp_path)
    assert report.fine and len(report.tensors) == 114, report.text()
    bare = tmp_path / "bare"
    bare.mkdir()
    for index, array in enumerate(given.values()):
        array.tofile(bare / f"{index:03d}.bin")
    report = npmnv3.verify(golden.model_of(name), golden.path(name), tensors=bare)
    assert report.fine and len(report.tensors) == 114, report.text()


def test_uint8_for_int8_is_128_apart():
    name = f"{golden.KERAS}.int8"
    given = {key: (array.astype(np.int16) + 128).astype(np.uint8) for key, array in golden.tensors(name).items()}
    assert npmnv3.verify(golden.model_of(name), golden.path(name), tensors=given).fine


def test_several_pictures_at_once():
    name = f"{golden.KERAS}.int8"
    given = {key: np.concatenate([array, array]) for key, array in golden.tensors(name).items()}
    report = npmnv3.verify(golden.model_of(name), golden.path(name), tensors=given)
    assert report.fine and report.tensors[0].of == 2 * 16 * 33 * 24, report.text()


def test_a_quantised_dump_serves_as_port_and_as_model(tmp_path, capsys):
    name = f"{golden.SMALL}.int8"
    convert(golden.path(name), tmp_path / "q.npz")
    for first in ([golden.model_of(name), tmp_path / "q.npz"], [tmp_path / "q.npz"]):
        code, out, _ = run(capsys, "verify", *first, golden.FOLDER / f"{name}.npz")
        assert code == 0 and "all 114 tensors are exactly tflite-reference's" in out.splitlines()[1]


def test_the_command(tmp_path, capsys):
    """Exit codes, JSON, JUnit; another kernel set than the one asked for diverges at its first tensor."""
    name = f"{golden.KERAS}.int8"
    argv = ["verify", golden.model_of(name), golden.path(name), golden.FOLDER / f"{name}.npz"]
    code, out, _ = run(capsys, *argv, "--json", "--junit", tmp_path / "a.xml")
    found = json.loads(out)
    assert code == 0 and found["kernels"] == ["tflite-reference", "tflite-micro"] and len(found["tensors"]) == 37
    assert ET.parse(tmp_path / "a.xml").getroot().get("failures") == "0"
    code, out, _ = run(capsys, *argv, "--kernels", "xnnpack", "--no-explain", "--junit", tmp_path / "b.xml")
    assert code == 1 and "DIVERGES: stem.conv is the first of 37 tensors that is not xnnpack's" in out
    assert int(ET.parse(tmp_path / "b.xml").getroot().get("failures")) > 10
    for wrong in (["--map", "a.json"], ["--precision", "int8"], ["--factor", "3"]):
        code, _, err = run(capsys, *argv, *wrong)
        assert code == 2 and f"{wrong[0]} is not for quantised ports" in err
    code, _, err = run(capsys, *argv, "--kernels", "nobody")
    assert code == 2 and "kernels is 'nobody', expected one of tflite-reference" in err
    code, _, err = run(capsys, "verify", golden.model_of(name), golden.FOLDER / f"{name}.npz", "--kernels", "xnnpack")
    assert code == 2 and "--kernels is for quantised ports" in err


class Cells(html.parser.HTMLParser):
    """The texts of a page's table rows, and every tag that it has."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.tags, self._cell = [], set(), None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = tag

    def handle_endtag(self, tag):
        self._cell = None if tag == self._cell else self._cell

    def handle_data(self, data):
        if self._cell:
            self.rows[-1][-1] += data.strip()


def test_the_page(tmp_path, capsys):
    """Every tensor by every kernel set, the causes, decisions; nothing that a file says is markup."""
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    name = f"{golden.KERAS}.int8"
    given = golden.tensors(name)
    last = list(given)[-1]
    hostile = "<script>alert(1)</script>$x^{"
    given = {(hostile if key == last else key): array for key, array in given.items()}
    given[hostile] = np.minimum(given[hostile], 126) + np.int8(1)
    np.savez(tmp_path / "device.npz", **given)
    base = ["verify", golden.model_of(name), golden.path(name), tmp_path / "device.npz"]
    code, out, _ = run(capsys, *base, "--html", tmp_path / "a.html", "--json")
    text, found = (tmp_path / "a.html").read_text("utf-8"), json.loads(out)
    cells = Cells(text)
    assert code == 1 and "script" not in cells.tags and "&lt;script&gt;" in text
    sets = next(row for row in cells.rows if row[:4] == ["step", "port's tensor", "matched by", "layout"])[4:-4]
    assert sets == [row["name"] for row in found["kernel_sets"]] and len(sets) == len(KERNEL_SETS)
    counts = {row[0]: row[1:4] for row in cells.rows if row[0] in sets}
    assert counts["tflite-reference"] == ["36", "37", found["tensors"][-1]["step"]]
    for tensor in found["tensors"]:
        (row,) = (row for row in cells.rows if row[:1] == [tensor["step"]] and len(row) == 4 + len(sets) + 4)
        assert [name for name, cell in zip(sets, row[4:]) if cell == "exact"] == tensor["exact_of"]
    assert (
        row[1] == hostile
        and row[4 + len(sets)] == f"{tensor['off']} of {tensor['of']}"
        and "tflite-reference" not in tensor["exact_of"]
    )
    assert "diverges" in text and found["causes"][0]["rules"][0]["text"].split("[")[0] in html.unescape(text)


@pytest.mark.parametrize("model", ["timm/mobilenetv3_small_075", "timm/mobilenetv3_small_050"])
def test_the_page_without_tensors(model, tmp_path, capsys):
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    code, _, _ = run(capsys, "verify", model, golden.path(f"{golden.SMALL}.int8"), "--html", tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text("utf-8")
    assert (
        code == int(model.endswith("075")) and ("diverges" if code else "fine") in text and "Whose integers" not in text
    )


def test_the_page_of_a_float_network_too(tmp_path, capsys, monkeypatch):
    """What quantising cost, the flipped answers, the worst layers."""
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("npmnv3.quantization.alone.PICTURES", 1)  # what `quantize` itself tells is not looked at
    examples = goldens.ROOT / "weights" / "examples"
    dump = tmp_path / "q.npz"
    base = ["quantize", "ppocr/text_direction", "--calibrate", examples, "--per-tensor", "--no-recipes", "-o", dump]
    assert run(capsys, *base)[0] == 0
    model = npmnv3.load(dump, kernels="xnnpack", engine="numpy")
    x = npmnv3.preprocess(examples / "sign_upright.png", model)[None]
    np.savez(tmp_path / "device.npz", **model.trace(x, integers=True))
    argv = ["verify", "ppocr/text_direction", dump, tmp_path / "device.npz", "--html", tmp_path / "a.html", "--json"]
    code, out, _ = run(capsys, *argv)
    found, text = json.loads(out), (tmp_path / "a.html").read_text("utf-8")
    assert code == 0 and found["kernels"][0] == "xnnpack"
    assert f"{len(found['cost']['first_answers_that_flip'])} of 1 first answers flip" in " ".join(text.split())
    assert "signal to noise along the depth" in text
    worst = min(found["layers"], key=lambda layer: layer["snr_db"])
    row = next(row for row in Cells(text).rows if row[:1] == [worst["layer"]] and len(row) == 4)
    assert row[1] == f"{worst['snr_db']:.1f}"


def test_another_network_diverges_and_is_named(capsys):
    code, out, _ = run(capsys, "verify", "timm/mobilenetv3_small_075", golden.path(f"{golden.SMALL}.int8"))
    assert code == 1 and "is not timm/mobilenetv3_small_075" in out and "it is timm/mobilenetv3_small_050" in out


def test_bad_tensors_are_named(tmp_path):
    name = f"{golden.KERAS}.int8"
    network, file, given = golden.model_of(name), golden.path(name), golden.tensors(name)
    cases = [
        ({"a": np.zeros(3, np.float32)}, "holds no tensor of integers"),
        ({"stem.conv": np.zeros((1, 3, 3), np.int8)}, "the tensor 'stem.conv' is int8 .* expected int8 of stem.conv"),
        ({"stem.conv": np.full((1, 33, 24, 16), 300, np.int16)}, "the tensor 'stem.conv' is int16"),
        ({"a": np.zeros((5, 7), np.int8)}, "none of the 1 tensors of integers has the shape"),
        ({"001": given["001.HARD_SWISH"]}, "nothing but their shapes tells which steps the tensors are"),
        ({"stem": given["001.HARD_SWISH"]}, "none of the tensors can be judged"),
        (tmp_path, "holds no .npy and no .bin files"),
        (tmp_path / "nothing.npz", "no such file"),
        (3, "tensors is a int, expected a path or a mapping"),
    ]
    for bad, message in cases:
        with pytest.raises(UsageError, match=message):
            verify_quantized(network, file, bad)
    with pytest.raises(UsageError, match="is quantised itself"):
        verify_quantized(file, golden.FOLDER / f"{name}.npz", given)
    with pytest.raises(UsageError, match="tensors= is for quantised ports"):
        npmnv3.verify(network, {"logits": np.zeros(3)}, tensors=given)
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(file.read_bytes()[:5000])
    with pytest.raises((UsageError, WeightsError), match="damaged.tflite"):
        npmnv3.verify(network, damaged, tensors=given)


def test_probabilities_are_not_taken_for_the_logits():
    """What an interpreter gives last of Keras's network with its softmax, in steps of 1/256."""
    name = f"{golden.SMALL}.int8"
    file, given = golden.path(name), golden.tensors(name)
    plan, last = read_quantized_model(file)[0], list(given)[-1]
    share = softmax(plan.grids[plan.steps[-1].name].dequantize(given[last].reshape(1, -1)))
    probabilities = (np.rint(share * 256) - 128).clip(-128, 127).astype(np.int8)
    with pytest.raises(
        UsageError, match="the tensor 'output' is the probabilities that a softmax or a sigmoid made of"
    ):
        verify_quantized(file, {"input": given["input"], "output": probabilities})
    others = {key: value for key, value in given.items() if key != last}
    report = verify_quantized(file, {**others, "output": probabilities})
    assert report.fine and report.unmatched[0]["port"] == "output", report.text()


def test_each_sigmoid_is_not_taken_for_the_logits():
    """Of one class too, which has no softmax."""
    grid, logits = Grid(0.1, 5), np.array([[-30], [40], [127]], np.int8)
    shares = 1 / (1 + np.exp(-grid.dequantize(logits).astype(float)))
    sigmoid = (np.rint(shares * 256) - 128).clip(-128, 127).astype(np.int8)
    assert _are_probabilities(sigmoid, logits, grid) and _are_probabilities(sigmoid, logits[:, :, None, None], grid)
    assert not _are_probabilities(logits, logits, grid) and not _are_probabilities(logits + np.int8(-2), logits, grid)


def test_a_tensor_that_is_nearly_the_input_is_not_taken_for_it():
    """A model that prepares its picture has such steps; here the port has them, and not the input."""
    map_of = (3, 8, 8)
    steps = (
        IntegerStep("halved", "relu", ("input",), map_of),
        IntegerStep("again", "relu", ("halved",), map_of),
        IntegerStep("y", "depthwise_conv2d", ("again",), map_of),
    )
    grids = {"input": Grid(1.0, -128), "halved": Grid(2.0, -100), "again": Grid(1.0, -127), "y": Grid(2.0, -128)}
    arrays = {"y.weight": np.ones((3, 1, 1), np.int8), "y.bias": np.zeros(3, np.int32)}
    arrays |= {"y.weight_scale": np.ones(1, np.float32), "y.weight_zero_point": np.zeros(1, np.int32)}
    plan = IntegerPlan(steps, grids, arrays, map_of)
    x = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 8)).astype(np.float32)
    run = IntegerEngine(plan, KERNEL_SETS["tflite-reference"]).trace(x, integers=True)
    given = read_tensors({str(i): run[name] for i, name in enumerate(("again", "halved", "y"))})[0]

    def reference(count, q):
        real = x if q is None else grids["input"].dequantize(q)
        return IntegerEngine(plan, KERNEL_SETS["tflite-reference"]).trace(real, integers=True)

    found = match(plan, {}, given, reference)
    assert {step: row[0] for step, row in found.rows.items()} == {"again": "0", "halved": "1", "y": "2"}


def test_numbers_never_written_are_not_taken_for_probabilities():
    """Many of the lowest integers sum up to about what shares do."""
    name = f"{golden.KERAS}.int8"
    given = golden.tensors(name)
    last = list(given)[-1]
    report = verify_quantized(golden.path(name), {**given, last: np.full_like(given[last], -128)})
    assert not report.fine and not report.unmatched, report.text()


def test_the_input_is_compared_with_what_was_given():
    name = f"{golden.KERAS}.int8"
    given = golden.tensors(name)
    with np.load(golden.FOLDER / f"{name}.npz") as file:
        x, scale = file["float_input"].transpose(0, 3, 1, 2), np.float32(file["input_scale"])
    report = npmnv3.verify(golden.model_of(name), golden.path(name), x, tensors=given)
    assert report.fine and not any("its input" in note for note in report.notes), report.notes
    truncated = (np.trunc(x / scale) - 1).clip(-128, 127).astype(np.int8)
    report = npmnv3.verify(
        golden.model_of(name), golden.path(name), x, tensors={"input": truncated, **_run(name, truncated)}
    )
    assert any("truncated, not halves to even" in note for note in report.notes), report.notes


def _run(name, q):
    """The tensors of a run of a golden .tflite on other integers, by the tests' own code."""
    from integer_ports import IntegerPort

    from npmnv3.conversion.quantized.names import name_tensors

    plan = name_tensors(read_quantized_model(golden.path(name))[0], golden.model_of(name)).plan
    return {key: value for key, value in IntegerPort(plan).run(q).items() if key != "input"}
