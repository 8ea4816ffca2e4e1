"""Paddle's files: what the program beside inference parameters computes has to be the network, or it is refused."""

import checkpoint_files as files
import numpy as np
import paddle_programs
import pytest
from states import random_state

import npmnv3
from npmnv3.conversion import convert
from npmnv3.dumps.dumps import load_weights
from npmnv3.errors import WeightsError
from npmnv3.network.counts import plan_param_shapes
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant

PPCLS = "ppcls/MobileNetV3_small_x0_35"
OCR = "ppocr/text_direction"
BOTH = pytest.mark.parametrize("json", (False, True), ids=("paddle-2", "paddle-3"))


def written(tmp_path, change=None, model=PPCLS, **more):
    state = random_state(model, 3)
    return state, paddle_programs.write(tmp_path / "inference", model, state, change=change, **more)


def converted(path):
    done = convert(path, path.with_suffix(".h5"))
    return done, load_weights(done.path).arrays


@BOTH
@pytest.mark.parametrize("model", (PPCLS, "ppcls/MobileNetV3_large_x1_25", OCR))
def test_programs_of_the_networks(model, json, tmp_path):
    state, path = written(tmp_path, model=model, json=json)
    done, arrays = converted(path)
    assert (done.model, done.num_classes, done.folded, done.warnings) == (model, 3, False, ())
    files.assert_same(arrays, state)


@pytest.mark.parametrize("model", ("keras/MobileNetV3Small", "timm/mobilenetv3_rw"))
def test_a_network_that_no_file_of_paddles_is_of(model, tmp_path):
    _, path = written(tmp_path)
    with pytest.raises(WeightsError, match=f"is {PPCLS}, not {model}:\n  its arrays lie as paddle has them"):
        convert(path, tmp_path / "other.h5", model)


# Operations that are not the network's: (what is changed, of which rows, the error)


def attribute(kind, name, value, which=None):
    """A change of an attribute of all operations of a kind, or of one."""

    def change(rows):
        found = [row for row in rows if row[0] == kind and name in row[3]]
        for row in found if which is None else [found[which]]:
            row[3][name] = value
        return rows

    return change


def another(kind, instead, which=0, **attributes):
    """Another operation in the place of one."""

    def change(rows):
        row = [row for row in rows if row[0] == kind][which]
        row[0], row[3] = instead, attributes
        return rows

    return change


def removed(kind, which=0):
    def change(rows):
        row = [row for row in rows if row[0] == kind][which]
        for each in rows:
            each[1] = [row[1][0] if name == row[2] else name for name in each[1]]
        return [each for each in rows if each is not row]

    return change


def inserted(kind, behind, which=0, **attributes):
    def change(rows):
        row = [row for row in rows if row[0] == behind][which]
        for each in rows:
            each[1] = ["new" if name == row[2] else name for name in each[1]]
        rows.insert(rows.index(row) + 1, [kind, [row[2]], "new", attributes])
        return rows

    return change


def crossed(rows):
    """A gate that multiplies what another layer gives."""
    row = [row for row in rows if row[0] == "multiply"][4]
    row[1][0] = "blocks.5.expand"
    return rows


