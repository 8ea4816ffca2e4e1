"""What ONNX's tools make of QDQ: biases in floats, weights quantised in the file, relus apart, grids that do not meet."""

import numpy as np
import pytest

from npmnv3.conversion.formats import read_checkpoint
from npmnv3.conversion.quantized import read_quantized_model
from npmnv3.conversion.quantized.names import name_tensors
from npmnv3.engines.integer_engine import make_integer_engine
from npmnv3.errors import WeightsError
from npmnv3.network.integer_plan import IntegerPlan
from npmnv3.network.lowering import lower
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant
from npmnv3.ops.grids import Grid
from npmnv3.ops.kernel_sets import get_kernel_set

onnx = pytest.importorskip("onnx")
SCALES = {"x": 0.1, "y": 0.25, "z": 0.125}
WEIGHT, W_SCALE, BIAS = (
    np.array([[5, -7], [3, 100]]),
    np.array([0.02, 0.03], np.float32),
    np.array([0.8, -1.3], np.float32),
)
SUMS = np.float32(0.1) * W_SCALE
X = np.arange(-60, 60).reshape(1, 2, 6, 10).astype(np.float32) / 10


class Nodes:
    """A small graph in the making; grids are int8 with zero points of 0 but where it is said otherwise."""

    def __init__(self, zero=0):
        self.nodes, self.constants, self.zero = [], {}, np.int8(zero)

    def add(self, op, inputs, out, **told):
        self.nodes.append(onnx.helper.make_node(op, inputs, [out], **told))
        return out

    def put(self, name, array):
        self.constants[name] = np.asarray(array)
        return name

    def grid(self, name, scale=None):
        scale = self.put(f"{name}.s", np.float32(scale or SCALES[name]))
        return scale, self.put(f"{name}.z", self.zero)

    def stored(self, source, name, read_by=None):
        """source -> QuantizeLinear -> DequantizeLinear; the last's name."""
        q = self.add("QuantizeLinear", [source, *self.grid(name)], f"{name}.q")
        return self.add("DequantizeLinear", [q, *self.grid(f"{name}.dq", read_by or SCALES[name])], f"{name}.real")

    def weight(self, folded=True):
        scale, zero = self.put("w.s", W_SCALE), self.put("w.z", np.zeros(2, np.int8))
        q = self.put("w.q", WEIGHT.astype(np.int8).reshape(2, 2, 1, 1))
        if not folded:
            real = self.put("w", (WEIGHT * W_SCALE[:, None]).astype(np.float32).reshape(2, 2, 1, 1))
            q = self.add("QuantizeLinear", [real, scale, zero], "w.made", axis=0)
        return self.add("DequantizeLinear", [q, scale, zero], "w.real", axis=0)

    def bias(self, scale):
        q = self.put("b.q", np.rint(BIAS / SUMS).astype(np.int32))
        return self.add(
            "DequantizeLinear", [q, self.put("b.s", scale), self.put("b.z", np.zeros(2, np.int32))], "b.real"
        )

    def plan(self, path, out):
        value = onnx.helper.make_tensor_value_info
        ends = value("input", 1, X.shape), value(out, 1, X.shape)
        constants = [onnx.numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        graph = onnx.helper.make_graph(self.nodes, "g", ends[:1], ends[1:], constants)
        onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), path)
        return read_quantized_model(path)[0]


def sums():
    """What the layer stores of X, (1, 2, H, W), before it is cut, in steps of y."""
    q = np.clip(np.rint(X / np.float32(0.1)), -128, 127)
    total = np.einsum("oc,nchw->nohw", WEIGHT, q) + np.rint(BIAS / SUMS).reshape(1, 2, 1, 1)
    return np.rint(total.astype(np.float32) * (SUMS / np.float32(0.25)).reshape(1, 2, 1, 1))


def run(plan):
    return make_integer_engine(plan, get_kernel_set("onnxruntime"), "numpy").trace(X, integers=True)


