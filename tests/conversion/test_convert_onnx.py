"""ONNX graphs as exporters write them, by hand, to dumps: told by layers, padding and activations, or refused."""

import checkpoint_files as files
import goldens
import numpy as np
import pytest
from onnx_graphs import SIZES, chained, graph

import npmnv3
from npmnv3.conversion import convert, convert_state, identify
from npmnv3.conversion.formats import Checkpoint, Layer
from npmnv3.dumps.dumps import load_weights
from npmnv3.network.variants import get_variant

RW = "timm/mobilenetv3_rw"
PPCLS = "ppcls/MobileNetV3_small_x0_35"


def loaded(arrays, model):
    return npmnv3.load(model, arrays, engine="numpy", dtype="float64")


def assert_same_logits(found, expected, side=(64, 96)):
    x = np.random.default_rng(2).standard_normal((1, 3, *side))
    a, b = found(x), expected(x)
    worst, peak = np.abs(a - b).max(), np.abs(b).max()
    assert worst < 1e-4 * peak, f"logits of up to {peak:.3g} differ by up to {worst:.3g}"


ONNX_KINDS = {
    "torch": {},
    "torch, old opset": {"decomposed": True, "pads": False},
    "norms kept": {"norms": "kept"},
    "some norms kept": {"norms": "mixed"},
    "norms as products and sums": {"norms": "affine"},
    "paddle": {"norms": "kept", "decomposed": True},
    "gain folded": {"gain": "folded"},
    "all convolutions": {"pooled_as": "Conv"},
}


@pytest.mark.parametrize("kind", ONNX_KINDS)
@pytest.mark.parametrize(
    "model",
    [
        PPCLS,
        "sqlai/mobilenetv3_large",
        "showlo/mobilenetv3_small",
        RW,
        "torchvision/mobilenet_v3_small",
        "keras/MobileNetV3Small",
        "keras/MobileNetV3Small_minimalistic",
        "ppocr/text_direction",
    ],
)
def test_onnx(model, kind):
    checkpoint, state = graph(model, **ONNX_KINDS[kind])
    found = identify(checkpoint)
    assert found.fits, found.contradictions
    # Where all layers on pooled channels are convolutions, nothing tells torchvision's network from timm's.
    assert found.model == model or (kind, found.model) == ("all convolutions", "timm/mobilenetv3_small_100")
    assert found.num_classes == 7 and found.folded == (ONNX_KINDS[kind].get("norms") != "kept"), found
    assert any("classifier's weight is multiplied by 1.25" in n for n in found.notes) == (
        kind == "gain folded" and model == PPCLS
    )
    arrays = convert_state(checkpoint, found.variant, 7)
    if not found.folded:
        files.assert_same(
            arrays, {name: array for name, array in state.items() if not name.endswith("num_batches_tracked")}
        )
    assert_same_logits(loaded(arrays, found.model), loaded(state, model))


@pytest.mark.parametrize(
    "model", ["timm/tf_mobilenetv3_small_100", "timm/tf_mobilenetv3_large_minimal_100", "keras/MobileNetV3Large_075"]
)
def test_onnx_tells_padding(model):
    checkpoint, _ = graph(model)
    assert identify(checkpoint).model == model


def test_onnx_tells_by_names_where_some_are_left():
    checkpoint, state = graph("timm/mobilenetv3_small_100", pooled_as="Gemm")
    assert identify(checkpoint).model == "torchvision/mobilenet_v3_small"  # the same function, and of this form
    named = Checkpoint(
        "onnx", {name: state[name] for name in list(state) if name.startswith("c")}, layers=checkpoint.layers
    )
    assert identify(named).model == "timm/mobilenetv3_small_100"


def test_onnx_tells_epsilon_where_norms_are_kept():
    for model in ("timm/mobilenetv3_large_100", "timm/tf_mobilenetv3_large_100", "torchvision/mobilenet_v3_large"):
        assert identify(graph(model, norms="kept")[0]).model == model


def test_onnx_with_another_epsilon_is_folded_with_it():
    checkpoint, state = graph(RW, norms="kept", eps=1e-1)
    found = identify(checkpoint)
    assert found.model == RW and found.folded
    arrays, (twin, _) = convert_state(checkpoint, found.variant), graph(RW, eps=1e-1)
    for name, array in convert_state(twin, found.variant).items():
        assert np.abs(arrays[name] - array).max() <= 1e-6 * np.abs(array).max(), name


