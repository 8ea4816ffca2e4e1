"""Graphs whose layers and wiring are all a network's, and whose activations, gates or padding are others."""

import numpy as np
import pytest
import tflite_files
from random_networks import network

import npmnv3
from npmnv3.conversion import load_checkpoint
from npmnv3.conversion.formats.record import Layer
from npmnv3.conversion.match.fit import layers_of
from npmnv3.conversion.match.graph_places import Place
from npmnv3.conversion.match.graph_windows import window_faults
from npmnv3.errors import WeightsError
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant

onnx = pytest.importorskip("onnx")
NAME = "torchvision/mobilenet_v3_small"


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "small.onnx"
    npmnv3.export_onnx(network(NAME), path)
    return path


class Graph:
    """A model that nodes are changed in."""

    def __init__(self, path):
        self.model = onnx.load(path)
        self.nodes = self.model.graph.node

    def of(self, op):
        return [node for node in self.nodes if node.op_type == op]

    def constant(self, value):
        name = f"constant {len(self.model.graph.initializer)}"
        self.model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    def replace(self, node, *others):
        """Other nodes (operator, inputs, attributes) in a node's place; each reads "x", what the node read, or those before
        by number, and the last gives what the node gave."""
        at, made = list(self.nodes).index(node), []
        for op, inputs, attributes in others:
            names = [{"x": node.input[0]}.get(i, i) if isinstance(i, str) else made[i] for i in inputs]
            made.append(node.output[0] if len(made) + 1 == len(others) else f"{node.output[0]}.{len(made)}")
            self.nodes.insert(at, onnx.helper.make_node(op, names, made[-1:], **attributes))
            at += 1
        self.nodes.remove(node)

    def save(self, folder):
        onnx.save(self.model, folder / "other.onnx")
        return folder / "other.onnx"


def to_all(op, *others):
    def change(g):
        for node in g.of(op):
            g.replace(node, *others)

    return change


def relu6(g):
    ends = g.constant(np.float32(0)), g.constant(np.float32(6))
    to_all("HardSwish", ("Clip", ["x", *ends], {}))(g)


def one_relu6(g):
    g.replace(g.of("HardSwish")[7], ("Clip", ["x", g.constant(np.float32(0)), g.constant(np.float32(6))], {}))


def one_slope(g):
    g.replace(g.of("HardSigmoid")[4], ("HardSigmoid", ["x"], {"alpha": 0.2}))


def one_offset(g):
    g.replace(g.of("HardSigmoid")[0], ("HardSigmoid", ["x"], {"alpha": 1 / 6, "beta": 0.4}))


def no_pool(g):
    g.replace(g.of("GlobalAveragePool")[2], ("Identity", ["x"], {}))


def means(*axes, kept=1):
    """One mean after another in place of the pooling before the head, which flattens what it gets."""

    def change(g):
        told = [("ReduceMean", [i - 1 if i else "x"], {"axes": its, "keepdims": kept}) for i, its in enumerate(axes)]
        g.replace(g.of("GlobalAveragePool")[-1], *told)

    return change


def window(*sides, **more):
    """A mean over a window before the head."""
    return lambda g: g.replace(g.of("GlobalAveragePool")[-1], ("AveragePool", ["x"], {"kernel_shape": sides} | more))


def stacked(*axes):
    """The last shortcut as the sum of a stack, or of what lies side by side."""

    def change(g):
        add, axis = g.of("Add")[-1], g.constant(np.array(axes))
        other = ("Unsqueeze", [add.input[1], axis], {})
        g.replace(
            add,
            ("Unsqueeze", ["x", axis], {}),
            other,
            ("Concat", [0, 1], {"axis": 0}),
            ("ReduceSum", [2, axis], {"keepdims": 0}),
        )

    return change


def whole_numbers(g):
    g.replace(g.of("HardSwish")[-1], ("HardSwish", ["x"], {}), ("Cast", [0], {"to": 6}), ("Cast", [1], {"to": 1}))


def relu_behind_a_product(g):
    products = [node for node in g.of("Mul") if node.input[1] in {n.output[0] for n in g.of("HardSigmoid")}]
    g.replace(products[3], ("Mul", ["x", products[3].input[1]], {}), ("Relu", [0], {}))


def reflected(g):
    stem = g.of("Conv")[0]
    pads = g.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    told = {a.name: onnx.helper.get_attribute_value(a) for a in stem.attribute if a.name not in ("pads", "auto_pad")}
    inner = ("Conv", [0, *stem.input[1:]], told | {"pads": [0, 0, 0, 0]})
    g.replace(stem, ("Pad", ["x", pads], {"mode": "reflect"}), inner)


