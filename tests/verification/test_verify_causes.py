"""verify: faults of single layers are named, what engines add is no fault, and what is not known is not claimed."""

from dataclasses import replace

import faulty_ports
import numpy as np
import pytest

import npmnv3
from npmnv3.errors import UsageError
from npmnv3.verification import noise
from npmnv3.verification.certainty import MARGIN, spare_bits
from npmnv3.verification.changes import dropout, solved
from npmnv3.verification.changes.edits import Change
from npmnv3.verification.comparison import Comparison
from npmnv3.verification.diagnosis import diagnose
from npmnv3.verification.explain import Trial
from npmnv3.verification.inputs import Input
from npmnv3.verification.port import load_port
from npmnv3.verification.run import verify
from npmnv3.verification.symptoms import symptom
from npmnv3.verification.tensors import WORST, PortTensor

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
    tensors = maker.layer_faults()[fault](np.float32)
    port = {f"t{i}": tensor for i, tensor in enumerate(tensors.values())}
    report = verify(model, port, maker.x)
    assert not report.fine and report.explained_by and report.explained_by[0]["fault"] == fault, report.text()
    assert report.explained_by[0]["certainty"] == ("likely" if fault == "other_classifier" else "certain")


def test_a_dropout_is_seen_in_its_own_tensor_where_there_are_no_logits(maker, model):
    features = maker.clean(np.float32)["head.gain"]
    kept = np.random.default_rng(2).random(features.shape) > 0.2
    report = verify(model, {"head.gain": features * kept / np.float32(0.8)}, maker.x)
    assert not report.fine and [row["fault"] for row in report.explained_by] == ["dropout_on"], report.text()
    assert report.explained_by[0]["certainty"] == "certain"
    last = np.arange(features.size) < 1180  # never written, or a factor: no dropout
    for other in (features * last, features * np.float32(1.25), features * kept):
        assert dropout._mask_seen(features[0], other[0]) is None


@pytest.mark.parametrize("wrong", (lambda tensor: tensor * np.float32(1.1), np.negative))
def test_a_tensor_under_a_wrong_name_is_said_though_the_port_is_right(maker, model, wrong):
    tensors = model.trace(maker.x)
    report = verify(model, tensors | {"blocks.4.depthwise": wrong(tensors["blocks.4.depthwise"])}, maker.x)
    assert report.fine and "; but what it calls blocks.4.depthwise is not that step's tensor" in report.sentence
    assert "but what it calls" not in verify(model, tensors, maker.x).sentence


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
    assert set(maker.layer_faults()) == set(FAULTS)


def test_one_layer_is_found_from_the_logits_alone(maker, model):
    for fault in ("weight_layout", "bias_missing"):
        logits = maker.layer_faults()[fault](np.float32)["logits"]
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


def columns_first(tensors):
    """Any tensors of a port that stores its maps so, without names."""
    turned = (t.swapaxes(2, 3) if t.ndim == 4 else t for t in tensors)
    return {f"t{i}": tensor for i, tensor in enumerate(turned)}


@pytest.mark.parametrize("rounding", (np.float32, faulty_ports.half))
def test_maps_stored_with_their_columns_first_are_no_fault(model, maker, rounding):
    """They look like those of a picture on its side and of kernels on theirs."""
    report = verify(model, columns_first(maker.clean(rounding).values()), maker.x)
    assert report.fine and "columns first" in report.text(), report.text()
    assert {row.layout for row in report.tensors if len(row.shape) == 4} == {"ncwh"}


def test_oblong_maps_stored_with_their_columns_first_are_read_so(model):
    """As they are they have no step's shape: nothing of them would be checked."""
    x = np.random.default_rng(2).normal(size=(1, 3, 64, 96)).astype(np.float32)
    report = verify(model, columns_first(model.trace(x).values()), x)
    assert report.fine and "columns first" in report.text(), report.text()
    assert sum(len(row.shape) == 4 for row in report.tensors) > 50


@pytest.mark.parametrize("fault", ("weight_layout", "bias_missing"))
def test_a_fault_is_named_in_maps_that_are_stored_with_their_columns_first(model, maker, fault):
    report = verify(model, columns_first(maker.layer_faults()[fault](np.float32).values()), maker.x)
    assert [row["fault"] for row in report.explained_by] == [fault], report.text()
    assert report.explained_by[0]["certainty"] == "certain"


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
        report = verify(model, port, maker.x)
        assert not report.fine and "what agrees ends at blocks.4" in report.sentence, report.text()
        assert not report.explained_by, report.text()


