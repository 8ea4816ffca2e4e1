"""verify: every form a port comes in, the command line, and everything that can be wrong with them."""

import argparse
import json
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import npmnv3
from npmnv3.cli import trace_command, verify_command
from npmnv3.dumps.containers import write_container
from npmnv3.errors import UsageError
from npmnv3.verification.run import verify

MODEL = "ppocr/text_direction"  # its weights ship with npmnv3


@pytest.fixture(scope="module")
def model():
    return npmnv3.load(MODEL, engine="numpy")


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(4).standard_normal((1, 3, 48, 192)).astype(np.float32)


@pytest.fixture(scope="module")
def tensors(model, x):
    return model.trace(x)


def command(module, *argv):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return module.run(parser.parse_args([str(a) for a in argv]))


def write_npz(path, tensors):
    np.savez(path, **tensors)
    return path


def test_npz_hdf5_and_folders_give_the_same_report(model, x, tensors, tmp_path):
    import h5py

    some = {name: tensors[name] for name in ("stem", "blocks.3.gate", "blocks.5", "logits")}
    npz = write_npz(tmp_path / "port.npz", some)
    with h5py.File(tmp_path / "port.h5", "w") as file:
        for name, tensor in some.items():
            file[name] = tensor
    (tmp_path / "npy").mkdir()
    (tmp_path / "bin").mkdir()
    listed = {}
    for name, tensor in some.items():
        np.save(tmp_path / "npy" / f"{name}.npy", tensor)
        (tmp_path / "bin" / f"{name}.bin").write_bytes(tensor.astype("<f4").tobytes())
        listed[name] = {"shape": list(tensor.shape), "dtype": "float32"}
    (tmp_path / "bin" / "tensors.json").write_text(json.dumps(listed))
    ratios = []
    for port in (some, npz, tmp_path / "port.h5", tmp_path / "npy", tmp_path / "bin"):
        report = verify(model, port, x)
        assert report.fine, report.text()
        ratios.append([(row.step, row.local.ratio) for row in report.tensors])
    assert all(r == ratios[0] for r in ratios)
    assert [step for step, _ in ratios[0]] == list(some)


def test_int8_with_scale_and_zero_point(model, x, tensors, tmp_path):
    tensor = tensors["blocks.5"]
    scale, zero = np.float32(np.abs(tensor).max() / 120), 5
    q = np.clip(np.round(tensor / scale) + zero, -128, 127).astype(np.int8)
    (tmp_path / "b5.bin").write_bytes(q.tobytes())
    row = {"shape": list(q.shape), "dtype": "int8", "file": "b5.bin", "scale": float(scale), "zero_point": zero}
    (tmp_path / "port.json").write_text(json.dumps({"blocks.5": row}))
    report = verify(model, tmp_path, x)
    assert report.precision == "int8" and report.fine, report.text()
    assert report.tensors[0].local.max_abs <= 0.51 * scale


def test_json_junit_and_exit_codes(model, x, tensors, tmp_path, capsys):
    port = write_npz(tmp_path / "good.npz", tensors)
    assert command(verify_command, MODEL, port, "--json", "--junit", tmp_path / "good.xml") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["verdict"] == "fine" and report["first_divergence"] is None
    assert len(report["tensors"]) == len(tensors)
    assert ET.parse(tmp_path / "good.xml").getroot().get("failures") == "0"
    bad = write_npz(tmp_path / "bad.npz", {"input": x, "logits": tensors["logits"][:, ::-1]})
    assert command(verify_command, MODEL, bad, "--json", "--junit", tmp_path / "bad.xml") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["verdict"] == "diverges" and report["explained_by"][0]["fault"] == "class_shift"
    assert report["first_divergence"] == "logits"
    assert int(ET.parse(tmp_path / "bad.xml").getroot().get("failures")) >= 1


def test_a_map_is_written_edited_and_given_back(model, x, tensors, tmp_path, capsys):
    np.save(tmp_path / "x.npy", x)
    port = write_npz(tmp_path / "port.npz", {"a": tensors["blocks.4"], "b": tensors["logits"]})
    mapping = tmp_path / "map.json"
    arguments = (MODEL, port, "--input", tmp_path / "x.npy")
    assert command(verify_command, *arguments, "--write-map", mapping) == 0
    assert json.loads(mapping.read_text()) == {"a": "blocks.4", "b": "logits"}
    mapping.write_text(json.dumps({"a": None}))
    capsys.readouterr()
    assert command(verify_command, *arguments, "--map", mapping, "--json") == 0
    assert [row["port"] for row in json.loads(capsys.readouterr().out)["tensors"]] == ["b"]
    mapping.write_text(json.dumps({"a": "blocks.99"}))
    with pytest.raises(UsageError, match="'blocks.99', which the network does not have"):
        command(verify_command, *arguments, "--map", mapping)
    mapping.write_text(json.dumps({"nobody": "logits"}))
    with pytest.raises(UsageError, match="'nobody', which the port does not have"):
        command(verify_command, *arguments, "--map", mapping)
    mapping.write_text('{"a": null, "a": "blocks.4"}')
    with pytest.raises(UsageError, match="map.json: the name 'a' is there twice"):
        command(verify_command, *arguments, "--map", mapping)


