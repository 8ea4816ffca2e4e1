"""Graphs whose layers are all a network's, and connected otherwise: skip paths left out, gates on other maps."""

from dataclasses import replace

import pytest
import tflite_files
from random_networks import network

import npmnv3
from npmnv3.conversion import load_checkpoint
from npmnv3.errors import WeightsError

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "small.onnx"
    npmnv3.export_onnx(network("torchvision/mobilenet_v3_small"), path)
    return path


def joins(model, op):
    """The nodes of an operation on two values, neither of which is a constant."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [node for node in model.graph.node if node.op_type == op and not constants & set(node.input)]


def no_skip_path(model):
    add = joins(model, "Add")[2]
    for node in model.graph.node:
        node.input[:] = [add.input[0] if name == add.output[0] else name for name in node.input]
    model.graph.node.remove(add)


def added_to_itself(model):
    add = joins(model, "Add")[0]
    add.input[0] = add.input[1]


def skip_over_two_blocks(model):
    norms = {node.output[0] for node in model.graph.node if node.op_type == "BatchNormalization"}
    first, second = joins(model, "Add")[3:5]
    (earlier,) = set(first.input) - norms
    second.input[:] = [name if name in norms else earlier for name in second.input]


def gate_of_another_block(model):
    one, other = joins(model, "Mul")[4:6]  # of blocks of one width
    other.input[1] = one.input[1]


def gates_exchanged(model):  # one is read before it is there
    one, other = joins(model, "Mul")[4:6]
    one.input[1], other.input[1] = other.input[1], one.input[1]


def sum_for_product(model):
    joins(model, "Mul")[0].op_type = "Add"


@pytest.mark.parametrize(
    ("change", "message"),
    (
        (
            no_skip_path,
            "blocks.6.expand.conv' reads blocks.5.project.conv, expected the sum of blocks.5.project.conv and the sum",
        ),
        (
            added_to_itself,
            "reads blocks.1.project.conv, expected the sum of blocks.2.project.conv and blocks.1.project.conv",
        ),
        (
            skip_over_two_blocks,
            "reads the sum of blocks.9.project.conv and blocks.6.project.conv, expected the sum of blocks.9.project.conv and blocks.8",
        ),
        (
            gate_of_another_block,
            "reads the product of hard-swish of blocks.7.depthwise.conv and the gate of slope 1/6 of blocks.6.se.excite, expected",
        ),
        (gates_exchanged, "squeeze-and-excitation widths"),
        (
            sum_for_product,
            "reads the sum of relu of blocks.0.depthwise.conv and the gate of slope 1/6 of blocks.0.se.excite",
        ),
    ),
)
def test_another_wiring_is_another_network(graph, change, message, tmp_path):
    model = onnx.load(graph)
    change(model)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(
        WeightsError, match=f"(?s)fits no network; the nearest is torchvision/mobilenet_v3_small:.*{message}"
    ):
        load_checkpoint(tmp_path / "other.onnx")


def test_terms_of_a_sum_have_no_order(graph, tmp_path):
    model = onnx.load(graph)
    for op in ("Add", "Mul"):
        for node in joins(model, op):
            node.input[:] = list(reversed(node.input))
    onnx.save(model, tmp_path / "same.onnx")
    assert load_checkpoint(tmp_path / "same.onnx").variant.full_name == "torchvision/mobilenet_v3_small"


def test_a_skip_path_from_elsewhere_in_tensorflow_lite(monkeypatch, tmp_path):
    model = network("keras/MobileNetV3Small_minimalistic")
    plan = model.plan_for(folded=True)
    add = next(step for step in plan if step.op == "add")
    (tmp_path / "right.tflite").write_bytes(tflite_files.write(model))
    assert load_checkpoint(tmp_path / "right.tflite").variant.full_name == model.variant.full_name
    wrong = tuple(replace(step, inputs=(step.inputs[0], step.inputs[0])) if step == add else step for step in plan)
    monkeypatch.setattr(model, "plan_for", lambda folded=False, right=model.plan_for: wrong if folded else right())
    (tmp_path / "wrong.tflite").write_bytes(tflite_files.write(model))
    with pytest.raises(
        WeightsError, match="reads blocks.2.project.conv, expected the sum of blocks.2.project.conv and blocks.1"
    ):
        load_checkpoint(tmp_path / "wrong.tflite")
