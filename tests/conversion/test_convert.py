"""Checkpoints to dumps: every format's golden logits, and files that the frameworks' goldens do not cover."""

import functools
import io
import os
import subprocess
import sys
import tracemalloc

import checkpoint_files as files
import goldens
import h5py
import numpy as np
import pytest
from checkpoint_files import framework_files, keras3_names
from command_line import run
from states import random_state, small_input

import npmnv3
from npmnv3.conversion import convert, convert_state, identify, load_checkpoint
from npmnv3.conversion.formats import Checkpoint, Layer, read_checkpoint
from npmnv3.conversion.match.fit import layers_of, norms_of
from npmnv3.dumps.dumps import load_weights
from npmnv3.errors import WriteError
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant

SMALL = "timm/mobilenetv3_small_050"
RW = "timm/mobilenetv3_rw"
PPCLS = "ppcls/MobileNetV3_small_x0_35"


def assert_holds(path, state):
    """A dump has these arrays, bit by bit; .npz and HDF5 may give them in another order."""
    arrays = load_weights(path).arrays
    assert arrays.keys() == state.keys()
    files.assert_same({name: arrays[name] for name in state}, state)


@functools.cache
def golden_logits(network):
    with h5py.File(files.FOLDER / f"{network.replace('/', '--')}@10.h5") as file:
        return {name: file["logits"][name][...] for name in file["logits"]}


@pytest.mark.parametrize("name", framework_files())
def test_golden_logits(name, shared, golden_inputs, tmp_path):
    done = convert(files.unpacked()[name], tmp_path / "dump.npz")
    # paddle rounds its constants to float32 even in a float64 run
    model = npmnv3.load(done.path, engine="numpy", dtype="float64", rounded_constants=name.startswith("ppcls"))
    worst = np.abs(model(golden_inputs.astype(np.float64)) - golden_logits(done.model)["f64"]).max()
    assert worst < (1e-3 if done.folded else 1e-9), f"{name}: logits differ by up to {worst:.3g}"
    assert done.num_classes == 10 and done.origin.startswith(f"{name} (sha256 ")


@pytest.mark.parametrize("model", npmnv3.list_models())
def test_every_network_with_another_head(model, tmp_path):
    """A fine-tuned head of 37 classes, as the source's own file format has it, gives every array back."""
    state, path = random_state(model, 37, seed=5), tmp_path / "checkpoint"
    source = model.partition("/")[0]
    if source == "keras":
        layers = {}
        for name, array in state.items():
            layers.setdefault(name.rpartition("/")[0], {})[name] = array
        path.write_bytes(files.keras_legacy(layers))
    elif source == "ppcls":
        path.write_bytes(files.pickled({name: files.paddle_array(array) for name, array in state.items()}))
    elif source == "ppocr":
        write_inference(path, state)
        path = path.with_suffix(".pdiparams")
    else:
        path.write_bytes(files.safetensors(state))
    done = convert(path, tmp_path / "dump.npz", None if "tf_" not in model and "ssld" not in model else model)
    assert (done.model, done.num_classes, done.folded) == (model, 37, False)
    assert_holds(done.path, state)


def write_inference(stem, state):
    """Paddle's inference files, with internal names whose sorted order is not the program's."""
    internal = {f"w_{i}.b": array for i, array in enumerate(state.values())}
    operations = [("op", {"X": [name]}) for name in internal]
    stem.with_suffix(".pdmodel").write_bytes(files.pdmodel({n: a.shape for n, a in internal.items()}, operations))
    stem.with_suffix(".pdiparams").write_bytes(files.pdiparams(internal))


@pytest.mark.parametrize("model", ["ppcls/MobileNetV3_large_x1_25", "ppocr/text_direction"])
def test_paddle_inference_by_order(model, tmp_path):
    state = random_state(model, 3)
    write_inference(tmp_path / "inference", state)
    done = convert(tmp_path / "inference.pdiparams", tmp_path / "dump.h5")
    assert done.model == model
    assert_holds(done.path, state)


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("model", ["keras/MobileNetV3Large_075", "keras/MobileNetV3Small_minimalistic"])
def test_keras_3(model, numbered):
    state = random_state(model, 8)
    checkpoint = Checkpoint("keras-weights", keras3_names(state, numbered))
    files.assert_same(convert_state(checkpoint, get_variant(model)), state)


# ONNX: graphs as exporters write them, by hand