@pytest.mark.parametrize("bias", ["floats", "integers"])
@pytest.mark.parametrize("folded", [True, False], ids=["weights", "weights made in the file"])
def test_a_layer_with_its_bias(bias, folded, tmp_path):
    made = Nodes()
    told = made.put("b", BIAS) if bias == "floats" else made.bias(SUMS)
    made.add("Conv", [made.stored("input", "x"), made.weight(folded), told], "conv")
    plan = made.plan(tmp_path / "a.onnx", made.stored("conv", "y"))
    assert np.array_equal(run(plan)["y.q"], np.clip(sums(), -128, 127)) and plan.arrays["y.q.bias"].any()
    assert any("biases are floats in it" in note for note in plan.notes) == (bias == "floats")
    rests = {"y.q": BIAS / SUMS.astype(np.float64) - np.rint(BIAS / SUMS)} if bias == "floats" else {}
    assert {name: rest.tolist() for name, rest in plan.bias_rests.items()} == {k: v.tolist() for k, v in rests.items()}
    assert any("computes its int8 tensors in float32" in note for note in plan.notes)


def test_what_torch_writes_of_a_model_of_convert_fx(tmp_path):
    """Each QuantizeLinear is cast to the type that it has, and zero points are a ConstantOfShape; to another type is
    refused."""
    for to in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8):
        made = Nodes()
        q = made.add("QuantizeLinear", ["input", *made.grid("x")], "x.q")
        real = made.add("DequantizeLinear", [made.add("Cast", [q], "x.cast", to=to), "x.s", "x.z"], "x.real")
        made.weight()
        number = onnx.helper.make_tensor("", onnx.TensorProto.INT32, [1], [0])
        made.add(
            "Cast", [made.add("ConstantOfShape", [made.put("two", np.int64([2]))], "zeros", value=number)], "zero", to=6
        )
        bias = made.put("b.q", np.rint(BIAS / SUMS).astype(np.int32))
        bias = made.add("DequantizeLinear", [bias, made.put("b.s", SUMS), "zero"], "b.real", axis=0)
        made.add("Conv", [real, "w.real", bias], "conv")
        if to == onnx.TensorProto.UINT8:
            with pytest.raises(WeightsError, match="Cast 'x.cast'"):
                made.plan(tmp_path / "a.onnx", made.stored("conv", "y"))
        else:
            plan = made.plan(tmp_path / "a.onnx", made.stored("conv", "y"))
            assert np.array_equal(run(plan)["y.q"], np.clip(sums(), -128, 127))
        ops = [layer.op for layer in read_checkpoint(tmp_path / "a.onnx").layers]
        assert ops == ["Cast"] * (to == onnx.TensorProto.UINT8) + ["Conv"], "in floats"


def test_a_relu_apart(tmp_path):
    made = Nodes()
    made.add("Conv", [made.stored("input", "x"), made.weight(), made.bias(SUMS)], "conv")
    made.add("Relu", [made.stored("conv", "y")], "relu")
    plan = made.plan(tmp_path / "a.onnx", made.stored("relu", "z"))
    before = np.clip(sums(), -128, 127)
    assert np.array_equal(run(plan)["z.q"], np.clip(np.maximum(before, 0) * 2, -128, 127))


def test_a_shape_between_an_operation_and_where_it_is_stored(tmp_path):
    """Flatten behind the hard-swish of a head, as exporters write it; of a map with pixels it is refused."""
    for squeezed in (True, False):
        made = Nodes()
        real = made.stored("input", "x")
        if squeezed:
            real = made.stored(made.add("GlobalAveragePool", [real], "mean"), "y")
        made.add("Flatten", [made.add("HardSwish", [real], "act")], "flat")
        if squeezed:
            steps = made.plan(tmp_path / "a.onnx", made.stored("flat", "z")).steps
            assert [(step.op, step.shape) for step in steps] == [("global_avg_pool", (2,)), ("hard_swish", (2,))]
        else:
            with pytest.raises(WeightsError, match="Flatten 'flat' reads floats"):
                made.plan(tmp_path / "a.onnx", made.stored("flat", "z"))


