"""What several files of tests evaluate: a small network, pictures of its classes, and what it says of them."""

import pytest
from evaluation_material import class_folders, write_network

from npmnv3.evaluation import Network, evaluate, open_dataset


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    return write_network(tmp_path_factory.mktemp("network") / "net.h5")


@pytest.fixture(scope="module")
def network(dump):
    return Network(dump)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return class_folders(tmp_path_factory.mktemp("data") / "set", 4)


@pytest.fixture(scope="module")
def whole(network, folder, tmp_path_factory):
    """The CSV of an uninterrupted run."""
    path = tmp_path_factory.mktemp("whole") / "whole.csv"
    evaluate([network], open_dataset(folder), csv=path)
    return path.read_bytes()