def changed(checkpoint, change):
    """The graph with each layer replaced by what `change` makes of it, one after another."""
    layers, moved = [], []
    for x in checkpoint.layers:
        sources, made = tuple(moved[place] for place in x.inputs), change(x)
        layers += chained(made, sources, len(layers))
        moved.append(len(layers) - 1 if made else sources[0])
    return Checkpoint("onnx", {}, layers=tuple(layers))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x: (
                [Layer(x.op, x.name, x.params, {**x.attributes, "strides": (1, 1)})] if x.name == "stem.conv" else [x]
            ),
            "strides",
        ),
        (
            lambda x: [] if x.name == "blocks.3.depthwise" else [x],
            "reads the mean of blocks.3.depthwise.conv, expected the mean of hard-swish of blocks.3.depthwise.conv",
        ),
        (lambda x: [Layer("Relu", x.name)] if x.name == "head" else [x], "reads relu of head.fc, expected hard-swish"),
        (
            lambda x: [Layer("Sigmoid", x.name)] if x.name == "blocks.0.gate" else [x],
            "and Sigmoid of blocks.0.se.excite, expected",
        ),
        (
            lambda x: [Layer(x.op, x.name, {}, {})] if x.op == "HardSigmoid" else [x],
            "gate of slope 0.2 of blocks.0.se.excite, expected",
        ),
        (
            lambda x: [x, Layer("MaxPool", "m")] if x.name == "blocks.0.depthwise" else [x],
            "the mean of the maximum of relu",
        ),
        (lambda x: [x, Layer("Erf", "e")] if x.name == "last" else [x], "the mean of Erf of hard-swish"),
        (
            lambda x: [x, Layer("Mul", "m", {"constant": np.ones(16)})] if x.name == "stem" else [x],
            "the product of hard-swish of stem.conv, expected hard-swish",
        ),
        (
            lambda x: [x, Layer("BatchNormalization", "n", {"gamma": np.ones(7)})] if x.name == "stem.conv" else [x],
            "reads hard-swish of BatchNormalization of stem.conv",
        ),
        (
            lambda x: [x, Layer("BatchNormalization", "n", {"gamma": np.ones(16)})] if x.name == "stem" else [x],
            "reads BatchNormalization of hard-swish of stem.conv",
        ),
        (
            lambda x: [x, Layer("Min", "m", {"most": np.arange(99.0, 115)})] if x.name == "stem" else [x],
            "reads Min of hard-swish of stem.conv",
        ),
        (
            lambda x: [x, Layer("Transpose", "t", {}, {"perm": (0, 1, 3, 2)})] if x.name == "stem" else [x],
            "reads Transpose of hard-swish of stem.conv",
        ),
        (
            lambda x: [Layer("Pad", "p", {}, {"pads": (0, 0, 1, 1, 0, 0, 1, 1)}), x] if x.name == "stem" else [x],
            "reads hard-swish of Pad of stem.conv",
        ),
        (lambda x: [] if x.name == "blocks.1.project.conv" else [x], "53 layers with weights, not 54"),
        (
            lambda x: (
                [x, Layer("Mul", "twice", {"constant": np.array(2.0)})] if x.name == "blocks.0.depthwise" else [x]
            ),
            "reads a multiple of the mean of relu",
        ),
        (
            lambda x: [Layer(x.op, x.name, x.params, {"strides": (2, 2)})] if x.name == "stem.conv" else [x],
            r"pads \(0, 0, 0, 0\)",
        ),
    ],
)
def test_onnx_of_another_function_is_refused(change, message):
    checkpoint = changed(graph("torchvision/mobilenet_v3_small")[0], change)
    found = identify(checkpoint)
    assert not found.fits
    with pytest.raises(npmnv3.WeightsError, match="is not torchvision/mobilenet_v3_small:\n.*" + message):
        convert_state(checkpoint, get_variant("torchvision/mobilenet_v3_small"))


def test_onnx_without_zero_biases():
    """New exporters leave a bias of zeros out."""
    model = "timm/mobilenetv3_small_075"
    checkpoint, state = graph(model)
    bare = changed(
        checkpoint,
        lambda x: [Layer(x.op, x.name, {"weight": x.params["weight"]})] if ".se." in x.name and x.params else [x],
    )
    found = identify(bare)
    assert found.fits and found.model == model
    arrays = convert_state(bare, found.variant)
    zeroed = {
        name: np.zeros_like(array) if ".se." in name and name.endswith("bias") else array
        for name, array in state.items()
    }
    assert arrays["blocks.0.0.se.conv_reduce.bias"].tolist() == [0] * 8
    assert_same_logits(loaded(arrays, model), loaded(zeroed, model))


def test_onnx_bias_that_the_network_has_no_place_for():
    checkpoint, _ = graph("showlo/mobilenetv3_small")

    def change(x):
        ones = {"bias": np.ones(1024, "f4")}
        return (
            [Layer(x.op, x.name, {**x.params, **ones}, x.attributes)] if x.name.startswith("head") and x.params else [x]
        )

    found = identify(changed(checkpoint, change))
    assert not found.fits and "has a bias, none expected" in found.contradictions[0]