WRONG = {
    "epsilon": (attribute("batch_norm_", "epsilon", 1e-3), "epsilon is 0.001, expected 1e-05, at stem.norm, blocks.0"),
    "one epsilon": (attribute("batch_norm_", "epsilon", 1e-2, 4), "epsilon is 0.01, .*, at blocks.1.expand.norm$"),
    "training": (attribute("batch_norm_", "is_test", False), r"each batch's own mean .* \(call eval\(\) before saving\)"),
    "relu6": (another("relu", "relu6", threshold=6.0), "the program has relu6 for relu, at blocks.0.expand$"),
    "swish": (another("hardswish", "swish", 3), "the program has swish for hard_swish, at blocks.4.expand"),
    "no activation": (removed("hardswish", 1), "the program has no hard_swish, at blocks.3.expand$"),
    "one more": (inserted("relu", "hardswish", 2), "the program has relu besides, at blocks.3.depthwise$"),
    "hard-swish": (another("hardswish", "hardswish", 2, threshold=6.0, scale=6.0, offset=2.0), r"\(6.0, 6.0, 2.0\)"),
    "slope": (attribute("hardsigmoid", "slope", 1 / 6), "slope is 0.1667 and their offset 0.5, expected 0.2 and 0.5"),
    "offset": (attribute("hardsigmoid", "offset", 0.4, 2), "offset 0.4, expected 0.2 and 0.5, at blocks.4.gate$"),
    "sigmoid": (another("hardsigmoid", "sigmoid"), "the program has sigmoid for hard_sigmoid, at blocks.0.gate$"),
    "no padding": (attribute("conv2d", "paddings", [0, 0], 0), r"pads \(0, 0, 0, 0\) .*, expected \(1, 1, 1, 1\), at stem"),
    "SAME": (attribute("conv2d", "padding_algorithm", "SAME", 0), "the program pads SAME"),
    "stride": (attribute("depthwise_conv2d", "strides", [1, 1], 1), r"strides \(1, 1\), expected \(2, 2\), at blocks.1"),
    "dilation": (attribute("depthwise_conv2d", "dilations", [2, 2], 1), r"dilations \(2, 2\), expected none"),
    "channels last": (another("relu", "relu", data_format="NHWC"), "channels as 'NHWC', expected 'NCHW'"),
    "max pool": (attribute("pool2d", "pooling_type", "max", 0), "pools by max, whole; expected avg over the whole"),
    "sum": (another("multiply", "add"), "the program has add for mul, at blocks.0.se$"),
    "half": (inserted("scale", "multiply", 1, scale=0.5, bias=0.0), "multiply by 0.5 besides, at blocks.3.se$"),
    "resized": (inserted("bilinear_interp_v2", "data"), "does bilinear_interp_v2 before its first layer"),
    "crossed": (crossed, "takes another value than the network|has hardswish besides|has hardswish for"),
    "no output": (lambda rows: rows[:-1], "the program gives nothing"),
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("change, message", WRONG.values(), ids=WRONG)
def test_programs_of_other_networks(change, message, json, tmp_path):
    _, path = written(tmp_path, change, json=json)
    with pytest.raises(
        WeightsError, match=rf"(?s)inference.pdiparams: fits no network; the nearest is {PPCLS}:.*{message}"
    ):
        converted(path)
    assert not path.with_suffix(".h5").exists()


# Other ways to write the same


@BOTH
@pytest.mark.parametrize("share, gain", ((0.5, 0.5), (None, 1.0)))
def test_another_dropout_is_in_the_classifier(share, gain, json, tmp_path):
    change = removed("dropout") if share is None else attribute("dropout", "dropout_prob", share)
    state, path = written(tmp_path, change, json=json)
    done, arrays = converted(path)
    np.testing.assert_allclose(arrays["fc.weight"], state["fc.weight"] * gain / 0.8, rtol=1e-6)
    assert any(f"the classifier's weight is multiplied by {gain / 0.8:.4g}" in note for note in done.notes)


@BOTH
def test_dropout_that_is_scaled_in_training(json, tmp_path):
    state, path = written(tmp_path, attribute("dropout", "dropout_implementation", "upscale_in_train"), json=json)
    np.testing.assert_allclose(converted(path)[1]["fc.weight"], state["fc.weight"] / 0.8, rtol=1e-6)


def in_parts(rows):
    """Hard-swish as x * relu6(x + 3) / 6, in one place as x * hard-sigmoid(x)."""
    made = []
    for i, (kind, inputs, output, attributes) in enumerate(rows):
        if kind != "hardswish":
            made.append([kind, inputs, output, attributes])
        elif i % 2:
            made.append(["hardsigmoid", inputs, f"{output}.a", {"slope": 1 / 6, "offset": 0.5}])
            made.append(["multiply", [*inputs, f"{output}.a"], output, {}])
        else:
            made.append(["scale", inputs, f"{output}.a", {"scale": 1.0, "bias": 3.0}])
            made.append(["relu6", [f"{output}.a"], f"{output}.b", {}])
            made.append(["multiply", [*inputs, f"{output}.b"], f"{output}.c", {}])
            made.append(["scale", [f"{output}.c"], output, {"scale": 1 / 6, "bias": 0.0}])
    return made


@BOTH
def test_activations_in_parts(json, tmp_path):
    state, path = written(tmp_path, in_parts, json=json)
    files.assert_same(converted(path)[1], state)


def test_what_follows_and_what_goes_before_is_told(tmp_path):
    _, path = written(tmp_path, lambda rows: inserted("softmax", "add", -1)(inserted("scale", "data", scale=2.0)(rows)))
    done, _ = converted(path)
    assert any("behind the classifier the program has softmax" in note for note in done.notes)
    assert done.warnings == ("the program prepares its input itself (scale); the dump's network does not",)


@BOTH
def test_folded_norms(json, tmp_path):

    rng, shapes = np.random.default_rng(0), plan_param_shapes(make_plan(get_variant(PPCLS), 3, folded=True))
    state = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    path = paddle_programs.write(tmp_path / "inference", PPCLS, state, json=json, folded=True)
    done, arrays = converted(path)
    assert done.folded and (done.model, done.num_classes) == (PPCLS, 3)
    files.assert_same(arrays, state)


def test_gray_pictures(tmp_path):
    state = random_state(PPCLS, 3)
    state["conv.conv.weight"] = state["conv.conv.weight"][:, :1]
    done, arrays = converted(paddle_programs.write(tmp_path / "inference", PPCLS, state))
    files.assert_same(arrays, state)
    assert npmnv3.load(done.path, engine="numpy")(np.zeros((1, 1, 64, 64), np.float32)).shape == (1, 3)


# Training's files


def pickled(path, top):
    path.write_bytes(files.pickled(top))
    return path


def as_paddle(state):
    return {name: files.paddle_array(array) for name, array in state.items()}


def test_bfloat16_lies_there_as_uint16(tmp_path):
    state = random_state(PPCLS, 3)
    cut = {name: (array.view(np.uint32) >> 16).astype(np.uint16) for name, array in state.items()}
    done, arrays = converted(pickled(tmp_path / "half.pdparams", as_paddle(cut)))
    files.assert_same(arrays, {name: (array.astype(np.uint32) << 16).view(np.float32) for name, array in cut.items()})
    assert "214 arrays of uint16 are bfloat16, which paddle keeps so" in done.notes


@pytest.mark.parametrize("kept", ("velocity_0", "moment1_0", "beta1_pow_acc_0"))
def test_what_an_optimiser_keeps(kept, tmp_path):
    state = random_state(PPCLS, 3)
    kept = as_paddle({f"conv2d_{i}.w_0_{kept}": array for i, array in enumerate(state.values())})
    with pytest.raises(WeightsError, match=r"net.pdopt: holds what an optimiser keeps .*give the file of the weights"):
        convert(pickled(tmp_path / "net.pdopt", kept), tmp_path / "a.h5")
    _, arrays = converted(pickled(tmp_path / "both.pdparams", [kept, as_paddle(state)]))
    files.assert_same(arrays, state)


@pytest.mark.parametrize("suffix", (".pdmodel", ".json"))
def test_the_program_alone_is_given(suffix, tmp_path):
    _, path = written(tmp_path, json=suffix == ".json")
    message = f"inference{suffix}: a program of paddle's, which has no weights; give inference.pdiparams"
    with pytest.raises(WeightsError, match=message):
        convert(path.with_suffix(suffix), tmp_path / "a.h5")


@BOTH
def test_internal_names_are_ordered_by_the_program(json, tmp_path):
    state, path = written(tmp_path, json=json, internal="conv2d_{}.w_0")
    path.unlink()
    arrays = {f"conv2d_{i}.w_0": array for i, array in enumerate(state.values())}
    path = pickled(path.with_suffix(".pdparams"), as_paddle(dict(sorted(arrays.items()))))
    done, arrays = converted(path)
    files.assert_same(arrays, state)
    assert f"ordered by inference.{'json' if json else 'pdmodel'}" in done.notes
    path.with_suffix(".json" if json else ".pdmodel").unlink()
    with pytest.raises(
        WeightsError, match="inference.pdparams: its names are paddle's internal ones .* put the program"
    ):
        convert(path, tmp_path / "a.h5")


def test_of_two_programs_the_one_that_fits(tmp_path):
    written(tmp_path, model=OCR)
    state, path = written(tmp_path, json=True)
    done, arrays = converted(path)
    files.assert_same(arrays, state)
    assert "named by inference.json" in done.notes


def test_empty_files(tmp_path):
    (tmp_path / "a.pdparams").touch()
    with pytest.raises(WeightsError, match="a.pdparams: the file is empty"):
        convert(tmp_path / "a.pdparams")