def tame_state(model, num_classes):
    """A random state dict with which activations neither grow nor vanish."""
    rng, state = np.random.default_rng(9), random_state(model, num_classes, seed=9)
    for step in layers_of(make_plan(get_variant(model), num_classes)):
        weight = step.param("weight")
        spread = np.sqrt(2 / np.prod(weight.canonical[1:]))
        state[weight.name] = (spread * rng.standard_normal(weight.shape)).astype(np.float32)
    return state


def graph(model, num_classes=7, *, norms="folded", gain="kept", eps=None, pads=True, decomposed=False, pooled_as=None):
    """(Checkpoint of an ONNX graph, the state dict it was made of).

    norms : "folded" into the layers, "kept", "mixed" (every third one kept) or "affine" (kept as Mul and Add)
    gain : "kept" or "folded" into the classifier
    """
    plan, state = make_plan(get_variant(model), num_classes), tame_state(model, num_classes)
    weighted, following, layers = layers_of(plan), norms_of(plan), []
    normed = {norm.name for norm in following.values()}
    for step in plan:
        params = {p.role: p.to_canonical(state[p.name]).astype(np.float64) for p in step.params}
        if step in weighted:
            norm = following.get(step.name)
            if step.name == "logits" and gain == "folded" and any(s.op == "scale" for s in plan):
                params["weight"] = params["weight"] * 0.8
            affine = []
            if norm is not None:
                n = {p.role: state[p.name].astype(np.float64) for p in norm.params}
                factor = n["gamma"] / np.sqrt(n["variance"] + (eps or norm.eps))
                shift = n["beta"] - n["mean"] * factor
                if norms == "folded" or (norms == "mixed" and weighted.index(step) % 3):
                    shape = (-1, *(1,) * (params["weight"].ndim - 1))
                    params = {
                        "weight": params["weight"] * factor.reshape(shape),
                        "bias": params.get("bias", 0) * factor + shift,
                    }
                elif norms == "affine":
                    affine = [
                        Layer("Mul", "m", {"constant": factor.reshape(1, -1, 1, 1)}),
                        Layer("Add", "a", {"constant": shift}),
                    ]
                else:
                    roles = ("gamma", "beta", "mean", "variance")
                    affine = [Layer("BatchNormalization", "n", {r: n[r] for r in roles}, {"epsilon": eps or norm.eps})]
            layers += [*layer(step, params, pads, pooled_as), *affine]
        elif step.op == "scale" and gain == "folded":
            continue
        elif step.name not in normed:
            layers += other(step, decomposed)
    return Checkpoint("onnx", {}, layers=tuple(single(x) for x in layers)), state


def single(layer):
    return Layer(
        layer.op, layer.name, {k: np.asarray(v, np.float32) for k, v in layer.params.items()}, layer.attributes
    )


def layer(step, params, pads, pooled_as):
    weight, attributes = params["weight"], {}
    if step.op == "linear":
        op = pooled_as or ("Conv" if len(step.param("weight").shape) == 4 else "Gemm")
        weight = weight[:, :, None, None] if op == "Conv" else weight
        return [Layer(op, step.name, {**params, "weight": weight}, attributes)]
    if step.op == "depthwise_conv2d":
        weight, attributes["group"] = weight[:, None], len(weight)
    elif step.op == "pointwise_conv2d":
        weight = weight[:, :, None, None]
    top, bottom, left, right = step.pad
    before = []
    if pads or (top, left) == (bottom, right):
        attributes["pads"] = (top, left, bottom, right)
    else:
        before = [Layer("Pad", step.name + ".pad")]
    return [*before, Layer("Conv", step.name, {**params, "weight": weight}, {**attributes, "strides": step.stride})]


