"""Graphs whose nodes stand in another valid order: the network is told by what they read."""

import numpy as np
import pytest
from random_networks import random_params

import npmnv3
from npmnv3.conversion import load_checkpoint
from npmnv3.conversion.graph_order import canonical_order, steps_in_canonical_order
from npmnv3.conversion.quantized import read_quantized_model
from npmnv3.conversion.quantized.names import name_tensors
from npmnv3.errors import WeightsError
from npmnv3.network.integer_plan import LAYERS
from npmnv3.network.lowering import SCHEMES, lower
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant

onnx = pytest.importorskip("onnx")
import onnx_orders  # noqa: E402

NAME = "sqlai/mobilenetv3_small"  # whose shortcuts have convolutions
ORDERS = {
    "the last that could": lambda ready: -1,  # as onnxruntime's pre-processing moves shortcuts ahead
    "the first that could": lambda ready: 0,
    "one in the midst": lambda ready: len(ready) // 2,
}


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    path = tmp_path_factory.mktemp("order") / "small.onnx"
    params = random_params(make_plan(get_variant(NAME), 5), np.random.default_rng(2))
    network = npmnv3.load(NAME, params, 5, engine="numpy")
    npmnv3.export_onnx(network, path, side=(64, 64), folded=True)
    return path


@pytest.fixture(scope="module")
def quantized(folded):
    model = onnx.load(folded)
    onnx_orders.quantize(model)
    onnx.save(model, folded.with_name("int8.onnx"))
    return folded.with_name("int8.onnx")


def reordered(path, order, folder):
    model = onnx.load(path)
    before = [node.output[0] for node in model.graph.node]
    onnx_orders.reorder(model, ORDERS[order])
    assert order == "the first that could" or before != [node.output[0] for node in model.graph.node]
    onnx.save(model, folder / "other.onnx")
    return folder / "other.onnx"


@pytest.mark.parametrize("order", ORDERS)
def test_of_floats(folded, order, tmp_path):
    expected, found = load_checkpoint(folded), load_checkpoint(reordered(folded, order, tmp_path))
    assert found.variant.full_name == NAME
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array, name)


@pytest.mark.parametrize("order", ORDERS)
def test_of_integers(quantized, order, tmp_path):
    (expected, *_), (found, *_) = map(read_quantized_model, (quantized, reordered(quantized, order, tmp_path)))
    assert [step.name for step in found.steps] == [step.name for step in expected.steps]
    named = name_tensors(found, NAME)
    assert (named.variant.full_name, named.whole) == (NAME, True) and name_tensors(found).variant == named.variant
    assert "blocks.0.shortcut" in [step.name for step in named.plan.steps]


@pytest.mark.parametrize("order", ORDERS)
def test_another_wiring_in_another_order_is_refused(folded, quantized, order, tmp_path):
    """A block's shortcut reads the path of the block before it, not its sum."""
    for path, refused in ((folded, load_checkpoint), (quantized, _named)):
        model = onnx.load(path)
        before, block = [node for node in model.graph.node if node.op_type == "Add"][3:5]
        block.input[1] = before.input[0]
        onnx.save(model, tmp_path / "wrong.onnx")
        with pytest.raises(WeightsError, match=NAME):
            refused(reordered(tmp_path / "wrong.onnx", order, tmp_path))


def _named(path):
    return name_tensors(read_quantized_model(path)[0], NAME)


def test_every_networks_plan_stands_in_that_order():
    for name in npmnv3.list_models():
        for folded in (False, True):
            plan = make_plan(get_variant(name), folded=folded)
            weighted = {step.op for step in plan if step.param("weight")}
            assert steps_in_canonical_order(plan, weighted) == plan, name
        for scheme in SCHEMES:
            steps, _ = lower(plan, scheme, (plan[0].param("weight").canonical[1], 64, 64))
            assert steps_in_canonical_order(steps, LAYERS) == tuple(steps), (name, scheme)


def test_many_ends_and_long_chains_take_linear_time():
    count = 100_000
    reads = [(), *((place,) for place in range(count)), tuple(range(count))]
    none = [False] * len(reads)
    assert canonical_order(reads, none, none) == list(range(len(reads)))
