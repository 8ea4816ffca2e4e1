"""The simulation beside what TensorFlow Lite's reference kernels gave, with the same weights, grids and inputs."""

import numpy as np
import pytest
import tflite_integers

from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant
from npmnv3.ops.grids import Grid
from npmnv3.quantization.parameters import Parameters, bias_name, layers, real_arrays
from npmnv3.quantization.saturation import Saturation
from npmnv3.quantization.simulate import Network, snapping

PAD, RESHAPE = 34, 22
# fmt: off
FILES = (  # the files, their networks, and classes and input side of these
    ("timm--mobilenetv3_small_050.int8",            "timm/mobilenetv3_small_050", 10, (64, 64)),
    ("timm--mobilenetv3_small_050.int8_per_tensor", "timm/mobilenetv3_small_050", 10, (64, 64)),
    ("ppocr--text_direction.int8",                  "ppocr/text_direction",        2, (48, 192)),
)
# fmt: on


def network_of(path, model, classes, side):
    """(Network, Parameters) of a file: its integers and grids under the plan's names, both being in the same order."""
    plan = make_plan(get_variant(model), classes, side, folded=True)
    network = Network(plan, {}, "tflite")
    weights, biases, scales = {}, {}, {}
    found = tflite_integers.layers(path)
    assert len(found) == len(layers(plan))
    for step, (_, integers, scale, bias, _) in zip(layers(plan), found):
        param = step.param("weight")
        weights[param.name] = integers.reshape(param.canonical), scale, np.zeros(len(scale), np.int32)
        biases[bias_name(step)], scales[bias_name(step)] = bias.data, bias.scale
    operators = tflite_integers.operators(path)
    outputs = [out for kind, _, out in operators if kind not in (PAD, RESHAPE) and len(out.scale)]
    inputs = operators[0][1][0]
    grids = {
        tensor.name: Grid(float(out.scale[0]), int(out.zero_point[0]))
        for tensor, out in zip(network.stored, (inputs, *outputs), strict=True)
    }
    return network, Parameters("tflite", plan, grids, weights, biases, scales)


def onnx_numbers(path, network):
    """(Parameters of a QDQ file, {stored tensor's name: its name in the file}); the file has the plan's names."""
    onnx = pytest.importorskip("onnx")
    numbers = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}
    swishes = [tensor.name for tensor in network.stored if tensor.form == "gate"]
    names = {tensor.name: tensor.name for tensor in network.stored} | {"pool": "pool.map"}
    for number, gate in enumerate(swishes):
        names[gate] = "_inlfunc_HardSwish_" + (f"token_{number - 1}_" if number else "") + "HS_X"
    grids = {
        mine: Grid(float(numbers[f"{its}_scale"]), int(numbers[f"{its}_zero_point"]), "uint8")
        for mine, its in names.items()
    }
    weights, biases, scales = {}, {}, {}
    for step in layers(network.plan):
        param, bias = step.param("weight"), step.param("bias").name
        integers, scale = numbers[f"{param.name}_quantized"], numbers[f"{param.name}_scale"]
        weights[param.name] = integers.reshape(param.canonical), scale.reshape(-1), np.zeros(scale.size, np.int32)
        biases[bias], scales[bias] = numbers[f"{bias}_quantized"], numbers[f"{bias}_quantized_scale"].reshape(-1)
    return Parameters("onnx", network.plan, grids, weights, biases, scales), names


def test_saturation_as_onnx_runtime_has_it(shared):
    """Its tensors come from a processor with AVX2 and without VNNI: they are nearer with saturating pairs than without."""
    path = shared / "golden" / "int8" / "timm--mobilenetv3_small_050.qdq_u8s8_per_channel"
    plan = make_plan(get_variant("timm/mobilenetv3_small_050"), 10, (64, 64), folded=True)
    network = Network(plan, {}, "onnx")
    parameters, names = onnx_numbers(f"{path}.onnx", network)
    network.arrays = real_arrays(parameters)
    saturation, shares = Saturation(network, parameters), []
    with np.load(f"{path}.npz") as golden:
        real = golden["float_input"]
        engine = {mine: golden[f"tensor/{its}_QuantizeLinear_Output"] for mine, its in names.items()}
    for layer in (None, saturation):
        seen = {}

        def visit(name, tensor, seen=seen):
            snapped = snapping(parameters.grids)(name, tensor)
            seen.setdefault(name, []).append(parameters.grids[name].quantize(snapped)[0])
            return snapped

        for x in real:
            network.logits(x, network.arrays, visit, layer)
        shares.append(
            [
                float((np.abs(np.stack(seen[name]).reshape(its.shape).astype(int) - its) <= 1).mean())
                for name, its in engine.items()
            ]
        )
    without, with_it = (float(np.mean(one)) for one in shares)
    assert with_it > 0.99 and without < 0.9, (with_it, without)


@pytest.mark.parametrize("name,model,classes,side", FILES, ids=[row[0] for row in FILES])
def test_as_near_to_the_engine_as_its_kernels_to_each_other(name, model, classes, side, shared):
    folder = shared / "golden" / "int8"
    network, parameters = network_of(folder / f"{name}.tflite", model, classes, side)
    with np.load(folder / f"{name}.npz") as golden:
        real, ops = golden["float_input"].transpose(0, 3, 1, 2), list(golden["ops"])
        kept = [op for op in ops if "PAD" not in op and "RESHAPE" not in op]
        engine = {tensor.name: golden[f"ref/{op}"] for tensor, op in zip(network.stored[1:], kept, strict=True)}
        apart = {  # how far XNNPACK is from these, in steps, where that was kept
            tensor.name: np.abs(golden[f"xnn-ref/{op}"].astype(int))
            for tensor, op in zip(network.stored[1:], kept)
            if f"xnn-ref/{op}" in golden
        }
    seen = {}

    def visit(name, tensor):
        snapped = snapping(parameters.grids)(name, tensor)
        seen.setdefault(name, []).append(parameters.grids[name].quantize(snapped)[0])
        return snapped

    network.arrays = real_arrays(parameters)
    for x in real:
        network.logits(x, network.arrays, visit)
    near = {}
    for tensor, integers in engine.items():
        mine = np.stack(seen[tensor]).astype(int)
        mine = mine.transpose(0, 2, 3, 1) if mine.ndim == 4 else mine.reshape(len(mine), 1, 1, -1)
        near[tensor] = float((np.abs(mine - integers.reshape(mine.shape)) <= 1).mean())
    assert min(list(near.values())[:10]) > 0.98, near  # where little has added up yet
    others = {tensor: float((steps <= 1).mean()) for tensor, steps in apart.items()}
    assert np.mean([near[tensor] for tensor in others]) > np.mean(list(others.values())) - 0.02, (near, others)
