"""Exported programs (torch.export.save): their graph is held against the network, operation by operation."""

import pytest
from module_files import SMALL, TORCHVISION, TWIN, dilation, epsilon, relu_in_head, swish
from program_files import exported, node

from npmnv3.conversion import convert
from npmnv3.errors import WeightsError


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize("model", [SMALL, TWIN, TORCHVISION])
def test_an_exported_programs_graph_tells_twins_apart(model, decomposed, tmp_path):
    done = convert(exported(tmp_path / "a.pt2", model, decomposed=decomposed), tmp_path / "a.npz")
    assert (done.model, done.warnings) == (model, ()) and "its graph compared" in done.notes[0]


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize(
    "change, told",
    [
        (epsilon, "epsilon is 1e-05, expected 0.001, at stem.norm"),
        (dilation, r"has dilations \(2, 2\), expected none, at blocks.8.depthwise"),
        (swish, "the program has silu for hard_swish, at stem"),
        (relu_in_head, "the program has relu for hard_swish, at head"),
    ],
)
def test_an_exported_program_that_computes_otherwise_is_refused(change, told, decomposed, tmp_path):
    with pytest.raises(WeightsError, match=told):
        convert(exported(tmp_path / "a.pt2", TORCHVISION, change, decomposed), tmp_path / "a.npz")


def _nodes_of(module, op):
    return [node for node in module["graph"]["nodes"] if node["target"].split(".")[3].rstrip("_") == op]


def _bypass(op, place, of=0):
    """Take an operation out of a program's graph: what read it reads what it read."""

    def damage(module):
        node = _nodes_of(module, op)[place]
        name, read = node["outputs"][0]["as_tensor"]["name"], node["inputs"][of]["arg"]
        for other in module["graph"]["nodes"]:
            for one in other["inputs"]:
                one["arg"] = read if one["arg"] == {"as_tensor": {"name": name}} else one["arg"]
        module["graph"]["nodes"].remove(node)

    return damage


def _renamed(op, to):
    return lambda module: [node.update(target=f"torch.ops.aten.{to}.default") for node in _nodes_of(module, op)]


def _twice(module):
    _nodes_of(module, "add")[-1]["inputs"].append({"name": "alpha", "arg": {"as_int": 2}})


def _appended(op, **arguments):
    """Put an operation behind the logits."""

    def damage(module):
        given = module["signature"]["output_specs"][0]["user_output"]["arg"]
        numbers = {name: {"as_float": value} for name, value in arguments.items()}
        module["graph"]["nodes"].append(node(op, {"self": dict(given)} | numbers, "last"))
        given["as_tensor"] = {"name": "last"}

    return damage


@pytest.mark.parametrize(
    "damage, told",
    [
        (_bypass("add", -1), "for add, at blocks.10"),
        (_bypass("hardswish", 3), "the program has no hard_swish, at blocks.4.expand"),
        (_appended("mul", other=3.0), "the program has multiply by 3 besides, at logits"),
        (_appended("neg"), "the program has neg besides, at logits"),
        (_twice, "the program has add of 2 times a value for add, at blocks.10"),
        (_renamed("mul", "maximum"), "the program has maximum for mul, at blocks.8.se"),
    ],
)
def test_an_exported_programs_order_sums_and_products_are_compared(damage, told, tmp_path):
    with pytest.raises(WeightsError, match=told):
        convert(exported(tmp_path / "a.pt2", TORCHVISION, damage=damage), tmp_path / "a.npz")


@pytest.mark.parametrize(
    "damage, note",
    [
        (lambda module: module["signature"].pop("output_specs"), "nor the order of its operations"),
        (lambda module: module.pop("signature"), "in a way that is not known here"),
        (lambda module: module["graph"].update(nodes=7), "in a way that is not known here"),
        (lambda module: module["graph"]["nodes"][1].update(target=None), "in a way that is not known here"),
        (lambda module: module["graph"].update(nodes=[]), "no batch norm in one piece"),
    ],
)
def test_a_program_that_tells_nothing_is_said_to(damage, note, tmp_path):
    done = convert(exported(tmp_path / "a.pt2", TORCHVISION, damage=damage), tmp_path / "a.npz")
    assert done.model == TORCHVISION and any(note in told for told in done.notes)


def _computed(module, exchanged=False):
    """Make the stem pad by what the program computes of its picture's sides, as TensorFlow does."""
    sizes = {"x": [{"as_int": 1}, {"as_int": 3}, {"as_expr": {}}, {"as_expr": {}}]}
    sizes["conv_stem_weight"] = [{"as_int": n} for n in (16, 3, 3, 3)]
    module["graph"]["tensor_values"] = {name: {"sizes": shape} for name, shape in sizes.items()}
    pads, nodes, picture = [], [], {"as_tensor": {"name": "x"}}

    def made(target, *given):
        arguments = [{"as_int": one} if isinstance(one, int) else one for one in given]
        out = {"as_sym_int": {"as_name": f"number {len(nodes)}"}}
        inputs = [{"name": str(i), "arg": one} for i, one in enumerate(arguments)]
        nodes.append({"target": target, "inputs": inputs, "outputs": [out]})
        return out

    for axis in (3, 2):
        side = made("torch.ops.aten.sym_size.int", picture, axis)
        rows = made("_operator.floordiv", made("_operator.add", side, 1), 2)
        whole = made("_operator.sub", made("_operator.add", made("_operator.mul", rows, 2), 1), side)
        whole = made("torch.sym_max", whole, 0)
        half = made("_operator.floordiv", whole, 2)
        pair = [half, made("_operator.sub", whole, half)]
        pads += [one["as_sym_int"] for one in (pair[::-1] if exchanged else pair)]
    (given,) = [one for one in _nodes_of(module, "pad")[0]["inputs"] if one["name"] == "pad"]
    given["arg"] = {"as_sym_ints": pads}
    module["graph"]["nodes"][:0] = nodes


def test_padding_that_a_program_computes_is_tensorflows(tmp_path):
    assert convert(exported(tmp_path / "a.pt2", TWIN, damage=_computed), tmp_path / "a.npz").model == TWIN
    with pytest.raises(WeightsError, match=r"pads \(1, 1, 1, 0\).* expected"):
        convert(exported(tmp_path / "b.pt2", TWIN, damage=lambda module: _computed(module, True)), tmp_path / "b.npz")


def test_a_program_that_cuts_to_whole_numbers(tmp_path):
    def damage(module):
        _appended("to", dtype=5)(module)
        module["graph"]["nodes"][-1]["inputs"][-1]["arg"] = {"as_scalar_type": 5}

    with pytest.raises(WeightsError, match="a conversion to whole numbers besides, at logits"):
        convert(exported(tmp_path / "a.pt2", TORCHVISION, damage=damage), tmp_path / "a.npz")
