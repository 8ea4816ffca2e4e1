"""verify: ports with one fault each are named, clean ones pass."""

import faulty_ports
import goldens
import h5py
import numpy as np
import pytest

import npmnv3
from npmnv3.testing import assert_matches
from npmnv3.verification.measure import decisions
from npmnv3.verification.run import verify

MODEL = "ppcls/MobileNetV3_small_x0_35"  # the smallest


@pytest.fixture(scope="module")
def photo():
    with h5py.File(goldens.CUT / "inputs.h5") as file:
        a, b, c = file["crop224"][:3]
    return np.concatenate([np.concatenate(row, axis=1) for row in ((a, b, c), (c, a, b))])


@pytest.fixture(scope="module")
def maker(photo):
    return faulty_ports.Maker(MODEL, photo)


@pytest.fixture(scope="module")
def small(photo):
    return faulty_ports.Maker(MODEL, photo, side=96)


@pytest.fixture(scope="module")
def model(maker):
    return npmnv3.load(MODEL, maker.state, engine="numpy")


@pytest.mark.parametrize("keep", [1.0, 0.3, 0.0])
@pytest.mark.parametrize("rounding", [np.float32, faulty_ports.half], ids=["float32", "float16"])
def test_a_clean_port_is_fine(maker, model, photo, rounding, keep):
    port = faulty_ports.disguise(
        maker.clean(rounding), maker.plan, np.random.default_rng(0), keep=keep, names=False, layout="nhwc"
    )
    report = verify(model, port, photo)
    assert report.fine, report.text()
    assert report.first_divergence is None
    assert not report.unmatched


# One of each fault; the rest is the full suite's.
CUT = [
    ("hard_sigmoid_slope", "the other slope", 0.4),
    ("dropout_scale", "toggled", 0.0),
    ("se_order", "the other order", 1.0),
    ("se_bias_missing", "all", 0.4),
    ("norm_eps", "the other", 0.5),
    ("padding", "the other", 0.4),
    ("residual", "none", 0.3),
    ("activation", "relu for hard-swish", 0.4),
    ("head_order", "pool first", 0.4),
    ("channel_order", "BGR", 0.2),
    ("mean_std", "half", 0.0),
    ("resize", "other size", 0.3),
    ("squash", "to 224", 0.3),
    ("class_shift", "by one", 0.0),
    ("overflow", "inf", 1.0),
    ("stride", "on the 1x1", 0.5),
]
#: Those that a whole picture is needed for; the others show on fewer pixels, where what is tried costs less.
OF_WHOLE_PICTURES = ("channel_order", "mean_std", "resize", "squash", "norm_eps")


@pytest.mark.parametrize(("fault", "what", "keep"), CUT, ids=[c[0] for c in CUT])
def test_a_fault_is_named(maker, small, model, photo, fault, what, keep):
    maker, given = (maker, photo) if fault in OF_WHOLE_PICTURES else (small, small.x)
    rng = np.random.default_rng(3)
    rounding = faulty_ports.half if rng.random() < 0.5 else np.float32
    port = faulty_ports.disguise(maker.faults()[fault, what](rounding), maker.plan, rng, keep=keep, names=False)
    report = verify(model, port, given)
    assert not report.fine
    assert report.explained_by and report.explained_by[0]["fault"] == fault, report.text()
    assert report.first_divergence


