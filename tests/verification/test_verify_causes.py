"""verify: faults of single layers are named, and what is not known is not claimed."""

from dataclasses import replace

import faulty_ports
import numpy as np
import pytest
from faulty_layers import layer_faults

import npmnv3
from npmnv3.errors import UsageError
from npmnv3.verification.certainty import MARGIN, spare_bits
from npmnv3.verification.changes import dropout, solved
from npmnv3.verification.changes.edits import Change
from npmnv3.verification.run import verify
from npmnv3.verification.trials import Trial

MODEL = "ppcls/MobileNetV3_small_x0_35"


FAULTS = (
    "weight_layout",
    "weight_order",
    "quantized_layer",
    "bias_missing",
    "weights_swapped",
    "se_missing",
    "other_classifier",
    "train_mode",
    "log_softmax",
    "dropout_on",
)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_layer_is_named(maker, model, fault):
    tensors = layer_faults(maker)[fault](np.float32)
    port = {f"t{i}": tensor for i, tensor in enumerate(tensors.values())}
    report = verify(model, port, maker.x)
    assert not report.fine and report.explained_by and report.explained_by[0]["fault"] == fault, report.text()
    assert report.explained_by[0]["certainty"] == ("likely" if fault == "other_classifier" else "certain")


def _softmax(x):
    powers = np.exp(x - x.max())
    return powers / powers.sum()


@pytest.mark.parametrize(
    "ending, text",
    [
        (lambda x: _softmax(_softmax(x)), "softmax of the probabilities, which are a softmax already"),
        (lambda x: 1 / (1 + np.exp(-x)), "sigmoid of the logits"),
    ],
)
def test_what_comes_of_the_logits_is_named(maker, model, ending, text):
    logits = maker.clean(np.float32)["logits"]
    report = verify(model, {"out": ending(logits)}, maker.x)
    assert [row["text"] for row in report.explained_by] == [text], report.text()
    assert not report.fine


@pytest.mark.parametrize("ending", [np.zeros_like, lambda x: (x == x.max()).astype(np.float32)])
def test_logits_of_few_values_are_no_other_classifiers(maker, model, ending):
    tensors = maker.clean(np.float32)
    report = verify(model, {"features": tensors["head.gain"], "out": ending(tensors["logits"])}, maker.x)
    assert not report.fine and not report.explained_by, report.text()


def test_a_dropout_is_seen_in_its_own_tensor_where_there_are_no_logits(maker, model):
    features = maker.clean(np.float32)["head.gain"]
    kept = np.random.default_rng(2).random(features.shape) > 0.2
    report = verify(model, {"head.gain": features * kept / np.float32(0.8)}, maker.x)
    assert not report.fine and [row["fault"] for row in report.explained_by] == ["dropout_on"], report.text()
    assert report.explained_by[0]["certainty"] == "certain"
    last = np.arange(features.size) < 1180  # never written, or a factor: no dropout
    for other in (features * last, features * np.float32(1.25), features * kept):
        assert dropout._mask_seen(features[0], other[0]) is None


def test_a_scaled_tensor_is_not_taken_for_the_one_that_it_was_made_of():
    name = "timm/mobilenetv3_small_050"
    maker = faulty_ports.Maker(name, np.random.default_rng(9).integers(0, 256, (256, 256, 3), np.uint8), side=64)
    tensors = maker.faults()["dropout_scale", "toggled"](np.float32)
    port = {f"t{i}": tensors[key] for i, key in enumerate(("blocks.7", "pool", "head.gain", "logits"))}
    report = verify(npmnv3.load(name, maker.state, engine="numpy"), port, maker.x)
    assert [row["fault"] for row in report.explained_by] == ["dropout_scale"], report.text()


@pytest.mark.parametrize(
    "name, fault, what, lost",
    [
        ("sqlai/mobilenetv3_small", "head_order", "activation first", ("pool",)),
        (MODEL, "skip_path", "activation after addition", tuple(f"blocks.{i}" for i in range(0, 11, 2))),
    ],
)
def test_a_moved_activation_is_named_where_the_tensors_beside_it_are_not_given(name, fault, what, lost):
    """The nearest step's name was free for what stands in its place, and it was taken for that."""
    maker = faulty_ports.Maker(name, np.random.default_rng(9).integers(0, 256, (256, 256, 3), np.uint8), side=96)
    tensors = maker.faults()[fault, what](np.float32)
    assert set(lost) <= set(tensors)
    port = {f"t{i}": tensor for i, (key, tensor) in enumerate(tensors.items()) if key not in lost}
    report = verify(npmnv3.load(name, maker.state, engine="numpy"), port, maker.x)
    assert [row["fault"] for row in report.explained_by] == [fault], report.text()