def test_onnx_padding_that_the_graph_computes():
    """timm's "same" convolutions, exported with sizes open, compute their padding: arithmetic that is no layer's."""
    model = "timm/tf_mobilenetv3_small_075"
    checkpoint, state = graph(model, pads=False)
    sizes = [
        Layer("Div", SIZES, {"constant": np.array(2.0)}),
        Layer("Ceil", "s"),
        Layer("Sub", "s", {"constant": np.array(1.0)}),
    ]
    sizes += [Layer("Mul", "s", {"constant": np.array(2.0)}), Layer("Clip", "s"), Layer("Transpose", "s")]
    dynamic = changed(checkpoint, lambda x: [*sizes, x] if x.op == "Pad" else [x])
    found = identify(dynamic)
    assert found.fits and found.model == model and not any("prepares" in note for note in found.notes)
    assert_same_logits(loaded(convert_state(dynamic, found.variant), model), loaded(state, model))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("before", "after", "fits"), [(0, 1, True), (1, 1, False), (1, 0, False)])
def test_onnx_padding_by_nodes_of_known_size(before, after, fits, channels_last):
    sides = (0, before, before, 0, 0, after, after, 0) if channels_last else (0, 0, before, before, 0, 0, after, after)
    pad = Layer("Pad", "pad", {}, {"pads": sides})
    checkpoint, _ = graph("keras/MobileNetV3Large_minimalistic", pads=False)
    found = identify(changed(checkpoint, lambda x: [pad] if x.op == "Pad" else [x]))
    # None of the minimalistic networks pads the same on both sides.
    assert (found.fits, found.model) == (fits, "keras/MobileNetV3Large_minimalistic"), found.contradictions


def test_onnx_with_channels_last_and_norms_as_arithmetic():
    """As Keras exports: transposed around each convolution, norms and biases as sums and products."""
    model = "keras/MobileNetV3Small_075"
    checkpoint, state = graph(model, norms="affine")

    def change(x):
        if x.op != "Conv":
            return [x]
        turn, bias = Layer("Transpose", "t", {}, {"perm": (0, 2, 3, 1)}), x.params.get("bias")
        add = [] if bias is None else [Layer("Sub", "b", {"constant": -bias.reshape(1, 1, 1, -1)})]
        return [turn, Layer("Conv", x.name, {"weight": x.params["weight"]}, x.attributes), turn, *add]

    found = identify(changed(checkpoint, change))
    assert found.fits and found.model == model, found.contradictions
    arrays = convert_state(changed(checkpoint, change), found.variant)
    assert_same_logits(loaded(arrays, model), loaded(state, model))


def test_onnx_that_goes_on_behind_the_classifier_says_so():
    checkpoint, _ = graph("torchvision/mobilenet_v3_small")
    for more, told in (("Sigmoid", True), ("Softmax", False)):
        found = identify(Checkpoint("onnx", {}, layers=(*checkpoint.layers, Layer(more, "output"))))
        assert found.fits and any("behind the classifier the graph has" in text for text in found.warnings) == told


def test_onnx_with_preprocessing_inside_says_so():
    before = [
        Layer("Mul", "r", {"constant": np.array([1 / 127.5], "f4")}),
        Layer("Add", "r", {"constant": np.array([-1], "f4")}),
    ]
    checkpoint, _ = graph("keras/MobileNetV3Small")
    found = identify(changed(checkpoint, lambda x: [*before, x] if x.name == "stem.conv" else [x]))
    assert found.fits and any("prepares its input itself" in text for text in found.warnings)


def test_text_direction_from_its_published_graph(shared, tmp_path):
    done = convert(shared / "golden" / "ppocr_cls" / "ch_ppocr_mobile_v2.0_cls_infer.onnx", tmp_path / "x.npz")
    assert done.model == "ppocr/text_direction" and not done.folded and any("softmax" in note for note in done.notes)
    expected, found = (
        load_weights(p).arrays for p in (goldens.ROOT / "weights" / "ppocr--text_direction.h5", done.path)
    )
    files.assert_same({name: found[name] for name in expected}, expected)


def test_a_graph_of_float16_is_noted(tmp_path):
    onnx = pytest.importorskip("onnx")
    from npmnv3.export.onnx import export_onnx

    export_onnx(npmnv3.load("ppocr/text_direction", engine="numpy"), tmp_path / "a.onnx")
    assert not any("float16" in note for note in convert(tmp_path / "a.onnx", tmp_path / "a.h5").notes)
    model = onnx.load(tmp_path / "a.onnx")
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            array = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    onnx.save(model, tmp_path / "half.onnx")
    done = convert(tmp_path / "half.onnx", tmp_path / "half.h5")
    assert any(note.startswith("its weights are float16, and its values too") for note in done.notes), done.notes