def test_a_padding_that_the_graph_computes_is_refused_in_words(tmp_path):
    """timm's tf_ networks, exported and quantised without folding."""
    made = Nodes()
    real = made.stored("input", "x")
    side = made.add("Gather", [made.add("Shape", [real], "shape"), made.put("two", np.int64(2))], "side")
    made.add("Ceil", [made.add("Cast", [side], "cast", to=1)], "ceil")
    with pytest.raises(WeightsError, match="its padding is computed from the sides in the graph; .*quant_pre_process"):
        made.plan(tmp_path / "a.onnx", "ceil")


def test_names_and_relus_that_are_known_by_another_name(tmp_path):
    """Identity nodes, and QuantizeLinear once for each reader, add nothing."""
    made = Nodes()
    made.add("Identity", [made.stored("input", "x")], "again")
    made.add("Conv", ["again", made.weight(), made.bias(SUMS)], "conv")
    first = made.stored("conv", "y")
    second = made.add("QuantizeLinear", ["conv", "y.s", "y.z"], "second.q")
    made.add("Add", [first, made.add("DequantizeLinear", [second, "y.s", "y.z"], "second")], "sum")
    plan = made.plan(tmp_path / "a.onnx", made.stored("sum", "z"))
    assert [step.op for step in plan.steps] == ["pointwise_conv2d", "add"]
    assert plan.steps[1].inputs == ("y.q", "y.q")


def laid_out(tmp_path, *, last, told=True):
    """The plan of a layer and a relu with channels last, as ONNX Runtime saves what it optimised (ORT_ENABLE_ALL), or
    first."""
    made = Nodes()
    q = made.add("QuantizeLinear", ["input", *made.grid("x")], "x.q")
    if last:
        q = made.add("Transpose", [q], "x.last", perm=[0, 2, 3, 1])
    weight, channels_last = made.weight() and "w.q", {"channels_last": 1} if last and told else {}
    inputs = [q, "x.s", "x.z", weight, "w.s", "w.z", *made.grid("y"), made.bias(SUMS) and "b.q"]
    q = made.add("QLinearConv", inputs, "y.q", domain="com.microsoft" if last else "", **channels_last)
    real = made.add("Relu", [made.add("DequantizeLinear", [q, "y.s", "y.z"], "y.real")], "relu")
    q = made.add("QuantizeLinear", [real, *made.grid("z")], "z.q")
    if last:
        q = made.add("Transpose", [q], "z.first", perm=[0, 3, 1, 2])
    return made.plan(tmp_path / "a.onnx", made.add("DequantizeLinear", [q, "z.s", "z.z"], "z.real"))


def test_channels_last_as_onnx_runtime_saves_them(tmp_path):
    found, expected = (run(laid_out(tmp_path, last=last)) for last in (True, False))
    assert np.array_equal(found["z.q"], expected["z.q"]) and expected["z.q"].any()
    with pytest.raises(WeightsError, match=r"takes channels where they are not, .*ORT_ENABLE_EXTENDED"):
        laid_out(tmp_path, last=True, told=False)


def test_a_pool_of_channels_last(tmp_path):
    """ONNX Runtime's own, which has no attribute for it; one of channels first is refused."""
    sides = {"kernel_shape": [2, 2], "strides": [2, 2], "domain": "com.microsoft"}
    made = Nodes()
    q = made.add("QuantizeLinear", ["input", *made.grid("x")], "x.q")
    q = made.add("Transpose", [q], "x.last", perm=[0, 2, 3, 1])
    q = made.add("Transpose", [made.add("NhwcMaxPool", [q], "pooled", **sides)], "first", perm=[0, 3, 1, 2])
    found = run(made.plan(tmp_path / "a.onnx", made.add("DequantizeLinear", [q, "x.s", "x.z"], "x.real")))["pooled"]
    expected = np.clip(np.rint(X / np.float32(0.1)), -128, 127).reshape(1, 2, 3, 2, 5, 2).max((3, 5))
    assert np.array_equal(found, expected)
    made.nodes[2].input[0] = "x.q"
    with pytest.raises(WeightsError, match="NhwcMaxPool 'pooled' takes channels where they are not"):
        made.plan(tmp_path / "a.onnx", "x.real")