@pytest.fixture(scope="module")
def with_two_paths():
    """A network whose first block has two convolutions side by side, and a picture for it."""
    picture = np.random.default_rng(9).integers(0, 256, (256, 256, 3), np.uint8)
    maker = faulty_ports.Maker("sqlai/mobilenetv3_small", picture, side=96)
    return maker, npmnv3.load("sqlai/mobilenetv3_small", maker.state, engine="numpy"), picture


def test_a_fault_of_the_input_is_named_by_tensors_that_fitted_nowhere(with_two_paths):
    maker, model, _ = with_two_paths
    tensors = maker.faults()["input_scale", "no normalization"](np.float32)
    port = faulty_ports.disguise(tensors, maker.plan, np.random.default_rng(4), keep=0.25, names=False, layout="nchw")
    report = verify(model, port, maker.x)
    assert [row["fault"] for row in report.explained_by] == ["input_scale"], report.text()


@pytest.mark.parametrize(
    "words, wrong",
    [
        ("channels last read as if they came first", lambda x: np.moveaxis(x, 1, 3).reshape(x.shape)),
        ("mirrored left to right", lambda x: x[..., ::-1]),
        ("green in all three channels", lambda x: x[:, [1, 1, 1]]),
    ],
)
def test_a_picture_in_another_layout_is_named_though_the_port_holds_it(maker, model, words, wrong):
    """Else it would be fine by its own input."""
    report = verify(model, model.trace(np.ascontiguousarray(wrong(maker.x))) | {"input": wrong(maker.x)}, maker.x)
    assert report.explained_by and words in report.explained_by[0]["text"], report.text()
    assert report.explained_by[0]["certainty"] == "certain"


def test_an_input_that_is_off_a_little_shows_in_every_tensor_made_of_it(with_two_paths):
    maker, model, picture = with_two_paths
    x = npmnv3.preprocess(picture, model)[None]
    noisy = x + np.random.default_rng(1).integers(-2, 3, x.shape).astype(np.float32) / 255 / 0.25
    made = model.trace(noisy)
    port = {name: made[name] for name in ("blocks.0.expand.conv", "blocks.0", "blocks.3", "logits")}
    report = verify(model, port, picture)
    assert [row["fault"] for row in report.explained_by] == ["decoder"], report.text()
    assert report.explained_by[0]["certainty"] == "a guess"


def test_every_fault_of_a_layer_is_tried(maker):
    assert set(layer_faults(maker)) == set(FAULTS)


def test_one_layer_is_found_from_the_logits_alone(maker, model):
    for fault in ("weight_layout", "bias_missing"):
        logits = layer_faults(maker)[fault](np.float32)["logits"]
        report = verify(model, {"y": logits}, maker.x)
        assert report.explained_by and report.explained_by[0]["fault"] == fault, report.text()


def test_depthwise_kernels_alone_are_turned_in_all_layers(maker, model):
    """The logits alone: the stem's kernels are as they should be, so that no fault of one place only is seen."""
    turned = {
        step.param("weight").name: maker.arrays[step.param("weight").name][:, ::-1, ::-1]
        for step in maker.plan
        if step.op == "depthwise_conv2d"
    }
    logits = faulty_ports.run(maker.plan, maker.arrays | turned, maker.x, np.float32)["logits"]
    report = verify(model, {"y": logits}, maker.x)
    assert [row["fault"] for row in report.explained_by] == ["weight_layout"], report.text()
    assert report.explained_by[0]["certainty"] == "certain"


def test_noise_elsewhere_does_not_widen_the_search(maker, model):
    """One layer's activation is found by itself, although rounding in other blocks is twice what is usual."""
    plan = tuple(replace(s, op="relu") if s.name == "blocks.6.expand" else s for s in maker.plan)
    tensors = faulty_ports.run(plan, maker.arrays, maker.x, np.float32)
    rng, noisy = (
        np.random.default_rng(6),
        ("blocks.2.project", "blocks.4.project", "blocks.8.project", "blocks.10.project"),
    )
    port = {f"t{i}": tensor for i, tensor in enumerate(tensors.values())}
    clean = {row.step: row for row in verify(model, maker.clean(np.float32), maker.x).tensors}
    for i, name in enumerate(tensors):
        if name in noisy:
            noise = np.abs(tensors[name]).max() * 10 ** (-clean[name].local.noise_db / 20)
            port[f"t{i}"] = tensors[name] + (noise * rng.standard_normal(tensors[name].shape)).astype(np.float32)
    report = verify(model, port, maker.x)
    assert [row["fault"] for row in report.explained_by] == ["activation"], report.text()
    assert report.explained_by[0]["steps"] == ["blocks.6.expand"]


