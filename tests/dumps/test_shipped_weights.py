"""The weights and examples that ship: the published bytes, and made anew by the script."""

import hashlib
import json
import subprocess
import sys

import goldens
import h5py
import numpy as np
import pytest

ROOT = goldens.ROOT
DUMP = ROOT / "weights" / "ppocr--text_direction.h5"
SCRIPT = ROOT / "weights" / "make_text_direction.py"
ONNX = ROOT.parent / "shared" / "golden" / "ppocr_cls" / "ch_ppocr_mobile_v2.0_cls_infer.onnx"
GOLDEN = ROOT / "tests" / "golden" / "ppocr_cls" / "expected.json"
# over the names in sorted order: name, NUL, little-endian float32 bytes; taken from the ONNX file
VALUES_SHA256 = "9e7d3b18247ccd5b0f00cc0ede0a5cdee973211dc92819ed5a2c157300a14bd8"


def read(path):
    with h5py.File(path) as file:
        return {name: dataset[()] for name, dataset in file.items()}


def needs_onnx():
    if not ONNX.exists():
        pytest.skip(f"needs ../shared/golden/ppocr_cls/{ONNX.name}")
    return pytest.importorskip("onnx")


def test_values_are_those_of_the_published_model():
    digest = hashlib.sha256()
    for name, array in sorted(read(DUMP).items()):
        digest.update(name.encode() + b"\0" + array.astype("<f4").tobytes())
    assert digest.hexdigest() == VALUES_SHA256


def test_names_and_shapes_are_the_golden_list():
    expected = {name: tuple(shape) for name, shape in json.loads(GOLDEN.read_text())["weights"]}
    arrays = read(DUMP)
    assert {name: array.shape for name, array in arrays.items()} == expected
    assert {array.dtype for array in arrays.values()} == {np.dtype("<f4")}
    assert sum(array.size for array in arrays.values()) == 133_628


def test_attributes_say_what_it_is():
    with h5py.File(DUMP) as file:
        about = dict(file.attrs)
    assert about.pop("labels").tolist() == ["0", "180"]
    assert json.loads(GOLDEN.read_text())["sha256"] in about.pop("origin")
    assert about == {
        "format": "npmnv3-dump",
        "version": 1,
        "source": "ppocr",
        "variant": "text_direction",
        "num_classes": 2,
        "preprocess": "ppocr",
        "licence": "Apache-2.0",
    }


def test_every_entry_is_the_published_bytes():
    onnx = needs_onnx()
    nodes = [node for node in onnx.load(str(ONNX)).graph.node if node.op_type == "Constant"]
    published = {node.output[0]: onnx.numpy_helper.to_array(node.attribute[0].t) for node in nodes}
    for name, array in read(DUMP).items():
        found, expected = (hashlib.sha256(a.astype("<f4").tobytes()).hexdigest() for a in (array, published[name]))
        assert array.shape == published[name].shape and found == expected, f"{name} differs from the model's"


def test_the_script_makes_the_dump_again(tmp_path):
    needs_onnx()
    made = [tmp_path / "one.h5", tmp_path / "two.h5"]
    for out in made:
        subprocess.run([sys.executable, SCRIPT, ONNX, out], check=True)
    assert made[0].read_bytes() == made[1].read_bytes()
    again, shipped = read(made[0]), read(DUMP)
    assert again.keys() == shipped.keys()
    assert all(np.array_equal(again[name], shipped[name]) for name in shipped)


def test_the_script_refuses_another_file(tmp_path):
    pytest.importorskip("onnx")
    other, out = tmp_path / "other.onnx", tmp_path / "out.h5"
    other.write_bytes(b"another model")
    result = subprocess.run([sys.executable, SCRIPT, other, out], capture_output=True, text=True)
    assert result.returncode == 1 and "expected the model whose sha256 is" in result.stderr
    assert not out.exists()


@pytest.mark.parametrize("picture", sorted((ROOT / "weights" / "examples").glob("*.png")), ids=lambda path: path.stem)
def test_examples_are_classed_right(picture):
    import npmnv3

    (((_, label, probability), *_),) = npmnv3.load("ppocr/text_direction").predict([picture])
    assert label == ("180" if picture.stem.endswith("upside_down") else "0")
    assert probability > 0.9