def other(step, decomposed):
    """An operation without weights as nodes."""

    def constant(op, value):
        return Layer(op, step.name, {"constant": np.array([value])})

    if step.op == "hard_swish":
        nodes = [Layer("HardSwish", step.name)]
        return (
            [constant("Add", 3.0), Layer("Clip", ""), Layer("Mul", ""), constant("Div", 6.0)] if decomposed else nodes
        )
    if step.op == "hard_sigmoid":
        if decomposed:
            return [constant("Mul", step.slope), constant("Add", 0.5), Layer("Clip", "")]
        return [Layer("HardSigmoid", step.name, {}, {"alpha": step.slope})]
    names = {
        "relu": "Relu",
        "global_avg_pool": "GlobalAveragePool",
        "mul": "Mul",
        "add": "Add",
        "max_pool2d": "MaxPool",
    }
    if step.op == "scale":
        return [constant("Mul", step.factor)]
    return [Layer(names[step.op], step.name)] if step.op in names else []


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
    return Checkpoint("onnx", {}, layers=tuple(out for x in checkpoint.layers for out in change(x)))


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
            "GlobalAveragePool behind it, blocks.3.depthwise.conv hard_swish",
        ),
        (lambda x: [Layer("Relu", x.name)] if x.name == "head" else [x], "has Relu behind it, head.fc hard_swish"),
        (
            lambda x: [Layer("Sigmoid", x.name)] if x.name == "blocks.0.gate" else [x],
            "Sigmoid behind it, blocks.0.se.excite",
        ),
        (lambda x: [Layer(x.op, x.name, {}, {})] if x.op == "HardSigmoid" else [x], "slope is 0.2, expected 0.1667"),
        (lambda x: [x, Layer("MaxPool", "m")] if x.name == "blocks.0.depthwise" else [x], "MaxPool and Relu"),
        (lambda x: [x, Layer("Erf", "e")] if x.name == "last" else [x], "Erf and GlobalAveragePool and HardSwish"),
        (lambda x: [x, Layer("Mul", "m", {"constant": np.ones(16)})] if x.name == "stem" else [x], "HardSwish and Mul"),
        (
            lambda x: [x, Layer("BatchNormalization", "n", {"gamma": np.ones(7)})] if x.name == "stem.conv" else [x],
            "BatchNormalization",
        ),
        (lambda x: [] if x.name == "blocks.1.project.conv" else [x], "53 layers with weights, not 54"),
        (
            lambda x: (
                [x, Layer("Mul", "twice", {"constant": np.array(2.0)})] if x.name == "blocks.0.depthwise" else [x]
            ),
            "Mul and Relu",
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
        Layer("Div", "s", {"constant": np.array(2.0)}),
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
        assert found.fits and any("behind the classifier the graph has" in note for note in found.notes) == told


def test_onnx_with_preprocessing_inside_says_so():
    before = (
        Layer("Mul", "r", {"constant": np.array([1 / 127.5], "f4")}),
        Layer("Add", "r", {"constant": np.array([-1], "f4")}),
    )
    checkpoint, _ = graph("keras/MobileNetV3Small")
    found = identify(Checkpoint("onnx", {}, layers=before + checkpoint.layers))
    assert found.fits and any("prepares its input itself" in note for note in found.notes)


def test_text_direction_from_its_published_graph(shared, tmp_path):
    done = convert(shared / "golden" / "ppocr_cls" / "ch_ppocr_mobile_v2.0_cls_infer.onnx", tmp_path / "x.npz")
    assert done.model == "ppocr/text_direction" and not done.folded and any("softmax" in note for note in done.notes)
    assert_holds(done.path, load_weights(goldens.ROOT / "weights" / "ppocr--text_direction.h5").arrays)


# The model named, files as people have them


def write(path, state):
    path.write_bytes(files.safetensors(state))
    return path


def test_a_wrong_model_is_refused_with_what_the_file_is(tmp_path):
    path = write(tmp_path / "x.safetensors", random_state(RW, 5))
    with pytest.raises(
        npmnv3.WeightsError, match="is timm/mobilenetv3_rw, not timm/mobilenetv3_large_100:\n.*widths 18, 30, 30"
    ) as e:
        convert(path, tmp_path / "x.h5", "timm/mobilenetv3_large_100")
    assert str(e.value).startswith(f"{path}: ") and "missing: conv_head.bias" in str(e.value)
    assert os.listdir(tmp_path) == ["x.safetensors"]
    with pytest.raises(npmnv3.UnknownModelError, match="nearest: "):
        convert(path, tmp_path / "x.h5", "timm/large_100")
    with pytest.raises(npmnv3.WeightsError, match="has 5 classes, expected 6"):
        convert_state(read_checkpoint(path), get_variant(RW), 6)


def test_checkpoint_without_a_dump_in_between(tmp_path):
    state = random_state(RW, 5)
    path = write(tmp_path / "x.safetensors", state)
    weights = load_checkpoint(path)
    assert weights.variant.full_name == RW and weights.attributes["origin"].startswith("x.safetensors (sha256 ")
    files.assert_same(weights.arrays, state)
    assert load_checkpoint(path, get_variant(RW), 5).num_classes == 5
    with pytest.raises(npmnv3.WeightsError, match="x.safetensors: has 5 classes, expected 1000"):
        load_checkpoint(path, num_classes=1000)


def test_named_model_decides_between_twins(tmp_path):
    path = write(tmp_path / "x.safetensors", random_state("timm/mobilenetv3_small_100", 5))
    plain, tf = "timm/mobilenetv3_small_100", "timm/tf_mobilenetv3_small_100"
    assert convert(path, tmp_path / "a.npz").model == plain and convert(path, tmp_path / "a.npz", tf).model == tf
    assert load_weights(tmp_path / "a.npz").variant.full_name == tf


def test_wrapped_checkpoint_with_key(tmp_path):
    states = [random_state(SMALL, 4, seed) for seed in (1, 2)]
    storages, top = {}, {"epoch": 3, "arch": "mobilenetv3"}
    for wrapper, state in zip(("state_dict", "state_dict_ema"), states, strict=True):
        top[wrapper] = {}
        for name, array in state.items():
            key = str(len(storages))
            storages[key] = array
            top[wrapper][f"module.{name}"] = files.tensor(
                key, array, kind="Long" if array.dtype.kind == "i" else "Float"
            )
    path = tmp_path / "checkpoint.pth.tar"
    path.write_bytes(files.torch_zip(top, storages))
    for key, expected in ((None, states[0]), ("state_dict_ema", states[1])):
        done = convert(path, tmp_path / "x.npz", key=key)
        assert done.model == SMALL and any("module." in note for note in done.notes)
        assert_holds(done.path, expected)


@pytest.mark.parametrize("writer", [files.torch_zip, files.torch_legacy])
@pytest.mark.parametrize("shared", [False, True])
def test_not_all_arrays_are_in_memory_at_once(writer, shared, tmp_path):
    """But where tensors share a storage, which is then held."""
    state = random_state("torchvision/mobilenet_v3_large", 10)
    counters = {name: array for name, array in state.items() if array.dtype.kind == "i"}
    values = {name: array for name, array in state.items() if array.dtype.kind == "f"}
    top = {name: files.tensor(name, array, kind="Long") for name, array in counters.items()}
    if shared:
        storages, place = {**counters, "all": np.concatenate([array.ravel() for array in values.values()])}, 0
        for name, array in values.items():
            top[name] = files.tensor("all", array, offset=place, count=storages["all"].size)
            place += array.size
    else:
        storages, top = state, top | {name: files.tensor(name, array) for name, array in values.items()}
    path = tmp_path / "x.pth"
    path.write_bytes(writer(top, storages))
    tracemalloc.start()
    try:
        done = convert(path, tmp_path / "x.npz")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert_holds(done.path, state)
    size, largest = path.stat().st_size, max(array.nbytes for array in state.values())
    assert peak < (2 * size if shared else 3 * largest + (3 << 20)), f"{peak} bytes for a file of {size}"


def test_attributes_and_background_labels(tmp_path):
    path = write(tmp_path / "x.safetensors", random_state("timm/tf_mobilenetv3_small_minimal_100", 1001))
    done = convert(path, tmp_path / "x.h5", dtype="float16")
    weights = load_weights(done.path)
    assert weights.labels == "imagenet-background" and weights.attributes["licence"] == "Apache-2.0"
    assert weights.attributes["origin"] == done.origin and done.origin.startswith("x.safetensors (sha256 ")
    assert {str(a.dtype) for a in weights.arrays.values()} == {"float16", "int64"}
    assert npmnv3.load(done.path, engine="numpy").labels[0] == "background"


def test_default_name_and_what_is_never_overwritten(tmp_path, monkeypatch):
    (tmp_path / "files").mkdir()
    monkeypatch.chdir(tmp_path)
    state = random_state("keras/MobileNetV3Small_minimalistic", 2)
    keras = tmp_path / "files" / "tuned.weights.h5"
    keras.write_bytes(files.keras_legacy({"all": state}))
    assert convert(keras).path == "tuned.h5" and convert(keras).path == "tuned.h5"  # a dump may be replaced
    local = tmp_path / "mine.h5"
    local.write_bytes(keras.read_bytes())
    with pytest.raises(npmnv3.UsageError, match="mine.h5 is the input itself"):
        convert("mine.h5")
    with pytest.raises(npmnv3.UsageError, match="mine.h5 is the input itself"):
        convert(local, local)
    other = write(tmp_path / "files" / "mine.safetensors", random_state(SMALL))
    with pytest.raises(npmnv3.UsageError, match="mine.h5 is there already and is no dump"):
        convert(other)
    assert local.read_bytes() == keras.read_bytes() and convert(other, local).model == SMALL
    for out in ("x.onnx", "x", tmp_path):
        with pytest.raises(npmnv3.UsageError, match="expected a name that ends in .h5"):
            convert(other, out)
    with pytest.raises(WriteError, match="nowhere.*cannot be written"):
        convert(other, tmp_path / "nowhere" / "x.npz")
    with pytest.raises(npmnv3.UsageError, match="given as a path, not as a bytes"):
        convert(b"x")


def test_values_are_checked_and_nothing_is_written(tmp_path):
    state = random_state(SMALL)
    state["bn1.running_var"][3] = np.nan
    path = write(tmp_path / "x.safetensors", state)
    with pytest.raises(npmnv3.WeightsError, match=r"x.safetensors: .*\n.*non-finite: bn1.running_var has 1 NaN"):
        convert(path, tmp_path / "x.h5")
    assert os.listdir(tmp_path) == ["x.safetensors"]


@pytest.mark.parametrize(("first", "second"), [(".h5", ".npz"), (".npz", ".h5"), (".npz", ".hdf5")])
def test_dump_to_the_other_format(first, second, tmp_path):
    state, a, b = random_state(PPCLS, 3), tmp_path / f"a{first}", tmp_path / f"b{second}"
    npmnv3.write_dump(a, state, model=PPCLS, labels=list("xyz"), preprocess="timm", origin="mine", licence="none")
    done, weights = convert(a, b), load_weights(b)
    assert done.model == PPCLS and done.origin == "mine" and weights.labels == ("x", "y", "z")
    assert weights.preprocess.name == "timm" and weights.attributes["licence"] == "none"
    files.assert_same({name: weights.arrays[name] for name in state}, state)
    with pytest.raises(npmnv3.WeightsError, match=f"says it is {PPCLS}, but {RW} was asked for"):
        convert(a, b, RW)
    with pytest.raises(npmnv3.UsageError, match="key='x'` is for training checkpoints"):
        convert(a, b, key="x")


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_arrays_that_do_not_say_whose_they_are(suffix, tmp_path):
    state, path = random_state(RW, 3), tmp_path / f"plain{suffix}"
    if suffix == ".npz":
        np.savez(path, **state)
    else:
        with h5py.File(path, "w") as file:
            for name, array in state.items():
                file[name] = array
    done = convert(path, tmp_path / "x.npz")
    assert done.model == RW and done.num_classes == 3 and done.reasons
    del state["bn1.weight"]
    np.savez(tmp_path / "less.npz", **state)
    with pytest.raises(
        npmnv3.WeightsError, match=f"less.npz: fits no network; the nearest is {RW}:\n  missing: bn1.weight"
    ):
        convert(tmp_path / "less.npz", tmp_path / "x.npz")


def test_npz_needs_numpy_alone(tmp_path):
    write(tmp_path / "x.safetensors", random_state(SMALL, 2))
    code = (
        "import sys; sys.modules['h5py'] = None\n"
        "from npmnv3.conversion import convert\n"
        "print(convert('x.safetensors', 'x.npz').model, convert('x.npz', 'y.npz', dtype='float16').model)"
    )
    environment = {**os.environ, "PYTHONPATH": str(goldens.ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.stdout == f"{SMALL} {SMALL}\n", done.stderr


def test_command(capsys, tmp_path):
    path = write(tmp_path / "x.safetensors", random_state(RW, 12))
    code, out, err = run(capsys, "convert", path, "-o", tmp_path / "x.h5", "--dtype", "float64")
    assert code == 0 and not err and out.startswith(f"{tmp_path / 'x.h5'}: {RW}, 12 classes\n")
    assert str(load_weights(tmp_path / "x.h5").arrays["conv_stem.weight"].dtype) == "float64"
    code, _, err = run(capsys, "convert", path, "-o", tmp_path / "y.h5", "--model", SMALL)
    assert code == 2 and f"is {RW}, not {SMALL}" in err and not (tmp_path / "y.h5").exists()


@pytest.mark.parametrize("command", ["convert", "identify"])
def test_hostile_file_writes_nothing(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stream = io.BytesIO(files.torch_zip({"a": files.Call("posix.system", "touch owned")}, {}))
    (tmp_path / "evil.pth").write_bytes(stream.getvalue())
    code, out, err = run(capsys, command, "evil.pth")
    assert code == 2 and "posix.system" in err and not out and os.listdir(tmp_path) == ["evil.pth"]


def test_converted_model_predicts(tmp_path):
    state = random_state(SMALL, 3)
    done = convert(write(tmp_path / "x.safetensors", state), tmp_path / "x.npz")
    x = small_input()
    assert (npmnv3.load(done.path, engine="numpy")(x) == npmnv3.load(SMALL, state, engine="numpy")(x)).all()
