"""ONNX files: run by onnx's own evaluator and by ONNX Runtime, each graph gives what the reference engine gives."""

import json

import numpy as np
import pytest
from random_networks import random_params
from states import random_state

import npmnv3
from npmnv3.cli import export_command
from npmnv3.conversion import convert
from npmnv3.errors import WriteError
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant, list_models

onnx = pytest.importorskip("onnx", reason="needs the package onnx")

from onnx_evaluator import run_all  # noqa: E402

from npmnv3.export.onnx import export_onnx  # noqa: E402

SMALL = "torchvision/mobilenet_v3_small"


def random_model(name, num_classes=7, seed=0, **options):
    """A model with random weights, tame enough that its gates do not all saturate, in float64."""
    plan = make_plan(get_variant(name), num_classes)
    drawn = random_params(plan, np.random.default_rng(seed))
    roles = {param.name: param.role for step in plan for param in step.params if param.role != "count"}
    params = {key: drawn[key] * np.float32(0.7 if role == "weight" else 1) for key, role in roles.items()}
    return npmnv3.load(name, params, num_classes, engine="numpy", dtype="float64", **options)


def picture(side, batch=1, seed=1):
    return np.random.default_rng(seed).standard_normal((batch, 3, *side)).astype(np.float32)


def assert_close(name, found, expected, bound=5e-5):
    """Within `bound` of the tensor's largest value: float32 rounding, many layers on."""
    error = np.abs(found - expected)
    worst, allowed = float(error.max()), float(bound * np.abs(expected).max())
    place = tuple(int(i) for i in np.unravel_index(error.argmax(), error.shape))
    assert worst <= allowed, f"{name}: off by {worst:.3g} at {place}, allowed {allowed:.3g}"


@pytest.mark.parametrize("folded", [False, True], ids=["norms kept", "folded"])
@pytest.mark.parametrize("name", list_models())
def test_every_tensor_of_every_network(name, folded, tmp_path):
    model = random_model(name)
    side = get_variant(name).min_side
    side = (side[0], side[1] + 5)  # odd and not square: TensorFlow's padding is another there
    x = picture(side)
    proto = export_onnx(model, tmp_path / "x.onnx", side=side, folded=folded)
    onnx.checker.check_model(str(tmp_path / "x.onnx"), full_check=True)
    found, expected = run_all(proto, x), model.trace(x)
    normed = {step.inputs[0] for step in model.plan_for(side) if step.op == "batch_norm"} if folded else ()
    for step in model.plan_for(side, folded):
        if step.name in normed:  # a folded layer gives what its norm gave
            continue
        assert_close(step.name, found[step.name].reshape(1, *step.shape), expected[step.name])
    extra = set(found) - {step.name for step in model.plan_for(side, folded)}
    assert extra == {"pool.map"}, "a tensor that is no step's"


@pytest.mark.parametrize("name", list_models())
def test_onnx_runtime(name, tmp_path):
    ort = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
    model, side = random_model(name), get_variant(name).min_side
    export_onnx(model, tmp_path / "x.onnx", side=side, dynamic_batch=True, softmax=True)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(tmp_path / "x.onnx"), options, providers=["CPUExecutionProvider"])
    x = picture(side, batch=3)
    (found,) = session.run(["probabilities"], {"input": x})
    logits = model(x)
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    # What rounding moves a logit by, it moves a probability by at most, relatively.
    bound = 1e-5 + 2e-5 * np.abs(logits).max()
    assert_close("probabilities", found, expected / expected.sum(axis=1, keepdims=True), bound)


def initializers(proto):
    return {weight.name: onnx.numpy_helper.to_array(weight) for weight in proto.graph.initializer}


def test_kept_weights_are_the_sources_bit_for_bit(tmp_path):
    model = random_model(SMALL)
    stored = initializers(export_onnx(model, tmp_path / "x.onnx"))
    shapes = npmnv3.param_shapes(SMALL, 7)
    assert set(stored) == {name for name in shapes if not name.endswith("num_batches_tracked")}
    for name, array in stored.items():
        assert array.shape == shapes[name] and array.dtype == np.float32, name
        assert array.tobytes() == model.params[name].tobytes(), name


def test_graph_is_plain(tmp_path):
    model = random_model("keras/MobileNetV3Large")
    proto = export_onnx(model, tmp_path / "x.onnx", folded=True)
    assert proto == onnx.load(tmp_path / "x.onnx")
    ops = [node.op_type for node in proto.graph.node]
    assert ops.count("HardSwish") == 21 and ops.count("HardSigmoid") == 8 and ops.count("Gemm") == 2
    assert not {"BatchNormalization", "Transpose", "Reshape", "Constant", "Pad", "Clip"} & set(ops)
    nodes = {node.name: node for node in proto.graph.node}
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in nodes["blocks.3.depthwise.conv"].attribute}
    assert attributes == {"group": 72, "kernel_shape": [5, 5], "pads": [1, 1, 2, 2], "strides": [2, 2]}
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in proto.graph.value_info}
    assert (
        shapes["blocks.3.se"] == [1, 72, 28, 28]
        and shapes["blocks.3.gate"] == [1, 72, 1, 1]
        and shapes["pool"] == [1, 960]
    )


def test_metadata_tell_the_network(tmp_path):
    model = npmnv3.load("ppocr/text_direction", engine="numpy")
    props = {p.key: p.value for p in export_onnx(model, tmp_path / "x.onnx").metadata_props}
    assert (props["source"], props["variant"], props["num_classes"]) == ("ppocr", "text_direction", "2")
    assert (
        json.loads(props["labels"]) == ["0", "180"]
        and props["licence"] == "Apache-2.0"
        and props["batch_norm"] == "kept"
    )
    recipe = npmnv3.network.spec.Preprocess(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(props["preprocess"]).items()}
    )
    assert recipe == model.preprocess


