"""The readers on the files that the frameworks themselves wrote: every array, bit for bit."""

import checkpoint_files as files
import goldens
import numpy as np
import pytest

from npmnv3.conversion.formats import read_checkpoint

pytestmark = pytest.mark.skipif(not files.FOLDER.is_dir(), reason=f"needs {files.FOLDER}, which is not here")

TORCHVISION, TIMM, RW = "torchvision/mobilenet_v3_small", "timm/mobilenetv3_small_050", "timm/mobilenetv3_rw"
SHOWLO, SQLAI = "showlo/mobilenetv3_small", "sqlai/mobilenetv3_small"
PPCLS, KERAS = "ppcls/MobileNetV3_small_x0_35", "keras/MobileNetV3Small"
# fmt: off
NAMED = (  # formats that keep the sources' names
    # file                                                   golden state  format        taken    others
    ("torchvision-mobilenet_v3_small-10.pth",                TORCHVISION, "torch",        "",      ()),
    ("timm-mobilenetv3_small_050-10.pth",                    TIMM,        "torch",        "",      ()),
    ("timm-mobilenetv3_small_050-10.safetensors",            TIMM,        "safetensors",  "",      ()),
    ("timm-mobilenetv3_rw-10-legacy.pth",                    RW,          "torch-legacy", "",      ()),
    ("showlo-mobilenetv3_small-10-legacy.pth",               SHOWLO,      "torch-legacy", "",      ()),
    ("showlo-mobilenetv3_small-10-legacy-dataparallel.pth",  SHOWLO,      "torch-legacy", "",      ()),
    ("sqlai-mobilenetv3_small-10.pth",                       SQLAI,       "torch",        "",      ()),
    ("sqlai-mobilenetv3_small-10-checkpoint-449.pth",        SQLAI,       "torch",        "model", ()),
    ("sqlai-mobilenetv3_small-10-checkpoint-best.pth",       SQLAI,       "torch",        "model", ("model_ema",)),
    ("ppcls-MobileNetV3_small_x0_35-10.pdparams",            PPCLS,       "paddle",       "",      ()),
    ("ppcls-MobileNetV3_small_x0_35-10-protocol2.pdparams",  PPCLS,       "paddle",       "",      ()),
    ("ppcls-MobileNetV3_small_x0_35-10-numpy2.pdparams",     PPCLS,       "paddle",       "",      ()),
    ("keras-weights_mobilenet_v3_small_224_1.0_float-10.h5", KERAS,       "keras-legacy", "",      ()),
    ("keras-weights_mobilenet_v3_small_224_1.0_float-10-fixedstrings.h5", KERAS, "keras-legacy", "", ()),
)
ORDERED = (  # formats with names of their own, whose order is the golden state's
    ("keras-MobileNetV3Small-10-keras3-legacy.h5",               KERAS, "keras-legacy"),
    ("ppcls-MobileNetV3_small_x0_35-10-inference-old.pdiparams", PPCLS, "paddle-inference"),
    ("ppcls-MobileNetV3_small_x0_35-10-inference.pdiparams",     PPCLS, "paddle-inference"),
    ("ppcls-MobileNetV3_small_x0_35-10-paddle2onnx.onnx",        PPCLS, "onnx"),
)
FOLDED = (
    # file                                           golden state Conv Gemm
    ("torchvision-mobilenet_v3_small-10.onnx",        TORCHVISION, 52, 2),
    ("torchvision-mobilenet_v3_small-10-dynamo.onnx", TORCHVISION, 52, 2),
    ("timm-mobilenetv3_small_050-10.onnx",            TIMM,        53, 1),
    ("timm-mobilenetv3_small_050-10-dynamo.onnx",     TIMM,        53, 1),
)
# fmt: on
KERAS3 = "keras-MobileNetV3Small-10.weights.h5"
PPOCR = goldens.SHARED / "golden" / "ppocr_cls" / "ch_ppocr_mobile_v2.0_cls_infer.onnx"
BESIDE = (".pdmodel", ".json", ".info")  # files that hold no tensors


def test_every_file_of_the_golden_data_is_read_by_some_test():
    tested = {row[0] for table in (NAMED, ORDERED, FOLDED) for row in table} | {KERAS3}
    assert tested == {name for name in files.unpacked() if not name.endswith(BESIDE)}


@pytest.mark.parametrize("name, network, kind, taken, others", NAMED, ids=[row[0] for row in NAMED])
def test_names_order_and_bits(name, network, kind, taken, others):
    checkpoint = read_checkpoint(files.unpacked()[name])
    assert (checkpoint.format, checkpoint.taken, checkpoint.others) == (kind, taken, others)
    expected = files.state(network)
    if kind == "safetensors":  # its writer sorts
        assert sorted(checkpoint.arrays) == sorted(expected)
        expected = {key: expected[key] for key in checkpoint.arrays}
    files.assert_same(checkpoint.arrays, expected)


@pytest.mark.parametrize(
    "name, network, kind, taken, others", NAMED[:9:4] + NAMED[9:12], ids=lambda value: str(value)[:60]
)
def test_bytes_give_the_same_as_the_path(name, network, kind, taken, others):
    path = files.unpacked()[name]
    files.assert_same(read_checkpoint(path.read_bytes()).arrays, read_checkpoint(str(path)).arrays)


