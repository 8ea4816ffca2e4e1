"""TorchScript (torch.jit.save): the code of traced and scripted modules is followed, and held against the network."""

import checkpoint_files as files
import numpy as np
import pytest
from module_files import TORCHVISION, by_kind, settings_of, whole_module
from program_files import frozen, traced
from scripted_files import scripted
from states import random_state

import npmnv3
from npmnv3.conversion import convert
from npmnv3.conversion.formats import Checkpoint
from npmnv3.conversion.match import by_order
from npmnv3.dumps.containers import read_any
from npmnv3.errors import WeightsError
from npmnv3.network.variants import get_variant

SCRIPTS = {
    "traced": "    x = torch.batch_norm(argument_1, weight, bias, running_mean, running_var, False, 0.01, %r, True)\n",
    "scripted": "    _3 = _0(input, running_mean, running_var, weight, bias, bn_training, 0.01, %r, )\n    return _3\n",
}


def norms(path, script):
    """A module of which nothing but the code of its norms is there."""
    code = [("archive/code/__torch__/mine/BatchNorm2d.py", script.encode())]
    return whole_module(path, TORCHVISION, scripts=by_kind, extra=code)


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_the_code_of_norms_tells_their_epsilon_where_no_code_is_followed(script, tmp_path):
    assert convert(norms(tmp_path / "a.pt", script % 1e-3), tmp_path / "a.npz").model == TORCHVISION
    with pytest.raises(WeightsError, match="epsilon differs: features.0.1 has 1e-05, expected 0.001"):
        convert(norms(tmp_path / "b.pt", script % 1e-5), tmp_path / "b.npz")


@pytest.mark.parametrize("script", ["running_var, 1.e, 2-.3-)", "running_var, 1) running_var, 0.5)", "1"])
def test_code_that_tells_no_epsilon_is_none(script, tmp_path):
    assert convert(norms(tmp_path / "a.pt", script), tmp_path / "a.npz").model == TORCHVISION


def _line(pattern, to, place=0):
    def change(lines):
        index = [i for i, line in enumerate(lines) if pattern in line][place]
        lines[index : index + 1] = to(lines[index])

    return change


def _last(call):
    return _line("return", lambda line: [f"last = {call}".replace("OUT", line.split()[1]), "return last"])


@pytest.mark.parametrize(
    "change, told",
    [
        (_last("torch.mul(OUT, 3.)"), "the program has multiply by 3 besides, at logits"),
        (
            _line("torch.add(", lambda line: [line.replace("torch.add(", "torch.sub(")]),
            "the program has subtract for add, at blocks.2",
        ),
        (
            _line("torch.hardswish", lambda line: [line.replace("hardswish_", "relu6")]),
            "the program has relu6 for hard_swish, at stem",
        ),
        (
            _line("adaptive_avg", lambda line: [line.replace("_avg_", "_max_")], -1),
            "adaptive_max_pool2d for global_avg_pool, at pool",
        ),
        (
            _line("conv2d", lambda line: [line.replace("[1, 1], [1, 1], 1)", "[0, 0], [1, 1], 1)")]),
            r"pads \(0, 0, 0, 0\)",
        ),
    ],
)
@pytest.mark.parametrize("write, note", [(traced, "its code is compared"), (frozen, "frozen TorchScript module")])
def test_the_code_of_a_trace_is_compared(write, note, change, told, tmp_path):
    done = convert(write(tmp_path / "a.pt"), tmp_path / "a.npz")
    assert done.model == TORCHVISION and any(note in one for one in done.notes)
    with pytest.raises(WeightsError, match=told):
        convert(write(tmp_path / "b.pt", change), tmp_path / "b.npz")


def _before(call):
    return _line("conv2d(x", lambda line: [f"y = {call}", line.replace("conv2d(x", "conv2d(y")])