def test_trace_is_a_port_that_is_fine(x, tmp_path, capsys):
    np.save(tmp_path / "x.npy", x)
    for name, layout in (("ref.h5", "nchw"), ("ref.npz", "nhwc")):
        output = tmp_path / name
        assert (
            command(
                trace_command,
                MODEL,
                "--input",
                tmp_path / "x.npy",
                "-o",
                output,
                "--dtype",
                "float64",
                "--layout",
                layout,
            )
            == 0
        )
        assert command(verify_command, MODEL, output, "--json") == 0
    capsys.readouterr()
    assert command(trace_command, MODEL, "--input", tmp_path / "x.npy", "--only", "blocks.3.*") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("blocks.3.expand.conv") and len(lines) > 5
    with pytest.raises(UsageError, match="no step fits 'nothing'"):
        command(trace_command, MODEL, "--input", tmp_path / "x.npy", "--only", "nothing")
    with pytest.raises(UsageError, match="ends in .h5 or .npz"):
        command(trace_command, MODEL, "--input", tmp_path / "x.npy", "-o", tmp_path / "ref.txt")


def bad_folder(tmp_path, listed, data=b"1234"):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "t.bin").write_bytes(data)
    (folder / "list.json").write_text(listed if isinstance(listed, str) else json.dumps(listed))
    return folder


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("{", "not a readable JSON"),
        ({"t": {"shape": [2], "dtype": "float32"}}, "has 4 bytes, expected 8"),
        ({"t": {"shape": [1], "dtype": "complex64"}}, "dtype 'complex64', expected one of"),
        ({"t": {"shape": "x", "dtype": "float32"}}, "shape 'x', expected a list"),
        ({"t": {"shape": [1], "file": "../../secret.bin"}}, "outside the folder"),
        ({"u": {"shape": [1]}}, "which is not there"),
        ([1], "expected {"),
    ],
)
def test_bad_raw_folders_are_refused(model, x, tmp_path, listed, message):
    with pytest.raises(UsageError, match=message):
        verify(model, bad_folder(tmp_path, listed), x)


def test_bad_ports_are_refused(model, x, tensors, tmp_path):
    whole = write_npz(tmp_path / "port.npz", tensors).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.npz").write_text("no tensors")
    np.savez(tmp_path / "text_array.npz", logits=np.array(["a", "b"]))
    for port, message in (
        (tmp_path / "cut.npz", "damaged"),
        (tmp_path / "empty", "holds no .npy files"),
        (tmp_path / "text.npz", "neither HDF5 nor .npz"),
        (tmp_path / "gone.npz", "no such file"),
        (tmp_path / "text_array.npz", "expected numbers"),
        ({}, "holds no tensors"),
        (3, "expected a path"),
        ({"logits": np.zeros((1, 7), np.float32)}, "none of the port's 1 tensors"),
        (lambda x: "text", "expected numbers"),
    ):
        with pytest.raises(UsageError, match=message):
            verify(model, port, x)


def test_an_input_with_its_channels_last_is_the_same(model, x, tensors):
    port = {"logits": tensors["logits"]}
    expected = verify(model, port, x).text()
    for given in (x.transpose(0, 2, 3, 1), x[0].transpose(1, 2, 0), x[0]):
        assert verify(model, port, given).text() == expected
    off = {"logits": tensors["logits"] + 1}
    assert verify(model, off, x.transpose(0, 2, 3, 1), explain=False).verdict == "diverges"


