"""Damaged files of every format: an error of our own or a result, quickly, and nothing else."""

import checkpoint_files as files
import numpy as np
import paddle_files
import pytest
from checkpoint_files import Call, Ordered, paddle_array, tensor

from npmnv3.conversion.formats import read_checkpoint
from npmnv3.errors import Npmnv3Error

CASES = 60  # a format

RNG = np.random.default_rng(0)
ARRAYS = {
    "conv.weight": RNG.standard_normal((8, 3, 3, 3)).astype(np.float32),
    "bn.weight": RNG.standard_normal(8).astype(np.float32),
    "fc.weight": RNG.standard_normal((4, 8)).astype(np.float32),
}
SHAPES = {name: array.shape for name, array in ARRAYS.items()}
OPERATIONS = [
    ("conv2d", {"Filter": ["conv.weight"]}),
    ("batch_norm", {"Scale": ["bn.weight"]}),
    ("matmul", {"Y": ["fc.weight"]}),
]


def training():
    state = Ordered({name: tensor(str(i), array, location="cuda:0") for i, (name, array) in enumerate(ARRAYS.items())})
    options = Call("argparse.Namespace", opcode=b"\x81", state={"lr": 0.1})
    storages = {str(i): array for i, array in enumerate(ARRAYS.values())}
    return {"model": state, "optimizer": {"state": {0: {"step": 3}}}, "args": options, "epoch": 3}, storages


def onnx_model():
    onnx = pytest.importorskip("onnx", reason="needs onnx")
    make = onnx.helper
    nodes = [
        make.make_node("Conv", ["x", "conv.weight"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        make.make_node("Add", ["c", "bn.weight"], ["a"]),
        make.make_node("Gemm", ["a", "fc.weight"], ["y"], transB=1),
    ]
    values = [make.make_tensor_value_info(name, 1, None) for name in "xy"]
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in ARRAYS.items()]
    return make.make_model(make.make_graph(nodes, "g", values[:1], values[1:], tensors)).SerializeToString()


def keras_layers():
    return {name.split(".")[0]: {name: array} for name, array in ARRAYS.items()}


FORMATS = {  # name: (how its bytes are made, the suffix of the file beside it that takes the damage, or "")
    "torch": (lambda: files.torch_zip(*training()), ""),
    "torch-legacy": (lambda: files.torch_legacy(*training()), ""),
    "safetensors": (lambda: files.safetensors(ARRAYS, metadata={"format": "pt"}), ""),
    "pdparams-2": (lambda: files.pickled({name: paddle_array(array, 2) for name, array in ARRAYS.items()}, 2), ""),
    "pdparams-4": (lambda: files.pickled({name: paddle_array(array, 4, 2) for name, array in ARRAYS.items()}, 4), ""),
    "pdiparams": (lambda: paddle_files.pdiparams(ARRAYS), ""),
    "pdmodel": (lambda: paddle_files.pdmodel(SHAPES, OPERATIONS), ".pdmodel"),
    "json": (
        lambda: paddle_files.pir_json(SHAPES, [(kind, list(slots.values())[0]) for kind, slots in OPERATIONS]),
        ".json",
    ),
    "keras-legacy": (lambda: files.keras_legacy(keras_layers()), ""),
    "keras-fixed": (lambda: files.keras_legacy(keras_layers(), fixed=True), ""),
    "keras-weights": (
        lambda: files.keras_weights({f"layers/{name}": (name, [array]) for name, array in ARRAYS.items()}),
        "",
    ),
    "onnx": (onnx_model, ""),
}
EXTREMES = [n.to_bytes(8, "little") for n in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 60, (1 << 63) - 1, (1 << 64) - 1)]


def damage(data, rng):
    """One to four injuries: a flipped bit, a random byte, a large number, a cut, a hole, a repetition, an exchange."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        place, length = (int(n) for n in rng.integers(0, (max(len(data), 1), 64)))
        kind = rng.integers(8)
        if kind == 0:
            data[place : place + 1] = bytes([data[place] ^ 1 << rng.integers(8)]) if data else b""
        elif kind == 1:
            data[place : place + 1] = rng.bytes(1)
        elif kind == 2:
            width = int(rng.choice([1, 2, 4, 8]))
            data[place : place + width] = EXTREMES[rng.integers(len(EXTREMES))][:width]
        elif kind == 3 and rng.integers(4) == 0:
            del data[place:]
        elif kind == 4:
            del data[place : place + length]
        elif kind == 5:
            data[place:place] = data[place : place + length]
        elif kind == 6:
            other = int(rng.integers(0, max(len(data), 1)))
            data[place : place + length] = data[other : other + length]
        elif kind == 7:
            data[place : place + length] = bytes(length)
    return bytes(data)


def attempt(folder, name, damaged):
    """Read; None if it worked, else our error. Any other error passes through."""
    suffix = FORMATS[name][1] if name in FORMATS else ""
    path = folder / ("x" + (".pdiparams" if suffix else ".bin"))
    path.write_bytes(paddle_files.pdiparams(ARRAYS) if suffix else damaged)
    for beside in (".pdmodel", ".json"):
        (folder / f"x{beside}").unlink(missing_ok=True)
    if suffix or name == "pdiparams":
        (folder / f"x{suffix or '.pdmodel'}").write_bytes(
            damaged if suffix else paddle_files.pdmodel(SHAPES, OPERATIONS)
        )
    try:
        read_checkpoint(path)
    except Npmnv3Error as error:
        return error
    return None


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files(name, tmp_path):
    whole = FORMATS[name][0]()
    assert attempt(tmp_path, name, whole) is None, "the undamaged file must be read"
    rng = np.random.default_rng(list(FORMATS).index(name))
    errors = [attempt(tmp_path, name, damage(whole, rng)) for _ in range(CASES)]
    refused = [error for error in errors if error is not None]
    assert len(refused) > CASES / 5, "hardly any damage was noticed: it did not reach the reader"
    assert all(str(tmp_path) in str(error) for error in refused), "an error does not name the file"


@pytest.mark.parametrize("name", FORMATS)
def test_files_cut_anywhere(name, tmp_path):
    whole = FORMATS[name][0]()
    for length in np.linspace(0, len(whole) - 1, 25).astype(int):
        assert attempt(tmp_path, name, whole[:length]) is not None, f"{length} of {len(whole)} bytes were enough"
