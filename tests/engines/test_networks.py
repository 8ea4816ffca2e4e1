"""Every published network against its own framework: state dict, counts, logits and every tap."""

import functools
import importlib.util

import goldens
import numpy as np
import pytest

import npmnv3
from npmnv3.network.counts import plan_counts
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import BEYOND, TABLE, get_variant

MODELS = goldens.models()
NUMBA = importlib.util.find_spec("numba") is not None
# timm's names for Keras's six networks, and PaddleOCR's classifier, which has goldens of another kind.
ELSEWHERE = [v.full_name for v in BEYOND if v.name.startswith("tf_")] + ["ppocr/text_direction"]
# timm's own at other widths, without published weights: names and shapes were compared with timm's, logits were not.
UNPUBLISHED = ["timm/mobilenetv3_large_075", "timm/mobilenetv3_large_150d"]

# A golden tap's role -> the step whose tensor it is. {b}: blocks.N
TAPS = {
    "stem.conv": "stem.conv",
    "stem.bn": "stem.norm",
    "stem.out": "stem",
    "expand": "{b}.expand",
    "dw": "{b}.depthwise",
    "dw_bn": "{b}.depthwise",
    "gate": "{b}.gate",
    "se": "{b}.se",
    "act": "{b}.act",
    "project": "{b}.project",
    "skip": "{b}.shortcut",
    "out": "{b}",
    "last.conv": "last.conv",
    "last.out": "last",
    "pool": "pool",
    "head.conv": "head.fc",
    "head.fc": "head.fc",
    "head.bn": "head.norm",
    "head.act": "head",
    "head.dropout": "head.gain",
    "logits": "logits",
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    """Every network with goldens; pytest lets all tests of one follow each other, as their weights take long to draw."""
    return request.param


@functools.lru_cache(maxsize=1)
def state_of(model):
    return goldens.state(model)


def tap_step(role, plan):
    """The name of the step whose tensor a tap of this role is."""
    names = {step.name for step in plan}
    block, _, part = role.partition(".")
    if not block.startswith("block"):
        return TAPS[role]
    block = f"blocks.{block.removeprefix('block')}"
    if part == "skip" and f"{block}.shortcut" not in names:
        return next(step for step in plan if step.name in (f"{block}.add", block) and step.op == "add").inputs[1]
    if part in ("act", "dw_bn") and f"{block}.act" not in names:  # showlo without squeeze-and-excitation: one part
        part = {"act": "depthwise", "dw_bn": "depthwise.norm"}[part]
        return f"{block}.{part}"
    return TAPS[part].format(b=block)


def worst(found, expected, tolerance, what):
    """Assert agreement; the message has the largest error and its place."""
    error = np.abs(found - expected) - tolerance
    place = np.unravel_index(int(np.argmax(error)), error.shape)
    difference = abs(found[place] - expected[place])
    assert not error[place] > 0, f"{what}: off by {difference:.3g} at {place}, {found[place]!r} for {expected[place]!r}"
    assert np.isfinite(found).all(), f"{what}: not finite"


def test_every_network_has_a_golden():
    assert sorted(MODELS + ELSEWHERE + UNPUBLISHED) == sorted(v.full_name for v in TABLE + BEYOND)
    assert len(TABLE) == 23 and len(MODELS) == 29


def test_state_dict_has_the_frameworks_names_shapes_and_order(model):
    state = state_of(model)
    assert list(npmnv3.param_shapes(model).items()) == [(name, array.shape) for name, array in state.items()]


def test_counts_are_the_frameworks(model):
    variant, golden = get_variant(model), goldens.counts(model)
    counts = plan_counts(make_plan(variant), variant.source)
    found = [counts.macs, counts.by_rule("A"), counts.by_rule("B"), counts.by_rule("C"), counts.learned, counts.entries]
    keys = ("mac", "rule_old_thop", "rule_paddle_doc", "rule_new_thop", "params_trainable", "params_all_entries")
    assert found == [golden[key] for key in keys]


#: What walks the plan step by step, in both dtypes.
STEPWISE = ["numpy", pytest.param("numba", marks=pytest.mark.skipif(not NUMBA, reason="Numba is not installed"))]


@pytest.mark.parametrize("engine", STEPWISE)
def test_float64(model, engine, golden_inputs):
    golden = goldens.logits(model)
    oracle = npmnv3.load(model, state_of(model), engine=engine, dtype="float64")
    exact = golden.get("exact", golden["f64"])
    trace = oracle.trace(golden_inputs[:1])
    for role, shape, index, values in goldens.taps(model):
        step = tap_step(role, oracle.plan)
        found = trace[step]
        assert np.prod(found.shape) == np.prod(shape), f"{role}: {found.shape}, golden {shape}"
        # paddle's taps were run with its rounded constants, so they are only that near.
        tolerance = 1e-4 if "exact" in golden else 1e-9
        worst(found.ravel()[index], values, tolerance, f"{model} {role} ({step})")
    worst(oracle(golden_inputs), exact, goldens.bounds(exact, "float64"), model)
    worst(trace["logits"], exact[:1], 1e-9, f"{model} trace")


@pytest.mark.parametrize("model", [m for m in MODELS if m.startswith("ppcls/")])
def test_rounded_constants_are_paddles(model, golden_inputs):
    paddle = npmnv3.load(model, state_of(model), engine="numpy", dtype="float64", rounded_constants=True)
    trace = paddle.trace(golden_inputs[:1])
    for role, _, index, values in goldens.taps(model):
        worst(trace[tap_step(role, paddle.plan)].ravel()[index], values, 1e-9, f"{model} {role}")
    worst(trace["logits"], goldens.logits(model)["f64"][:1], 1e-9, model)


@pytest.mark.parametrize("engine", [*STEPWISE, "llvm"])
def test_float32(model, engine, golden_inputs):
    if engine == "llvm":
        pytest.importorskip("llvmlite", reason="the llvm engine needs the extra jit")
    golden = goldens.logits(model)["f64"]
    network = npmnv3.load(model, state_of(model), engine=engine)
    worst(network(golden_inputs), golden, goldens.bounds(golden, "float32"), f"{model} ({engine})")
    if engine == "llvm":  # it keeps no tensors
        return
    trace = network.trace(golden_inputs[:1])
    for role, _, index, values in goldens.taps(model):
        tensor = trace[tap_step(role, network.plan)]
        worst(tensor.ravel()[index], values, 1e-3 + 1e-4 * np.abs(tensor).max(), f"{model} {role}")


@pytest.mark.parametrize("variant", [v for v in BEYOND if v.name.startswith("tf_")], ids=lambda v: v.name)
def test_timms_tf_networks_are_kerass(variant, golden_inputs):
    """The same functions under other names and layouts: carried over, Keras's weights give Keras's logits."""
    size, width, minimal = variant.name.split("_")[2], variant.width, "minimal" in variant.name
    name = f"MobileNetV3{size.capitalize()}" + ("_minimalistic" if minimal else "" if width == 1 else "_075")
    theirs, state = get_variant(f"keras/{name}"), state_of(f"keras/{name}")
    carried = {}
    for ours, keras in zip(make_plan(variant), make_plan(theirs)):
        assert (ours.name, ours.op, ours.pad, ours.eps, ours.shape) == (
            keras.name,
            keras.op,
            keras.pad,
            keras.eps,
            keras.shape,
        )
        for param in ours.params:
            if param.role != "count":
                carried[param.name] = (
                    keras.param(param.role).to_canonical(state[keras.param(param.role).name]).reshape(param.shape)
                )
    network = npmnv3.load(variant.full_name, carried, engine="numpy", dtype="float64")
    worst(network(golden_inputs[:1]), goldens.logits(f"keras/{name}")["f64"][:1], 1e-9, variant.full_name)