@pytest.fixture(scope="module")
def without_excite(maker, model):
    """Tensors of a port whose last excite layer was never loaded: its weights are zero."""
    weight = [s.param("weight").name for s in maker.plan if s.name.endswith(".se.excite")][-1]
    arrays = maker.arrays | {weight: np.zeros_like(maker.arrays[weight])}
    return faulty_ports.run(maker.plan, arrays, maker.x, np.float32)


def test_an_excite_layer_of_zeros_is_named_and_the_squeeze_tensors_prove_it(model, maker, without_excite):
    report = verify(model, without_excite, maker.x)
    assert [row["fault"] for row in report.explained_by] == ["se_constant"], report.text()


def test_gates_that_do_not_move_may_have_several_causes(model, maker, without_excite):
    port = {name: tensor for name, tensor in without_excite.items() if name.count(".") < 2}
    report = verify(model, port, maker.x)
    assert report.explained_by and "cannot be told from se_constant" in report.explained_by[0]["certainty"], (
        report.text()
    )


def test_a_picture_on_its_side_is_not_told_from_kernels_on_theirs(model, maker):
    logits = model(np.ascontiguousarray(maker.x.swapaxes(2, 3)))
    report = verify(model, {"y": logits}, maker.x)
    first = report.explained_by[0]
    assert {first["fault"], first["certainty"].split()[4]} == {"input_axes", "weight_layout"}, report.text()


def test_few_numbers_agree_by_chance():
    def trial(before, after, unknowns=0.0):
        change = Change("fault", "a fault", None, unknowns=unknowns)
        errors = {"base": {"y": before}, "errors": {"y": after}, "floors": {"y": 1e-9}}
        return Trial(change, None, touched={"y"}, **errors)

    assert spare_bits(trial(1e-2, 1e-5), {"y": 2}, tried=200) < 0  # two logits, 30 dB
    assert spare_bits(trial(1e-2, 1e-5), {"y": 100}, tried=200) > MARGIN
    assert spare_bits(trial(1e-2, 1e-5), {"y": 100}, tried=2**500) < 0
    assert spare_bits(trial(1e-2, 1e-5, 500.0), {"y": 100}, tried=1) < 0  # as many unknowns as that
    assert spare_bits(trial(1e6, 1.0), {"y": 100}, tried=200) < 0  # nothing like it before, nor with the fault


@pytest.mark.usefixtures("short_search")
def test_tensors_that_fit_nothing_beyond_what_agrees_are_not_fine(model, maker):
    """The blocks' ends without names and without logits; what is behind layers of other weights fits no step."""
    rng = np.random.default_rng(3)
    weights = [
        s.param("weight").name for s in maker.plan if s.name in [f"blocks.{i}.expand.conv" for i in range(5, 11)]
    ]
    others = {name: rng.standard_normal(maker.arrays[name].shape).astype(np.float32) for name in weights}
    tensors = faulty_ports.run(maker.plan, maker.arrays | others, maker.x, np.float32)
    for kind in (np.float32, np.float16):
        port = {f"q{i}": tensors[f"blocks.{i}"].astype(kind) for i in range(11)}
        report = verify(model, port, maker.x, explain=kind == np.float32)  # a search that finds nothing takes long
        assert not report.fine and "what agrees ends at blocks.4" in report.sentence, report.text()
        assert not report.explained_by, report.text()


def test_sums_in_float16_are_named(maker, model):
    from npmnv3.verification.net import half_step

    arrays = {name: faulty_ports.half(array) for name, array in maker.arrays.items()}
    tensors = {"input": faulty_ports.half(maker.x)}
    for step in maker.plan:
        tensors[step.name] = half_step(step, [tensors[i] for i in step.inputs], arrays)
    kept = ("input", "stem", "blocks.0", "blocks.2", "blocks.4", "blocks.8", "last", "pool", "head", "logits")
    report = verify(model, {f"t{i}": tensors[name] for i, name in enumerate(kept)}, maker.x)
    found = [row["fault"] for row in report.explained_by]
    assert report.precision == "float16" and found in (["fp16_accumulation"], ["rounding"]), report.text()


def test_files_and_batches_that_do_not_fit_are_told_so(maker, model, tmp_path):
    (tmp_path / "w.pdparams").write_bytes(b"")
    with pytest.raises(UsageError, match="a file of weights, not of a run's tensors"):
        verify(model, tmp_path / "w.pdparams", maker.x)
    with pytest.raises(UsageError, match="of 8 pictures, but one input was given"):
        verify(model, {"logits": np.zeros((8, 1000), np.float32)}, maker.x)


def test_orders_are_found_although_channels_are_dead():
    errors = np.ones((5, 5))
    for channel, row in enumerate((2, 0, 1)):
        errors[channel, row] = 0
    errors[3:] = 0  # two dead channels fit every row
    assert solved._assigned(errors).tolist() == [2, 0, 1, 3, 4]
    assert solved._assigned(np.where(np.eye(5), 0.0, 1.0)) is None
