"""What networks come in beside plain state dicts: whole modules, scripts, lists, zips of zips, several files."""

import io
import json
import zipfile

import checkpoint_files as files
import numpy as np
import pytest
from checkpoint_files import Call, Name, tensor

from npmnv3.conversion.formats import read_checkpoint
from npmnv3.errors import UsageError, WeightsError

W = np.arange(6, dtype=np.float32).reshape(2, 3)
B = np.arange(2, dtype=np.float32)
STORED = {"0": W, "1": B}
STATE = {"w": tensor("0", W), "b": tensor("1", B)}


def read(top, **more):
    return read_checkpoint(files.torch_zip(top, STORED), **more)


HARMLESS = {
    "path": Call("pathlib.PosixPath", "a", "b"),
    "newer path": Call("pathlib._local.PosixPath", "a"),
    "random state of torch": Call("torch._C.Generator", Call("torch.device", "cpu")),
    "set": Call("builtins.set", [1, 2]),
    "deque": Call("collections.deque", [1], 5),
    "defaultdict": Call("collections.defaultdict", Name("builtins.list")),
    "dtype": Name("torch.float16"),
    "date": Call("datetime.datetime", b"\x07\xea\x01\x01\x00\x00\x00\x00\x00\x00"),
    "decimal": Call("decimal.Decimal", "1.5"),
    "uuid": Call("uuid.UUID", opcode=b"\x81", state={"int": 5}),
    "text of numpy": Call("numpy.core.multiarray.scalar", Call("numpy.dtype", "U1", False, True), b"a\0\0\0"),
    "type of numpy": Name("numpy.float32"),
    "partial": Call("functools.partial", Name("torch.nn.modules.batchnorm.BatchNorm2d")),
    "options of somebody": Call("mine.Options", opcode=b"\x81", state={"lr": 0.1}),
    "options with slots": Call("mine.Options", opcode=b"\x81", state=(None, {"lr": 0.1})),
    "old class": Call("copyreg._reconstructor", Name("mine.Options"), Name("builtins.object"), None),
    "interpolation": Call("torchvision.transforms.functional.InterpolationMode", "bilinear"),
    "range": Call("builtins.xrange", 0, 3, 1),
    "ellipsis": Name("builtins.Ellipsis"),
    "type of None": Call("builtins.type", None),
    "seeds": Call(
        "numpy.random.bit_generator.__pyx_unpickle_SeedSequence", Name("numpy.random.bit_generator.SeedSequence")
    ),
    "sparse": Call("torch._utils._rebuild_sparse_tensor", Name("torch.sparse_coo"), (1, 2)),
}


@pytest.mark.parametrize("what", HARMLESS)
def test_foreign_values_are_passed_over(what):
    found = read({"model": STATE, "extra": HARMLESS[what], "list": [HARMLESS[what], 3]})
    files.assert_same(found.arrays, {"w": W, "b": B})
    assert found.taken == "model"


@pytest.mark.parametrize("opcodes", [b"\x8f(K\x01K\x02\x90", b"(K\x01\x91", b"cmine\nThing\n)}\x92"])
def test_sets_and_new_objects_of_later_protocols(opcodes):
    body = b"\x80\x04}(" + files.emit("model") + files.emit(STATE) + files.emit("extra") + opcodes + b"u."
    files.assert_same(read(body).arrays, {"w": W, "b": B})


def test_complex_and_quantized_numbers_are_no_parameters():
    numbers = np.ones(2, np.complex64)
    top = {"model": STATE, "c": tensor("2", numbers, kind="ComplexFloat", count=2)}
    found = read_checkpoint(files.torch_zip(top, {**STORED, "2": numbers}))
    assert found.taken == "model" and list(found.arrays) == ["w", "b"]


@pytest.mark.parametrize(
    "top, taken",
    [([STATE], "0"), ((3, STATE), "1"), ({"folds": [STATE]}, "folds.0"), ({"a": {"b": [0, {"c": STATE}]}}, "a.b.1.c")],
)
def test_lists_and_tuples(top, taken):
    found = read(top)
    assert found.taken == taken
    files.assert_same(found.arrays, {"w": W, "b": B})


def test_paddles_pairs_of_name_and_array():
    pair = Call("builtins.tuple", ("linear_0.w_0", files.paddle_array(W)))
    found = read_checkpoint(files.pickled({"model": {"w": pair}, "hist": [1, (2, 3)]}))
    files.assert_same(found.arrays, {"w": W})