def test_frozen_modules(tmp_path):
    arrays = [
        npmnv3.load(convert(write(tmp_path / "a.pt"), tmp_path / "a.npz").path).params for write in (traced, frozen)
    ]
    assert all(np.array_equal(arrays[0][name], array) for name, array in arrays[1].items())
    cast = _line("linear", lambda line: ["w = torch.to(CONSTANTS.c207, 6)", line.replace("CONSTANTS.c207", "w")], -1)
    assert convert(frozen(tmp_path / "b.pt", cast), tmp_path / "b.npz").model == TORCHVISION
    (warning,) = convert(frozen(tmp_path / "c.pt", _before("torch.sub(x, 0.5)")), tmp_path / "c.npz").warnings
    assert "prepares its input itself (scale)" in warning
    onednn = _before("ops.prim.mkldnn_convolution(x)")
    with pytest.raises(WeightsError, match="after torch.jit.optimize_for_inference.*as torch neither saves nor loads"):
        convert(frozen(tmp_path / "d.pt", onednn), tmp_path / "d.npz")
    shared = _line("batch_norm(", lambda line: [line.replace("CONSTANTS.c3", "CONSTANTS.c2")])
    with pytest.raises(WeightsError, match=r"\d+ weights for \d+ places: equal ones are stored once"):
        convert(frozen(tmp_path / "e.pt", shared), tmp_path / "e.npz")


def test_a_module_that_the_code_does_not_use_does_not_count(tmp_path):
    told = settings_of(TORCHVISION, lambda name, about: None) | {"spare": ["SiLU", {}]}
    assert convert(traced(tmp_path / "a.pt", told=told), tmp_path / "a.npz").model == TORCHVISION


def test_a_frozen_module_of_another_repository_is_matched_by_its_own_layers():
    model = "timm/mobilenetv3_small_050"
    state = {name: array for name, array in random_state(model, 3).items() if "num_batches" not in name}
    arrays = state | {"conv_head.weight": state["conv_head.weight"][:, :, 0, 0]}  # mmpretrain's are linear
    found = Checkpoint("torch-frozen", {f"CONSTANTS.c{i}": array for i, array in enumerate(arrays.values())})
    fit = by_order.compare(found, get_variant(model))
    assert fit.differences == () and fit.notes == ("named as mmpretrain names them",)
    files.assert_same({name: np.asarray(read_any(array)) for name, array in by_order.state(found, fit).items()}, state)


def test_whole_numbers_on_the_way(tmp_path):
    whole, halves = (_before(f"torch.to(torch.to(x, {kind}), 6)") for kind in (0, 5))
    assert convert(traced(tmp_path / "a.pt", halves), tmp_path / "a.npz").model == TORCHVISION
    with pytest.raises(WeightsError, match="does a conversion to whole numbers before its first layer"):
        convert(traced(tmp_path / "b.pt", whole), tmp_path / "b.npz")


@pytest.mark.parametrize(
    "change",
    [
        _line("return", lambda line: ["if bool(torch.sum(x)):", "  x = x", line]),
        _line("return", lambda line: ["if torch.gt(torch.size(x, 2), 224):", "  x = x", line]),
        _line("return", lambda line: ["for i in range(torch.size(x, 1)):", "  x = x", line]),
        _line("return", lambda line: ["x = True", "while x:", "  pass", line]),
        _line("return", lambda line: ["while torch.sum(x):", "  pass", line]),
        _line("return", lambda line: ["x = torch.extend([1], [2])", line]),
        _line("return", lambda line: ["x = torch.neg(x, out=x)", line]),
        _line("return", lambda line: ["x = ops.mine.swish(x)", line]),
        _line("return", lambda line: ["self.k = 3", line]),
        _line("return", lambda line: ["with x:", "  pass", line]),
        _line("return", lambda line: ["x = " + "(" * 500 + "x" + ")" * 500, line]),
        _line("return", lambda line: ["x = (self).forward(x, )", line]),
        _line("return", lambda line: ["x = __import__('os')", line]),
        _line("return", lambda line: ["x = CONSTANTS.c9", line]),
        _line("return", lambda line: ["x = = 3", line]),
        _line("return", lambda line: []),
    ],
)
def test_code_that_cannot_be_followed_is_said_to(change, tmp_path):
    done = convert(traced(tmp_path / "a.pt", change), tmp_path / "a.npz")
    assert done.model == TORCHVISION and any("its code is not followed" in note for note in done.notes)