def test_means_of_channels_last(tmp_path):
    for axes, right in (([1, 2], True), ([2, 3], False)):
        made = Nodes()
        real = made.add("Transpose", [made.stored("input", "x")], "last", perm=[0, 2, 3, 1])
        made.add("ReduceMean", [real], "mean", axes=axes, keepdims=0)
        if right:
            assert made.plan(tmp_path / "a.onnx", made.stored("mean", "y")).steps[0].op == "global_avg_pool"
        else:
            with pytest.raises(WeightsError, match="a mean over other axes"):
                made.plan(tmp_path / "a.onnx", made.stored("mean", "y"))


def test_an_input_with_channels_last(tmp_path):
    made = Nodes()
    made.stored(made.add("Transpose", ["input"], "first", perm=[0, 3, 1, 2]), "x")
    made.add("HardSwish", ["x.real"], "act")
    assert made.plan(tmp_path / "a.onnx", made.stored("act", "y")).input_shape == (10, 2, 6)  # of X as (H, W, C)
    made.nodes[0].attribute[0].ints[:] = [0, 3, 2, 1]
    with pytest.raises(WeightsError, match=r"permutes the input's axes by \(0, 3, 2, 1\)"):
        made.plan(tmp_path / "a.onnx", "y.real")


def test_a_hard_sigmoid_in_its_parts(tmp_path):
    """tf2onnx writes Keras's as x + 3, cut to 0 to 6 by what its integers can hold, times 1/6."""
    made = Nodes()
    for name, number in (("three", 60), ("sixth", 10)):
        scale = made.put(f"{name}.s", np.float32(0.05 if name == "three" else 1 / 60))
        made.add(
            "DequantizeLinear", [made.put(f"{name}.q", np.int8(number)), scale, made.put("zero", np.int8(0))], name
        )
    made.add("Add", [made.stored("input", "x"), "three"], "sum")
    made.add("Mul", [made.stored("sum", "y"), "sixth"], "gate")
    plan = made.plan(tmp_path / "a.onnx", made.stored("gate", "z"))
    y = np.clip(np.rint((np.clip(np.rint(X / np.float32(0.1)), -128, 127) * 0.1 + 3) / 0.25), -128, 127)
    assert np.abs(run(plan)["y.q"] - y).max() <= 1  # ties fall as ONNX Runtime's sums make them
    assert np.array_equal(run(plan)["z.q"], np.rint(run(plan)["y.q"] * np.float32(0.25 / 6 / 0.125)))


def test_an_input_with_two_grids(tmp_path):
    made = Nodes()
    made.stored(made.add("HardSwish", [made.stored("input", "x")], "act"), "y")
    again = made.stored("input", "z")
    with pytest.raises(WeightsError, match=r"the input 'input' is quantised twice, with the scales 0\.1 and 0\.125"):
        made.plan(tmp_path / "a.onnx", again)


def test_grids_that_do_not_meet(tmp_path):
    made = Nodes()
    made.add("Conv", [made.stored("input", "x", read_by=0.2), made.weight()], "conv")
    with pytest.raises(
        WeightsError, match="stored with the scale 0.1 .*and read with 0.2 and 0 of int8: expected the same"
    ):
        made.plan(tmp_path / "a.onnx", made.stored("conv", "y"))
    made = Nodes()
    made.add("Conv", [made.stored("input", "x"), made.weight(), made.bias(np.float32([0.01, 0.01]))], "conv")
    with pytest.raises(WeightsError, match="bias of the scale 0.01 in channel 0 .*expected 0.002"):
        made.plan(tmp_path / "a.onnx", made.stored("conv", "y"))
    for scales, text in (
        (SUMS * np.float32([1, 1.5]), "scale 0.0045 in channel 1 "),
        (np.ones(3, np.float32), "3 scales, expected 2"),
    ):
        made = Nodes()
        made.add("Conv", [made.stored("input", "x"), made.weight(), made.bias(scales)], "conv")
        with pytest.raises(WeightsError, match=text):
            made.plan(tmp_path / "a.onnx", made.stored("conv", "y"))