def whole(name="torch.nn.modules.container.Sequential"):
    inner = files.module({"weight": Call("torch._utils._rebuild_parameter", tensor("0", W), True, {}), "bias": None})
    return files.module({"scale": tensor("1", B)}, {"0": inner, "act": files.module({})}, name=name)


@pytest.mark.parametrize("top", [whole(), {"model": whole("mine.Net"), "epoch": 1}, [whole("__main__.Net")]])
def test_whole_modules_are_read_as_data(top):
    files.assert_same(read(top).arrays, {"scale": B, "0.weight": W})


def test_a_module_within_itself():
    body = b"\x80\x02cmine\nNet\n)\x81q\x00}(" + b"".join(
        files.emit(name) + value for name, value in (("_parameters", files.emit({"w": STATE["w"]})), ("_buffers", b"}"))
    )
    body += files.emit("_modules") + b"}" + files.emit("me") + b"h\x00s" + b"ub."
    with pytest.raises(WeightsError, match="a module contains itself"):
        read(body)


def test_what_a_module_says_of_itself():
    cfg = {"pretrained_cfg": {"architecture": "tf_mobilenetv3_small_100"}}
    top = files.module({"w": STATE["w"]}, name="timm.models.mobilenetv3.MobileNetV3", more=cfg.items())
    assert read(top).claims == (("pretrained_cfg.architecture", "tf_mobilenetv3_small_100"),)


def script(**entries):
    """A scripted module: its attributes are its parameters, beside code."""
    inner = Call("__torch__.mine.Linear", opcode=b"\x81", state={"weight": STATE["w"], "training": False, "k": 3})
    top = Call("__torch__.mine.Net", opcode=b"\x81", state={"fc": inner, "scale": STATE["b"]})
    return files.torch_zip(top, STORED, extra=[("archive/code/__torch__/mine.py", b"boom()" * 50), *entries.items()])


def test_scripted_modules():
    files.assert_same(read_checkpoint(script()).arrays, {"scale": B, "fc.weight": W})
    frozen = files.torch_zip(
        Call("__torch__.mine.Net", opcode=b"\x81", state={}), {}, extra=[("archive/constants/0", b"1234")]
    )
    with pytest.raises(WeightsError, match="a frozen TorchScript module.*torch.save"):
        read_checkpoint(frozen)


def exported(change=None, program="{}"):
    config = {
        "w": {
            "path_name": "weight_0",
            "use_pickle": False,
            "tensor_meta": {
                "dtype": 7,
                "sizes": [{"as_int": 2}, {"as_int": 3}],
                "strides": [{"as_int": 3}, {"as_int": 1}],
                "storage_offset": {"as_int": 0},
            },
        }
    }
    if change:
        change(config["w"], config["w"]["tensor_meta"])
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("m/data/weights/model_weights_config.json", json.dumps({"config": config}))
        archive.writestr("m/data/weights/weight_0", W.tobytes())
        archive.writestr("m/models/model.json", program)
    return stream.getvalue()


def test_exported_programs():
    files.assert_same(read_checkpoint(exported()).arrays, {"w": W})
    for change, message in (
        (lambda about, meta: about.update(path_name="weight_7"), "is not in the file as it is"),
        (lambda about, meta: about.update(use_pickle=True), "is not in the file as it is"),
        (lambda about, meta: meta.update(dtype=99), "not stored plainly"),
        (lambda about, meta: meta.update(strides=[{"as_int": 1}, {"as_int": 2}]), "not stored plainly"),
        (lambda about, meta: meta.update(sizes=[{"as_int": 2}, {"as_int": 4}]), "not stored plainly"),
        (lambda about, meta: meta.pop("sizes"), "not a list of weights"),
    ):
        with pytest.raises(WeightsError, match=message):
            read_checkpoint(exported(change))
    with pytest.raises(UsageError, match="this is a program"):
        read_checkpoint(exported(), key="x")
    with pytest.raises(WeightsError, match="not a program: m/models/model.json is no JSON"):
        read_checkpoint(exported(program="{"))


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zipped_anew(kind):
    noise = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    data = files.torch_zip({"a": tensor("0", noise)}, {"0": noise}, compression=kind)
    if kind == zipfile.ZIP_DEFLATED:
        files.assert_same(read_checkpoint(data).arrays, {"a": noise})
        with pytest.raises(WeightsError, match="damaged|zip"):
            read_checkpoint(data[:200] + bytes(64) + data[264:])
    else:
        with pytest.raises(WeightsError, match="compressed otherwise than zips are"):
            read_checkpoint(data)