def conv_setting(number, name, value):
    def change(g):
        conv = [n for n in g.of("Conv") if [1, 1] in [list(a.ints) for a in n.attribute if a.name == "kernel_shape"]]
        (found,) = [a for a in conv[number].attribute if a.name == name] or [conv[number].attribute.add()]
        found.CopyFrom(onnx.helper.make_attribute(name, value))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (relu6, "reads relu6 of stem.conv, expected hard-swish of stem.conv"),
        (one_relu6, "reads relu6 of blocks.*, expected hard-swish of blocks"),
        (to_all("HardSwish", ("HardSigmoid", ["x"], {"alpha": 1 / 6})), "reads the gate of slope 1/6 of stem.conv"),
        (to_all("HardSwish", ("HardSwish", ["x"], {}), ("Relu", [0], {})), "reads another function of stem.conv|relu"),
        (one_slope, "the gate of slope 0.2 of blocks.6.se.excite, expected"),
        (one_offset, "another function of blocks.0.se.excite"),
        (no_pool, "reads hard-swish of blocks.*, expected the mean of hard-swish"),
        (means((3,)), "reads the mean of each row of hard-swish"),
        (means((2,), (2,)), "reads the mean of each column of the mean of each column"),
        (means((1,)), "reads another mean"),
        (window(5, 5), "AveragePool '.*' takes 5x5 pixels of 7x7, expected 7x7"),
        (window(7, 7, auto_pad="SAME_UPPER"), "takes 7x7 pixels of 7x7, padded"),
        (stacked(1), "reads ReduceSum of the values along axis 0"),
        (whole_numbers, "reads Cast of hard-swish of head.fc"),
        (relu_behind_a_product, "reads relu of the product of"),
        (reflected, "pads otherwise than with zeros"),
        (conv_setting(3, "strides", [2, 2]), r"has strides \(2, 2\), expected \(1, 1\)"),
        (conv_setting(3, "pads", [1, 1, 1, 1]), r"pads \(1, 1, 1, 1\)"),
    ],
)
def test_another_function_is_another_network(graph, change, message, tmp_path):
    changed = Graph(graph)
    change(changed)
    with pytest.raises(WeightsError, match=f"(?s)fits no network; the nearest is {NAME}:.*({message})"):
        load_checkpoint(changed.save(tmp_path))


def written_out(*order):
    """Hard-swish in operations of its own: x times a clipped sum, the sixth where `order` has it."""

    def change(g):
        three, six, zero = (g.constant(np.float32(value)) for value in (3, 6, 0))
        for node in g.of("HardSwish"):
            clipped = [("Add", ["x", three], {}), ("Clip", [0, zero, six], {})]
            g.replace(node, *clipped, *([n, [six if i == "six" else i for i in inputs], {}] for n, inputs in order))

    return change


def sixth_behind_the_product(g):
    six = g.constant(np.float32(6))
    for gate in g.of("HardSigmoid"):
        (product,) = [node for node in g.of("Mul") if gate.output[0] in node.input]
        other = next(name for name in product.input if name != gate.output[0])
        g.replace(product, ("Mul", [other, gate.output[0]], {}), ("Div", [0, six], {}))
        ends = g.constant(np.float32(3)), g.constant(np.float32(0)), six
        g.replace(gate, ("Add", ["x", ends[0]], {}), ("Clip", [0, *ends[1:]], {}))


@pytest.mark.parametrize(
    "change",
    [
        written_out(("Mul", ["x", 1]), ("Div", [2, "six"])),
        written_out(("Div", [1, "six"]), ("Mul", [2, "x"])),
        written_out(("Div", ["x", "six"]), ("Mul", [1, 2])),
        to_all("HardSwish", ("HardSigmoid", ["x"], {"alpha": 1 / 6}), ("Mul", ["x", 0], {})),
        to_all("HardSigmoid", ("HardSigmoid", ["x"], {"alpha": 0.16662598})),  # in 16 bits
        sixth_behind_the_product,
        means((2, 3)),
        means((-1, -2), kept=0),
        means((3,), (2,)),
        means((2,), (-1,)),
        means((-1,), (-1,), kept=0),
        means((3,), (2,), kept=0),
        window(7, 7),
        stacked(0),
        means((2,), kept=0),  # of pixels that were laid along one axis
    ],
)
def test_how_a_function_is_written_does_not_matter(graph, change, tmp_path):
    changed = Graph(graph)
    change(changed)
    assert load_checkpoint(changed.save(tmp_path)).variant.full_name == NAME


def norm_of_the_batch(g):
    ones = g.constant(np.ones(16, np.float32))
    norm = ("BatchNormalization", [0, *[ones] * 4], {"training_mode": 1})
    g.replace(g.of("HardSwish")[0], ("HardSwish", ["x"], {}), norm)