def test_matching_needs_no_names_no_order_and_no_layout(maker, model):
    tensors = maker.clean(np.float32)
    rng = np.random.default_rng(1)
    names = list(tensors)
    order = rng.permutation(len(names))
    port = {}
    for i in order:
        tensor = tensors[names[i]]
        if tensor.ndim == 4 and i % 3 == 0:
            tensor = tensor.transpose(0, 2, 3, 1)
        elif tensor.ndim == 4 and i % 3 == 1:
            n, c, h, w = tensor.shape
            filled = np.zeros((n, -(-c // 8) * 8, h, w), np.float32)
            filled[:, :c] = tensor
            tensor = filled.reshape(n, -1, 8, h, w).transpose(0, 1, 3, 4, 2)
        port[f"t{i}"] = tensor
    report = verify(model, port, maker.x)
    assert report.fine, report.text()
    for row in report.tensors:
        mine, theirs = tensors[row.step], tensors[names[int(row.port[1:])]]
        assert np.array_equal(mine, theirs), f"{row.port} is {names[int(row.port[1:])]}, matched as {row.step}"


def test_permuted_channels_and_raw_int8_are_found(maker, model):
    tensors = maker.clean(np.float32)
    order = np.random.default_rng(2).permutation(tensors["blocks.4.expand"].shape[1])
    steps = 120 / np.abs(tensors["blocks.2"]).max()
    port = {
        "blocks.4.expand": tensors["blocks.4.expand"][:, order],
        "q": np.clip(np.round(tensors["blocks.2"] * steps) + 3, -128, 127).astype(np.int8),
        "logits": tensors["logits"],
    }
    report = verify(model, port, maker.x, precision="int8")
    rows = {row.port: row for row in report.tensors}
    assert rows["blocks.4.expand"].permutation == tuple(order)
    assert rows["q"].step == "blocks.2"


def test_two_faults_are_both_named(small, model):
    from npmnv3.network.plan import make_plan

    source = small.variant.source._replace(gate_slope=1 / 6, head_gain=1.0)
    plan = make_plan(small.variant._replace(source=source), side=small.side)
    report = verify(model, faulty_ports.run(plan, small.arrays, small.x, np.float32), small.x)
    assert {row["fault"] for row in report.explained_by} == {"hard_sigmoid_slope", "dropout_scale"}, report.text()


def test_a_tensor_that_the_map_leaves_out_stays_out_where_a_fault_is_named(small, model):
    port = small.faults()["hard_sigmoid_slope", "the other slope"](np.float32)
    report = verify(model, port | {"spare": port["blocks.0"] + 1}, small.x, map={"spare": None})
    assert report.explained_by[0]["fault"] == "hard_sigmoid_slope" and not report.unmatched, report.text()


def test_what_no_fault_explains_is_located(maker, model):
    rng = np.random.default_rng(7)
    name = next(s.param("weight").name for s in maker.plan if s.name == "blocks.4.project.conv")
    arrays = maker.arrays | {
        name: maker.arrays[name] + 0.3 * rng.standard_normal(maker.arrays[name].shape) * (np.arange(16) < 2)[:, None]
    }
    port = faulty_ports.run(maker.plan, arrays, maker.x, np.float32)
    for explain, words in ((True, "unexplained"), (False, "no cause was looked for")):
        report = verify(model, port, maker.x, explain=explain)
        assert report.sentence.startswith(f"{words}, first at blocks.4.project.conv, channels 0-1"), report.text()
        assert report.first_divergence == "blocks.4.project.conv"
        assert not report.explained_by


def test_a_callable_is_run_and_decisions_are_told(model):
    x = goldens.inputs()[:, :, 64:160, 64:160]
    report = verify(model, model, x)
    assert report.fine and report.decisions["pictures"] == 4 and report.decisions["flipped"] == []
    bad = verify(model, lambda x: -model(x), x, explain=False)
    assert not bad.fine and bad.decisions["flipped"] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "pictures, words", [(1, "decides the same, with a margin"), (2, "on all of 2 pictures; 2 with a")]
)
def test_a_margin_that_an_error_could_use_up_is_told_of_one_picture_and_of_many(pictures, words):
    expected = np.tile([[0.0, 1.0, 2.0]], (pictures, 1))
    assert words in decisions(expected + [[0.9, 0, 0]], expected)["text"]


def test_assert_matches(small, model):
    assert_matches(model, model(small.x), small.x)
    with pytest.raises(AssertionError, match="DIVERGES"):
        assert_matches(model, 0.8 * model(small.x), small.x)


def test_weights_in_float16_alone_are_fine(small, model):
    arrays = {name: faulty_ports.half(array) for name, array in small.arrays.items()}
    tensors = faulty_ports.run(small.plan, arrays, small.x, np.float32)
    for port in (tensors, {"y": tensors["logits"]}):
        report = verify(model, port, small.x)
        assert report.fine and "its parameters are in float16:" in report.sentence, report.text()


def test_an_input_a_little_off_is_laid_to_its_cause_although_it_was_dumped(maker, model, photo):
    """Mean and std rounded to float16 move the input by 70 dB: less than a float16 input's own rounding would."""
    mean, std = (np.array(v)[:, None, None] for v in (maker.recipe.mean, maker.recipe.std))
    short_mean, short_std = (v.astype(np.float16).astype(np.float64) for v in (mean, std))
    x = ((maker.x * std + mean - short_mean) / short_std).astype(np.float32)
    report = verify(model, faulty_ports.run(maker.plan, maker.arrays, x, np.float32), photo)
    assert report.explained_by and report.explained_by[0]["fault"] == "mean_std", report.text()
    assert report.first_divergence == "input"