def test_sums_in_float16_are_named(maker, model):
    from npmnv3.verification.net import run_step
    from npmnv3.verification.operations import half_step

    arrays = {name: faulty_ports.half(array) for name, array in maker.arrays.items()}
    tensors = {"input": faulty_ports.half(maker.x)}
    for step in maker.plan:
        tensors[step.name] = half_step(step, [tensors[i] for i in step.inputs], arrays, run_step)
    kept = ("input", "stem", "blocks.0", "blocks.2", "blocks.4", "blocks.8", "last", "pool", "head", "logits")
    report = verify(model, {f"t{i}": tensors[name] for i, name in enumerate(kept)}, maker.x)
    found = [row["fault"] for row in report.explained_by]
    assert report.precision == "float16" and found in (["fp16_accumulation"], ["rounding"]), report.text()


def test_tensors_that_the_plan_does_not_have_are_no_fault(maker, model):
    """Convolutions without their bias, inner products of hard-swish, a gate plus three, the logits without their bias."""
    tensors = maker.clean(np.float32)
    extras = {}
    for name in ("stem", "blocks.6.expand", "blocks.6.depthwise"):
        norm = tensors[f"{name}.norm"]
        extras[f"{name}/hard"] = np.clip(norm / 6 + 0.5, 0, 1)
        extras[f"{name}/bare"] = norm - norm[:, :, :1, :1]
    for name in ("blocks.3.se.excite", "blocks.8.se.excite"):
        extras[f"{name}/add"] = tensors[name] + 3
    bias = maker.arrays[maker.plan[-1].param("bias").name].astype(np.float32)
    extras["logits/bare"] = tensors["logits"] - bias
    port = {f"t{i}": t for i, t in enumerate((*tensors.values(), *extras.values()))}
    report = verify(model, port, maker.x)
    assert report.fine, report.text()
    by_port = {row.port: row for row in report.tensors}
    for i, name in enumerate(tensors):
        if f"t{i}" in by_port:
            assert np.array_equal(tensors[by_port[f"t{i}"].step], tensors[name]), name


def test_no_fault_stands_in_for_a_tensor_that_is_right(maker, model):
    """The port has the logits, and the logits before their bias: it does not lack the bias."""
    tensors = maker.clean(np.float32)
    bare = tensors["logits"] - maker.arrays[maker.plan[-1].param("bias").name].astype(np.float32)
    port = {
        "output": tensors["logits"],
        **{f"t{i}": t for i, t in enumerate(tensors.values()) if i % 7 == 0},
        "z": bare,
    }
    report = verify(model, port, maker.x)
    assert report.fine, report.text()
    comparison = Comparison(model, Input(maker.x), load_port(port, maker.x), None, "auto", 10.0)
    assert diagnose(comparison).cleared is None


def test_a_name_that_all_else_refutes_is_no_fault(maker, model):
    tensors = maker.clean(np.float32)
    port = {name: tensors[name] for name in ("stem", "blocks.3", "blocks.8", "logits")}
    port["blocks.7"] = 2 * tensors["blocks.8"] + 1  # not what it says it is, but no step's result was needed for it
    assert verify(model, port, maker.x).fine
    port["blocks.7"] = np.zeros_like(tensors["blocks.7"])  # never written
    assert verify(model, port, maker.x, explain=False).first_divergence == "blocks.7"


def test_what_overflows_explains_nothing():
    view = PortTensor("t", np.ones((1, 4), np.float32)).views((4,), 1)[0]
    assert view.error(np.full((1, 4), 7e33, np.float32)) == WORST
    assert view.error(np.full((1, 4), np.inf, np.float32)) == WORST
    assert view.error(np.array([[1, 1, np.nan, 1]], np.float32)) == 0  # one unknown logit


@pytest.mark.parametrize("count", [10, 4000])
def test_floats_on_a_grid_are_int8(count):
    rng = np.random.default_rng(5)
    grid = (rng.integers(-128, 128, count) * np.float32(0.0371) + np.float32(0.4)).astype(np.float32)
    free = rng.standard_normal(count).astype(np.float32)
    assert noise.precision_of([PortTensor("t", grid)]) == "int8"
    assert noise.precision_of([PortTensor("t", free)]) == "float32"


def test_an_int8_port_is_said_to_be_one(maker, model):
    tensors = {n: t for n, t in maker.clean(np.float32).items() if n in ("input", "stem", "blocks.4", "logits")}
    port = {}
    for name, tensor in tensors.items():
        scale = np.abs(tensor).max() / 127
        port[name] = tensor if name == "input" else np.round(tensor / scale) * scale
    report = verify(model, port, maker.x)
    assert report.precision == "int8" and report.fine and report.sentence.startswith("an int8 port"), report.text()