HEAD, SE = "classifier", "features.1.block.1"
CHANGES = {  # (module, old text, new text) and what is said
    "flip": ("", "(features).forward(x, )", "(features).forward(torch.flip(x, [1]), )", "the program does flip before"),
    "scale": (
        "",
        "return (classifier).forward(x2, )",
        "return torch.mul((classifier).forward(x2, ), 3)",
        "by 3 besides",
    ),
    "relu behind": (
        "",
        "return (classifier).forward(x2, )",
        "return torch.relu((classifier).forward(x2, ))",
        "relu besides",
    ),
    "max": (
        "",
        "x1 = (avgpool).forward(x0, )",
        "x1, _ = torch.adaptive_max_pool2d(x0, [1, 1])",
        "adaptive_max_pool2d for global",
    ),
    "half a picture": (
        "",
        "x1 = (avgpool).forward(x0, )",
        "x1 = (avgpool).forward(torch.slice(x0, 2, 0, 3), )",
        "slice besides",
    ),
    "no hidden activation": (HEAD, "_1).forward(input0, )", "_2).forward(input0, )", "has no hard_swish, at head"),
    "silu": ("features.0.2", "_0(input, True, )", "torch.silu(input)", "silu for hard_swish, at stem"),
    "relu6": ("functions", "torch.relu_(input)", "torch.relu6_(input)", "relu6 for relu, at blocks.0"),
    "gate": (
        f"{SE}.scale_activation",
        "_0(input, False, )",
        "torch.sigmoid(input)",
        "sigmoid for hard_sigmoid, at blocks.0",
    ),
    "no gate": (SE, "torch.mul(scale, input)", "input", "for mul, at blocks.0"),
    "gate added": (SE, "torch.mul(scale, input)", "torch.add(scale, input)", "the program has add for mul"),
    "written before the gate": (
        SE,
        "return torch.mul(scale, input)",
        "_9 = torch.mul_(input, 2)\n    return torch.mul(scale, input)",
        "by 2 besides",
    ),
    "written into a part": (
        SE,
        "return torch.mul(scale, input)",
        "_9 = torch.fill_(torch.select(input, 1, 0), 0)\n    return torch.mul(scale, input)",
        "fill in a part",
    ),
    "twice the shortcut": (
        "features.3",
        "torch.add_(result, input)",
        "torch.add(result, input, alpha=2)",
        "add of 2 times a value for add, at blocks.2",
    ),
    "mean of a stack": (
        "features.3",
        "torch.add_(result, input)",
        "torch.mean(torch.stack([result, input]), [0])",
        "stack for add, at blocks.2",
    ),
    "sum of one axis of a stack": (
        "features.3",
        "torch.add_(result, input)",
        "torch.sum(torch.stack([result, input]), [1])",
        "stack for add, at blocks.2",
    ),
    "no shortcut": ("features.3", "if use_res_connect:", "if torch.__not__(use_res_connect):", "for add, at blocks.2"),
    "shortcut subtracted": (
        "features.3",
        "torch.add_(result, input)",
        "torch.sub(result, input)",
        "subtract for add, at blocks.2",
    ),
    "block twice": (
        "features.3",
        "result = (block).forward(input, )",
        "result = input\n    for i in range(2):\n      result = (block).forward(result, )",
        "uses other parameters than their order tells",
    ),
    "reflected": (
        "features.0.0",
        "torch.conv2d(input, weight, bias, [2, 2], [1, 1]",
        'torch.conv2d(__torch__.torch.nn.functional.pad(input, [1, 1, 1, 1], "reflect", None, ), weight, bias, [2, 2], [0, 0]',
        "does pad before",
    ),
    "as TensorFlow pads": (
        "features.0.0",
        "torch.conv2d(input, weight, bias, [2, 2], [1, 1]",
        "torch.conv2d(__torch__.torch.nn.functional.pad_same(input, torch.slice(torch.size(weight), -2), [2, 2], ), weight, bias, [2, 2], [0, 0]",
        "the program pads SAME",
    ),
    "as nobody pads": (
        "features.0.0",
        "torch.conv2d(input, weight, bias, [2, 2], [1, 1]",
        "torch.conv2d(__torch__.torch.nn.functional.pad(input, [torch.size(input, 3), 0, 0, 0]), weight, bias, [2, 2], [0, 0]",
        r"pads \(0, 0, 130, 0\)",
    ),
    "epsilon": ("features.0.1", "0.001", "1e-05", "epsilon is 1e-05, expected 0.001, at stem.norm"),
    "dropout": (
        "classifier.2",
        "_0(input, 0.20000000000000001, training,",
        "_0(input, 0.20000000000000001, True,",
        "dropout besides",
    ),
}


@pytest.mark.parametrize("module, old, new, told", CHANGES.values(), ids=CHANGES)
def test_the_code_of_a_scripted_module_is_compared(module, old, new, told, tmp_path):
    with pytest.raises(WeightsError, match=told):
        convert(scripted(tmp_path / "a.pt", [(module, old, new)]), tmp_path / "a.npz")