def test_weights_of_16_bits_are_told_to_become_floats(tmp_path):
    made = Nodes()
    weight = made.weight()
    made.constants |= {name: made.constants[name].astype(np.int16) for name in ("w.q", "w.z")}
    made.add("Conv", [made.stored("input", "x"), weight], "conv")
    with pytest.raises(
        WeightsError, match="Conv 'conv' has weights of int16, .* quantise them to 8 bits, or .*-o NAME.h5"
    ):
        made.plan(tmp_path / "a.onnx", made.stored("conv", "y"))


def test_floats_between_are_told(tmp_path):
    made = Nodes()
    made.add("Conv", [made.stored("input", "x"), made.weight()], "conv")
    real = made.stored("conv", "y")
    made.add("HardSigmoid", [real], "gate")
    made.add("Mul", [real, "gate"], "product")
    with pytest.raises(
        WeightsError,
        match=r"Mul 'product' reads 'gate' in floats: not quantised throughout; quantise every operation .quant_pre_process",
    ):
        made.plan(tmp_path / "a.onnx", made.stored("product", "z"))


def lowered_as(scheme, constants=(), model="timm/mobilenetv3_small_050"):
    """A network as a scheme stores it, its weights ones, as an IntegerPlan."""
    variant, shape = get_variant(model), (3, 64, 64)
    steps, layers = lower(make_plan(variant, 10, (64, 64), folded=True), scheme, shape)
    grids, arrays = {name: Grid(0.05, 0) for name in ("input", *(step.name for step in steps))}, {}
    for name, step in layers.items():
        shape_of = step.param("weight").canonical
        arrays |= {f"{name}.weight": np.ones(shape_of, np.int8), f"{name}.bias": np.zeros(shape_of[0], np.int32)}
    for step in steps:
        if step.op in dict(constants):
            arrays[f"{step.name}.constant"] = np.int16(dict(constants)[step.op])
        factor = np.float32([1 if step.name in layers else 1 / 600])
        arrays |= {f"{step.name}.weight_scale": factor, f"{step.name}.weight_zero_point": np.zeros(1, np.int32)}
    return IntegerPlan(steps, grids, arrays, shape)


@pytest.mark.parametrize("scheme", ["relu", "apart"], ids=["gates stored", "hard-swishes whole"])
def test_a_network_whose_relus_are_apart_is_known(scheme):
    """As ActivationSymmetric leaves it: each relu between two tensors of its own."""
    plan = lowered_as(scheme)
    named = name_tensors(plan)
    assert named.whole and named.variant.name == "mobilenetv3_small_050"
    assert sum(step.op == "relu" for step in named.plan.steps) > 9
    assert [step.name for step in named.plan.steps] == [step.name for step in plan.steps]


def test_a_network_whose_hard_sigmoids_are_in_parts_is_known():
    assert name_tensors(lowered_as("parts", {"fill": 60, "scale": 100})).variant.name == "mobilenetv3_small_050"
    with pytest.raises(WeightsError, match="the quantised graph is not timm"):
        name_tensors(lowered_as("parts", {"fill": 50, "scale": 100}), "timm/mobilenetv3_small_050")


def test_a_network_with_a_factor_of_its_own_is_known():
    """PaddleClas's 0.8 before its classifier, here 480 / 600."""
    model = "ppcls/MobileNetV3_small_x0_35"
    assert name_tensors(lowered_as("onnx", {"scale": 480}, model)).variant.full_name == model
    with pytest.raises(WeightsError, match=r"head.gain.*computes with 0.9, not 0.8"):
        name_tensors(lowered_as("onnx", {"scale": 540}, model), model)