def test_an_inner_fault_of_an_int8_port_is_no_rounding_though_its_logits_may_be(maker, model):
    def at_slope(slope):
        plan = [replace(s, slope=slope) if s.op == "hard_sigmoid" else s for s in maker.plan]
        tensors = faulty_ports.run(plan, maker.arrays, maker.x, np.float32)
        return {n: np.round(t / (np.abs(t).max() / 127)) * (np.abs(t).max() / 127) for n, t in tensors.items()}

    own = next(s.slope for s in maker.plan if s.op == "hard_sigmoid")
    right, wrong = at_slope(own), at_slope(0.2 * own)
    assert verify(model, right, maker.x).fine
    report = verify(model, wrong | {"logits": right["logits"]}, maker.x)
    assert not report.fine and "which it does not explain: blocks.0.se, blocks.3.gate" in report.sentence, report.text()


def test_another_picture_is_said_first_and_judged_by_itself(maker, model):
    x = np.random.default_rng(21).standard_normal(maker.x.shape).astype(np.float32)
    report = verify(model, {"input": x, "logits": model(x)}, maker.x)
    assert report.fine and report.sentence.startswith("it saw another picture than the one given"), report.text()
    assert report.text().splitlines()[1].startswith("FINE BY ITS OWN INPUT ALONE: "), report.text()
    report = verify(model, {"input": x, "logits": 0.8 * model(x)}, maker.x)
    assert not report.fine and "another picture" in report.sentence and "0.8" in report.sentence, report.text()


def test_float16_that_is_only_inferred_is_said_to_be(maker, model):
    arrays = {name: faulty_ports.half(array) for name, array in maker.arrays.items()}
    logits = faulty_ports.run(maker.plan, arrays, maker.x, np.float32)["logits"]
    report = verify(model, {"y": logits}, maker.x)
    assert report.fine and "if it computes in float16" in report.sentence
    assert not verify(model, {"y": logits}, maker.x, precision="float32", explain=False).fine


def test_rounding_is_inferred_of_few_steps_with_many_inner_tensors_each(maker, model):
    """The parts of one hard-swish; that the logits are nearly right says that no fault moved them away from all steps."""
    arrays = {name: faulty_ports.half(array) for name, array in maker.arrays.items()}
    tensors = faulty_ports.run(maker.plan, arrays, maker.x, np.float32)
    x = tensors["stem.norm"]
    inner = (x + 3, np.clip(x + 3, 0, 6), np.clip(x + 3, 0, 6) / 6, x * np.clip(x + 3, 0, 6))
    port = {f"t{i}": tensor for i, tensor in enumerate((*inner, tensors["stem"]))} | {"y": tensors["logits"]}
    report = verify(model, port, maker.x, explain=False)
    assert report.fine and report.precision == "float16", report.text()


def test_hints_remove_most_of_the_error():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((1, 8, 12, 12))
    assert symptom(x + 1e-3 * rng.standard_normal(x.shape), x) == ""
    assert symptom(x, x) == symptom(x, np.where(x > 1, np.inf, x)) == ""
    assert "scale: 0.8 x" in symptom(0.8 * x, x)
    assert "shift by" in symptom(np.roll(x, 1, axis=3), x)


@pytest.mark.parametrize("bits", [4, 8, 12])
def test_a_grid_of_fixed_point_is_said(bits):
    x = np.random.default_rng(3).standard_normal((1, 8, 12, 12))
    assert f"multiples of 2^-{bits}: fixed point" in symptom(np.floor(x * 2**bits) / 2**bits, x)
    cut = np.clip(np.round(x), 0, 1)
    assert "fixed point" not in symptom(np.roll(cut, 1), cut)  # the reference's are 0 and 1 too


def test_a_row_at_the_bottom_is_of_no_other_side():
    x = np.random.default_rng(3).standard_normal((1, 8, 12, 12))
    found = x.copy()
    found[:, :, -1] = 0
    assert "border fault (bottom)" in symptom(found, x)


def test_a_tile_a_row_or_a_column_that_alone_is_wrong_is_said():
    x = np.random.default_rng(3).standard_normal((1, 8, 12, 12))
    for rows, columns, words in (
        (slice(2, 6), slice(3, 4), "only in 4 x 1 of 12 x 12 pixels, from row 2, column 3"),
        (slice(11, 12), slice(None), "only in 1 x 12 of 12 x 12 pixels, from row 11, column 0"),
    ):
        found = x + 1e-7
        found[:, :, rows, columns] *= -0.5
        assert words in symptom(found, x)
    assert "only in" not in symptom(x * np.where(x > 2, 2, 1), x)


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
