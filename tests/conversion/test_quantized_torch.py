"""torchvision's networks as PyTorch quantises them: every tensor is what qnnpack gives, of a state dict alone."""

import lzma
import re
import zlib

import checkpoint_files as files
import goldens
import numpy as np
import pytest
from checkpoint_files import Call, Name, Ordered, tensor
from states import random_state

import npmnv3
from npmnv3.conversion.formats import open_checkpoint, read_checkpoint
from npmnv3.conversion.formats.record import Checkpoint
from npmnv3.conversion.formats.torch_pickles import Quantized
from npmnv3.conversion.match.fit import Fit
from npmnv3.conversion.quantized import read_quantized_model
from npmnv3.conversion.quantized.torch import bias_in_steps
from npmnv3.conversion.quantized.torch_modules import Prepared
from npmnv3.dumps.containers import read_any
from npmnv3.dumps.dumps import load_weights
from npmnv3.errors import UsageError, WeightsError
from npmnv3.network.variants import get_variant
from npmnv3.ops import integers
from npmnv3.ops.grids import Grid
from npmnv3.ops.kernel_sets import get_kernel_set

NAME = "torchvision--mobilenet_v3_small_005.qnnpack"
MODEL = "torchvision/mobilenet_v3_small_005"
QNNPACK = get_kernel_set("qnnpack")


def state_dict(kind, folder):
    """The path of a state dict of torch's, "" converted or "_qat" prepared for that."""
    path = folder / f"a{kind}.pth"
    path.write_bytes(lzma.decompress((goldens.CUT / "int8" / f"{NAME}{kind}.pth.xz").read_bytes()))
    return path