def chances(g):
    on = g.constant(np.array(True))
    g.replace(g.of("HardSwish")[-1], ("HardSwish", ["x"], {}), ("Dropout", [0, g.constant(np.float32(0.2)), on], {}))


def test_a_graph_in_training_mode(graph, tmp_path):
    for change in (norm_of_the_batch, chances):
        changed = Graph(graph)
        change(changed)
        with pytest.raises(WeightsError, match="is in training mode; export again after eval"):
            load_checkpoint(changed.save(tmp_path))


@pytest.mark.parametrize(
    ("name", "value"), [("pads", 3), ("pads", "ab"), ("strides", [1.5, 2.0]), ("group", "x"), ("dilations", 3)]
)
def test_an_attribute_of_another_type(graph, name, value, tmp_path):
    changed = Graph(graph)
    conv_setting(2, name, value)(changed)
    with pytest.raises(WeightsError, match=f"Conv '.*' has {name} = .* of another type than ONNX's"):
        load_checkpoint(changed.save(tmp_path))


def channels_exchanged(g):
    first = g.of("Conv")[0]
    order = g.constant(np.array([2, 1, 0]))
    g.nodes.insert(0, onnx.helper.make_node("Gather", [first.input[0], order], ["bgr"], axis=1))
    first.input[0] = "bgr"


def sides_exchanged(g):
    first = g.of("Conv")[0]
    g.nodes.insert(0, onnx.helper.make_node("Transpose", [first.input[0]], ["turned"], perm=[0, 1, 3, 2]))
    first.input[0] = "turned"


def classes_picked(g):
    out = g.model.graph.output[0]
    g.nodes.append(onnx.helper.make_node("Gather", [out.name, g.constant(np.array([1, 0]))], ["picked"], axis=1))
    out.name = "picked"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (channels_exchanged, "the graph prepares its input itself (Gather)"),
        (sides_exchanged, "the graph prepares its input itself (Transpose)"),
        (classes_picked, "behind the classifier the graph has Gather"),
    ],
)
def test_what_stands_before_and_behind_the_network_is_warned_of(graph, change, said, tmp_path):
    changed = Graph(graph)
    change(changed)
    (warning,) = npmnv3.convert(changed.save(tmp_path), tmp_path / "dump.npz").warnings
    assert said in warning


@pytest.mark.parametrize("side, told", [((80, 192), True), ((48, 192), False)])
def test_a_maximum_of_windows_that_are_cut_off(side, told):
    """Windows of 2 x 2 of 3 rows are two where those that are cut off count, of 2 rows they are one anyhow."""
    plan = make_plan(get_variant("ppocr/text_direction"), 2, side)
    pool = Layer("MaxPool", "m", {}, {"kernel_shape": (2, 2), "strides": (2, 2), "ceil_mode": 1})
    places = [Place(None, after=[pool] * (step.name == "last.conv")) for step in layers_of(plan)]
    assert bool(window_faults(plan, places)) is told


def test_a_mean_over_a_window_where_pictures_are_of_any_size(graph, tmp_path):
    for sides, warned in (((7, 7), False), ((5, 5), True)):
        changed = Graph(graph)
        window(*sides)(changed)
        for size in changed.model.graph.input[0].type.tensor_type.shape.dim[2:]:
            size.dim_param = "any"
        warnings = npmnv3.convert(changed.save(tmp_path), tmp_path / "dump.npz").warnings
        assert any("takes 5x5 pixels of 7x7" in told and "224x224" in told for told in warnings) == warned


@pytest.mark.parametrize(("name", "value"), [("kernel_shape", [3, 3]), ("strides", [1, 1])])
def test_a_maximum_over_another_window(name, value, tmp_path):
    npmnv3.export_onnx(npmnv3.load("ppocr/text_direction"), tmp_path / "line.onnx")
    changed = Graph(tmp_path / "line.onnx")
    (found,) = [told for told in changed.of("MaxPool")[0].attribute if told.name == name]
    found.CopyFrom(onnx.helper.make_attribute(name, value))
    with pytest.raises(WeightsError, match="MaxPool '.*' takes .* of 2x96 by steps of .*, expected 2x2"):
        load_checkpoint(changed.save(tmp_path))


def test_another_activation_in_tensorflow_lite(monkeypatch, tmp_path):
    model = network("keras/MobileNetV3Small")
    (tmp_path / "right.tflite").write_bytes(tflite_files.write(model))
    assert load_checkpoint(tmp_path / "right.tflite").variant.full_name == model.variant.full_name
    monkeypatch.setattr(tflite_files, "HARD_SWISH", 21)  # which is relu6
    (tmp_path / "wrong.tflite").write_bytes(tflite_files.write(model))
    with pytest.raises(WeightsError, match=r"reads relu6 of stem.conv, expected hard-swish of stem.conv"):
        load_checkpoint(tmp_path / "wrong.tflite")