@pytest.mark.parametrize("name, network, kind", ORDERED, ids=[row[0] for row in ORDERED])
def test_order_and_bits(name, network, kind):
    checkpoint = read_checkpoint(files.unpacked()[name])
    assert checkpoint.format == kind
    found, expected = list(checkpoint.arrays.values()), files.state(network)
    assert len(found) == len(expected)
    for array, (golden_name, golden) in zip(found, expected.items(), strict=True):
        assert array.size == golden.size and array.dtype == golden.dtype, golden_name
        assert np.array_equal(array.ravel(), golden.ravel()), golden_name


def test_structured_names_of_paddle_are_kept():
    checkpoint = read_checkpoint(files.unpacked()["ppcls-MobileNetV3_small_x0_35-10.pdparams"])
    internal = checkpoint.metadata["StructuredToParameterName@@"]
    assert list(internal) == list(checkpoint.arrays)
    assert internal["conv.bn._mean"] == "batch_norm_0.w_1"


def test_averaged_weights_are_taken_on_demand():
    path = files.unpacked()["sqlai-mobilenetv3_small-10-checkpoint-best.pth"]
    plain, averaged = read_checkpoint(path), read_checkpoint(path, key="model_ema")
    assert (averaged.taken, averaged.others) == ("model_ema", ("model",))
    assert list(averaged.arrays) == list(plain.arrays)
    assert not np.array_equal(averaged.arrays["conv1.weight"], plain.arrays["conv1.weight"])
    assert "took 'model'; the file also holds 'model_ema'" in plain.notes


def test_keras_3_names_its_layers_by_attribute():
    golden = files.state("keras/MobileNetV3Small")
    legacy = read_checkpoint(files.unpacked()["keras-MobileNetV3Small-10-keras3-legacy.h5"]).arrays
    weights = read_checkpoint(files.unpacked()[KERAS3]).arrays
    assert sorted(weights) == sorted(legacy)
    files.assert_same({name: weights[name] for name in legacy}, legacy)
    assert len(golden) == len(weights) == 210


@pytest.mark.parametrize("name, network, convs, gemms", FOLDED, ids=[row[0] for row in FOLDED])
def test_folded_onnx_keeps_what_had_no_norm(name, network, convs, gemms):
    checkpoint = read_checkpoint(files.unpacked()[name])
    layers = [layer for layer in checkpoint.layers if layer.op in ("Conv", "Gemm")]
    assert [layer.op for layer in layers].count("Conv") == convs and len(layers) == convs + gemms
    weights = [(key, array) for key, array in files.state(network).items() if array.ndim > 1]
    assert len(weights) == len(layers)
    for layer, (key, golden) in zip(layers, weights, strict=True):
        assert layer.params["weight"].shape == golden.shape and layer.params["bias"].shape == golden.shape[:1], key
        bias = files.state(network).get(key.replace(".weight", ".bias"))
        if bias is not None:
            assert np.array_equal(layer.params["weight"], golden) and np.array_equal(layer.params["bias"], bias), key
    assert layers[0].attributes["strides"] == (2, 2) and layers[0].attributes["pads"] == (1, 1, 1, 1)
    assert {round(layer.attributes["alpha"], 6) for layer in checkpoint.layers if layer.op == "HardSigmoid"} == {
        0.166667
    }
    assert not checkpoint.notes


def test_paddle2onnx_layers():
    checkpoint = read_checkpoint(files.unpacked()["ppcls-MobileNetV3_small_x0_35-10-paddle2onnx.onnx"])
    layers = checkpoint.layers
    assert layers[-1].op == "Softmax" and "the graph ends in softmax" in checkpoint.notes[0]
    golden = files.state("ppcls/MobileNetV3_small_x0_35")
    squeeze = [layer for layer in layers if layer.op == "Conv" and "bias" in layer.params]
    assert len(squeeze) == 18  # two in each of nine gates, their biases from Adds
    assert np.array_equal(squeeze[0].params["bias"], golden["blocks.0.mid_se.conv1.bias"])
    alphas = [round(layer.attributes["alpha"], 4) for layer in layers if layer.op == "HardSigmoid"]
    assert alphas.count(0.2) == 9 and alphas.count(0.1667) == 19
    constants = [layer for layer in layers if layer.op == "Mul" and "constant" in layer.params]
    assert [layer.params["constant"].item() for layer in constants] == [pytest.approx(0.8)]
    assert layers[1].op == "BatchNormalization" and layers[1].attributes["epsilon"] == pytest.approx(1e-5)
    assert list(layers[1].params) == ["gamma", "beta", "mean", "variance"]
    last = layers[-2]
    assert last.op == "MatMul" and np.array_equal(last.params["weight"], golden["fc.weight"].T)
    assert np.array_equal(last.params["bias"], golden["fc.bias"])


def test_text_direction_classifier():
    checkpoint = read_checkpoint(PPOCR)
    assert len(checkpoint.arrays) == 213 and sum(array.size for array in checkpoint.arrays.values()) == 133_628
    names = list(checkpoint.arrays)
    assert names[:5] == ["conv1_weights", "conv1_bn_scale", "conv1_bn_offset", "conv1_bn_mean", "conv1_bn_variance"]
    assert names[-2:] == ["fc_0.w_0", "fc_0.b_0"] and "conv2_se_1_offset" in names
    ops = [layer.op for layer in checkpoint.layers]
    assert (ops.count("Conv"), ops.count("BatchNormalization"), ops.count("MaxPool"), ops[-1]) == (53, 35, 1, "Softmax")
    strides = {layer.attributes["strides"] for layer in checkpoint.layers if layer.op == "Conv"}
    assert strides == {(1, 1), (2, 1), (2, 2)}
    biased = [layer for layer in checkpoint.layers if layer.op == "Conv" and "bias" in layer.params]
    assert len(biased) == 18