def test_bad_inputs_are_refused(model, x, tensors, tmp_path):
    port = {"logits": tensors["logits"]}
    np.save(tmp_path / "bytes.npy", np.zeros((3, 48, 192), np.uint8))
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY\x01")
    for given, message in (
        (None, "logits alone"),
        (x[:, :2], r"shape \(1, 2, 48, 192\)"),
        (x * np.nan, "NaN or infinite"),
        ([], "empty"),
        (str(tmp_path / "bytes.npy"), "uint8, expected floats"),
        (str(tmp_path / "cut.npy"), "not a readable .npy"),
        ("x.bin", r"x.bin: expected a picture .* np.fromfile\('x.bin', '<f4'\).reshape\(-1, 3, 48, 192\)"),
        (np.concatenate([x, x]), "2 inputs were given"),
        (x[:, :, :8], "too small"),
    ):
        with pytest.raises(UsageError, match=message):
            verify(model, port, given)
    with pytest.raises(UsageError, match="factor=0.5"):
        verify(model, port, x, factor=0.5)
    with pytest.raises(UsageError, match="precision='double'"):
        verify(model, port, x, precision="double")


def test_weights_in_place_of_a_runs_tensors(model, x, tmp_path):
    for attributes, message in (
        ({"format": "npmnv3-dump"}, "a weight dump, as its attribute format says; it holds no tensor of a run"),
        ({}, r"holds weights of the network \(\d+, such as conv1_weights\) and no tensor of a run"),
    ):
        write_container(tmp_path / "weights.npz", model.params, attributes)
        for given in (None, x):
            with pytest.raises(UsageError, match=message):
                verify(model, tmp_path / "weights.npz", given)


def test_nan_infinity_zeros_and_constants_are_no_trap(model, x, tensors):
    def changed(name, value):
        return tensors | {name: np.full_like(tensors[name], value)}

    for value in (np.nan, np.inf):
        report = verify(model, changed("blocks.4.gate", value), x)
        assert report.explained_by[0]["fault"] == "overflow" and report.first_divergence == "blocks.4.gate"
        json.dumps(report.as_json(), allow_nan=False)
    for value in (0.0, 1.0):
        report = verify(model, changed("blocks.4.gate", value), x)
        assert not report.fine and report.first_divergence == "blocks.4.gate", report.text()
        json.dumps(report.as_json(), allow_nan=False)


def test_onnx_files_of_other_makers_are_fine(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    import goldens

    folder = goldens.SHARED / "golden"
    if not folder.is_dir():
        pytest.skip("needs ../shared/golden: checkpoint files of other frameworks")
    sys.path.insert(0, str(folder))
    try:
        import golden
    finally:
        sys.path.remove(str(folder))
    found = 0
    for model in ("torchvision--mobilenet_v3_small", "timm--mobilenetv3_small_050", "ppcls--MobileNetV3_small_x0_35"):
        file = folder / "checkpoints" / f"{model}@10.h5"
        unpack = (
            "import pack, sys; pack.unpack(*sys.argv[1:])"  # by itself: it leaves its files to the garbage collector
        )
        subprocess.run([sys.executable, "-c", unpack, str(file), str(tmp_path)], cwd=folder, check=True)
        reference = npmnv3.load(model.replace("--", "/"), golden.state(str(file)), engine="numpy")
        for graph in sorted(tmp_path.glob(f"{model.replace('--', '-')}*.onnx")):
            report = verify(reference, graph, goldens.inputs()[:1])
            assert report.fine, f"{graph.name}: {report.text()}"
            assert len(report.tensors) > 100
            found += 1
    assert found == 5


def test_onnx_files_whose_values_have_no_shape(model, tmp_path):
    onnx = pytest.importorskip("onnx")
    from npmnv3.export.onnx import export_onnx

    proto = export_onnx(model, tmp_path / "a.onnx")
    for value in (*proto.graph.output, *proto.graph.value_info):
        value.type.tensor_type.ClearField("shape")
    onnx.save(proto, tmp_path / "a.onnx")
    x = np.random.default_rng(0).standard_normal((1, 3, *model.variant.side)).astype(np.float32)
    assert verify(model, tmp_path / "a.onnx", x).fine


def test_preprocessing_is_compared_stage_by_stage(model, tmp_path):
    from npmnv3.pictures import recipes

    picture = np.random.default_rng(8).integers(0, 256, (60, 150, 3), np.uint8)
    stages = recipes.stages(picture, model.preprocess)
    port = {**stages, "logits": model(stages["normalised"][None])}
    report = verify(model, port, picture)
    assert (
        report.fine and [n for n in report.notes if n.endswith("the same")] == report.notes and len(report.notes) == 4
    )
    port["resized"] = port["resized"] ^ (np.arange(port["resized"].size).reshape(port["resized"].shape) == 7)
    notes = verify(model, port, picture).notes
    assert [n for n in notes if "differs" in n] == [
        "stage resized: differs in 0.0% of the values, by 1 at most, at (0, 2, 1)"
    ]
