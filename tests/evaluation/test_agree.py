"""How far two networks agree."""

import numpy as np
import pytest
from evaluation_material import BAD, CLASSES, GOOD, RECIPE, damaged_folder, write_network

import npmnv3
from npmnv3.errors import UsageError
from npmnv3.evaluation import Network, agree, open_dataset


def test_agree_with_itself_and_with_another(network, folder, tmp_path):
    dataset = open_dataset(folder, labelled=False)
    copy = write_network(tmp_path / "copy.h5")
    assert agree(network, network, dataset)["agreement"] == 100
    same = agree(network, Network(copy), dataset)
    assert same["agreement"] == 100 and same["largest_difference"]["value"] == 0 and same["disagreements"] == []
    assert same["margin"]["largest_apart"] is None and 0 < same["margin"]["smallest"] <= same["margin"]["median"]
    other = write_network(tmp_path / "other.h5", seed=1)
    result = agree(network, Network(other), dataset, batch=5)
    files = [picture.file for picture in dataset.pictures]
    x = np.stack([npmnv3.preprocess(folder / file, RECIPE) for file in files])
    a, b = (npmnv3.load(path)(x).astype(np.float64) for path in (network.model, other))
    apart = a.argmax(1) != b.argmax(1)
    assert result["agreement"] == 100 * (~apart).sum() / 24 and len(result["disagreements"]) == apart.sum() > 0
    where = np.unravel_index(np.abs(a - b).argmax(), a.shape)
    assert result["largest_difference"] == {
        "value": np.abs(a - b).max(),
        "file": files[where[0]],
        "class": CLASSES[where[1]],
    }
    margins = np.sort(a, axis=1)[:, -1] - np.sort(a, axis=1)[:, -2]
    assert result["margin"]["largest_apart"] == margins[apart].max() and result["margin"]["median"] == np.median(
        margins
    )


def test_agree_needs_the_same_classes_and_counts_damage(network, tmp_path):
    root = damaged_folder(tmp_path / "data")
    copy = Network(write_network(tmp_path / "copy.h5"))
    result = agree(network, copy, open_dataset(root, labelled=False))
    assert result["pictures"] == 7 + len(GOOD) and len(result["unreadable"]) == len(BAD)
    other = write_network(tmp_path / "other.h5", labels=CLASSES[:-1])
    with pytest.raises(UsageError, match="classes differ"):
        agree(network, Network(other), open_dataset(root, labelled=False))