def test_keras_archives():
    arrays = {"kernel": np.ones((1, 1, 2, 2), np.float32)}
    weights = files.keras_weights({"layers/conv2d": ("conv", list(arrays.values()))})
    stream = io.BytesIO()
    config = {"class_name": "Functional", "config": {"name": "MobilenetV3small", "layers": []}}
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights)
    found = read_checkpoint(stream.getvalue())
    assert found.format == "keras-weights" and found.claims == (("config.json", "MobilenetV3small"),)
    files.assert_same(found.arrays, {"conv/kernel": arrays["kernel"]})


def sharded(folder, **changes):
    folder.mkdir(exist_ok=True)
    parts = {"m-00001-of-00002.safetensors": {"w": W}, "m-00002-of-00002.safetensors": {"b": B}}
    for name, arrays in parts.items():
        (folder / name).write_bytes(files.safetensors(arrays))
    placed = {n: name for name, arrays in parts.items() for n in arrays} | changes
    (folder / "m.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    return folder / "m.safetensors.index.json"


def test_several_files_by_their_index(tmp_path):
    found = read_checkpoint(sharded(tmp_path))
    assert found.format == "safetensors" and "in 2 files" in found.notes
    files.assert_same(found.arrays, {"w": W, "b": B})
    with pytest.raises(WeightsError, match="one of 2 files .* give their index, m.safetensors.index.json"):
        read_checkpoint(tmp_path / "m-00001-of-00002.safetensors")
    for name in ("../m", "/etc/passwd", "a\\b", "", 3):
        with pytest.raises(WeightsError, match="which does not lie beside it|no index"):
            read_checkpoint(sharded(tmp_path, w=name))
    with pytest.raises(WeightsError, match="'x' and 0 more of the index are in none of its files"):
        read_checkpoint(sharded(tmp_path, x="m-00001-of-00002.safetensors"))
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(WeightsError, match="no index of a checkpoint"):
        read_checkpoint(tmp_path / "x.json")
    (tmp_path / "model.json").write_text('{"modelTopology": {}, "weightsManifest": []}')
    with pytest.raises(WeightsError, match="TensorFlow.js's model, which is not read"):
        read_checkpoint(tmp_path / "model.json")


def test_folders_get_advice(tmp_path):
    for name, advice in (
        ("saved_model.pb", "SavedModel"),
        ("model.safetensors", "give the file model.safetensors in it"),
        ("pytorch_model.bin.index.json", "give the file pytorch_model.bin.index.json in it"),
        (".metadata", "a distributed checkpoint of torch, which is not read; make a file of it"),
        ("Manifest.json", "a Core ML package"),
    ):
        folder = tmp_path / f"folder_of_{name}"
        folder.mkdir()
        (folder / name).write_bytes(b"x")
        with pytest.raises(WeightsError, match=f"a folder, not a file: .*{advice}"):
            read_checkpoint(folder)


def test_a_class_made_in_a_pickle_is_refused():
    with pytest.raises(WeightsError, match="calls builtins.type with 3 arguments"):
        read({"model": STATE, "extra": Call("builtins.type", "Evil", (), {})})


@pytest.mark.parametrize(
    "data, told",
    [
        (b"\x1f\x8b\x08\x00rest", "compressed by gzip: unpack it"),
        (b"BZh91AY&SY", "compressed by bzip2"),
        (b"best.pth".ljust(257, b"\0") + b"ustar".ljust(300, b"\0"), "a tar archive: unpack it"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"7767517\n75 83\n", "ncnn.s graph, which is not read: give the file that it was made of"),
        (b'<?xml version="1.0"?><net>', "OpenVINO.s graph, which is not read"),
        (b"\x18\0\0\0ORTM\0\0\0\0", "ONNX Runtime's own format .*, which is not read"),
        (b"ftrt\0\0\0\0", "TensorRT engine, which is not read"),
        (b"<!DOCTYPE html><html>", "a page of the web"),
        (b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN">', "a page of the web"),
        (b"\xef\xbb\xbf\n<!-- x -->" + b"<!---->" * 99 + b"\n<HTML>", "a page of the web"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>', "a page of the web"),
    ],
)
def test_a_file_that_stands_for_another_says_what_to_do(data, told):
    with pytest.raises(WeightsError, match=told):
        read_checkpoint(data)