def test_same_bytes_again(tmp_path):
    for name in "ab":
        export_onnx(random_model(SMALL), tmp_path / name, folded=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_folded_weights(tmp_path):
    whole = random_model(SMALL)
    proto = export_onnx(whole, tmp_path / "x.onnx", folded=True)
    plan = make_plan(get_variant(SMALL), 7, folded=True)
    shapes = {param.name: param.shape for step in plan for param in step.params}
    folded = npmnv3.load(SMALL, {k: v.reshape(shapes[k]) for k, v in initializers(proto).items()}, engine="numpy")
    again = export_onnx(folded, tmp_path / "y.onnx")
    assert again.graph.node == proto.graph.node and initializers(again).keys() == initializers(proto).keys()
    with pytest.raises(npmnv3.UsageError, match="cannot be kept: its weights have them folded already"):
        export_onnx(folded, tmp_path / "z.onnx", folded=False)


@pytest.mark.parametrize("folded", [False, True], ids=["norms kept", "folded"])
@pytest.mark.parametrize(
    "name", [SMALL, "ppcls/MobileNetV3_small_x0_35", "keras/MobileNetV3Small", "sqlai/mobilenetv3_small"]
)
def test_there_and_back(name, folded, tmp_path):
    model = random_model(name)
    export_onnx(model, tmp_path / "x.onnx", folded=folded, softmax=folded)
    convert(tmp_path / "x.onnx", tmp_path / "x.h5", model=name)
    back = npmnv3.load(tmp_path / "x.h5", engine="numpy", dtype="float64")
    x = picture((64, 64))
    assert back.folded == folded
    if folded:
        assert_close("logits", back(x), model(x), 1e-6)
    else:
        assert back(x).tobytes() == model(x).tobytes()


def test_what_the_file_says_of_pictures_and_classes_comes_back(tmp_path):
    recipe, dump, name = npmnv3.Preprocess("own", side=(64, 96), mean=(0.5, 0.4, 0.3)), tmp_path / "a.npz", SMALL
    state = random_state(name, 3)
    npmnv3.write_dump(dump, state, model=name, labels=["a", "b", "c"], preprocess=recipe, licence="mine")
    export_onnx(npmnv3.load(dump), tmp_path / "a.onnx")
    convert(tmp_path / "a.onnx", tmp_path / "b.npz")
    back = npmnv3.load(tmp_path / "b.npz")
    assert (back.labels, back.preprocess, back.attributes["licence"]) == (("a", "b", "c"), recipe, "mine")
    for key, value in (("labels", "7"), ("preprocess", '{"side": "x"}'), ("preprocess", "[")):  # by another's hand
        model = onnx.load(tmp_path / "a.onnx")
        next(prop for prop in model.metadata_props if prop.key == key).value = value
        onnx.save(model, tmp_path / "c.onnx")
        convert(tmp_path / "c.onnx", tmp_path / "c.npz")
        assert npmnv3.load(tmp_path / "c.npz").num_classes == 3


def test_wrong_use_leaves_nothing(tmp_path):
    model = random_model(SMALL)
    with pytest.raises(npmnv3.UsageError, match="an input of 31 x 40 pixels is too small"):
        export_onnx(model, tmp_path / "x.onnx", side=(31, 40))
    with pytest.raises(WriteError, match="nowhere.*cannot be written"):
        export_onnx(model, tmp_path / "nowhere" / "x.onnx")
    params = {name: array.astype(np.float64) for name, array in model.params.items()}
    params["features.0.0.weight"][0, 0, 0, 0] = 1e300
    large = npmnv3.load(SMALL, params, engine="numpy", dtype="float64")
    with pytest.raises(npmnv3.WeightsError, match="features.0.0.weight has values beyond float32's range"):
        export_onnx(large, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def run_command(*argv):
    import argparse

    parser = argparse.ArgumentParser()
    export_command.add_arguments(parser)
    return export_command.run(parser.parse_args([str(a) for a in argv]))


def test_command(tmp_path, capsys):
    out = tmp_path / "direction.onnx"
    assert (
        run_command("ppocr/text_direction", "-o", out, "--folded", "--dynamic-batch", "--side", 48, 100, "--softmax")
        == 0
    )
    assert (
        f"{out}: ppocr/text_direction, 2 classes, input Nx3x48x100, output probabilities, batch norm folded"
        in capsys.readouterr().out
    )
    proto = onnx.load(out)
    assert proto.graph.output[0].name == "probabilities" and "BatchNormalization" not in {
        n.op_type for n in proto.graph.node
    }
    assert run_command("ppocr/text_direction", "-o", out) == 0
    assert [d.dim_value for d in onnx.load(out).graph.input[0].type.tensor_type.shape.dim] == [1, 3, 48, 192]


@pytest.mark.parametrize(
    ("argv", "error", "message"),
    [
        (["ppocr/text_direction", "--classes", "3"], npmnv3.WeightsError, "misshapen"),
        (["ppocr/text_direction", "--side", "9", "9", "9"], npmnv3.UsageError, "found 3 numbers"),
        (["showlo/mobilenetv3_small"], npmnv3.MissingWeightsError, "weights of showlo/mobilenetv3_small are not here"),
    ],
)
def test_command_refuses(argv, error, message, tmp_path, monkeypatch):
    monkeypatch.setenv("NPMNV3_CACHE", str(tmp_path / "no cache"))
    with pytest.raises(error, match=message):
        run_command(*argv, "-o", tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())