def pictures(count, side=224):
    """(N, 3, H, W) float32: noise on squares, of whole numbers' products."""

    def noise(factor, side):
        numbers = np.arange(count * 3 * side * side, dtype=np.uint64) * np.uint64(factor)
        return (numbers % np.uint64(1 << 32) >> np.uint64(24)).reshape(count, 3, side, side).astype(np.float32)

    squares = noise(2246822519, 7).repeat(side // 7, 2).repeat(side // 7, 3)
    return (squares + noise(2654435761, side) / np.float32(4) - np.float32(160)) / np.float32(64)


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return read_quantized_model(state_dict("", tmp_path_factory.mktemp("torch")))[0]


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    """{step: integers} of the two pictures by the dump that `convert` makes."""
    folder = tmp_path_factory.mktemp("torch")
    done = npmnv3.convert(state_dict("", folder), folder / "q.npz")
    assert (done.model, done.num_classes) == (MODEL, 5) and not done.warnings
    return npmnv3.load(folder / "q.npz", kernels="qnnpack").trace(pictures(2), integers=True)


def test_all_tensors_are_qnnpacks(plan, trace):
    data = np.load(goldens.CUT / "int8" / f"{NAME}.npz")
    ours = {zlib.crc32(array.tobytes()) for array in trace.values()}
    assert not [name for name, crc in zip(data["names"], data["crc"]) if crc not in ours] and len(trace) > 100
    np.testing.assert_array_equal(plan.grids["classifier.3"].dequantize(trace["logits"]), data["logits"])


def test_a_prepared_network_is_what_it_becomes(plan, tmp_path):
    prepared, scheme, model = read_quantized_model(state_dict("_qat", tmp_path))
    assert (prepared.steps, prepared.grids, scheme, model) == (plan.steps, plan.grids, "torch", MODEL)
    files.assert_same(dict(prepared.arrays), dict(plan.arrays))
    files.assert_same(dict(prepared.bias_rests), dict(plan.bias_rests))
    assert any(note.startswith("prepared for quantisation") for note in prepared.notes)


def test_as_floats_what_the_integers_stand_for(plan, tmp_path):
    done = npmnv3.convert(state_dict("", tmp_path), tmp_path / "f.h5")
    assert done.model == MODEL and done.folded and any("-o NAME.npz keeps the integers" in note for note in done.notes)
    arrays, layer = load_weights(tmp_path / "f.h5").arrays, "features.0.0"
    integers_, scale = plan.arrays[f"{layer}.weight"], plan.arrays[f"{layer}.weight_scale"]
    np.testing.assert_array_equal(arrays[f"{layer}.weight"], integers_.astype(np.float32) * scale)
    assert npmnv3.convert(state_dict("_qat", tmp_path), tmp_path / "g.h5").model == MODEL


def test_tensors_of_its_modules_are_told_by_their_names(plan, trace, tmp_path):
    given = {step.name: array[:1] for step, array in zip(plan.steps, list(trace.values())[1:])}
    report = npmnv3.verify(state_dict("", tmp_path), given, input=pictures(1))
    assert report.verdict == "fine" and "qnnpack" in report.kernels
    assert {row.how for row in report.tensors} == {"name"}


def test_fbgemms_are_told_by_biases_in_floats(trace, tmp_path):
    """Of the first layer of one picture, whose integers differ from qnnpack's at a few places."""
    data, stem = np.load(goldens.CUT / "int8" / f"{NAME}.npz"), trace["stem.conv"][:1].copy()
    stem.ravel()[data["fbgemm.places"]] = data["fbgemm.values"]
    report = npmnv3.verify(state_dict("", tmp_path), {"input": trace["input"][:1], "features.0.0": stem})
    assert (
        report.verdict == "fine"
        and f"by the file's biases, which no integers hold exactly: {len(data['fbgemm.places'])} numbers differ"
        in report.sentence
    )


def test_convert_fx_has_other_names_for_sums_and_products(plan, tmp_path):
    """They are no modules of the float network, so bear the name of the module that computes them."""
    top, arrays = {}, {}
    with open_checkpoint(state_dict("", tmp_path)) as (_, checkpoint):
        for name, found in (checkpoint.arrays | checkpoint.quantized).items():
            called = re.sub(r"^quant\.(\w+)", r"features_0_0_input_\1_0", name)
            owner, skip, role = re.split(r"(\.skip_(?:add|mul)\.|$)", called, maxsplit=1)[:3]
            called = f"{owner.replace('.', '_')}_{role}_0" if skip else called
            if isinstance(found, Quantized):
                arrays[called] = found.integers()
                grid = Name("torch.per_tensor_affine"), float(found.scale()[0]), int(found.zero_point()[0])
                top[called] = qtensor(called, arrays[called], *grid)
            else:
                arrays[called] = read_any(found)
                kind = {"f": "Float", "i": "Long"}[arrays[called].dtype.kind]
                top[called] = tensor(called, arrays[called], kind=kind)
    (tmp_path / "fx.pth").write_bytes(files.torch_zip(top, arrays))
    found, _, model = read_quantized_model(tmp_path / "fx.pth")
    assert (found.steps, found.grids, model) == (plan.steps, plan.grids, MODEL)
    assert "features_3_scale_0" in top and "features_1_block_1_zero_point_0" in top
    del top["features_3_scale_0"], top["features_3_zero_point_0"]
    (tmp_path / "fx.pth").write_bytes(files.torch_zip(top, arrays))
    with pytest.raises(WeightsError, match="'features_3_scale_0' is missing: not quantised throughout"):
        npmnv3.convert(tmp_path / "fx.pth", tmp_path / "q.npz")


def of_case(name, roles):
    with np.load(goldens.CUT / "int8" / "qnnpack.npz") as data:
        return [data[f"{name}.{role}"] for role in roles]


def grids(numbers):
    return [Grid(float(scale), int(zero), "uint8") for scale, zero in numbers.reshape(-1, 2)]


@pytest.mark.parametrize("case", ["add.0", "add.1", "add.2", "mul.0", "mul.1"])
def test_sums_and_products_beside_ties(case):
    told, (x, y), expected = of_case(case, ("grids", "x", "out"))
    *inputs, out = grids(told)
    function = getattr(integers, case.partition(".")[0])
    found = function(x[None], y[None], grids=inputs, out=out, kernels=QNNPACK)
    np.testing.assert_array_equal(found[0], expected)


@pytest.mark.parametrize("case", ["hard_swish.0", "hard_swish.1", "hard_sigmoid.0", "hard_sigmoid.1"])
def test_tables(case):
    told, expected = of_case(case, ("grids", "out"))
    grid, out = grids(told)
    op = case.partition(".")[0]
    fields = {"slope": 1 / 6} if op == "hard_sigmoid" else {}
    x = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(getattr(integers, op)(x, grid=grid, out=out, kernels=QNNPACK, **fields), expected)


@pytest.mark.parametrize("case", ["picture.0", "picture.1"])
def test_pictures_beside_ties(case):
    told, x, expected = of_case(case, ("grids", "x", "out"))
    np.testing.assert_array_equal(grids(told)[0].quantize(x, fused=QNNPACK.fused_picture), expected)


@pytest.mark.parametrize("case", ["layer.0", "layer.1", "layer.2"])
def test_layers_whose_biases_are_beside_ties(case):
    told, x, weight, scale, bias, expected = of_case(case, ("grids", "x", "weight", "weight_scale", "bias", "out"))
    grid, out = grids(told)
    bias = bias_in_steps("layer", bias, grid.scale * scale.astype(np.float64))
    op, space = ("depthwise_conv2d", {"pad": (1, 1, 1, 1)}) if weight.ndim == 4 else ("pointwise_conv2d", {})
    weight = integers.exact_weight(weight[:, 0] if weight.ndim == 4 else weight, np.zeros(1, int), grid)
    found = integers.layer(op, x, weight, bias, scale, grid=grid, out=out, kernels=QNNPACK, **space)
    np.testing.assert_array_equal(found, expected)


def qtensor(key, array, *grid, kind="QInt8"):
    strides = tuple(int(step) // array.itemsize for step in array.strides)
    storage = tensor(key, array, kind=kind).arguments[0]
    return Call("torch._utils._rebuild_qtensor", storage, 0, array.shape, strides, grid, False, Ordered({}))


def test_quantised_tensors_are_read_as_what_they_stand_for():
    q, scales, zeros = np.array([[-4, 2], [3, 127]], np.int8), np.array([0.5, 0.25]), np.array([0, 3])
    each = Name("torch.per_channel_affine"), tensor("s", scales, kind="Double"), tensor("z", zeros, kind="Long"), 0
    top = {"a": qtensor("q", q, Name("torch.per_tensor_affine"), 0.5, 1), "b": qtensor("q", q, *each)}
    found = read_checkpoint(files.torch_zip(top, {"q": q, "s": scales, "z": zeros})).arrays
    expected = {"a": (q - 1.0) * 0.5, "b": (q - [[0.0], [3.0]]) * [[0.5], [0.25]]}
    files.assert_same(found, {name: array.astype(np.float32) for name, array in expected.items()})


@pytest.mark.parametrize(
    "grid", [(), (1,), (Name("torch.per_tensor_affine"), "a", 0), (1, 1.0, 0, 7), (1, None, None, 0)]
)
def test_quantised_tensors_of_no_grid(grid):
    q = np.zeros((2, 2), np.int8)
    with pytest.raises(WeightsError, match="grid that is none"):
        read_checkpoint(files.torch_zip({"a": qtensor("q", q, *grid)}, {"q": q}))


def test_dynamically_quantised_layers_become_floats_alone(tmp_path):
    """As quantize_dynamic leaves them: packed linear layers, whose grid says nothing, between layers in floats."""
    state = random_state("torchvision/mobilenet_v3_small_050", 3)
    weights = [name for name in state if name.startswith("classifier") and name.endswith("weight")]
    arrays = {
        name: np.clip(np.rint(256 * a), -128, 127).astype(np.int8) if name in weights else a
        for name, a in state.items()
    }
    for name in weights:
        arrays[name.replace("weight", "scale")] = np.ones((), np.float32)
        arrays[name.replace("weight", "zero_point")] = np.zeros((), np.int64)
    kinds = {"f": "Float", "i": "Long"}
    top = {name: tensor(name, a, kind=kinds[a.dtype.kind]) for name, a in arrays.items()}
    for name in weights:
        weight = qtensor(name, arrays[name], Name("torch.per_tensor_affine"), 1 / 256, 0)
        top[name.replace("weight", "_packed_params._packed_params")] = weight, top.pop(name.replace("weight", "bias"))
        del top[name]
    path = tmp_path / "dynamic.pth"
    path.write_bytes(files.torch_zip(Ordered(top), arrays))
    done = npmnv3.convert(path, tmp_path / "f.h5")
    found = load_weights(tmp_path / "f.h5").arrays["classifier.3.weight"]
    np.testing.assert_array_equal(found, arrays["classifier.3.weight"] / np.float32(256))
    assert any("in part: 2 of its 54 layers" in note and "(quantize_dynamic)" in note for note in done.notes), (
        done.notes
    )
    assert not any("-o NAME.npz" in note for note in done.notes)
    with pytest.raises(WeightsError, match="missing: not quantised throughout; convert it to a float dump, -o NAME.h5"):
        npmnv3.convert(path, tmp_path / "q.npz")


def test_what_observed_nothing_is_refused():
    about, ends = "quant.activation_post_process", {"min_val": np.inf, "max_val": -np.inf}
    seen = {f"{about}.activation_post_process.{end}": np.array(value, np.float32) for end, value in ends.items()}
    checkpoint = Checkpoint("torch", {}, quantized=seen)
    with pytest.raises(WeightsError, match=f"'{about}' has observed nothing: .* neither trained nor calibrated"):
        Prepared(checkpoint, Fit(get_variant(MODEL), 5)).grid("quant")


def test_a_bias_that_no_int32_holds_is_refused():
    with pytest.raises(WeightsError, match="'head' has a bias that int32 does not hold: up to 1e[+]30"):
        bias_in_steps("head", np.array([1e30], np.float32), np.array([1e-5]))


def test_refused(tmp_path):
    state = random_state("timm/mobilenetv3_small_050", 3)
    kinds = {"f": "Float", "i": "Long"}
    top = {name: tensor(name, array, kind=kinds[array.dtype.kind]) for name, array in state.items()}
    q, first = np.zeros((16, 3, 3, 3), np.int8), "conv_stem.weight"
    top[first] = qtensor(first, q, Name("torch.per_tensor_affine"), 0.5, 0)
    (tmp_path / "timm.pth").write_bytes(files.torch_zip(Ordered(top), {**state, first: q}))
    with pytest.raises(WeightsError, match=r"timm.pth: is timm/mobilenetv3_small_050, .*torchvision's own modules"):
        npmnv3.convert(tmp_path / "timm.pth", tmp_path / "q.npz")
    done = npmnv3.convert(tmp_path / "timm.pth", tmp_path / "f.h5")
    assert done.model == "timm/mobilenetv3_small_050" and any("in part: 1 of its " in note for note in done.notes)
    with pytest.raises(UsageError, match="dtype='float16'` is not for a quantised model"):
        npmnv3.convert(state_dict("", tmp_path), tmp_path / "q.npz", dtype="float16")
