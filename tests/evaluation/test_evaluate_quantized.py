"""Quantised networks in the pools: the kernel set goes to every worker."""

import pickle

import goldens
import pytest
import quantized_files

import npmnv3
from npmnv3.dumps.quantized import read_quantized, write_quantized
from npmnv3.errors import UsageError
from npmnv3.evaluation import Network, agree, evaluate, open_dataset, work

EXAMPLES = goldens.ROOT / "weights" / "examples"
KERNELS = ("tflite-reference", "xnnpack")


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    return str(quantized_files.dump(quantized_files.TEXT, tmp_path_factory.mktemp("dump")))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    file = tmp_path_factory.mktemp("labels") / "lines.csv"
    names = sorted(path.name for path in EXAMPLES.glob("*.png"))
    file.write_text("file,label\n" + "".join(f"{name},{int('upside' in name)}\n" for name in names))
    return open_dataset(EXAMPLES, file)


def test_networks_are_told_apart_by_their_kernels(dump):
    found = work.identify([Network(dump, kernels=name) for name in KERNELS])
    assert [network.kernels for network in found] == list(KERNELS)
    assert [network.title for network in found] == [f"ppocr/text_direction [{name}]" for name in KERNELS]
    assert len({network.fingerprint for network in found}) == 2
    sent = pickle.loads(pickle.dumps(found))  # as to another machine
    work._kept.clear()
    assert [model.kernels for model in work.load_all(sent)] == list(KERNELS)
    with pytest.raises(UsageError, match="whose int8"):
        work.identify([dump])


def test_the_kernels_that_a_dump_is_meant_for(dump, tmp_path):
    from dataclasses import replace

    write_quantized(tmp_path / "meant.npz", replace(read_quantized(dump), kernels="tflite-optimized"))
    (found,) = work.identify([str(tmp_path / "meant.npz")])
    assert found.kernels == "tflite-optimized" and found.title == "ppocr/text_direction [tflite-optimized]"


def test_evaluate_with_threads_and_processes(dump, dataset, tmp_path):
    networks = [Network(dump, kernels=name) for name in KERNELS]
    files = [tmp_path / "threads.csv", tmp_path / "processes.csv"]
    results = evaluate(networks, dataset, batch=2, workers=2, csv=files[0])
    for result, name in zip(results, KERNELS):
        answers = npmnv3.load(dump, kernels=name).predict(sorted(EXAMPLES.glob("*.png")), top=1)
        right = sum(best[0][0] == (index % 2) for index, best in enumerate(answers))
        assert result["pictures"] == 6 and result["top1"] == pytest.approx(100 * right / 6)
    pytest.importorskip("distributed", reason="needs the package distributed")
    evaluate(networks, dataset, csv=files[1], scheduler="local:1")
    assert files[0].read_bytes() == files[1].read_bytes()


def test_agree_between_kernels_and_with_floats(dump, dataset):
    a, b = (Network(dump, kernels=name) for name in KERNELS)
    assert agree(a, a, dataset)["rms_difference"] == 0 < agree(a, b, dataset)["rms_difference"]
    result = agree(Network("ppocr/text_direction"), b, dataset)
    assert result["pictures"] == 6 and result["model_b"] == "ppocr/text_direction [xnnpack]"


def test_a_network_whose_pictures_nobody_can_prepare(dump, tmp_path):
    from dataclasses import replace

    write_quantized(tmp_path / "unknown.npz", replace(read_quantized(dump), variant=None, labels=None, attributes={}))
    with pytest.raises(UsageError, match="nothing says how its pictures are prepared"):
        work.identify([Network(str(tmp_path / "unknown.npz"), kernels="xnnpack")])
