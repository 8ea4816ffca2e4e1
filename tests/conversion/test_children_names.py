"""Networks that were taken apart and registered again, as fastai and nn.Sequential do: names that begin otherwise."""

import re

import checkpoint_files as files
import pytest
from module_files import SMALL, TORCHVISION, epsilon, whole_module
from states import random_state

from npmnv3.conversion import convert, identify
from npmnv3.conversion.formats import read_checkpoint
from npmnv3.dumps.dumps import load_weights
from npmnv3.errors import WeightsError


def numbered(state, within=""):
    """The state with numbers for the first parts of its names, in their order."""
    firsts = list(dict.fromkeys(name.partition(".")[0] for name in state))
    return {f"{within}{firsts.index(name.partition('.')[0])}.{name.partition('.')[2]}": a for name, a in state.items()}


@pytest.mark.parametrize("model", [SMALL, TORCHVISION])
@pytest.mark.parametrize("within", ["", "model.layers."])
def test_children_under_other_names_are_found(model, within, tmp_path):
    state = random_state(model, 3)
    (tmp_path / "a.pth").write_bytes(files.torch_file(numbered(state, within)))
    done = convert(tmp_path / "a.pth", tmp_path / "a.npz", model)
    assert any("are told by their order, shapes and the names within" in note for note in done.notes)
    files.assert_same(load_weights(done.path).arrays, state)


@pytest.mark.parametrize(
    "old, new", [("1.block.0.0", "1.conv.0.0"), ("features.3.", "more.3."), ("classifier.3", "head.3")]
)
def test_other_names_within_are_refused(old, new, tmp_path):
    state = {name.replace(old, new): array for name, array in random_state(TORCHVISION, 3).items()}
    (tmp_path / "a.pth").write_bytes(files.torch_file(numbered(state)))
    with pytest.raises(WeightsError, match="no network|no known network"):
        convert(tmp_path / "a.pth", tmp_path / "a.npz")


def test_what_its_modules_are_set_to_is_compared(tmp_path):
    checkpoint = read_checkpoint(whole_module(tmp_path / "a.pth", TORCHVISION, epsilon))
    found = identify(checkpoint.renamed(lambda name: re.sub("^classifier", "3", re.sub("^features", "0", name))))
    assert found.model == TORCHVISION and "epsilon differs" in found.contradictions[0]