SAME = {  # other ways to compute the same
    "as it is": ("", "x0", "x0"),
    "mean": ("", "(avgpool).forward(x0, )", "torch.mean(x0, [2, 3])"),
    "means": ("", "(avgpool).forward(x0, )", "torch.mean(torch.mean(x0, [3]), [2])"),
    "means kept": ("", "(avgpool).forward(x0, )", "torch.mean(torch.mean(x0, [-2], True), [-1], True)"),
    "average over the size": ("", "(avgpool).forward(x0, )", "torch.avg_pool2d(x0, torch.slice(torch.size(x0), 2))"),
    "view": ("", "torch.flatten(x1, 1)", "torch.view(x1, [(torch.size(x1))[0], -1])"),
    "expanded gate": (SE, "torch.mul(scale, input)", "torch.mul(torch.expand_as(scale, input), input)"),
    "gate in place": (SE, "torch.mul(scale, input)", "torch.mul_(input, scale)"),
    "by hand": (f"{SE}.scale_activation", "_0(input, False, )", "torch.div(torch.relu6_(torch.add(input, 3)), 6)"),
    "stacked": ("features.3", "torch.add_(result, input)", "torch.sum(torch.stack([result, input]), [0])"),
    "list": (
        "",
        "return (classifier).forward(x2, )",
        "y = annotate(List[Tensor], [])\n    _9 = torch.append(y, (classifier).forward(x2, ))\n    return y[-1]",
    ),
    "of two": ("", "return (classifier).forward(x2, )", "return ((classifier).forward(x2, ), x2)"),
    "assertion": (
        "",
        "features = self.features",
        'if torch.gt((torch.size(x))[-1], 31):\n      pass\n    else:\n      ops.prim.RaiseException("small")\n    features = self.features',
    ),
    "maybe": (
        "",
        "features = self.features",
        "y : Optional[Tensor] = None\n    if torch.__isnot__(y, None):\n      x = torch.neg(x)\n    features = self.features",
    ),
    "loop": (
        "",
        "features = self.features",
        "i = 0\n    _9 = True\n    while _9:\n      i = torch.add(i, 1)\n      _9 = torch.lt(i, 3)\n    features = self.features",
    ),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_scripted_modules_that_compute_the_same(change, tmp_path):
    done = convert(scripted(tmp_path / "a.pt", [change]), tmp_path / "a.npz")
    assert (done.model, done.warnings) == (TORCHVISION, ()) and "its code is compared" in done.notes


def test_a_module_saved_in_training_is_compared_as_in_evaluation(tmp_path):
    done = convert(scripted(tmp_path / "a.pt", training=True), tmp_path / "a.npz")
    assert "its code is compared, as after eval()" in done.notes


def test_hooks_of_the_outermost_module_are_not_followed(tmp_path):
    hook = ("", "  training : bool", '  __forward_hooks__ = ["hook", ]\n  training : bool')
    done = convert(scripted(tmp_path / "a.pt", [hook]), tmp_path / "a.npz")
    assert any("its code is not followed (it has hooks)" in note for note in done.notes)


ENDLESS = {
    "sums": "for i in range(9000):\n      x2 = torch.mul(x2, x2)",
    "factors": "for i in range(9000):\n      x2 = torch.mul(x2, 1.001)",
    "numbers": "y = 3\n    for i in range(9000):\n      y = torch.mul(y, y)\n    x2 = torch.mul(x2, y)",
}


@pytest.mark.parametrize("code", ENDLESS.values(), ids=ENDLESS)
def test_long_code_ends(code, tmp_path):
    change = ("", "return (classifier)", f"{code}\n    return (classifier)")
    with pytest.raises(WeightsError, match="the program has"):
        convert(scripted(tmp_path / "a.pt", [change]), tmp_path / "a.npz")


@pytest.mark.parametrize(
    "code",
    [
        "for i in range(10000000):\n      pass",
        "l = [x2]\n    for i in range(20000):\n      _9 = torch.append(l, x2)\n    for i in range(9000):\n      x2 = torch.cat(l, 0)",
    ],
)
def test_endless_code_is_not_followed(code, tmp_path):
    change = ("", "return (classifier)", f"{code}\n    return (classifier)")
    done = convert(scripted(tmp_path / "a.pt", [change]), tmp_path / "a.npz")
    assert any("its code is not followed (it is too long)" in note for note in done.notes)
